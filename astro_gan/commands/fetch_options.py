"""What the archives of `astro-gan fetch` have in common: options, their checks, and the end of each run."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from astro_gan.commands import expanded
from astro_gan.errors import UserError

if TYPE_CHECKING:
    import requests

    from astro_gan.fetch.downloads import Item
    from astro_gan.fetch.transport import Limits

# Option: default, least (not included), most, unit, help.
_NUMBERS: dict[str, tuple[float, float, float, str, str]] = {
    'limit': (300, 0, 100_000, 'MB', 'largest file taken'),
    'file-time': (3600, 0, 86_400, 'S', 'for a file, all tries and pauses together'),
    'answer-limit': (64, 0, 1000, 'MB', 'largest list or page of a feed'),
    'answer-time': (300, 0, 86_400, 'S', 'for a list or a page, all tries and pauses together'),
    'list-time': (1800, 0, 86_400, 'S', 'for all pages together'),
    'timeout': (60, 0, 3600, 'S', 'without a byte received'),
    'wait': (120, 0, 86_400, 'S', 'longest pause that a server may ask for'),
    'pages': (1000, 0, 1_000_000, 'N', 'of a feed that are read'),
    'rows': (20_000, 0, 10_000_000, 'N', 'of a list that are read'),
}
_ADDRESSES = ('sia_url', 'cutout_url', 'resolver_url', 'url')


def path(text: str) -> Path:
    """The type of a file's or folder's argument."""
    return Path(expanded(text))


def add_places(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options that say where to search; their group."""
    where = parser.add_argument_group('where')
    where.add_argument('--ra', type=float, metavar='DEG', help='right ascension (ICRS)')
    where.add_argument('--dec', type=float, metavar='DEG', help='declination (ICRS)')
    where.add_argument('--object', metavar='NAME', help='name of an object, resolved by CDS Sesame')
    where.add_argument(
        '--positions',
        type=path,
        metavar='FILE',
        help='one position or name a line, or a CSV with columns ra,dec or name',
    )
    where.add_argument(
        '--radius', type=float, default=0.1, metavar='DEG', help='to search around it (default %(default)s)'
    )
    where.add_argument('--resolver-url', metavar='URL', help='of the name resolver')
    return where


def add_common(parser: argparse.ArgumentParser, **defaults: float) -> None:
    """The options of every archive; `defaults` in place of the usual ones."""
    parser.add_argument(
        '-o', '--output', type=path, required=True, metavar='DIR', help='folder for images and manifest.csv'
    )
    parser.add_argument('--max', type=int, metavar='N', help='files at most')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be fetched')
    parser.add_argument(
        '--jobs', type=int, default=2, metavar='N', help='downloads at a time, 1 to 8 (default %(default)s)'
    )
    bounds = parser.add_argument_group('limits, past which a server is left alone')
    for name, (default, _, _, unit, said) in _NUMBERS.items():
        kind = int if unit == 'N' else float
        value = defaults.get(name.replace('-', '_'), default)
        bounds.add_argument(f'--{name}', type=kind, default=value, metavar=unit, help=f'{said} (default %(default)s)')
    bounds.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='HOST',
        help='another host that files may be on and redirects lead to (again for more)',
    )


def check(arguments: argparse.Namespace) -> Limits:
    """Check the options that all archives have; the limits that they set."""
    if not 1 <= arguments.jobs <= 8:
        raise UserError(f'--jobs {arguments.jobs}: wanted 1 to 8; the archives serve others too')
    if arguments.max is not None and arguments.max < 1:
        raise UserError(f'--max {arguments.max}: wanted 1 or more')
    numbers = {}
    for name, (_, least, most, unit, _) in _NUMBERS.items():
        value = numbers[name] = getattr(arguments, name.replace('-', '_'))
        if not least < value <= most:
            raise UserError(f'--{name} {value:g}: wanted more than {least:g} and at most {most:.0f} {unit}')
    if not 0 < getattr(arguments, 'radius', 1) <= 2:
        raise UserError(f'--radius {arguments.radius:g}: wanted more than 0 and at most 2 degrees')
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UserError(f'{arguments.output}: not a folder')
    for option in _ADDRESSES:
        address = getattr(arguments, option, None)
        if address and not re.match(r'https?://[^/]', address):
            raise UserError(f'--{option.replace("_", "-")} {address}: wanted an address with http:// or https://')
    for host in arguments.allow_host:
        if not re.fullmatch(r'[A-Za-z0-9.-]+(:\d{1,5})?', host):
            raise UserError(f'--allow-host {host}: wanted a name such as cdn.esahubble.org, without http://')
    logger = logging.getLogger('astro_gan.fetch')
    logger.setLevel(logging.DEBUG if arguments.debug else logging.WARNING)
    logger.handlers = [_Said()] if arguments.debug else []

    from astro_gan.fetch.transport import Limits

    return Limits(
        timeout=numbers['timeout'],
        answer_bytes=int(numbers['answer-limit'] * 1e6),
        answer_seconds=numbers['answer-time'],
        list_seconds=numbers['list-time'],
        file_bytes=int(numbers['limit'] * 1e6),
        file_seconds=numbers['file-time'],
        longest_pause=numbers['wait'],
        pages=numbers['pages'],
        rows=numbers['rows'],
        hosts=frozenset(host.lower() for host in arguments.allow_host),
    )


class _Said(logging.Handler):
    """What `fetch` asks and is answered, on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.getMessage())


def places(arguments: argparse.Namespace) -> list[tuple[str, str]]:
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
        from astro_gan.fetch.places import read_places

        return read_places(arguments.positions)
    if arguments.ra is None or arguments.dec is None:
        raise UserError('--ra and --dec belong together')
    return [('--ra, --dec', f'{arguments.ra} {arguments.dec}')]


def names(text: str | None) -> list[str]:
    """A list with commas, in capitals, each name once."""
    return list(dict.fromkeys(name.strip().upper() for name in (text or '').split(',') if name.strip()))


def finish(items: list[Item], arguments: argparse.Namespace, session: requests.Session, limits: Limits) -> int:
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

    counts = downloads.fetch(items, arguments.output, session=session, jobs=arguments.jobs, limits=limits, log=log)
    print(
        f'{sum(counts.values())} files: {counts["fetched"]} fetched, {counts["kept"]} already there, '
        f'{counts["failed"]} failed; see {arguments.output / "manifest.csv"}'
    )
    return 1 if counts['failed'] else 0


def log(line: str) -> None:
    """Say what happens beside the result."""
    print(line, file=sys.stderr)
