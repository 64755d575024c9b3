"""What servers do wrong: faults of an HTTP answer, and of the lists, feeds and files that it brings.

A fault gets the handler of a request, the good body and its type, and random numbers; it answers in place of the
server.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

Fault = Callable[[Any, bytes, str, random.Random], None]
LIST, FEED, FILE, CUTOUT, RESOLVER, PORTAL, FRAME = 'list', 'feed', 'file', 'cutout', 'resolver', 'portal', 'frame'
ALL = (LIST, FEED, FILE, CUTOUT, RESOLVER, PORTAL, FRAME)
PATHS = {
    '/cgi-bin/hlaSIAP.cgi': LIST,
    '/images/d2d/': FEED,
    '/archives/images/large/0.jpg': FILE,
    '/cgi-bin/fitscut.cgi': CUTOUT,
    '/sesame/SNV': RESOLVER,
    '/api/v0/invoke': PORTAL,
    '/api/v0.1/Download/file': FRAME,
}
YEAR = 31_536_000
CODES = '\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202e'
_LONGEST = 30.0  # seconds that a fault goes on for, if it is let


def send(handler: Any, body: bytes, kind: str = 'text/plain', status: str = '200 OK', **headers: Any) -> None:
    """An answer as it should be, but for what the caller changes; None leaves a header out."""
    told = {'Content-Type': kind, 'Content-Length': len(body), 'Connection': 'close'}
    told |= {name.replace('_', '-'): value for name, value in headers.items()}
    lines = [f'HTTP/1.1 {status}', *(f'{name}: {value}' for name, value in told.items() if value is not None)]
    handler.wfile.write('\r\n'.join([*lines, '', '']).encode('utf-8', 'surrogateescape') + body)


def pieces(handler: Any, data: Iterator[bytes], pause: float) -> None:
    """Sends bytes for as long as anyone listens."""
    end = time.monotonic() + _LONGEST
    for piece in data:
        handler.wfile.write(piece)
        handler.wfile.flush()
        if time.monotonic() > end or handler.archive.ending.wait(pause):
            return


def one_by_one(data: bytes) -> Iterator[bytes]:
    """Bytes, and when they are over, over again."""
    while True:
        yield from (data[at : at + 1] for at in range(len(data)))


def drip(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, b'', kind, Content_Length=choose.choice((None, 10**9)))
    pieces(handler, one_by_one(body), 0.05)


def drip_headers(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nX-Long: ')
    pieces(handler, one_by_one(choose.choice((b'a', b'a\r\nX: '))), 0.05)


def drip_chunks(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, b'', kind, Content_Length=None, Transfer_Encoding='chunked')
    pieces(handler, one_by_one(choose.choice((b'0', b'1\r\n<\r\n'))), 0.05)


def stall(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    if choose.random() < 0.5:
        send(handler, body[: len(body) // 2], kind, Content_Length=len(body))
    handler.archive.ending.wait(_LONGEST)


def cut(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, body[: choose.randrange(len(body))], kind, Content_Length=len(body))


def other_length(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    length = choose.choice((len(body) - 7, 0, -1, 10**30, '9' * 5000, 'many', '1, 2', '\u0663'))
    send(handler, body, kind, Content_Length=length)


def no_length(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, body[: choose.choice((len(body), len(body) // 2))], kind, Content_Length=None)


def endless(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    status = choose.choice(('200 OK', '200 OK', '503 Busy', '302 Found'))
    send(handler, b'', kind, status, Content_Length=None, Location='/' if status[0] == '3' else None)
    pieces(handler, iter(lambda: body[:1000] * 60, b''), 0.0)


@functools.cache
def bomb() -> bytes:
    return gzip.compress(gzip.compress(bytes(100_000_000), 1), 9)


def gzip_bomb(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    twice = choose.random() < 0.5
    data = bomb() if twice else gzip.decompress(bomb())
    send(handler, data, kind, Content_Encoding='gzip, gzip' if twice else 'gzip')


def bad_gzip(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    packed = choose.choice((body, gzip.compress(body)[:-9], gzip.compress(body)))
    send(handler, packed, kind, Content_Encoding=choose.choice(('gzip', 'deflate', 'br', 'zstd', 'x-none')))


def redirect(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    where = ('file:///etc/passwd', 'http://[', handler.path, '', 'ftp://127.0.0.1/', '//', 'http://127.0.0.1:99999/')
    send(handler, body, kind, choose.choice(('301 Moved', '302 Found', '307 X')), Location=choose.choice(where))


def to_another_host(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, b'', kind, '302 Found', Location=handler.archive.other_url + choose.choice(('/', handler.path)))


def busy(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    dates = (time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(time.time() + delta)) for delta in (YEAR, -YEAR))
    pauses = (YEAR, -YEAR, '9' * 5000, *dates, 'Mon, 99 Foo 99999 99:99:99 GMT', 'soon', '1e9', 0)
    status = choose.choice(('429 Too Many Requests', '503 Busy', '503'))
    send(handler, b'', kind, status, Retry_After=choose.choice(pauses))


def failing(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(
        handler, b'no', kind, choose.choice(('500 Oh', '502 Gate', '504 Gate', '404 None', '403 No', '204 None', '999'))
    )


def web_page(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    page = b'<!DOCTYPE html><html><body>Down for <b>maintenance</b>\x1b[31m</body></html>'
    send(handler, page, choose.choice(('text/html', kind)))


def empty(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, choose.choice((b'', b'\0', b'\xff\xfe', b'null', b'{}', b'[]')), kind)


def not_http(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    headers = b'HTTP/1.1 200 OK\r\n'
    odd = (choose.randbytes(500), b'HTTP/9.9 abc\r\n\r\n', b'', headers + b'x' * 70_000, headers + b'A: b\r\n' * 2000)
    handler.wfile.write(choose.choice(odd))


def control_codes_in_status(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    send(handler, b'', kind, '404 ' + CODES.replace('\r\n', ''), X_Title=CODES.replace('\r\n', ''))


def damaged(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    spoiled = bytearray(body)
    for _ in range(choose.choice((1, 20))):
        spoiled[choose.randrange(min(len(spoiled), 4000))] = choose.randrange(256)
    send(handler, bytes(spoiled), kind)


def other_range(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    place = choose.choice((f'bytes 0-9/{len(body)}', 'bytes 5-9/10', 'x', f'bytes 0-{"9" * 5000}/*'))
    send(handler, body, kind, '206 Partial', Content_Range=place)


def many_rows(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    if b'<TR>' in body:
        rows = choose.choice((b'<TR/>' * 300_000, b'<TR><TD>1</TD></TR>' * 100_000))
        body = re.sub(rb'(?s)(?<=<TABLEDATA>).*(?=</TABLEDATA>)', rows, body)
    else:
        feed = json.loads(body)
        feed['Collections'] = choose.choice(([{}] * 400_000, feed['Collections'][:1] * 700))
        body = json.dumps(feed).encode()
    send(handler, body, kind)


def huge_numbers(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    number = choose.choice(
        ('1' + '0' * 400, '9' * 5000, '1e999', '-1e308', 'NaN', '1e-320', '-Infinity', '1' + '0' * 30)
    )
    if kind == 'application/json':
        body = re.sub(rb'("FileSize": |"ReferenceValue": \[)[0-9.]+', rb'\g<1>' + number.encode(), body)
    else:
        body = re.sub(rb'(?<=>)[-0-9. e]{3,}(?=<)', number.encode(), body)
        body = re.sub(rb'(%J )\S+ \S+', rb'\g<1>' + f'{number} {number}'.encode(), body)
    send(handler, body, kind)


def stream(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    name = choose.choice(('STREAM', 'v:STREAM', 'stream'))
    where = choose.choice((handler.archive.other_url, 'file:///etc/passwd'))
    form = choose.choice(('BINARY', 'BINARY2', 'FITS'))
    data = f'<{form}><{name} href="{where}"/></{form}>'.encode()
    body = re.sub(rb'<TABLEDATA>.*</TABLEDATA>', data, body, flags=re.DOTALL)
    body = body.replace(b'<VOTABLE', b'<VOTABLE xmlns:v="http://www.ivoa.net/xml/VOTable/v1.1"')
    send(handler, body.decode().encode(choose.choice(('utf-8', 'utf-16'))) if choose.random() < 0.3 else body, kind)


def large_claims(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    entity = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaa">%b]>' % b''.join(
        b'<!ENTITY %c "%b">' % (98 + at, b'&%c;' % (97 + at) * 50) for at in range(10)
    )
    changes = (
        (b'<TABLE>', b'<TABLE nrows="%b">' % (b'9' * choose.choice((9, 18, 400)))),
        (b'arraysize="*"', b'arraysize="999999999x9"'),
        (b'<VOTABLE', entity + b'<VOTABLE'),
        (b'<TABLEDATA>', b'<TABLEDATA>' + b'<x>' * 100_000),
        (b'<TABLE>', b'<TABLE>' + b'<FIELD name="x" datatype="char"/>' * 30_000),
        (b'encoding="UTF-8"', b'encoding="no-such"'),
        (b'datatype="double"', b'datatype="nothing"'),
    )
    send(handler, body.replace(*choose.choice(changes)), kind)


def endless_pages(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    feed = json.loads(body)
    page = int((re.findall(r'page=(\d+)', handler.path) or ['1'])[0])
    where = (f'?page={page + 1}', handler.path, f'{handler.archive.other_url}/', 'http://[', 'file:///etc/passwd', 7)
    feed['Next'] = where[0] if handler.archive.drawn < 0.5 else choose.choice(where)
    send(handler, json.dumps(feed).encode(), kind)


def odd_text(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    """Control codes and formulas wherever a feed or a list has text."""
    text = choose.choice(
        (CODES, '=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", '-2+3', '@SUM(1)', "'=1", '<' * 10**5)
    )
    if kind == 'application/json':
        feed = json.loads(body)
        for entry in feed['Collections']:
            entry |= dict.fromkeys(
                choose.sample(('ID', 'Title', 'Credit', 'Rights', 'Description', 'ReferenceURL'), 3), text
            )
        body = json.dumps(feed).encode()
    else:
        text = re.sub('[\x00-\x1f]', '', text).replace('<', '&lt;').replace('"', '&quot;')
        body = body.replace(b'NGC-5457', text.encode()).replace(b'ACS/WFC', text.encode())
    send(handler, body, kind)


def deep_json(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    deep = choose.choice((100_000, 900))
    send(handler, body.replace(b'"Collections": [', b'"Collections": [' + b'[' * deep + b']' * deep + b','), kind)


def files_elsewhere(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    where = (handler.archive.other_url, 'file:///etc/passwd#', 'http://[', 'http://127.0.0.1:99999', 'javascript:1//')
    send(handler, body.replace(handler.archive.url.encode(), choose.choice(where).encode()), kind)


def fits_claims(handler: Any, body: bytes, kind: str, choose: random.Random) -> None:
    cards = {
        b'NAXIS   =                    2': b'NAXIS   = 99999999999999999999',
        b'NAXIS1  =                   64': b'NAXIS1  =  9999999999999999999',
        b'BITPIX  =                  -32': b'BITPIX  =   -99999999999999999',
        b'END' + b' ' * 77: b'COMMENT' + b' ' * 73,
    }
    for old, new in choose.sample(sorted(cards.items()), choose.choice((1, 2))):
        body = body.replace(old, new)
    if choose.random() < 0.3:  # headers without an end
        body += (b'XTENSION' + b"= 'IMAGE   '".ljust(72) + b'COMMENT'.ljust(80) * 35) * 300
    send(handler, body, kind)


FAULTS: dict[str, tuple[tuple[str, ...], Fault]] = {
    'a byte at a time': (ALL, drip),
    'headers a byte at a time': (ALL, drip_headers),
    'chunks a byte at a time': (ALL, drip_chunks),
    'stalls': (ALL, stall),
    'cut': (ALL, cut),
    'another length': (ALL, other_length),
    'no length': (ALL, no_length),
    'without an end': (ALL, endless),
    'gzip bomb': (ALL, gzip_bomb),
    'bad gzip': (ALL, bad_gzip),
    'redirect to nowhere': (ALL, redirect),
    'redirect to another host': (ALL, to_another_host),
    'busy for a year': (ALL, busy),
    'fails': (ALL, failing),
    'web page': (ALL, web_page),
    'empty': (ALL, empty),
    'not HTTP': (ALL, not_http),
    'control codes in status': (ALL, control_codes_in_status),
    'damaged bytes': ((FEED, LIST, FILE, CUTOUT, PORTAL, FRAME), damaged),
    'another range': ((FILE, CUTOUT, FRAME), other_range),
    'a million rows': ((LIST, FEED), many_rows),
    'huge numbers': ((LIST, FEED, RESOLVER), huge_numbers),
    'STREAM': ((LIST,), stream),
    'large claims': ((LIST,), large_claims),
    'pages without an end': ((FEED,), endless_pages),
    'codes and formulas': ((LIST, FEED), odd_text),
    'deep JSON': ((FEED, PORTAL), deep_json),
    'files on another host': ((FEED,), files_elsewhere),
    'FITS claims': ((CUTOUT, FRAME), fits_claims),
}


def sabotage(fault: Fault, target: str, choose: random.Random) -> Callable[[Any, str, bytes, str], bool]:
    """What `ArchiveServer.sabotage` wants: the fault, in place of the answers of one service."""

    def act(handler: Any, path: str, body: bytes, kind: str) -> bool:
        if PATHS.get(path) != target:
            return False
        handler.close_connection = True
        with contextlib.suppress(OSError):  # the client has left
            fault(handler, body, kind, choose)
        return True

    return act
