"""Hubble Legacy Archive: what there is at a position, and cutouts of it in colour or as FITS.

Two services, as their public pages describe them (https://hla.stsci.edu/hla_help.html and fitscutcgi_interface.html):

- `hlaSIAP.cgi`, a Simple Image Access service (IVOA SIA 1.0): POS and SIZE in degrees, FORMAT, and the archive's own
  `imagetype` (here 'combined': the exposures of a visit in one filter, drizzled, north up), `inst` and `spectral_elt`
  (lists with commas), `proprietary`; the case of these names does not count. It answers with a VOTable whose columns
  Dataset, Spectral_Elt, Detector, ExpTime, Target and Title are read by name, and the standard ones (position, pixel
  scale, size in pixels) by their UCD. Besides filters, Spectral_Elt can be 'detection', the sum over filters that
  source lists are made from.
- `fitscut.cgi`: `red`, `green`, `blue` are data set names (their case counts), `RA` and `Dec` degrees, `size` the width
  in pixels of the image, `output_size` that of the result, `align` resamples green and blue onto red's pixels,
  `autoscale` is the percentile shown white, `asinh` the stretch of Lupton et al. (2004), `format` jpg or fits. A FITS
  cutout has the header of the image with the coordinates of the cutout. Errors come as HTML.
"""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import requests
from astropy.coordinates import SkyCoord

from astro_gan.errors import UserError
from astro_gan.fetch import texts, transport
from astro_gan.fetch.downloads import Item
from astro_gan.fetch.lists import check_votable

SIA_URL = 'https://hla.stsci.edu/cgi-bin/hlaSIAP.cgi'
CUTOUT_URL = 'https://hla.stsci.edu/cgi-bin/fitscut.cgi'
INSTRUMENTS = ('ACS', 'WFC3', 'WFPC2', 'NICMOS')  # those with images in several filters
# The footnote that the archive asks for.
CREDIT = (
    'Based on observations made with the NASA/ESA Hubble Space Telescope, and obtained from the Hubble Legacy Archive, '
    'which is a collaboration between the Space Telescope Science Institute (STScI/NASA), the Space Telescope European '
    'Coordinating Facility (ST-ECF/ESA) and the Canadian Astronomy Data Centre (CADC/NRC/CSA).'
)
LICENCE = 'public archive data'

# Centres of one visit that are further apart belong to two pointings: an ACS field is 202 arcsec wide.
_SAME_POINTING = 30.0
# Beyond these a list speaks of no image: arcsec per pixel, pixels.
_SCALES, _WIDEST = (1e-4, 1e3), 10**6


@dataclasses.dataclass(frozen=True)
class Observation:
    """A combined image of one visit in one filter. Position in degrees, `scale` arcsec per pixel, `width` in pixels."""

    dataset: str
    filter: str
    detector: str
    ra: float
    dec: float
    scale: float | None
    width: int | None
    exposure: float
    title: str

    @property
    def wavelength(self) -> float:
        """Nanometres by the filter's name: F814W is 814 nm, but F160W of an infrared camera 1600 nm."""
        number = float(re.sub(r'\D', '', self.filter))
        return 10 * number if re.search(r'\bIR\b|NIC', self.detector.upper()) else number


@dataclasses.dataclass(frozen=True)
class Field:
    """One pointing of one visit: its images by filter, all at one place and on one grid of pixels."""

    name: str
    images: dict[str, Observation]

    def by_wavelength(self) -> list[Observation]:
        """Longest first."""
        return sorted(self.images.values(), key=lambda image: (-image.wavelength, image.filter))


def list_observations(
    session: requests.Session,
    position: SkyCoord,
    radius: float,
    *,
    instruments: Sequence[str] = INSTRUMENTS,
    filters: Sequence[str] = (),
    url: str = SIA_URL,
    limits: transport.Limits = transport.LIMITS,
    log: Callable[[str], None] = print,
) -> list[Observation]:
    """Ask the archive for the combined images that overlap a square of 2 x `radius` degrees around a position.

    Raises:
        UserError: the service refuses the query, or answers with something else than a list of images.
        OSError: no answer.
    """
    from pyvo.dal.sia import SIAQuery

    query = SIAQuery(
        url,
        pos=position,
        size=2 * radius,  # SIA's SIZE is the full width
        format='image/fits',
        imagetype='combined',
        inst=','.join(instruments),
        proprietary='false',
    )
    if filters:
        query['SPECTRAL_ELT'] = ','.join(filters)
    address = url + ('&' if '?' in url else '?') + urlencode(dict(query))
    answer = transport.get_bytes(session, address, limits, shown=url)
    return _observations(answer, url, limits.rows, log)


