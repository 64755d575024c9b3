"""`astro-gan fetch hla ...` and `astro-gan fetch press ...`: images and a manifest of what they are."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from astro_gan.commands import expanded
from astro_gan.errors import UserError

if TYPE_CHECKING:
    import requests
    from astropy.coordinates import SkyCoord

    from astro_gan.fetch.downloads import Item

_HLA = """\
Cutouts from the Hubble Legacy Archive, one for each field (a pointing of a visit) near a position. In colour, the
filter of the longest wavelength is red, the shortest blue. Fields that lack a filter are passed over.

  astro-gan fetch hla --object M101 --radius 0.1 --instrument ACS --filters F435W,F555W,F814W -o m101
  astro-gan fetch hla --positions galaxies.csv --on-target --size 512 --format fits -o galaxies
"""
_PRESS = """\
Processed images of ESA/Hubble with their credit, licence and page (CC BY 4.0: name the credit where you show them).

  astro-gan fetch press --query galaxy --max 200 -o press
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `fetch` and those of its two archives."""
    fetch = commands.add_parser('fetch', help='images of the Hubble archives, with credit and licence')
    archives = fetch.add_subparsers(metavar='ARCHIVE', required=True)

    hla = archives.add_parser(
        'hla',
        help='cutouts from the Hubble Legacy Archive',
        description=_HLA,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = hla.add_argument_group('where')
    where.add_argument('--ra', type=float, metavar='DEG', help='right ascension (ICRS)')
    where.add_argument('--dec', type=float, metavar='DEG', help='declination (ICRS)')
    where.add_argument('--object', metavar='NAME', help='name of an object, resolved by CDS Sesame')
    where.add_argument(
        '--positions',
        type=_path,
        metavar='FILE',
        help='one position or name a line, or a CSV with columns ra,dec or name',
    )
    where.add_argument(
        '--radius', type=float, default=0.1, metavar='DEG', help='to search around it (default %(default)s)'
    )
    where.add_argument(
        '--on-target',
        action='store_true',
        help='centre the cutouts on the position, not on the fields, and take only fields that contain it',
    )
    what = hla.add_argument_group('what')
    what.add_argument('--instrument', metavar='LIST', help='of ACS, WFC3, WFPC2, NICMOS (default all)')
    what.add_argument(
        '--filters', metavar='LIST', help='such as F435W,F555W,F814W (default: the broad ones of each field)'
    )
    what.add_argument('--format', choices=('jpg', 'fits'), default='jpg', help='colour, or a file for each filter')
    what.add_argument(
        '--size', type=int, default=1024, metavar='PIXELS', help='width of a cutout (default %(default)s)'
    )
    what.add_argument('--scale', type=float, metavar='ARCSEC', help='per pixel (default: as archived, ACS 0.05)')
    hla.set_defaults(run=run_hla)

    press = archives.add_parser(
        'press',
        help='processed images of ESA/Hubble',
        description=_PRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    press.add_argument('--query', default='', metavar='WORDS', help='that all occur in title, description or subject')
    press.add_argument(
        '--size', choices=('large', 'small', 'original'), default='large', help='small: 1280 px; original: TIFF'
    )
    press.add_argument(
        '--every-kind', action='store_true', help='artwork, charts and photographs too, not only observations'
    )
    press.set_defaults(run=run_press)

    # The addresses are settings, for mirrors and for sites of the same software (esawebb.org, eso.org).
    where.add_argument('--sia-url', metavar='URL', help='of the image list service')
    where.add_argument('--cutout-url', metavar='URL', help='of the cutout service')
    where.add_argument('--resolver-url', metavar='URL', help='of the name resolver')
    press.add_argument('--url', metavar='URL', help='of the feed, such as https://esawebb.org/images/d2d/')
    for parser in (hla, press):
        parser.add_argument(
            '-o', '--output', type=_path, required=True, metavar='DIR', help='folder for images and manifest.csv'
        )
        parser.add_argument('--max', type=int, metavar='N', help='files at most')
        parser.add_argument('--dry-run', action='store_true', help='only say what would be fetched')
        parser.add_argument(
            '--jobs', type=int, default=2, metavar='N', help='downloads at a time, 1 to 8 (default %(default)s)'
        )
        parser.add_argument(
            '--limit', type=float, default=300, metavar='MB', help='largest file taken (default %(default)s)'
        )
        parser.add_argument(
            '--timeout', type=float, default=60, metavar='S', help='seconds to wait for an answer (default %(default)s)'
        )


def _path(text: str) -> Path:
    return Path(expanded(text))


def run_hla(arguments: argparse.Namespace) -> int:
    """List the fields at each position and fetch their cutouts."""
    _check(arguments)
    filters = _checked_filters(arguments)
    fits = arguments.format == 'fits'

    from tqdm import tqdm

    from astro_gan.fetch import archive, transport

    instruments = _names(arguments.instrument) or archive.INSTRUMENTS
    for name in instruments:
        if name not in archive.INSTRUMENTS:
            raise UserError(f'--instrument: {name!r} is not one of {", ".join(archive.INSTRUMENTS)}')
    places = _places(arguments)
    with transport.make_session(arguments.timeout) as session:
        items: dict[str, Item] = {}
        passed_over = unlisted = 0
        for where, text in tqdm(places, desc='positions', disable=None if len(places) > 1 else True):
            try:
                position = _position(text, where, arguments.resolver_url)
                observations = archive.list_observations(
                    session,
                    position,
                    arguments.radius,
                    instruments=instruments,
                    filters=filters,
                    url=arguments.sia_url or archive.SIA_URL,
                    log=_log,
                )
            except (ValueError, OSError) as error:
                if len(places) == 1:
                    raise
                unlisted += 1  # the other positions of a long list go on
                _log(f'error: {" ".join(str(error).split())}')
                continue
            for field in archive.group_fields(observations):
                images = archive.choose_filters(field, filters, colour=not fits)
                if not images or (arguments.on_target and not all(archive.covers(image, position) for image in images)):
                    passed_over += 1
                    continue
                found = archive.cutouts(
                    field,
                    images,
                    size=arguments.size,
                    scale=arguments.scale,
                    fits=fits,
                    centre=position if arguments.on_target else None,
                    url=arguments.cutout_url or archive.CUTOUT_URL,
                )
                items |= {item.file: item for item in found}
            if arguments.max is not None and len(items) >= arguments.max:
                break
        if passed_over:
            _log(f'{passed_over} fields are passed over: they lack a filter' + ' or the position' * arguments.on_target)
        status = _finish(list(items.values()), arguments, session)
        if unlisted:
            _log(f'{unlisted} of {len(places)} positions could not be searched; run it again to try them')
        return 1 if unlisted else status


def run_press(arguments: argparse.Namespace) -> int:
    """Read the feed and fetch what matches."""
    _check(arguments)
    from astro_gan.fetch import press, transport

    with transport.make_session(arguments.timeout) as session:
        items = press.list_images(
            session,
            query=arguments.query,
            size=arguments.size,
            every_kind=arguments.every_kind,
            maximum=arguments.max,
            url=arguments.url or press.FEED_URL,
            log=_log,
        )
        return _finish(items, arguments, session)


def _check(arguments: argparse.Namespace) -> None:
    """The options that both archives have."""
    if not 1 <= arguments.jobs <= 8:
        raise UserError(f'--jobs {arguments.jobs}: wanted 1 to 8; the archives serve others too')
    if arguments.max is not None and arguments.max < 1:
        raise UserError(f'--max {arguments.max}: wanted 1 or more')
    if not 0 < arguments.limit <= 100_000:
        raise UserError(f'--limit {arguments.limit:g}: wanted more than 0 and at most 100000 MB')
    if not 0 < arguments.timeout <= 3600:
        raise UserError(f'--timeout {arguments.timeout:g}: wanted more than 0 and at most 3600 seconds')
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UserError(f'{arguments.output}: not a folder')
    for option in ('sia_url', 'cutout_url', 'resolver_url', 'url'):
        address = getattr(arguments, option, None)
        if address and not re.match(r'https?://[^/]', address):
            raise UserError(f'--{option.replace("_", "-")} {address}: wanted an address with http:// or https://')


def _checked_filters(arguments: argparse.Namespace) -> list[str]:
    """The options of cutouts; the filters of them, as a list."""
    if not 16 <= arguments.size <= 20000:
        raise UserError(f'--size {arguments.size}: wanted 16 to 20000 pixels')
    if not 0 < arguments.radius <= 2:
        raise UserError(f'--radius {arguments.radius:g}: wanted more than 0 and at most 2 degrees')
    if arguments.scale is not None and not 0.001 <= arguments.scale <= 10:
        raise UserError(f'--scale {arguments.scale:g}: wanted 0.001 to 10 arcsec per pixel')
    filters = _names(arguments.filters)
    for name in filters:
        if not re.fullmatch(r'F\d{3,4}[A-Z]{1,2}', name):
            raise UserError(f'--filters: {name!r} is not a filter of Hubble such as F814W')
    if arguments.format == 'jpg' and len(filters) not in (0, 1, 3):
        raise UserError(f'--filters: a picture takes one filter (gray) or three (colour), not {len(filters)}')
    return filters


def _finish(items: list[Item], arguments: argparse.Namespace, session: requests.Session) -> int:
    """Fetch, or say what would be; the exit status."""
    items = items[: arguments.max]
    if not items:
        raise UserError(
            'the archive has nothing that matches; try a larger --radius, fewer --filters or another --query'
        )
    if arguments.dry_run:
        for item in items:
            size = f', {item.size / 1e6:.1f} MB' if item.size else ''
            print(
                f'{item.file}  {item.title}  ({item.instrument or "instrument unknown"}; {item.filters or "-"}{size})'
            )
        known = [item.size for item in items if item.size]
        total = f', {sum(known) / 1e6:.1f} MB of those whose size is known ({len(known)})' if known else ''
        print(f'would fetch {len(items)} files into {arguments.output}{total}')
        return 0

    from astro_gan.fetch import downloads

    counts = downloads.fetch(
        items, arguments.output, session=session, jobs=arguments.jobs, limit=int(arguments.limit * 1e6), log=_log
    )
    print(
        f'{sum(counts.values())} files: {counts["fetched"]} fetched, {counts["kept"]} already there, '
        f'{counts["failed"]} failed; see {arguments.output / "manifest.csv"}'
    )
    return 1 if counts['failed'] else 0


def _log(line: str) -> None:
    print(line, file=sys.stderr)


def _names(text: str | None) -> list[str]:
    """A list with commas, in capitals, each name once."""
    return list(dict.fromkeys(name.strip().upper() for name in (text or '').split(',') if name.strip()))


def _places(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Where to search, by whichever of the three ways: what says so, and what it says."""
    given = [
        arguments.object is not None,
        arguments.positions is not None,
        (arguments.ra, arguments.dec) != (None, None),
    ]
    if sum(given) != 1:
        raise UserError('say where: either --ra and --dec, or --object, or --positions')
    if arguments.object is not None:
        return [('--object', arguments.object)]
    if arguments.positions is not None:
        return _lines(arguments.positions)
    if arguments.ra is None or arguments.dec is None:
        raise UserError('--ra and --dec belong together')
    return [('--ra, --dec', f'{arguments.ra} {arguments.dec}')]


