"""Faults of servers: what a hostile or broken one sends in place of an answer, each a function of a request handler."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fetch.archive_server import HTML_ERROR, ArchiveServer, votable

Handler = BaseHTTPRequestHandler
Fault = Callable[[Handler], None]
ESCAPES = '\x1b]0;owned\x07\x1b[2J'
FORMULA = "=cmd|'/c calc'!A0"


def send(handler: Handler, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
    """An answer that ends where its connection does."""
    handler.send_response(status)
    if length != -1:
        handler.send_header('Content-Length', str(len(body) if length is None else length))
    for name, value in {'Connection': 'close', **headers}.items():
        handler.send_header(name.replace('_', '-'), value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def drip(server: ArchiveServer, handler: Handler, start: bytes) -> None:
    """A byte ten times a second, for ever."""
    handler.wfile.write(start)
    while not server.ending.wait(0.1):
        handler.wfile.write(b'x')
        handler.wfile.flush()


def stall(server: ArchiveServer, handler: Handler, start: bytes) -> None:
    """Nothing more."""
    handler.wfile.write(start)
    handler.wfile.flush()
    server.ending.wait(30)


def transport_faults(server: ArchiveServer, other: ArchiveServer, rng: random.Random) -> dict[str, Fault]:
    """What can be sent in place of any answer."""
    elsewhere = f'{other.url}/stolen'
    some = rng.randrange(1, 5000)

    def endless(h: Handler) -> None:
        h.wfile.write(b'HTTP/1.1 200 OK\r\n\r\n')
        while not server.ending.is_set():
            h.wfile.write(b'[' * 65536)

    def redirect(to: str, status: int = 302) -> Fault:
        return lambda h: send(h, b'', status, Location=to)

    def retry(after: str) -> Fault:
        return lambda h: send(h, b'busy', rng.choice((429, 503)), Retry_After=after)

    return {
        'drip of the body': lambda h: drip(server, h, b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n'),
        'drip without a length': lambda h: drip(server, h, b'HTTP/1.1 200 OK\r\n\r\n'),
        'drip of the headers': lambda h: drip(server, h, b'HTTP/1.1 200 OK\r\nX-A: '),
        'drip of a redirect': lambda h: drip(
            server, h, b'HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 9999\r\n\r\n'
        ),
        'stall': lambda h: stall(server, h, b''),
        'stall within the body': lambda h: stall(server, h, b'HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{'),
        'cut': lambda h: send(h, b'{' * some, length=some + rng.randrange(1, 10**6)),
        'cut at once': lambda h: None,
        'length too small': lambda h: send(h, b'{' * (some + 10), length=some),
        'length without sense': lambda h: send(h, b'{}', length=10 ** rng.randrange(19, 60)),
        'negative length': lambda h: send(h, b'{}', length=-7),
        'endless body': endless,
        'gzip bomb': lambda h: send(h, gzip.compress(bytes(30_000_000)), Content_Encoding='gzip'),
        'no gzip': lambda h: send(h, b'\x1f\x8bnonsense', Content_Encoding='gzip'),
        'no HTTP': lambda h: h.wfile.write(rng.randbytes(some)) and None,
        'long header': lambda h: send(h, b'', X_A='a' * 100_000),
        'redirect to another host': redirect(elsewhere, rng.choice((301, 302, 303, 307, 308))),
        'redirect loop': lambda h: send(h, b'', 302, Location=h.path),
        'redirect to a file': redirect('file:///etc/passwd'),
        'redirect to nowhere': redirect(rng.choice(('http://[', 'http://', '//', 'ftp://x/', 'http://a:99999999/'))),
        'Retry-After of a year': retry('31536000'),
        'Retry-After of many digits': retry('9' * 5000),
        'Retry-After below zero': retry('-5'),
        'Retry-After of a far date': retry('Fri, 31 Dec 9999 23:59:59 GMT'),
        'Retry-After of no date': retry('Fri, 99 Foo 99999999 99:99:99 GMT'),
        '5xx': lambda h: send(h, b'sorry', rng.choice((500, 502, 503, 504))),
        '4xx': lambda h: send(h, b'no', rng.choice((400, 401, 403, 404, 410, 451))),
        'HTML in place of data': lambda h: send(h, HTML_ERROR, Content_Type=rng.choice(('text/html', 'image/jpeg'))),
        'HTML with terminal codes': lambda h: send(h, f'<html>{ESCAPES}</html>'.encode()),
        'status with terminal codes': lambda h: h.wfile.write(f'HTTP/1.1 404 {ESCAPES}\r\n\r\n'.encode()) and None,
        'nothing': lambda h: send(h, b''),
        'noise': lambda h: send(h, rng.randbytes(some)),
    }


def feed_faults(server: ArchiveServer, other: ArchiveServer, rng: random.Random) -> dict[str, Fault]:
    """Feeds that go on, elsewhere or too far."""
    good = server.feed[0]

    def feed(entries: Any, **more: Any) -> Fault:
        return lambda h: send(h, json.dumps({'Collections': entries, **more}).encode())

    def changed(**changes: Any) -> dict[str, Any]:
        return json.loads(json.dumps(good)) | changes

    def pages(h: Handler) -> None:
        send(h, json.dumps({'Collections': [], 'Next': f'{server.url}/images/d2d/?page={rng.random()}'}).encode())

    far = changed(ID='far')
    far['Assets'][0]['Resources'][1]['URL'] = f'{other.url}/stolen.jpg'
    digits = '9' * rng.choice((30, 400, 5000))
    numbers = json.dumps(good).replace('"FileSize": ', f'"FileSize": {digits}').replace('[210.', f'[{digits}.')
    return {
        'endless pages': pages,
        'a million rows': lambda h: send(h, b'{"Collections": [' + b'1,' * 999_999 + b'1]}'),
        'next page elsewhere': feed([], Next=f'{other.url}/images/d2d/'),
        'next page without sense': feed([], Next=rng.choice(('http://[', ESCAPES, '\x00', 'file:///x'))),
        'numbers without sense': lambda h: send(h, f'{{"Collections": [{numbers}]}}'.encode()),
        'nesting': lambda h: send(h, b'{"Collections": ' + b'[' * 500_000),
        'terminal codes': feed([changed(ID=f'a{ESCAPES}', Title=ESCAPES, Credit=ESCAPES)]),
        'formula cells': feed([changed(ID=FORMULA, Title=FORMULA, Credit='@SUM(A1)', Rights='-1+1')]),
        'files on another host': feed([far, good]),
        'files that are none': feed([changed(Assets=[{'Resources': [{'ResourceType': 'Large', 'URL': 'file:///x'}]}])]),
        'rows of other types': feed([None, 7, [], {}, 'x', changed(Title={}, Subject=[], Assets=7)]),
        'names that lead out': feed([changed(ID='../../../out'), changed(ID='..'), changed(ID='a/../b')]),
    }


def list_faults(server: ArchiveServer, other: ArchiveServer, rng: random.Random) -> dict[str, Fault]:
    """VOTables that go on, elsewhere or too far."""
    cell = '<TD>9</TD>' * 14
    plain = votable(f'<TR>{cell}</TR>')

    def answer(body: bytes) -> Fault:
        return lambda h: send(h, body)

    start = plain.partition(b'<TABLEDATA>')[0]
    stream = b'<BINARY><STREAM href="' + other.url.encode() + b'/stolen"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>'
    bomb = b'<!DOCTYPE v [<!ENTITY a "' + b'x' * 1000 + b'">]>'
    return {
        'STREAM of another host': answer(start + stream),
        'a million rows': answer(votable('<TR/>' * 250_000)),
        'a million rows claimed': answer(plain.replace(b'<TABLE>', b'<TABLE nrows="9999999999">')),
        'cells of any size': answer(plain.replace(b'arraysize="*"', b'arraysize="99999999999"')),
        'entities': answer(plain.replace(b'<VOTABLE', bomb + b'<VOTABLE', 1)),
        'numbers without sense': answer(plain.replace(b'<TD>9</TD>', b'<TD>' + b'9' * 400 + b'</TD>')),
        'terminal codes': answer(votable('', 'ERROR', 'no&#x9b;31m\u202e' + 'x' * 9000)),
        'cut in the middle': answer(plain[: rng.randrange(len(plain))]),
        'another encoding': answer(plain.replace(b'UTF-8', rng.choice((b'UTF-32', b'nonsense', b'utf-7')))),
    }


def fits_faults(server: ArchiveServer, other: ArchiveServer, rng: random.Random) -> dict[str, Fault]:
    """FITS files that claim too much."""

    def header(*cards: str) -> Fault:
        lines = ('SIMPLE  =                    T', *cards, 'END')
        body = ''.join(line.ljust(80) for line in lines).ljust(2880).encode()
        return lambda h: send(h, body + bytes(2880))

    bits = 'BITPIX  =                    8'
    return {
        '10^20 axes': header(bits, 'NAXIS   = 99999999999999999999'),
        'axes without sizes': header(bits, 'NAXIS   =                  999'),
        'sizes without sense': header(bits, 'NAXIS   = 2', 'NAXIS1  = 999999999999', 'NAXIS2  = 999999999999'),
        'sizes below zero': header(bits, 'NAXIS   = 2', 'NAXIS1  = -5', 'NAXIS2  = -5'),
        'no end': lambda h: send(h, b'SIMPLE  =                    T'.ljust(80) * 36 * rng.randrange(1, 40)),
        'a shorter file': lambda h: send(h, b'SIMPLE  ='),
    }


# What is asked: the path whose answers are faulty, and what can be wrong with them beside their transport.
TARGETS: dict[str, tuple[str, Callable[..., dict[str, Fault]] | None]] = {
    'feed': ('/images/d2d/', feed_faults),
    'picture': ('/archives/images/large/0.jpg', None),
    'list': ('/cgi-bin/hlaSIAP.cgi', list_faults),
    'cutout': ('/cgi-bin/fitscut.cgi', fits_faults),
    'name': ('/sesame/SNV', None),
    'portal': ('/api/v0/invoke', None),
    'frame': ('/api/v0.1/Download/file', fits_faults),
}