def _observations(answer: bytes, url: str, rows: int, log: Callable[[str], None]) -> list[Observation]:
    from astropy.io import votable
    from pyvo.dal.exceptions import DALAccessError, DALOverflowWarning
    from pyvo.dal.sia import SIAResults

    if answer.lstrip()[:5].lower() in (b'<html', b'<!doc'):
        raise UserError(f'{url}: {texts.web_page(answer[:4096], "a list of images")}')
    try:
        check_votable(answer, rows)
    except UserError as error:
        raise UserError(f'{url}: {error}') from error
    # Archives' tables are often not quite standard; what cannot be read at all raises.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            results = SIAResults(votable.parse(io.BytesIO(answer)), url=url)
        except DALAccessError as error:
            raise UserError(f'{url}: the archive refuses the query: {texts.one_line(error.reason)[:300]}') from error
        except Exception as error:  # the XML and VOTable parsers raise many types
            place = re.search(r':(\d+):\d+:', str(error))
            where = f'line {place[1]} of it' if place else 'what it says of itself'
            raise UserError(f'{url}: not a VOTable that can be read: {where} is not as the standard has it') from error
    if any(issubclass(warning.category, DALOverflowWarning) for warning in caught):
        log(f'{url}: the archive lists the first {len(results)} images only; a smaller radius gives all')
    names = {name.lower(): name for name in results.fieldnames}
    # Not by the library's getbyucd, which raises on any UCD in the list that is not as the standard has it.
    ucds = {name: str(results.getdesc(name).ucd).upper().split(';') for name in reversed(results.fieldnames)}
    by_ucd = {ucd: name for name, words in ucds.items() for ucd in words}
    missing = [name for name in ('dataset', 'spectral_elt') if name not in names]
    if len(results) and missing:
        raise UserError(f'{url}: the list has no column {missing[0]}')

    def text(record: Any, name: str) -> str:
        value = record[names[name]] if name in names else ''
        return '' if value is None or value is np.ma.masked else texts.one_line(value)

    def number(record: Any, ucd: str) -> float | None:
        return _number(record[by_ucd[ucd]]) if ucd in by_ucd else None

    observations = []
    for record in results:
        ra, dec = number(record, 'POS_EQ_RA_MAIN'), number(record, 'POS_EQ_DEC_MAIN')
        used = re.findall(r'\bF\d{3,4}[A-Z]{1,2}\b', text(record, 'spectral_elt').upper())
        if len(used) != 1 or not text(record, 'dataset') or ra is None or dec is None:
            continue  # 'detection', a grism, a colour image, or no image at all
        if not -90 <= dec <= 90 or abs(ra) > 360:
            continue
        scale, width = number(record, 'VOX:IMAGE_SCALE'), number(record, 'VOX:IMAGE_NAXIS')
        observations.append(
            Observation(
                dataset=text(record, 'dataset'),
                filter=used[0],
                detector=text(record, 'detector'),
                ra=ra % 360,
                dec=dec,
                scale=abs(scale) * 3600 if scale and _SCALES[0] <= abs(scale) * 3600 <= _SCALES[1] else None,
                width=int(width) if width and 1 <= width <= _WIDEST else None,
                exposure=_number(record[names['exptime']]) or 0.0 if 'exptime' in names else 0.0,
                title=text(record, 'target') or text(record, 'title'),
            )
        )
    return observations


