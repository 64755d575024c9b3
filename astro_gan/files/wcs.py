"""World coordinates (WCS) of a frame whose pixels have become smaller or larger.

Why not a library: `astropy.wcs` and `reproject` make new headers from what they understand, drop or rewrite the rest
(alternates, distortion tables by keyword, the spelling of the 1990s). Here the cards stay and those numbers change that
pixels scale. To be looked at again in November 2027: whether `astropy.nddata` scales headers card by card by then.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable
from typing import Any

from astropy.io import fits

from astro_gan.errors import UserError

Rules = list[tuple[re.Pattern, Callable[[float, re.Match], float]]]

# Further keywords and letters than the standard's two axes stay as they are: only pixel axes 1 and 2 change.
_ALTERNATE = '(?P<alternate>[A-Z]?)'
_CRPIX = re.compile(f'CRPIX[12]{_ALTERNATE}')
_CD = re.compile(f'CD([0-9]+_[12]|00[0-9]00[12]){_ALTERNATE}')  # CD001001: the spelling of the 1990s
_CDELT = re.compile(f'CDELT[12]{_ALTERNATE}')
_PC = re.compile(f'PC[0-9]+_[0-9]+{_ALTERNATE}')
_SIP = re.compile(r'[AB]P?_(?P<i>[0-9])_(?P<j>[0-9])')
# Corrections from a table in another extension, which a file of one image cannot hold (Calabretta et al. 2004,
# "Representations of distortions in FITS WCS"; D2IM and AXISCORR are Hubble's detector to image corrections).
_LOOKUP = re.compile(
    r'(CPDIS|CQDIS|CPERR|CQERR|CPRPX|DVERR|D2IMDIS|D2IMERR)[0-9]*[A-Z]?'
    r'|(DP|DQ|D2IM)[0-9]+[A-Z]?(\..*)?|D2IMARR|D2IMEXT|NPOLEXT|AXISCORR'
)
# Sections of an array in pixels, CCDSEC = '[1:1024,1:512]', which no longer hold and have no use once the frame is
# reduced; and the pattern of a mosaic, which the result no longer is.
_SECTION = re.compile(r'\[ *[0-9]+ *: *[0-9]+ *, *[0-9]+ *: *[0-9]+ *\]')
_GONE = re.compile('(DATA|TRIM|BIAS|CCD|DET|AMP)SEC[A-Z0-9]?|BAYERPAT|CFAPAT|COLORTYP|[XY]BAYROFF|BAYOFF[XY]')
# The size of a pixel on the detector (micrometres) or on the sky, as programs write it.
_PIXEL_SIZE = re.compile('[XY]PIX(SZ|SIZE)|PIX(EL)?S(Z|IZE?)[12XY]?|PIXSCA?LE?[12XY]?|SECPIX[12XY]?|SCALE')
_PER_PIXEL = re.compile('(arc-?s[a-z]*|"|mas|deg[a-z]*)( ?/ ?| per )pix')
_LEADING_NUMBER = re.compile(r' *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
# Any of these says that a header has a coordinate system of its own.
WCS_KEYWORD = re.compile(
    r'(WCSAXES|WCSNAME|CRPIX|CRVAL|CTYPE|CUNIT|CDELT|CROTA|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX)[0-9]*[A-Z]?'
    r'|(CD|PC|PV|PS)[0-9]+_[0-9]+[A-Z]?|(CD|PC)00[0-9]00[0-9]|[AB]P?_(ORDER|DMAX|[0-9]_[0-9])'
)
# What a header says of its third and further axes.
_FURTHER = re.compile(
    '(CTYPE|CRVAL|CDELT|CUNIT|CRPIX|CROTA|CNAME|CRDER|CSYER|CZPHS|CPERI)([3-9]|[1-9][0-9])[A-Z]?'
    '|(PC|CD)([3-9]|[1-9][0-9])_[0-9]+[A-Z]?|(PC|CD)[0-9]+_([3-9]|[1-9][0-9])[A-Z]?|(PV|PS)([3-9]|[1-9][0-9])_[0-9]+[A-Z]?'
    '|(PC|CD)00([3-9]00[0-9]|[0-9]00[3-9])'
)


def two_axes(header: fits.Header) -> fits.Header:
    """The header without what it says of a third axis and further ones; HISTORY keeps what they were."""
    result = fits.Header(card for card in header.cards if not _FURTHER.fullmatch(card.keyword))
    for keyword in [keyword for keyword in result if re.fullmatch('WCSAXES[A-Z]?', keyword)]:
        if _is_number(result[keyword]):
            result[keyword] = min(2, int(result[keyword]))
    for axis in range(3, 10):
        kind, value, unit = (header.get(f'{name}{axis}') for name in ('CTYPE', 'CRVAL', 'CUNIT'))
        if kind is not None and len(header) != len(result):
            result.add_history(
                f'Axis {axis} left out: {kind} = {"unknown" if value is None else value} {unit or ""}'.strip()
            )
    return result


def enlarged_header(header: fits.Header, factor: float, shape: tuple[int, ...]) -> fits.Header:
    """The header of a picture with pixels `factor` times smaller (`factor` below 1: larger) over the same sky.

    A pixel coordinate p (FITS counts from 1 at pixel centres, so the picture's edge is at 1/2) becomes
    s (p - 1/2) + 1/2. So, for the standard's coordinates and every alternate (A to Z):

        CRPIX' = s (CRPIX - 1/2) + 1/2      CD' = CD / s, or CDELT' = CDELT / s where there is no CD
        SIP A, B, AP, BP: A'_ij = A_ij s^(1 - i - j), A_DMAX' = s A_DMAX (Shupe et al. 2005, ASPC 347, 491)
        IRAF physical coordinates: LTM' = s LTM, LTV' = s (LTV - 1/2) + 1/2
        plate solutions of the Digitized Sky Survey: CNPIX' = s CNPIX, XPIXELSZ' = XPIXELSZ / s
        sizes of a pixel: XPIXSZ' = XPIXSZ / s, PIXSCALE, SECPIX and their kin too, numbers or text that begins with one
        areas of a pixel (JWST): PIXAR_SR' = PIXAR_SR / s^2, PIXAR_A2 too

    Polynomials in world units (PV, TNX and ZPX) hold as they are. Lookup tables (CPDIS, D2IMDIS) lie in further
    extensions and are left out; a HISTORY card says so, with the size of the correction where the header has it.
    Sections of the detector (CCDSEC, DATASEC and others) and the pattern of a mosaic are left out too.

    Args:
        header: not changed.
        factor: pixels of the new picture per old pixel, the same along both axes.
        shape: `[..., H, W]` of the new picture.

    Raises:
        UserError: a factor that is not positive, or a shape that is not the header's size times the factor.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise UserError(f'the factor of an enlarged picture must be above 0, not {factor}')
    height, width = shape[-2:]
    for keyword, new in (('NAXIS1', width), ('NAXIS2', height)):
        old = header.get(keyword)
        if old is not None and abs(old * factor - new) >= 1:
            raise UserError(f'{keyword} = {old} enlarged {factor:g} times is not {new}: the coordinates would be off')
    rules = _rules(factor)
    result = fits.Header()
    dropped = []
    for card in header.cards:
        if _LOOKUP.fullmatch(card.keyword):
            dropped.append(card)
        elif not _is_gone(card) and not re.fullmatch(r'NAXIS[0-9]*', card.keyword):
            value = _rescaled(card, rules, factor)
            result.append(card if value is None else (card.keyword, value, card.comment), end=True)
    for keyword, value in _implied(header, factor).items():
        result.append((keyword, value), end=True)
    result.insert(0, ('NAXIS', len(shape)))
    for axis, length in enumerate(reversed(shape), 1):
        result.insert(axis, (f'NAXIS{axis}', length))
    if dropped:
        errors = [card.value for card in dropped if re.match('CPERR|D2IMERR', card.keyword)]
        size = f', up to {max(errors):.2g} original pixels' if errors and all(map(_is_number, errors)) else ''
        result.add_history(f'Left out: lookup-table distortions of the WCS (CPDIS, D2IMDIS){size}')
    return result


def _rules(s: float) -> Rules:
    """What becomes of a card's number, by its keyword."""

    def edge(value: float, match: re.Match) -> float:
        return s * (value - 0.5) + 0.5

    def times(value: float, match: re.Match) -> float:
        return value * s

    def divided(value: float, match: re.Match) -> float:
        return value / s

    def sip(value: float, match: re.Match) -> float:
        return value * s ** (1 - int(match['i']) - int(match['j']))

    return [
        (_CRPIX, edge),
        (_CD, divided),
        (_CDELT, divided),
        (_SIP, sip),
        (re.compile('[AB]P?_DMAX'), times),
        (re.compile('LTV[12]'), edge),
        (re.compile('LTM[12]_[12]'), times),
        (re.compile('CNPIX[12]'), times),
        (re.compile('[XY]PIXELSZ'), divided),
        (_PIXEL_SIZE, divided),
        (re.compile('[XY]ORGSUBF|IMAGE[WH]'), times),
        (re.compile('PIXAR_(SR|A2)'), lambda value, match: value / s**2),  # JWST: a pixel's area on the sky
    ]


def _rescaled(card: fits.Card, rules: Rules, factor: float) -> Any:
    """The card's new value; None where it does not change."""
    for pattern, rule in rules:
        if not (match := pattern.fullmatch(card.keyword)) or _is_another_scale(card):
            continue
        if _is_number(card.value):
            return rule(float(card.value), match)
        if isinstance(card.value, str) and (number := _LEADING_NUMBER.match(card.value)):
            return f'{rule(float(number[0]), match):.12g}{card.value[number.end() :]}'
        return None
    if _is_number(card.value) and _PER_PIXEL.search(card.comment.lower()):
        return card.value / factor
    return None


def _is_gone(card: fits.Card) -> bool:
    return bool(
        _GONE.fullmatch(card.keyword) or (isinstance(card.value, str) and _SECTION.fullmatch(card.value.strip()))
    )


def _is_another_scale(card: fits.Card) -> bool:
    """Whether a scale is not that of pixels: of a plate (arc seconds per millimetre), or of the data values."""
    comment = card.comment.lower()
    if not _PIXEL_SIZE.fullmatch(card.keyword):
        return False
    of_data = card.keyword == 'SCALE' and comment and not re.search('arc|pix|sec|deg|"', comment)
    return bool(of_data or re.search('(/| per )(mm|millim)', comment))


def _implied(header: fits.Header, s: float) -> dict[str, float]:
    """Cards that the header leaves to their defaults, which no longer hold."""
    cards: dict[str, float] = {}
    for alternate in ('', *string.ascii_uppercase):

        def there(*patterns: re.Pattern, alternate: str = alternate) -> bool:
            matches = (pattern.fullmatch(keyword) for pattern in patterns for keyword in header)
            return any(match and match['alternate'] == alternate for match in matches)

        if there(_CRPIX, _PC) and not there(_CD):
            cards |= {f'CDELT{axis}{alternate}': 1 / s for axis in (1, 2)}
        if there(_CRPIX, _PC, _CD, _CDELT):
            cards |= {f'CRPIX{axis}{alternate}': 0.5 - 0.5 * s for axis in (1, 2)}
    if any(keyword in header for keyword in ('LTV1', 'LTV2', 'LTM1_1', 'LTM2_2')):
        cards |= {'LTV1': 0.5 - 0.5 * s, 'LTV2': 0.5 - 0.5 * s, 'LTM1_1': s, 'LTM2_2': s}
    return {keyword: value for keyword, value in cards.items() if keyword not in header}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
