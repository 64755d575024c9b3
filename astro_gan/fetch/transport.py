"""HTTP as an archive likes it: a name, few retries with growing pauses, and the rest of a file instead of all again.

A file is received as `.NAME.part`. `.NAME.part.json` beside it keeps the address and the validator (ETag or
Last-Modified) of what has been received: the rest is asked for with `Range` and `If-Range` (RFC 9110, sections 13.1.5
and 14), and a server that has another version by now, or knows no ranges, sends all of it again. What a program makes
for each request, such as a cutout, has no validator as a rule and starts again.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import threading
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

import astro_gan
from astro_gan.errors import UserError

BACKOFF_SECONDS = 1.0  # pauses of 0, 2, 4, 8 of these between tries; a server's Retry-After goes first
LONGEST_PAUSE = 120.0
TRIES = 5
_CHUNK = 1 << 13  # what has come of a chunk that is broken off is lost


class _Adapter(HTTPAdapter):
    """Gives every request a time limit: requests has none of its own, and pyvo sets none."""

    def __init__(self, timeout: float, **options: Any) -> None:
        self._timeout = timeout
        super().__init__(**options)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        if options.get('timeout') is None:
            options['timeout'] = (min(self._timeout, 20), self._timeout)
        return super().send(request, *arguments, **options)


class _Retry(urllib3.Retry):
    """Waits as long as the server asks for, within reason."""

    def get_retry_after(self, response: Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except urllib3.exceptions.InvalidHeader:
            return None
        return None if seconds is None else min(seconds, LONGEST_PAUSE)


def make_session(timeout: float = 60) -> requests.Session:
    """A session that says who asks, and retries what is worth it: no connection, no answer, 429, 500, 502, 503, 504.

    `timeout` is in seconds without a byte received.
    """
    retry = _Retry(
        total=TRIES - 1,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=LONGEST_PAUSE,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    session = requests.Session()
    # The form of the name follows the IVOA note "Operational identification of software components".
    session.headers['User-Agent'] = (
        f'astro_gan/{astro_gan.__version__} {requests.utils.default_user_agent()} (IVOA-copy)'
    )
    for scheme in ('http://', 'https://'):
        session.mount(scheme, _Adapter(timeout, max_retries=retry))
    return session


def get_bytes(session: requests.Session, url: str, limit: int) -> bytes:
    """The body of an answer of at most `limit` bytes; OSError or ValueError, of one line, if there is none."""
    try:
        with session.get(url, stream=True) as response:
            if response.status_code != 200:
                raise UserError(f'{url}: HTTP {response.status_code} {response.reason}')
            body = bytearray()
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > limit:
                    raise UserError(f'{url}: the answer is larger than {limit / 1e6:.0f} MB')
            return bytes(body)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OSError(f'{url}: {explain(error)}') from error


def explain(error: Exception) -> str:
    """A transport error in a few words: its innermost cause, without the address and the chain of wrappers."""
    cause: Any = error
    while True:
        inner = getattr(cause, 'reason', None)
        if not isinstance(inner, Exception):
            inner = next(
                (value for value in reversed(getattr(cause, 'args', ())) if isinstance(value, Exception)), None
            )
        if inner is None:
            break
        cause = inner
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)  # by descent a TimeoutError too
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
        return 'no answer in time'
    return re.sub(r'^<?HTTPS?Connection.*?\)?>?: ', '', one_line(cause)) or type(cause).__name__


def one_line(text: object) -> str:
    """Text of others on one line, without what a terminal would obey."""
    return ''.join(character for character in ' '.join(str(text).split()) if character.isprintable())


def safe_name(name: str) -> str:
    """A file name of letters, digits and `._+-` from whatever an archive calls a thing.

    A name that had to be changed ends in a digest of the original, so that two names stay two files.
    """
    safe = re.sub(r'[^A-Za-z0-9._+-]+', '_', name).lstrip('._-')[:120]
    return safe if safe == name else f'{safe or "unnamed"}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'


class Stopped(Exception):
    """The run is ending; what has been received stays for the next."""


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def receive(url: str, part: Path, session: requests.Session, limit: int, stop: threading.Event) -> None:
    """Receive a file, or the rest of it, into `part`, which is left where it is for the next time if that fails.

    Raises:
        UserError: the reason, in a few words: an HTTP status, a web page, more than `limit` bytes, no answer.
        OSError: `part` cannot be written.
        Stopped: `stop` was set.
    """
    for attempt in range(TRIES):
        try:
            return _receive(url, part, session, limit, stop)
        except _BrokenOff as error:
            if attempt == TRIES - 1:
                raise UserError(f'broken off {TRIES} times ({error})') from error
            stop.wait(BACKOFF_SECONDS * 2**attempt)


def _receive(url: str, part: Path, session: requests.Session, limit: int, stop: threading.Event) -> None:
    """One request."""
    have, validator = _received(url, part)
    headers = {'Accept-Encoding': 'identity'}  # ranges count the bytes that are stored
    if have:
        headers |= {'Range': f'bytes={have}-', 'If-Range': validator}
    answered = False
    try:
        with session.get(url, headers=headers, stream=True) as response:
            answered = True
            status = response.status_code
            resumed = status == 206 and response.headers.get('Content-Range', '').startswith(f'bytes {have}-')
            if status == 416 or (status == 206 and not resumed):
                forget(part)
                raise _BrokenOff('the server sent another range than was asked for')
            if status not in (200, 206):
                raise UserError(f'HTTP {status} {response.reason}')
            if 'html' in response.headers.get('Content-Type', ''):
                raise UserError(web_page(next(response.iter_content(4096), b'')))
            if not resumed:
                forget(part)
                have = 0
            declared = response.headers.get('Content-Length', '')
            total = have + int(declared) if declared.isdecimal() and _as_stored(response) else None
            if total is not None and total > limit:
                forget(part)
                raise UserError(f'{total / 1e6:.0f} MB, more than the limit of {limit / 1e6:.0f} MB')
            _remember(url, part, response)
            with part.open('ab' if resumed else 'wb') as file:
                for chunk in response.iter_content(_CHUNK):
                    if stop.is_set():
                        raise Stopped
                    have += len(chunk)
                    if have > limit:
                        forget(part)
                        raise UserError(f'more than the limit of {limit / 1e6:.0f} MB')
                    file.write(chunk)
            if total is not None and have != total:
                raise _BrokenOff(f'{have} of {total} bytes')
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if answered:
            raise _BrokenOff(explain(error)) from error
        # No answer at all: the session has tried that often enough.
        raise UserError(explain(error)) from error


def _received(url: str, part: Path) -> tuple[int, str]:
    """How many bytes are there of what `url` gave, and the validator to go on with."""
    try:
        kept = json.loads(_note(part).read_text(encoding='utf-8'))
        if kept['url'] == url and isinstance(kept['validator'], str) and kept['validator']:
            return part.stat().st_size, kept['validator']
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ''


def _remember(url: str, part: Path, response: requests.Response) -> None:
    """Write down what a continuation needs; without a strong validator there is none."""
    validator = response.headers.get('ETag') or response.headers.get('Last-Modified') or ''
    if validator.startswith('W/') or not _as_stored(response):
        validator = ''
    _note(part).write_text(json.dumps({'url': url, 'validator': validator}), encoding='utf-8')


def _as_stored(response: requests.Response) -> bool:
    """Whether the bytes are counted as they are kept, not compressed for the way."""
    return response.headers.get('Content-Encoding', 'identity') == 'identity'


def forget(part: Path) -> None:
    """Remove what has been received of a file."""
    # In this order: a note without its part is harmless.
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(part.name + '.json')


def web_page(start: bytes, wanted: str = 'an image') -> str:
    """What a page says that came in place of what was wanted, in one short line."""
    text = re.sub(r'<(script|style).*?</\1>|<[^>]*>', ' ', start.decode('utf-8', 'replace'), flags=re.DOTALL | re.I)
    text = one_line(html.unescape(text))
    return f'a web page in place of {wanted}: {text[:100]!r}'
