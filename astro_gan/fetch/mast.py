"""MAST: drizzled images of HST and JWST at a position, found through astroquery and fetched as all other files.

Two services of the archive's portal (https://mast.stsci.edu/api/v0/_services.html), by the names of their columns there
(`_c_a_o_mfields.html`, `_productsfields.html`): `Mast.Caom.Filtered.Position` lists observations (obsid, obs_id,
target_name, s_ra, s_dec, instrument_name, filters), `Mast.Caom.Products` their files (productFilename, dataURI, size,
productSubGroupDescription, calib_level, dataRights). Drizzled are DRZ and DRC (the latter corrected for charge
transfer) of HST, and I2D of JWST, of calibration level 3 and more: exposures combined. A file comes from
`api/v0.1/Download/file?uri=...`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
from astropy.coordinates import SkyCoord

from astro_gan.errors import UserError
from astro_gan.fetch import texts, transport
from astro_gan.fetch.downloads import Item
from astro_gan.files.refusals import reason_of

SERVER = 'https://mast.stsci.edu'
MISSIONS = ('HST', 'JWST')
DRIZZLED = ('DRZ', 'DRC', 'I2D')
CREDIT = (
    'Based on observations made with the {mission}, obtained from the data archive at the Space Telescope Science '
    'Institute (STScI), which is operated by the Association of Universities for Research in Astronomy, Inc.'
)
_TELESCOPES = {'HST': 'NASA/ESA Hubble Space Telescope', 'JWST': 'NASA/ESA/CSA James Webb Space Telescope'}
_AT_ONCE = 50  # observations whose files are asked for together


class _Portal(requests.Session):
    """What astroquery asks through, so that its requests have the limits of all others."""

    def __init__(self, session: requests.Session, limits: transport.Limits) -> None:
        super().__init__()
        self.headers.update(session.headers)
        self._given, self._limits, self._end = session, limits, time.monotonic() + limits.list_seconds

    def request(self, method: Any, url: Any, *_: Any, data: Any = None, headers: Any = None, **__: Any) -> Any:
        left = self._end - time.monotonic()
        if left <= 0:
            raise transport.TooLate(f'{url}: no list after {self._limits.list_seconds:.3g} s (--list-time)')
        response = requests.Response()
        response.url, response.status_code = url, 200
        response._content = transport.get_bytes(
            self._given, url, self._limits, seconds=left, headers=headers, data=data or ''
        )
        return response


def list_products(
    session: requests.Session,
    position: SkyCoord,
    radius: float,
    *,
    missions: Sequence[str] = MISSIONS,
    instruments: Sequence[str] = (),
    filters: Sequence[str] = (),
    url: str = SERVER,
    limits: transport.Limits = transport.LIMITS,
    log: Callable[[str], None] = print,
) -> list[Item]:
    """The drizzled, public images of which some part is within `radius` degrees of a position, sorted by name.

    Raises:
        UserError: the archive refuses the query or answers with something else than a table.
        OSError: no answer.
    """
    wanted: dict[str, Sequence[str]] = {'obs_collection': missions, 'dataproduct_type': ['image']}
    wanted |= {'calib_level': ['3', '4'], 'dataRights': ['PUBLIC'], 'intentType': ['science']}
    if filters:
        wanted['filters'] = filters
    centre = f'{position.icrs.ra.deg}, {position.icrs.dec.deg}, {radius}'
    conditions = [{'paramName': name, 'values': list(values)} for name, values in wanted.items()]
    ask = {'columns': '*', 'filters': conditions, 'position': centre}
    portal = _Portal(session, limits)
    found = {
        _text(row, 'obsid'): row
        for row in _rows(portal, 'Mast.Caom.Filtered.Position', ask, url, limits, log)
        if not instruments or _text(row, 'instrument_name').upper().startswith(tuple(instruments))
    }
    items: dict[str, Item] = {}
    identities = [identity for identity in found if identity.isdecimal()]
    for start in range(0, len(identities), _AT_ONCE):
        ask = {'obsid': ','.join(identities[start : start + _AT_ONCE])}
        for product in _rows(portal, 'Mast.Caom.Products', ask, url, limits, log):
            row = found.get(_text(product, 'parent_obsid') or _text(product, 'obsID'))
            if row is not None and (item := _item(product, row, url)) is not None:
                items[item.file] = item
    return [items[name] for name in sorted(items)]


def _rows(
    portal: _Portal,
    service: str,
    ask: dict[str, Any],
    url: str,
    limits: transport.Limits,
    log: Callable[[str], None],
) -> list[Any]:
    from astroquery.mast.discovery_portal import PortalAPI

    client = PortalAPI(session=portal)
    client.MAST_REQUEST_URL = f'{url.rstrip("/")}/api/v0/invoke'
    client.COLUMNS_CONFIG_URL = f'{url.rstrip("/")}/portal/Mashup/Mashup.asmx/columnsconfig'
    try:
        answers = client.service_request_async(service, ask, pagesize=limits.rows, page=1)
        table = answers[0].json()
        if table.get('status') == 'ERROR':
            raise UserError(f'the archive refuses the query: {texts.one_line(table.get("msg", ""))[:300]}')
        rows, total = table['data'], (table.get('paging') or {}).get('rowsFiltered')
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TypeError
    except Exception as error:
        if type(error) is OSError or str(error).startswith(url):
            raise  # no answer, which says so
        if isinstance(error, UserError):
            raise UserError(f'{url}: {error}') from error
        # astroquery and JSON raise many types
        raise UserError(f'{url}: not a table of the archive ({texts.one_line(reason_of(error))[:300]})') from error
    if len(rows) > limits.rows or (isinstance(total, int) and total > len(rows)):
        log(f'{url}: the first {min(len(rows), limits.rows)} rows are taken (--rows); a smaller radius gives all')
    return rows[: limits.rows]


def _item(product: dict[str, Any], row: dict[str, Any], url: str) -> Item | None:
    """A file as an item; None if it is not a drizzled image that anybody may have."""
    name, uri = _text(product, 'productFilename'), _text(product, 'dataURI')
    level, size = _number(product.get('calib_level')), _number(product.get('size'))
    kind = _text(product, 'productSubGroupDescription').upper()
    if kind not in DRIZZLED or not name.lower().endswith('.fits') or not uri.startswith('mast:'):
        return None
    if _text(product, 'dataRights') not in ('', 'PUBLIC') or (level is not None and level < 3):
        return None
    ra, dec = _number(row.get('s_ra')), _number(row.get('s_dec'))
    somewhere = ra is not None and dec is not None and abs(ra) <= 360 and abs(dec) <= 90
    mission = _text(row, 'obs_collection')
    return Item(
        file=f'{texts.safe_name(name[:-5])}.fits',
        url=f'{url.rstrip("/")}/api/v0.1/Download/file?uri={quote(uri, safe=":/")}',
        source='mast',
        id=_text(product, 'obs_id') or _text(row, 'obs_id'),
        title=_text(row, 'target_name'),
        ra=ra % 360 if somewhere and ra is not None else None,
        dec=dec if somewhere else None,
        instrument=f'{mission} {_text(row, "instrument_name")}'.strip(),
        filters=_text(row, 'filters'),
        page=f'{url.rstrip("/")}/',
        credit=CREDIT.format(mission=_TELESCOPES.get(mission, mission)),
        licence='public archive data',
        size=int(size) if size and 0 < size < 2**50 else None,
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return '' if value is None else texts.one_line(value)[:300]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
