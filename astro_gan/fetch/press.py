"""ESA/Hubble and ESA/Webb press images: the site's feed of what there is, with title, credit, licence and page.

The site runs on djangoplicity (https://github.com/djangoplicity/djangoplicity, `media/d2d`), as esawebb.org, eso.org
and noirlab.edu do: `images/d2d/` is the "Data2Dome" feed, newest first, 100 images a page:

    {"Count": 5518, "Next": URL, "Collections": [{"ID": "heic0506a", "Title", "Description", "Credit", "Rights",
     "ReferenceURL", "PublicationDate", "Subject": {"Name": [], "Category": []},
     "Assets": [{"MediaType": "Image",
       "ObservationData": {"Facility": [], "Instrument": [], "Spectral": {"Band": []},
                           "Spatial": {"CoordinateFrame": "ICRS", "ReferenceValue": [ra, dec]}},
       "Resources": [{"ResourceType": "Large", "URL", "FileSize", "Dimensions": [width, height]}]}]}]}

Keys without a value are left out, "Next" on the last page too. ObservationData is there for observations only, not for
artwork, charts, photographs or simulations. Resources are Original (TIFF, up to a gigabyte and more), Large (JPEG of
the same size), Small (JPEG, 1280 pixels wide), Thumbnail and Icon. The feed cannot be searched: words are looked for
here.
The reference position is that of a pixel that is the centre as a rule.
"""

from __future__ import annotations

import collections
import html
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from astro_gan.errors import UserError
from astro_gan.fetch import texts, transport
from astro_gan.fetch.downloads import Item

FEED_URL = 'https://esahubble.org/images/d2d/'
# The sites whose feed has that form and whose pictures are of a space telescope.
FEEDS = {'hubble': FEED_URL, 'webb': 'https://esawebb.org/images/d2d/'}
SIZES = ('large', 'small', 'original')

# Where the sites have their files. Seen in the addresses that they publish; esahubble.org was spacetelescope.org.
MIRRORS = {
    'esahubble.org': ('www.esahubble.org', 'cdn.esahubble.org', 'www.spacetelescope.org', 'cdn.spacetelescope.org'),
    'esawebb.org': ('www.esawebb.org', 'cdn.esawebb.org'),
    'www.eso.org': ('eso.org', 'cdn.eso.org'),
}
_LONGEST_TEXT = 20_000
_LARGEST_FILE = 2**50  # bytes; beyond, a size is none
_SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff')


def list_images(
    session: requests.Session,
    *,
    query: str = '',
    size: str = 'large',
    every_kind: bool = False,
    maximum: int | None = None,
    url: str = FEED_URL,
    limits: transport.Limits = transport.LIMITS,
    log: Callable[[str], None] = print,
) -> list[Item]:
    """Read the feed, newest image first, until its end, `maximum` images, or the pages and rows of `limits`.

    Images on hosts other than the feed's, its `MIRRORS` and those of `limits` are left out.

    Args:
        query: words that all have to occur in title, description, subject or credit, whatever their case.
        size: 'large', 'small' or 'original'.
        every_kind: also what is no observation: artwork, charts, photographs.

    Raises:
        UserError: the answer is not such a feed.
        OSError: no answer.
    """
    words = query.lower().split()
    items: list[Item] = []
    unusable = 0
    elsewhere: collections.Counter[str] = collections.Counter()
    hosts = hosts_of(url, limits)
    for entry in _entries(session, url, limits, log):
        try:
            if not every_kind and not _is_observation(entry):
                continue
            if not all(word in _searchable(entry) for word in words):
                continue
            item = _item(entry, size, url)
            if (host := transport.host_of(item.url)) not in hosts:
                elsewhere[host] += 1
                continue
            items.append(item)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, StopIteration, TypeError, ValueError):
            unusable += 1  # one odd entry does not hide the others
            continue
        if maximum is not None and len(items) >= maximum:
            break
    for host, count in elsewhere.most_common(5):
        log(f'{url}: {count} images are on another host, {host}, and left out; --allow-host {host} takes them')
    if unusable:
        log(f'{url}: {unusable} entries are left out: damaged, or without a picture of size {size}')
    return items


def hosts_of(url: str, limits: transport.Limits) -> frozenset[str]:
    """Where the pictures of a feed may be."""
    host = transport.host_of(url)
    return limits.hosts | {host, *MIRRORS.get(host, ())}


