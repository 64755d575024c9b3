"""`astro-gan fetch hla ...`, `fetch mast ...` and `fetch press ...`: images and a manifest of what they are."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from astro_gan.commands import fetch_options
from astro_gan.commands.fetch_options import log, names
from astro_gan.errors import UserError

if TYPE_CHECKING:
    import requests
    from astropy.coordinates import SkyCoord

    from astro_gan.fetch.downloads import Item
    from astro_gan.fetch.transport import Limits

_HLA = """\
Cutouts from the Hubble Legacy Archive, one for each field (a pointing of a visit) near a position. In colour, the
filter of the longest wavelength is red, the shortest blue. Fields that lack a filter are passed over.

  astro-gan fetch hla --object M101 --radius 0.1 --instrument ACS --filters F435W,F555W,F814W -o m101
  astro-gan fetch hla --positions galaxies.csv --on-target --size 512 --format fits -o galaxies
"""
_MAST = """\
Drizzled frames (FITS) of HST and JWST from MAST: every public one that is near a position, whole. They are large.

  astro-gan fetch mast --object M51 --mission JWST --instrument NIRCAM --filters F200W,F444W -o m51
"""
_PRESS = """\
Processed images of ESA/Hubble or ESA/Webb with their credit, licence and page (CC BY 4.0: name the credit where you
show them).

  astro-gan fetch press --query galaxy --max 200 -o press
  astro-gan fetch press --query "hubble heritage" -o heritage
  astro-gan fetch press --site webb -o webb
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `fetch` and those of its archives."""
    fetch = commands.add_parser('fetch', help='images of the archives of HST and JWST, with credit and licence')
    archives = fetch.add_subparsers(metavar='ARCHIVE', required=True)

    def archive(
        name: str, said: str, description: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser = archives.add_parser(
            name, help=said, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.set_defaults(run=run)
        return parser

    # The addresses are settings, for mirrors and for sites of the same software (eso.org).
    hla = archive('hla', 'cutouts from the Hubble Legacy Archive', _HLA, run_hla)
    where = fetch_options.add_places(hla)
    where.add_argument(
        '--on-target',
        action='store_true',
        help='centre the cutouts on the position, not on the fields, and take only fields that contain it',
    )
    where.add_argument('--sia-url', metavar='URL', help='of the image list service')
    where.add_argument('--cutout-url', metavar='URL', help='of the cutout service')
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
    fetch_options.add_common(hla)

    mast = archive('mast', 'drizzled frames of HST and JWST from MAST', _MAST, run_mast)
    where = fetch_options.add_places(mast)
    where.add_argument('--url', metavar='URL', help='of the archive')
    what = mast.add_argument_group('what')
    what.add_argument('--mission', metavar='LIST', help='of HST, JWST (default both)')
    what.add_argument('--instrument', metavar='LIST', help='how the name begins: ACS, WFC3, NIRCAM, ... (default all)')
    what.add_argument('--filters', metavar='LIST', help='such as F814W,F200W (default all)')
    fetch_options.add_common(mast, limit=1000)

    press = archive('press', 'processed images of ESA/Hubble and ESA/Webb', _PRESS, run_press)
    press.add_argument(
        '--query', default='', metavar='WORDS', help='that all occur in title, description, subject or credit'
    )
    press.add_argument(
        '--size', choices=('large', 'small', 'original'), default='large', help='small: 1280 px; original: TIFF'
    )
    press.add_argument(
        '--every-kind', action='store_true', help='artwork, charts and photographs too, not only observations'
    )
    press.add_argument('--site', choices=('hubble', 'webb'), default='hubble', help='default %(default)s')
    press.add_argument('--url', metavar='URL', help='of a feed, in place of --site')
    fetch_options.add_common(press)


def run_hla(arguments: argparse.Namespace) -> int:
    """List the fields at each position and fetch their cutouts."""
    limits = fetch_options.check(arguments)
    filters = _checked_filters(arguments)
    fits = arguments.format == 'fits'

    from astro_gan.fetch import archive

    instruments = _some_of(arguments.instrument, archive.INSTRUMENTS, '--instrument')
    passed_over = 0

    def found(session: requests.Session, position: SkyCoord) -> Iterable[Item]:
        nonlocal passed_over
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
        for field in archive.group_fields(observations):
            images = archive.choose_filters(field, filters, colour=not fits)
            if not images or (arguments.on_target and not all(archive.covers(image, position) for image in images)):
                passed_over += 1
                continue
            yield from archive.cutouts(
                field,
                images,
                size=arguments.size,
                scale=arguments.scale,
                fits=fits,
                centre=position if arguments.on_target else None,
                url=arguments.cutout_url or archive.CUTOUT_URL,
            )

    def told() -> None:
        if passed_over:
            log(f'{passed_over} fields are passed over: they lack a filter' + ' or the position' * arguments.on_target)

    return _fetch_at_places(arguments, limits, found, told)


def run_mast(arguments: argparse.Namespace) -> int:
    """List the drizzled frames at each position and fetch them."""
    limits = fetch_options.check(arguments)

    from astro_gan.fetch import mast

    missions = _some_of(arguments.mission, mast.MISSIONS, '--mission')

    def found(session: requests.Session, position: SkyCoord) -> Iterable[Item]:
        return mast.list_products(
            session,
            position,
            arguments.radius,
            missions=missions,
            instruments=names(arguments.instrument),
            filters=names(arguments.filters),
            url=arguments.url or mast.SERVER,
            limits=limits,
            log=log,
        )

    return _fetch_at_places(arguments, limits, found)


def _fetch_at_places(
    arguments: argparse.Namespace,
    limits: Limits,
    found: Callable[[requests.Session, SkyCoord], Iterable[Item]],
    told: Callable[[], None] = lambda: None,
) -> int:
    """Fetch what is `found` at each place; `told` says what was left out, once all is listed."""
    from tqdm import tqdm

    from astro_gan.fetch import texts, transport
    from astro_gan.fetch.places import position_of

    places = fetch_options.places(arguments)
    with transport.make_session() as session:
        items: dict[str, Item] = {}
        unlisted = 0
        for where, text in tqdm(places, desc='positions', disable=None if len(places) > 1 else True):
            try:
                position = position_of(text, where, session, limits, arguments.resolver_url)
                items |= {item.file: item for item in found(session, position)}
            except (ValueError, OSError) as error:
                if len(places) == 1:
                    raise
                unlisted += 1  # the other positions of a long list go on
                log(f'error: {texts.one_line(error)}')
                continue
            if arguments.max is not None and len(items) >= arguments.max:
                break
        told()
        status = fetch_options.finish(list(items.values()), arguments, session, limits)
        if unlisted:
            log(f'{unlisted} of {len(places)} positions could not be searched; run it again to try them')
        return 1 if unlisted else status


def run_press(arguments: argparse.Namespace) -> int:
    """Read the feed and fetch what matches."""
    limits = fetch_options.check(arguments)

    from astro_gan.fetch import press, transport

    url = arguments.url or press.FEEDS[arguments.site]
    with transport.make_session() as session:
        items = press.list_images(
            session,
            query=arguments.query,
            size=arguments.size,
            every_kind=arguments.every_kind,
            maximum=arguments.max,
            url=url,
            limits=limits,
            log=log,
        )
        # A redirect may lead from one of the hosts that the site has to another.
        limits = dataclasses.replace(limits, hosts=press.hosts_of(url, limits))
        return fetch_options.finish(items, arguments, session, limits)


def _some_of(text: str | None, known: tuple[str, ...], option: str) -> list[str]:
    """The names of a list with commas, all of them known ones; all known ones where there is no list."""
    for name in (given := names(text)):
        if name not in known:
            raise UserError(f'{option}: {name!r} is not one of {", ".join(known)}')
    return given or list(known)


def _checked_filters(arguments: argparse.Namespace) -> list[str]:
    """The options of cutouts; the filters of them, as a list."""
    if not 16 <= arguments.size <= 20000:
        raise UserError(f'--size {arguments.size}: wanted 16 to 20000 pixels')
    if arguments.scale is not None and not 0.001 <= arguments.scale <= 10:
        raise UserError(f'--scale {arguments.scale:g}: wanted 0.001 to 10 arcsec per pixel')
    filters = names(arguments.filters)
    for name in filters:
        if not re.fullmatch(r'F\d{3,4}[A-Z]{1,2}', name):
            raise UserError(f'--filters: {name!r} is not a filter of Hubble such as F814W')
    if arguments.format == 'jpg' and len(filters) not in (0, 1, 3):
        raise UserError(f'--filters: a picture takes one filter (gray) or three (colour), not {len(filters)}')
    return filters
