"""`astro-gan fetch hla ...` and `astro-gan fetch press ...`: images and a manifest of what they are."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from astro_gan.commands import fetch_options
from astro_gan.commands.fetch_options import log
from astro_gan.errors import UserError

if TYPE_CHECKING:
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
    where = fetch_options.add_places(hla)
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
    press.add_argument('--url', metavar='URL', help='of the feed, such as https://esawebb.org/images/d2d/')
    for parser in (hla, press):
        fetch_options.add_common(parser)


def run_hla(arguments: argparse.Namespace) -> int:
    """List the fields at each position and fetch their cutouts."""
    limits = fetch_options.check(arguments)
    filters = _checked_filters(arguments)
    fits = arguments.format == 'fits'

    from tqdm import tqdm

    from astro_gan.fetch import archive, places, transport

    instruments = fetch_options.names(arguments.instrument) or archive.INSTRUMENTS
    for name in instruments:
        if name not in archive.INSTRUMENTS:
            raise UserError(f'--instrument: {name!r} is not one of {", ".join(archive.INSTRUMENTS)}')
    wanted = fetch_options.places(arguments)
    with transport.make_session() as session:
        items: dict[str, Item] = {}
        passed_over = unlisted = 0
        for where, text in tqdm(wanted, desc='positions', disable=None if len(wanted) > 1 else True):
            try:
                position = places.position_of(text, where, session, limits, arguments.resolver_url)
                observations = archive.list_observations(
                    session,
                    position,
                    arguments.radius,
                    instruments=instruments,
                    filters=filters,
                    url=arguments.sia_url or archive.SIA_URL,
                    limits=limits,
                    log=log,
                )
            except (ValueError, OSError) as error:
                if len(wanted) == 1:
                    raise
                unlisted += 1  # the other positions of a long list go on
                log(f'error: {" ".join(str(error).split())}')
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
            log(f'{passed_over} fields are passed over: they lack a filter' + ' or the position' * arguments.on_target)
        status = fetch_options.finish(list(items.values()), arguments, session, limits)
        if unlisted:
            log(f'{unlisted} of {len(wanted)} positions could not be searched; run it again to try them')
        return 1 if unlisted else status


def run_press(arguments: argparse.Namespace) -> int:
    """Read the feed and fetch what matches."""
    limits = fetch_options.check(arguments)
    from astro_gan.fetch import press, transport

    with transport.make_session() as session:
        items = press.list_images(
            session,
            query=arguments.query,
            size=arguments.size,
            every_kind=arguments.every_kind,
            maximum=arguments.max,
            url=arguments.url or press.FEED_URL,
            limits=limits,
            log=log,
        )
        return fetch_options.finish(items, arguments, session, limits)


def _checked_filters(arguments: argparse.Namespace) -> list[str]:
    """The options of cutouts; the filters of them, as a list."""
    if not 16 <= arguments.size <= 20000:
        raise UserError(f'--size {arguments.size}: wanted 16 to 20000 pixels')
    if arguments.scale is not None and not 0.001 <= arguments.scale <= 10:
        raise UserError(f'--scale {arguments.scale:g}: wanted 0.001 to 10 arcsec per pixel')
    filters = fetch_options.names(arguments.filters)
    for name in filters:
        if not re.fullmatch(r'F\d{3,4}[A-Z]{1,2}', name):
            raise UserError(f'--filters: {name!r} is not a filter of Hubble such as F814W')
    if arguments.format == 'jpg' and len(filters) not in (0, 1, 3):
        raise UserError(f'--filters: a picture takes one filter (gray) or three (colour), not {len(filters)}')
    return filters