def _lines(path: Path) -> list[tuple[str, str]]:
    """What a file of positions says, each with the place where it says so."""
    try:
        rows = list(enumerate(path.read_text(encoding='utf-8-sig').splitlines(), 1))
    except UnicodeError as error:
        raise UserError(f'{path}: not a text file in UTF-8') from error
    rows = [(number, text) for number, line in rows if (text := line.split('#')[0].strip())]
    columns = [name.strip().lower() for name in next(csv.reader([rows[0][1]]))] if rows else []
    wanted = ['ra', 'dec'] if {'ra', 'dec'} <= set(columns) else ['name'] if 'name' in columns else []
    found = []
    for number, text in rows[bool(wanted) :]:
        where = f'{path}, line {number}'
        if wanted:
            row = dict(zip(columns, next(csv.reader([text])), strict=False))
            if any(not row.get(name, '').strip() for name in wanted):
                raise UserError(f'{where}: no {" and ".join(wanted)}')
            text = ' '.join(row[name].strip() for name in wanted)
        found.append((where, text))
    if not found:
        raise UserError(f'{path}: no position in it; wanted lines such as "210.80 54.35" or "M101"')
    return found


def _position(text: str, where: str, resolver: str | None) -> SkyCoord:
    """Degrees, sexagesimal hours and degrees, or a name."""
    from astropy import units
    from astropy.coordinates import SkyCoord, name_resolve

    parts = text.replace(',', ' ').split()
    try:
        ra, dec = map(float, parts)
    except ValueError:
        pass
    else:
        if not (0 <= ra <= 360 and -90 <= dec <= 90):
            raise UserError(f'{where}: {text}: wanted ra from 0 to 360 and dec from -90 to 90 degrees')
        return SkyCoord(ra % 360, dec, unit='deg')
    if re.fullmatch(r'[\d\s.:+\-hmsd°\'"]+', ' '.join(parts)):
        try:
            return SkyCoord(' '.join(parts), unit=(units.hourangle, units.deg))
        except ValueError as error:
            raise UserError(
                f'{where}: {text}: not a position such as "210.80 54.35" or "14:03:12.6 +54:20:57"'
            ) from error
    try:
        if resolver:
            with name_resolve.sesame_url.set([resolver]):
                return SkyCoord.from_name(text)
        return SkyCoord.from_name(text)
    except name_resolve.NameResolveError as error:
        if 'Unable to find' in str(error):
            raise UserError(f'{where}: the name resolver does not know {text!r}; give --ra and --dec') from error
        raise OSError(f'{where}: the name resolver does not answer; give --ra and --dec ({error})') from error
