"""Files in parts: the rest of a file instead of all again.

A file is received as `.NAME.part`. `.NAME.part.json` beside it keeps the address and the validator (ETag or
Last-Modified) of what has been received: the rest is asked for with `Range` and `If-Range` (RFC 9110, sections 13.1.5
and 14), and a server that has another version by now, or knows no ranges, sends all of it again. What a program makes
for each request, such as a cutout, has no validator as a rule and starts again.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import requests
import urllib3

from astro_gan.errors import UserError
from astro_gan.fetch import texts, transport
from astro_gan.fetch.transport import Limits, Stopped

_CHUNK = 1 << 13  # what has come of a chunk that is broken off is lost
_MOST_DIGITS = 18  # of a length


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def receive(url: str, part: Path, session: requests.Session, limits: Limits, stop: threading.Event) -> None:
    """Receive a file, or the rest of it, into `part`, which is left where it is for the next time if that fails.

    Raises:
        UserError: the reason, in a few words: an HTTP status, a web page, too many bytes, too late, no answer.
        OSError: `part` cannot be written.
        Stopped: `stop` was set.
    """
    end = time.monotonic() + limits.file_seconds
    for attempt in range(transport.TRIES):
        try:
            return _receive(url, part, session, limits, end - time.monotonic(), stop)
        except transport.TooLate as error:
            raise UserError(
                f'not whole after {limits.file_seconds:.3g} s (--file-time); the next run goes on where it can'
            ) from error
        except _BrokenOff as error:
            if attempt == transport.TRIES - 1:
                raise UserError(f'broken off {transport.TRIES} times ({error})') from error
            stop.wait(transport.BACKOFF_SECONDS * 2**attempt)


def _receive(
    url: str, part: Path, session: requests.Session, limits: Limits, seconds: float, stop: threading.Event
) -> None:
    """One request."""
    have, validator = _received(url, part)
    headers = {'Accept-Encoding': 'identity'}  # ranges count the bytes that are stored
    if have:
        headers |= {'Range': f'bytes={have}-', 'If-Range': validator}
    answered = False
    try:
        with transport.ask(session, url, limits, seconds, headers=headers, stop=stop) as response:
            answered = True
            status = response.status_code
            place = response.headers.get('Content-Range', '')
            resumed = have > 0 and status == 206 and place.startswith(f'bytes {have}-')
            if status == 416 or (status == 206 and not resumed):
                forget(part)
                raise _BrokenOff('the server sent another range than was asked for')
            if status not in (200, 206):
                raise UserError(transport.status_of(response))
            if 'html' in response.headers.get('Content-Type', ''):
                raise UserError(texts.web_page(next(response.iter_content(4096), b'')))
            if not resumed:
                forget(part)
                have = 0
            total = _announced(response, have)
            if total is not None and total > limits.file_bytes:
                forget(part)
                raise UserError(f'{total / 1e6:.0f} MB, more than {_limit(limits)}')
            _remember(url, part, response)
            with part.open('ab' if resumed else 'wb') as file:
                for chunk in response.iter_content(_CHUNK):
                    if stop.is_set():
                        raise Stopped
                    have += len(chunk)
                    if have > limits.file_bytes:
                        forget(part)
                        raise UserError(f'more than {_limit(limits)}')
                    file.write(chunk)
            with part.open('rb') as file:
                transport.log_received(have, file.read(4096))
            if total is not None and have != total:
                raise _BrokenOff(f'{have} of {total} bytes')
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if answered:
            raise _BrokenOff(texts.explain(error)) from error
        # No answer at all: that has been tried often enough.
        raise UserError(texts.explain(error)) from error


def _limit(limits: Limits) -> str:
    return f'the limit of {limits.file_bytes / 1e6:.0f} MB'


def _announced(response: requests.Response, have: int) -> int | None:
    """How many bytes the whole file has by what the server says, None where it says nothing."""
    declared = response.headers.get('Content-Length', '')
    if not declared.isdecimal() or not _as_stored(response):
        return None
    return have + int(declared[:_MOST_DIGITS])


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
    if validator.startswith('W/') or not _as_stored(response) or not validator.isascii():
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