def _entries(
    session: requests.Session, url: str, limits: transport.Limits, log: Callable[[str], None]
) -> Iterator[Any]:
    """The entries of all pages, one page at a time."""
    end = time.monotonic() + limits.list_seconds
    seen: set[str] = set()
    rows = 0
    page: str | None = url
    while page:
        left = end - time.monotonic()
        if left <= 0:
            return log(f'{url}: reading the feed ends after {limits.list_seconds:.3g} s (--list-time)')
        if len(seen) >= limits.pages:
            return log(f'{url}: reading the feed ends after {len(seen)} pages (--pages)')
        seen.add(page)
        answer = transport.get_bytes(session, page, limits, seconds=left)
        try:
            feed = json.loads(answer)
            entries, following = feed['Collections'], feed.get('Next')
            if not isinstance(entries, list) or not isinstance(following, str | None):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if answer.lstrip()[:1] == b'<':
                raise UserError(f'{page}: {texts.web_page(answer[:4096], "a feed")}') from error
            raise UserError(f'{page}: not a feed of images (JSON with a list "Collections")') from error
        rows += len(entries)
        yield from entries[: max(0, len(entries) - rows + limits.rows)]
        if rows > limits.rows:
            return log(f'{url}: reading the feed ends after {limits.rows} entries (--rows)')
        page = _following(page, following)
        if page in seen:
            raise UserError(f'{url}: the pages of the feed go round in a circle')


def _following(page: str, link: str | None) -> str | None:
    """The next page, which must be of the same site. Behind a proxy a site can take itself for http."""
    if not link:
        return None
    try:
        here, there = urlsplit(page), urlsplit(urljoin(page, link))
    except ValueError:
        raise UserError(f'{page}: the next page has no address but {texts.one_line(link)[:100]!r}') from None
    if there.netloc != here.netloc:
        raise UserError(f'{page}: the feed goes on at another site, {texts.one_line(there.netloc)[:100]}')
    return there._replace(scheme=here.scheme).geturl()


def _image(entry: Any) -> dict[str, Any]:
    return next(asset for asset in entry['Assets'] if asset.get('MediaType', 'Image') == 'Image')


def _is_observation(entry: Any) -> bool:
    assets = entry.get('Assets', [])
    return any(
        'ObservationData' in asset
        or any(resource.get('ProjectionType') == 'Observation' for resource in asset.get('Resources', []))
        for asset in assets
    )


def _searchable(entry: Any) -> str:
    subject = entry.get('Subject') or {}
    parts = [entry.get('Title', ''), entry.get('Description', ''), entry.get('Credit', '')]
    return _plain(' '.join(map(str, parts + subject.get('Name', []) + subject.get('Category', [])))).lower()


def _item(entry: Any, size: str, url: str) -> Item:
    """An entry as an item; any of several errors if it lacks what is needed."""
    asset = _image(entry)
    resource = next(r for r in asset['Resources'] if str(r.get('ResourceType')).lower() == size)
    address = urljoin(url, resource['URL'])
    name = _plain(entry['ID'])
    if not name:
        raise UserError
    suffix = PurePosixPath(urlsplit(address).path).suffix.lower()
    seen_by = asset.get('ObservationData') or {}
    ra, dec = _position(seen_by.get('Spatial') or {})
    announced = resource.get('FileSize')
    return Item(
        file=f'{texts.safe_name(name)}_{size}{suffix if suffix in _SUFFIXES else ".jpg"}',
        url=address,
        source=urlsplit(url).netloc,
        id=name,
        title=_plain(entry.get('Title', '')),
        ra=ra,
        dec=dec,
        instrument=_joined(seen_by.get('Facility', []), seen_by.get('Instrument', [])),
        filters=_joined((seen_by.get('Spectral') or {}).get('Band', [])),
        page=_plain(entry.get('ReferenceURL', '')) or urljoin(url, f'../{name}/'),
        credit=_plain(entry.get('Credit', '')),
        licence=_licence(_plain(entry.get('Rights', ''))),
        size=announced if isinstance(announced, int) and 0 < announced < _LARGEST_FILE else None,
    )


def _position(spatial: dict[str, Any]) -> tuple[float | None, float | None]:
    """Degrees of the reference pixel, where the frame is one of equatorial coordinates of J2000 and the numbers fit."""
    if str(spatial.get('CoordinateFrame', 'ICRS')).upper() not in ('ICRS', 'FK5', ''):
        return None, None
    if spatial.get('Equinox') not in (None, '', 'J2000', '2000', '2000.0', 'J2000.0', 2000, 2000.0):
        return None, None
    values = spatial.get('ReferenceValue') or ()
    if len(values) != 2 or not all(isinstance(value, int | float) and abs(value) <= 360 for value in values):
        return None, None
    ra, dec = map(float, values)
    return (ra % 360, dec) if -90 <= dec <= 90 else (None, None)


def _joined(*lists: Any) -> str:
    """What lists of names hold, each once, in order."""
    return ', '.join(dict.fromkeys(_plain(name) for names in lists for name in names if name))


def _licence(rights: str) -> str:
    """The short name of a Creative Commons licence, or the words as they are."""
    match = re.search(r'Creative Commons Attribution (\d\.\d)', rights, re.IGNORECASE)
    return f'CC BY {match[1]}' if match else rights


def _plain(text: Any) -> str:
    """Text without tags and entities on one line. Some sites wrap it in Python's b'...', a fault of the software."""
    whole = str(text)[:_LONGEST_TEXT]
    wrapped = re.fullmatch(r"""\s*b(['"])(.*)\1\s*""", whole, re.DOTALL)
    without_tags = re.sub(r'<[^<>]*>', ' ', wrapped[2] if wrapped else whole)
    return texts.one_line(html.unescape(without_tags))