def _number(value: Any) -> float | None:
    """The first number of a cell that can be a number, an array or empty."""
    try:
        number = float(np.ma.filled(np.ma.asarray(value, float), np.nan).ravel()[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def group_fields(observations: Iterable[Observation]) -> list[Field]:
    """Gather the images of each pointing of each visit, the longest exposure of each filter, sorted by name.

    Images of a visit have one data set name but for the filter: hst_10188_10_acs_wfc_f814w. The archive makes them on
    one grid of pixels.
    """
    fields: dict[str, list[Field]] = {}
    for image in sorted(set(observations), key=lambda image: (image.dataset, image.filter)):
        name = re.sub(rf'[_-]?{image.filter}(?![a-z0-9])', '', image.dataset, flags=re.IGNORECASE).lower()
        pointings = fields.setdefault(name, [])
        here = next(
            (field for field in pointings if _separation(image, next(iter(field.images.values()))) < _SAME_POINTING),
            None,
        )
        if here is None:
            pointings.append(here := Field(f'{name}-{len(pointings) + 1}' if pointings else name, {}))
        other = here.images.get(image.filter)
        if other is None or image.exposure > other.exposure:
            here.images[image.filter] = image
    return sorted((field for pointings in fields.values() for field in pointings), key=lambda field: field.name)


def _separation(first: Observation, second: Observation) -> float:
    """Arcseconds between two centres, exact enough for small angles at any declination."""
    ra = (first.ra - second.ra + 180) % 360 - 180
    return 3600 * float(np.hypot(ra * np.cos(np.radians(first.dec)), first.dec - second.dec))


def choose_filters(field: Field, wanted: Sequence[str] = (), *, colour: bool = True) -> list[Observation] | None:
    """The images to use, longest wavelength (red) first; None if the field lacks one of them.

    Without `wanted` a colour picture takes the longest and the shortest of the broad filters and the one nearest to
    the middle between them; FITS takes every filter there is.
    """
    images = field.by_wavelength()
    if wanted:
        chosen = [image for image in images if image.filter in wanted]
        return chosen if len(chosen) == len(set(wanted)) else None
    if not colour:
        return images
    broad = [image for image in images if not image.filter.endswith('N')]
    images = broad if len(broad) >= 3 else images
    if len(images) < 3 or images[0].wavelength == images[-1].wavelength:
        return None
    middle = (images[0].wavelength + images[-1].wavelength) / 2
    return [images[0], min(images[1:-1], key=lambda image: abs(image.wavelength - middle)), images[-1]]


def cutouts(
    field: Field,
    images: Sequence[Observation],
    *,
    size: int,
    scale: float | None = None,
    fits: bool = False,
    centre: SkyCoord | None = None,
    url: str = CUTOUT_URL,
) -> list[Item]:
    """What to fetch of a field: one colour (or gray, of one filter) JPEG, or a FITS file of each filter.

    Args:
        size: width and height of the cutout in pixels.
        scale: arcsec per pixel of the cutout; None: as the image has it.
        centre: where; None: the centre of the field.

    Raises:
        UserError: `scale` is asked of a field whose own is not known.
    """
    red = images[0]
    ra, dec = (red.ra, red.dec) if centre is None else (float(centre.icrs.ra.deg), float(centre.icrs.dec.deg))
    parameters: dict[str, Any] = {'RA': f'{ra:.6f}', 'Dec': f'{dec:.6f}', 'size': size}
    stem = f'{size}px'
    if scale is not None:
        if not red.scale:
            raise UserError(
                f'{field.name}: the archive gives no pixel scale, so it cannot be changed; leave out --scale'
            )
        parameters |= {'size': max(1, round(size * scale / red.scale)), 'output_size': size}
        stem += f'_{scale:g}as'
    if centre is not None:
        stem += f'_{ra:.5f}{dec:+.5f}'
    common: dict[str, Any] = {
        'source': 'hla',
        'title': red.title,
        'ra': ra,
        'dec': dec,
        'instrument': red.detector,
        'page': '{0.scheme}://{0.netloc}/'.format(urlsplit(url)),
        'credit': CREDIT,
        'licence': LICENCE,
    }
    if fits:
        sets = [([image], parameters | {'red': image.dataset, 'format': 'fits'}) for image in images]
    else:
        bands = zip(('red', 'green', 'blue'), (image.dataset for image in images), strict=False)
        shown = {'align': 1, 'autoscale': 99.5, 'asinh': 1, 'format': 'jpg'}
        sets = [(list(images), dict(bands) | parameters | shown)]
    items = []
    for used, query in sets:
        filters = [image.filter for image in used]
        name = texts.safe_name(f'{field.name}_{"-".join(filters).lower()}_{stem}')
        address = f'{url}?{urlencode(query)}'
        items.append(Item(name + ('.fits' if fits else '.jpg'), address, id=name, filters=','.join(filters), **common))
    return items


def covers(image: Observation, position: SkyCoord) -> bool:
    """Whether a position is within the square of an image (north up); its corners can still be empty sky."""
    if not image.scale or not image.width:
        return False
    east, north = position.icrs.spherical_offsets_to(SkyCoord(image.ra, image.dec, unit='deg'))
    return bool(max(abs(east.arcsec), abs(north.arcsec)) < image.scale * image.width / 2)
