"""Damage to files and texts, drawn by a seed: of bytes, of FITS headers, of JSON, tables, XML and settings."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

NUMBERS = (b'99999999999999999999', b'%20d' % -1, b"'many'".ljust(20), b'%20s' % b'1E9', b'%20d' % 0, b'%20d' % 999)
# What stands where something else is meant.
VALUES: tuple[Any, ...] = (
    (None, True, 0, -1, 1, 3, 10**30, 1e300, -0.5, float('nan'), float('inf'))
    + ('', 'x', '0', '-1', 'nan', '../../x', '/etc/passwd', '\0', '\x1b[31m', 'x' * 5000, '\ud800', '#12')
    + ([], {}, [[]], [1, 'a', None], {'a': {}}, [0] * 1000)
)
WORDS = ('', '0', '-1', '1e400', 'nan', 'inf', 'True', 'None', '99999999999999999999', '../../x', '"', "'", ',', '[]')
WORDS += (
    '{}',
    '()',
    '(1,2',
    '\0',
    'x' * 3000,
    '\n',
    ' ',
    'é\u2028',
    '%s',
    '{0}',
    '1.5',
    '1e9',
    '0x10',
    '-',
    '=',
    '\x1b[2J',
)


def of_bytes(data: bytes, choose: random.Random) -> bytes:
    """One kind of damage, in a few places, half of them near the start."""
    result = bytearray(data)
    kind = choose.choice(('bit', 'byte', 'word', 'gone', 'twice', 'zeros', 'noise', 'cut', 'longer', 'swapped'))
    for _ in range(choose.choice((1, 1, 2, 5, 20))):
        place = choose.randrange(choose.choice((min(400, len(result)), len(result))) or 1)
        length = choose.choice((1, 2, 4, 16, 100, 2000))
        if kind == 'bit':
            result[place : place + 1] = bytes([(result[place] if result else 0) ^ 1 << choose.randrange(8)])
        elif kind == 'byte':
            result[place : place + 1] = bytes([choose.choice((0, 1, 127, 128, 255, choose.randrange(256)))])
        elif kind == 'word':
            word = choose.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 65535, choose.randrange(2**32)))
            result[place : place + 4] = word.to_bytes(4, choose.choice(('big', 'little')))
        elif kind == 'gone':
            del result[place : place + length]
        elif kind == 'twice':
            result[place:place] = result[place : place + length]
        elif kind == 'zeros':
            result[place : place + length] = bytes(length)
        elif kind == 'noise':
            result[place : place + length] = choose.randbytes(length)
        elif kind == 'cut':
            del result[max(place, 1) :]
        elif kind == 'longer':
            result += choose.choice((bytes(length), choose.randbytes(length), bytes(data[:length])))
        else:
            other = choose.randrange(len(result) or 1)
            one, two = result[place : place + length], result[other : other + length]
            result[place : place + length], result[other : other + length] = two, one
    return bytes(result)


def of_headers(data: bytes, choose: random.Random) -> bytes:
    """One kind of damage to a file of FITS headers, in a few places, mostly in them."""
    result, kind = bytearray(data), choose.choice(('bit', 'digit', 'card', 'gone', 'twice', 'zeros'))
    for _ in range(choose.choice((1, 1, 3, 10))):
        place = choose.randrange(choose.choice((min(3000, len(data)), len(data))))
        card = place // 80 * 80
        if kind == 'bit':
            result[place : place + 1] = bytes([data[place] ^ 1 << choose.randrange(8)])
        elif kind == 'digit':
            result[place : place + 1] = choose.choice((b'0', b'9', b'-', b"'", b' ', b'T'))
        elif kind == 'card':
            result[card + 10 : card + 30] = choose.choice(NUMBERS)
        elif kind == 'gone':
            del result[place : place + choose.choice((1, 80, 2880))]
        elif kind == 'twice':
            result[place:place] = data[card : card + choose.choice((80, 2880))]
        else:
            result[place : place + 80] = bytes(80)
    return bytes(result)


def of_json(data: bytes, choose: random.Random) -> bytes:
    """One or two values of a JSON text replaced, removed, doubled or nested; or its bytes damaged."""
    if choose.random() < 0.2:
        return of_bytes(data, choose)
    value = json.loads(data)
    for _ in range(choose.choice((1, 1, 2))):
        value = _replaced(value, choose)
    text = json.dumps(value)
    if choose.random() < 0.03:
        text = '[' * 100_000 + text
    return text.encode('utf-8', 'surrogatepass')


def _replaced(value: Any, choose: random.Random) -> Any:
    """A copy with one node, anywhere in it, that is another."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            places.append((node, key))
            visit(inner)

    visit(value)
    if not places or choose.random() < 0.05:
        return copy.deepcopy(choose.choice(VALUES))
    node, key = choose.choice(places)
    way = choose.choice(('other', 'other', 'other', 'gone', 'near', 'moved', 'more'))
    if way == 'gone':
        del node[key]
    elif way == 'near' and isinstance(node[key], int | float):
        node[key] = choose.choice((node[key] + 1, -node[key], node[key] * 10**6, float(node[key]), str(node[key])))
    elif way == 'moved':
        other, at = choose.choice(places)
        node[key] = copy.deepcopy(other[at]) if at in (other if isinstance(other, dict) else range(len(other))) else 0
    elif way == 'more' and isinstance(node, dict):
        node[choose.choice(('extra', 'parts', 'guides', 'reduction'))] = copy.deepcopy(choose.choice(VALUES))
    else:
        node[key] = copy.deepcopy(choose.choice(VALUES))
    return value


def of_text(data: bytes, choose: random.Random) -> bytes:
    """Words, numbers, fields, lines or bytes of a text (CSV, XML) replaced, removed or doubled."""
    if choose.random() < 0.25:
        return of_bytes(data, choose)
    text = data.decode()
    for _ in range(choose.choice((1, 1, 2, 4))):
        form = choose.choice((r'[-\w.+#]+', r'[-\w.+#]+', r'"[^"]*"', r'[^\n]+\n?', r'<[^>]*>', r'[,;"\'<>=]'))
        found = list(re.finditer(form, text))
        if found:
            one = choose.choice(found)
            new = choose.choice((choose.choice(WORDS), choose.choice(WORDS), one[0] * 2, choose.choice(found)[0]))
            text = text[: one.start()] + new + text[one.end() :]
    return text.encode('utf-8', 'surrogatepass')
