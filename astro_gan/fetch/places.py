"""Where to search an archive: positions and names, on the command line or in a file."""

from __future__ import annotations

import csv
import dataclasses
import re
import urllib.parse
from pathlib import Path

import requests
from astropy import units
from astropy.coordinates import SkyCoord

from astro_gan.errors import UserError
from astro_gan.fetch import transport

# CDS Sesame and its mirror (https://cds.unistra.fr/cgi-bin/Sesame): `-o` is not asked for, so plain text comes.
RESOLVERS = ('https://cds.unistra.fr/cgi-bin/nph-sesame/', 'https://vizier.cfa.harvard.edu/viz-bin/nph-sesame/')
_LARGEST_ANSWER = 1_000_000


def read_places(path: Path) -> list[tuple[str, str]]:
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


def position_of(
    text: str, where: str, session: requests.Session, limits: transport.Limits, resolver: str | None = None
) -> SkyCoord:
    """Degrees, sexagesimal hours and degrees, or a name, which is looked up.

    Raises:
        UserError: none of these, or a name that is not known; the line begins with `where`.
        OSError: no answer of the name resolver.
    """
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
    return _resolve(text, where, session, limits, resolver)


def _resolve(
    name: str, where: str, session: requests.Session, limits: transport.Limits, resolver: str | None
) -> SkyCoord:
    """The position of a named object, in Simbad, NED or VizieR: the first line `%J ra dec` of the answer."""
    limits = dataclasses.replace(limits, answer_bytes=min(limits.answer_bytes, _LARGEST_ANSWER))
    reasons = []
    for url in (resolver,) if resolver else RESOLVERS:
        try:
            answer = transport.get_bytes(
                session, f'{url.rstrip("/")}/SNV?{urllib.parse.quote(name)}', limits, shown=url
            )
        except (UserError, OSError) as error:
            reasons.append(str(error))
            continue
        found = re.search(rb'^%J\s+([0-9.]{1,30})\s+([+-]?[0-9.]{1,30})\s', answer, re.MULTILINE)
        try:
            return SkyCoord(*map(float, found.groups()), unit='deg') if found else _unknown(name, where)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f'{where}: {url} answers with a position that is none; give --ra and --dec') from error
    raise OSError(f'{where}: the name resolver does not answer; give --ra and --dec ({"; ".join(reasons)})')


def _unknown(name: str, where: str) -> SkyCoord:
    raise UserError(f'{where}: the name resolver does not know {name!r}; give --ra and --dec')
