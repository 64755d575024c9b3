"""HTTP as an archive likes it, and with an end: a name, few retries with growing pauses, limits on all that can go on.

A server is asked for nothing that it could keep up for ever. Each answer has a deadline, tries and pauses included, and
a limit in bytes; a pause that a server asks for (Retry-After, RFC 9110, section 10.2.3) is kept or, if it is longer
than `Limits.longest_pause`, the server is left alone. Redirects are followed to the host that was asked and to those
of `Limits.hosts`, and never from https to http.

Why not pooch or parfive (looked at in November 2026; look again in November 2027): neither goes on with a file that an
earlier run has begun (If-Range), gives up after a time or a number of bytes for all tries together, or asks where a
redirect leads; pooch wants to know each file's hash beforehand, and parfive brings an event loop. Both would need all
of `ask` around them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

import astro_gan
from astro_gan.errors import UserError
from astro_gan.fetch import texts

BACKOFF_SECONDS = 1.0  # pauses of 0, 2, 4, 8 of these between tries; a server's Retry-After goes first
TRIES = 5
_PASSING = (429, 500, 502, 503, 504)  # statuses that are worth another try
_REDIRECTS = 5
_REDIRECTED = (301, 302, 303, 307, 308)
_CHUNK = 1 << 13
_LOG = logging.getLogger('astro_gan.fetch')
_USUAL_PORTS = {'http': 80, 'https': 443}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is taken from servers at most. Times are in seconds and include all tries and pauses."""

    timeout: float = 60.0  # without a byte received
    answer_bytes: int = 64_000_000  # a list of images, a page of a feed
    answer_seconds: float = 300.0
    list_seconds: float = 1800.0  # all pages of a feed
    file_bytes: int = 300_000_000
    file_seconds: float = 3600.0
    longest_pause: float = 120.0
    pages: int = 1000
    rows: int = 20_000
    hosts: frozenset[str] = frozenset()  # that are asked besides the one of the address, as `host_of` writes them


LIMITS = Limits()


class TooLate(UserError):
    """A deadline has passed."""


class Stopped(Exception):
    """The run is ending; what has been received stays for the next."""


