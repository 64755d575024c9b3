"""Headers and data of a FITS file as bytes: what the standard demands is checked before a library sees the file.

Libraries loop over as many axes and columns as a header claims, and read on through what is no header at all.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from astro_gan.errors import UserError

BLOCK = 2880
# A file has tens of extensions, a mosaic camera's some hundred. Each takes a few kilobytes and a millisecond.
MAXIMUM_EXTENSIONS = 1000
MAXIMUM_REST = 1 << 30  # bytes after the last extension that are passed over: they are read for the file's hash
_MAXIMUM_HEADER_BYTES = 16 << 20
_CHUNK_BYTES = 16 << 20
_LONGEST = 1 << 60  # bytes of data: no file system holds more
_BITPIX = (8, 16, 32, 64, -32, -64)
_FORMATS = {
    'BINTABLE': re.compile(r'\d{0,10}([LXBIJKAEDCM].*|[PQ][LXBIJKAEDCM].*)'),
    'TABLE': re.compile(r'(A|I)\d{1,5}|[FED]\d{1,5}\.\d{1,5}'),
}
Read = Callable[[int], bytes]


class Refused(UserError):
    """A reason that needs no explanation around it."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """A header and its data: texts of cards by keyword; offsets in bytes; `length` of the data without padding."""

    cards: dict[str, str]
    start: int
    data: int
    length: int

    @property
    def end(self) -> int:
        """Where the next unit begins."""
        return self.data + -(-self.length // BLOCK) * BLOCK


def read_unit(read: Read, start: int) -> Unit | None:
    """The unit whose header comes next, at `start`; None if what comes is no header, which is then passed over.

    Raises:
        Refused: a header without an end, or one that breaks the standard where readers rely on it.
    """
    kind = b'XTENSION' if start else b'SIMPLE  ='
    cards: dict[str, str] = {}
    for position in range(start, start + _MAXIMUM_HEADER_BYTES, BLOCK):
        block = read(BLOCK)
        if position == start and not block.startswith(kind):
            return None
        for offset in range(0, len(block), 80):
            card = block[offset : offset + 80].decode('latin-1')
            if card.rstrip() == 'END':
                return Unit(cards, start, position + BLOCK, _data_length(cards))
            if card[8:9] == '=':
                cards.setdefault(card[:8].rstrip(), card[9:].strip())
        if len(block) < BLOCK:
            break
    raise Refused('damaged FITS file: a header has no END')


def read_units(source: BinaryIO, size: int) -> list[Unit]:
    """All units of a file of `size` bytes. What follows the last one and is none is passed over, as the standard says.

    Raises:
        Refused: no FITS file, damaged, with more extensions than `MAXIMUM_EXTENSIONS` or more after them than
            `MAXIMUM_REST`.
    """
    found: list[Unit] = []
    while not found or found[-1].end < size:
        start = found[-1].end if found else 0
        source.seek(start)
        unit = read_unit(source.read, start)
        if unit is None and found and size - start > MAXIMUM_REST:
            raise Refused(
                f'after {start} bytes of FITS come {(size - start) / 1e9:.3g} GB that are none; cut them off '
                f'(head -c {start})'
            )
        if unit is None:
            break
        if len(found) == MAXIMUM_EXTENSIONS:
            raise Refused(f'more than {MAXIMUM_EXTENSIONS} extensions')
        found.append(unit)
    if not found:
        raise Refused('not a FITS file: its first bytes are not SIMPLE  =')
    return found


def text(cards: dict[str, str], keyword: str) -> str:
    """A string's value: upper case, without quotes and comment; '' where there is none."""
    value = cards.get(keyword, '')
    quoted = re.match(r"'((?:[^']|'')*)'", value)
    return (quoted[1] if quoted else value.split('/')[0]).strip().upper()


def _whole(cards: dict[str, str], keyword: str, least: int, most: int, default: int | None = None) -> int:
    """A whole number that the standard demands."""
    if default is not None and keyword not in cards:
        return default
    value = cards.get(keyword, '').split('/')[0].strip()
    if re.fullmatch(r'[+-]?\d{1,18}', value) and least <= int(value) <= most:
        return int(value)
    raise Refused(
        f'damaged FITS file: {keyword} = {value[:40] or "nothing"}; a whole number from {least} to {most:g} is wanted'
    )


def _sizes(cards: dict[str, str], prefix: str = '') -> list[int]:
    count = _whole(cards, f'{prefix}NAXIS', 0, 999)
    return [_whole(cards, f'{prefix}NAXIS{axis}', 0, 10**15) for axis in range(1, count + 1)]


def _data_length(cards: dict[str, str]) -> int:
    """Bytes of data that a header declares, as in the FITS standard 4.0, section 4.4.1, all of it checked."""
    bits = _bits(cards, 'BITPIX')
    sizes = _sizes(cards)
    kind = text(cards, 'XTENSION')
    if kind in _FORMATS:
        _check_table(cards, kind)
    if kind == 'BINTABLE' and cards.get('ZIMAGE', '').startswith('T'):
        _bits(cards, 'ZBITPIX')
        for axis, _ in enumerate(_sizes(cards, 'Z'), 1):
            _whole(cards, f'ZTILE{axis}', 1, 10**15, default=1)
    groups = bool(sizes) and sizes[0] == 0 and cards.get('GROUPS', '').startswith('T')
    count = math.prod(sizes[1:] if groups else sizes) if sizes else 0
    further = _whole(cards, 'PCOUNT', 0, 10**15, default=0) if kind or groups else 0
    length = abs(bits) // 8 * _whole(cards, 'GCOUNT', 0, 10**15, default=1) * (further + count)
    if length > _LONGEST:
        raise Refused(f'damaged FITS file: a header declares {length:.1e} bytes of data')
    return length


def _bits(cards: dict[str, str], keyword: str) -> int:
    bits = _whole(cards, keyword, -64, 64)
    if bits not in _BITPIX:
        raise Refused(f'damaged FITS file: {keyword} = {bits}; one of {", ".join(map(str, _BITPIX))} is wanted')
    return bits


def _check_table(cards: dict[str, str], kind: str) -> None:
    for column in range(1, _whole(cards, 'TFIELDS', 0, 999) + 1):
        form = text(cards, f'TFORM{column}')
        if not _FORMATS[kind].fullmatch(form):
            raise Refused(f'damaged FITS file: column {column} of a table has the format {form[:20] or "nothing"}')
        if kind == 'TABLE':
            _whole(cards, f'TBCOL{column}', 1, 10**15)


def add_words(total: int, words: np.ndarray) -> int:
    """32-bit ones' complement sum of big-endian words, as in the FITS standard 4.0, section 4.4.2.7 and appendix J."""
    total += int(words.sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def sum_of(source: BinaryIO, start: int, end: int) -> int:
    """The sum of a part of a file, both ends at multiples of `BLOCK`; what is missing at its end counts as zeros."""
    total = 0
    source.seek(start)
    for position in range(start, end, _CHUNK_BYTES):
        chunk = source.read(min(_CHUNK_BYTES, end - position))
        total = add_words(total, np.frombuffer(chunk.ljust(-(-len(chunk) // 4) * 4, b'\0'), '>u4'))
    return total
