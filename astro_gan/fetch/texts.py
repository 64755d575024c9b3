"""What servers say, in words that can be shown and names that can be files'."""

from __future__ import annotations

import hashlib
import html
import http.client
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import urllib3

_SECRET = re.compile('key|token|secret|passw|auth|sign|credential', re.IGNORECASE)


def one_line(text: object) -> str:
    """Text of others on one line, without what a terminal would obey."""
    return ''.join(character for character in ' '.join(str(text).split()) if character.isprintable())


def safe_name(name: str) -> str:
    """A file name of letters, digits and `._+-` from whatever an archive calls a thing.

    A name that had to be changed ends in a digest of the original, so that two names stay two files.
    """
    safe = re.sub(r'[^A-Za-z0-9._+-]+', '_', name).lstrip('._-+')[:120]
    digest = hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]
    return safe if safe == name else f'{safe or "unnamed"}-{digest}'


def web_page(start: bytes, wanted: str = 'an image') -> str:
    """What a page says that came in place of what was wanted, in one short line."""
    text = re.sub(r'<(script|style).*?</\1>|<[^<>]*>', ' ', start.decode('utf-8', 'replace'), flags=re.DOTALL | re.I)
    text = one_line(html.unescape(text))
    return f'a web page in place of {wanted}: {text[:100]!r}'


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
    if isinstance(cause, http.client.IncompleteRead):
        return 'the connection ended before the answer did'
    return re.sub(r'^<?HTTPS?Connection.*?\)?>?: ', '', one_line(cause))[:300] or type(cause).__name__


def without_secrets(url: str) -> str:
    """An address to show: without a password, and without the values of what may be keys and tokens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return 'no address'
    query = [(name, '***' if _SECRET.search(name) else value) for name, value in parse_qsl(parts.query, True)]
    shown = parts._replace(netloc=parts.netloc.rpartition('@')[2])
    changed = any(value == '***' for _, value in query)
    return one_line((shown._replace(query=urlencode(query)) if changed else shown).geturl())