class _Session(requests.Session):
    """One that leaves redirects to `_follow`: requests reads all that comes with one, however much."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def make_session() -> requests.Session:
    """A session that says who asks."""
    session = _Session()
    # The form of the name follows the IVOA note "Operational identification of software components".
    session.headers['User-Agent'] = (
        f'astro_gan/{astro_gan.__version__} {requests.utils.default_user_agent()} (IVOA-copy)'
    )
    session.headers['Accept-Encoding'] = 'gzip, deflate'
    return session


@contextlib.contextmanager
def ask(
    session: requests.Session,
    url: str,
    limits: Limits,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    data: str | None = None,
    stop: threading.Event | None = None,
) -> Iterator[requests.Response]:
    """The answer to a request, whose body can be read until `seconds` after the start.

    Tries again what is worth it: no connection, no answer, 429, 500, 502, 503, 504. With `data` it is a POST.

    Raises:
        UserError: the way leads elsewhere, or the server asks for a longer pause than `limits` has.
        TooLate: the deadline has passed; also when it has while the body was read.
        Stopped: `stop` was set.
        requests.RequestException, urllib3.exceptions.HTTPError: no answer.
    """
    end = time.monotonic() + seconds
    response = _open(
        session, url, limits, end, {'headers': dict(headers or {}), 'data': data}, stop or threading.Event()
    )
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(Exception):  # it is closed already
            response.raw.shutdown()

    watch = threading.Timer(max(0.0, end - time.monotonic()), cut)
    watch.daemon = True
    watch.start()
    try:
        with response:
            yield response
    except Exception:
        if late.is_set():
            raise TooLate(f'not whole after {seconds:.3g} s') from None
        raise
    finally:
        watch.cancel()
    if late.is_set():  # the end that was read is where it was cut
        raise TooLate(f'not whole after {seconds:.3g} s')


def _open(
    session: requests.Session, url: str, limits: Limits, end: float, sent: dict[str, Any], stop: threading.Event
) -> requests.Response:
    """The first answer that is not worth another try, or the last one."""
    for attempt in range(TRIES):
        pause = BACKOFF_SECONDS * 2**attempt if attempt else 0.0
        try:
            response = _follow(session, url, limits, end, sent)
        except (requests.ConnectionError, requests.Timeout):
            if attempt == TRIES - 1:
                raise
        else:
            if response.status_code not in _PASSING or attempt == TRIES - 1:
                return response
            asked = _retry_after(response)
            response.close()
            if asked > limits.longest_pause:
                raise UserError(
                    f'HTTP {response.status_code}: the server asks to wait {asked:.3g} s, longer than '
                    f'{limits.longest_pause:.3g} (--wait); try again later'
                )
            pause = asked or pause
        if time.monotonic() + pause >= end:
            raise TooLate('no answer in time')
        if stop.wait(pause):
            raise Stopped
    raise AssertionError('unreachable')


def _follow(session: requests.Session, url: str, limits: Limits, end: float, sent: dict[str, Any]) -> requests.Response:
    """The answer where redirects end."""
    first, method = url, 'GET' if sent['data'] is None else 'POST'
    for _ in range(_REDIRECTS + 1):
        options: dict[str, Any] = {'timeout': (min(limits.timeout, 20), limits.timeout)}
        options |= {'stream': True, 'allow_redirects': False, **sent}
        _LOG.debug(
            'asked: %s %s%s', method, texts.without_secrets(url), f' with {sent["data"][:1000]}' if sent['data'] else ''
        )
        response = _within(end - time.monotonic(), functools.partial(session.request, method, url, **options))
        told = (
            texts.one_line(response.headers.get(name, f'no {name}'))[:100]
            for name in ('Content-Type', 'Content-Length')
        )
        _LOG.debug('answered: %s, %s, %s', status_of(response), *told)
        target = response.headers.get('Location')
        if not target or response.status_code not in _REDIRECTED:
            return response
        response.close()
        try:
            target = urljoin(url, target)
        except ValueError:
            raise UserError(f'a redirect to {texts.one_line(target)[:100]!r}, which is no address') from None
        if (host := host_of(target)) != host_of(first) and host not in limits.hosts:
            raise UserError(f'a redirect to another host, {host}; --allow-host {host} takes it')
        if urlsplit(url).scheme == 'https' and urlsplit(target).scheme == 'http':
            raise UserError('a redirect from https to http')
        url = target
    raise UserError(f'more than {_REDIRECTS} redirects')


def _within(seconds: float, action: Callable[[], requests.Response]) -> requests.Response:
    """The result of an action that may never end: of a request, until its headers are there."""
    results: queue.SimpleQueue[requests.Response | BaseException] = queue.SimpleQueue()
    late = threading.Event()

    def act() -> None:
        try:
            result = action()
        except BaseException as error:
            results.put(error)
            return
        results.put(result)
        if late.is_set():
            result.close()

    threading.Thread(target=act, daemon=True).start()
    try:
        result = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        late.set()
        raise TooLate('no answer in time') from None
    if isinstance(result, BaseException):
        raise result
    return result


def _retry_after(response: requests.Response) -> float:
    """Seconds that a server asks to wait; 0 where it does not, or not in a way that can be understood."""
    text = response.headers.get('Retry-After', '').strip()
    if re.fullmatch('[0-9]+', text):
        return float(text[:18])
    try:
        return urllib3.Retry().parse_retry_after(text)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


def host_of(url: str) -> str:
    """The host of an address as `name`, or `name:port` where the port is not the usual one.

    Raises:
        UserError: it is no address with http:// or https://.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(''), None
    if parts.scheme not in _USUAL_PORTS or not parts.hostname:
        raise UserError(f'{texts.one_line(url)[:200]!r} is not an address with http:// or https://')
    name = texts.one_line(parts.hostname)
    return name if port in (None, _USUAL_PORTS[parts.scheme]) else f'{name}:{port}'


def log_received(count: int, start: bytes) -> None:
    """For `--debug`: how much has come and its first line."""
    first = (start.strip().splitlines() or [b''])[0][:120]
    _LOG.debug('received: %d bytes, beginning %s', count, ascii(first.decode('utf-8', 'replace')))


def get_bytes(
    session: requests.Session,
    url: str,
    limits: Limits,
    *,
    seconds: float | None = None,
    shown: str = '',
    **sent: Any,
) -> bytes:
    """The body of an answer; OSError or UserError, of one line that names `shown` (the address), if there is none.

    `seconds`, `headers` and `data` are those of `ask`.
    """
    shown = shown or texts.without_secrets(url)
    body = bytearray()
    try:
        with ask(
            session, url, limits, min(limits.answer_seconds, seconds or limits.answer_seconds), **sent
        ) as response:
            if response.status_code != 200:
                raise UserError(status_of(response))
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > limits.answer_bytes:
                    raise UserError(f'the answer is larger than {limits.answer_bytes / 1e6:.3g} MB (--answer-limit)')
        log_received(len(body), bytes(body[:4096]))
    except UserError as error:
        raise UserError(f'{shown}: {error}') from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OSError(f'{shown}: {texts.explain(error)}') from error
    return bytes(body)


def status_of(response: requests.Response) -> str:
    """What an answer is that is none: 'HTTP 404 Not Found'."""
    return f'HTTP {response.status_code} {texts.one_line(response.reason or "")[:100]}'.rstrip()
