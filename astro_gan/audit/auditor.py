"""What an output has that its input has not: maps, sources, numbers; of any tool's output.

    found = audit(open_pair('m51.png', 'out/m51.png'))
    found.summary['line']       # '3 of 412 sources have no counterpart in the input at 3 sigma'

Everything is in units of the input's noise. Work is done in bands of rows, so that little more than the maps is held.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from astro_gan.audit import sources
from astro_gan.audit.align import Pair
from astro_gan.audit.planes import new_plane
from astro_gan.audit.reobserve import between, columns, larger, row_of, smaller
from astro_gan.errors import UserError
from astro_gan.fidelity import match, saturated
from astro_gan.inference.measure import Measured, Mesh, measure

KINDS = ('added', 'lost', 'moved', 'kept')
DARK = 10.0  # noise units: pixels that the chi-square counts, as brighter ones have more noise than the sky
LARGE = 5.0  # noise units
HIGH = 10.0  # noise units: peaks that nobody overlooks
ASSUMED = 2.5  # pixels: FWHM where nothing tells
_MOVED = 0.5  # pixels of the input, and three times the error of a place: further than that a source has moved
_LEFT = 0.3  # of its flux: a source of the input that keeps less is lost
_BAND = 2e6  # pixels of the output at a time
_ROOM = 3.0  # FWHM around a source that is looked at, and the reach of filters


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What was found.

    Attributes:
        pair: input and output.
        residual: the output at the input's size less the input, in units of its noise, float32 `[h, w]`.
        detail: the output less the bicubically enlarged input, in units of the noise, float32 `[H, W]`.
        sources: of the output and the input, a dict of columns: 'x', 'y' (pixels of the output, from 0), 'kind' (one of
            KINDS), 'snr_in_input', 'flux_before', 'flux_after' (in a circle of one FWHM, over what is around it, in the
            input's unit), 'height' (of the output's peak, noise units; 0 of those lost).
        summary: numbers, as JSON has them.
        origin: where the colours of the input's pixels come from, in the output's order of rows: numbers of
            `inference.guides.ORIGINS`, uint8 `[h, w]`; None where that is not known.
    """

    pair: Pair
    residual: np.ndarray
    detail: np.ndarray
    sources: dict[str, np.ndarray]
    summary: dict[str, Any]
    origin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """What was measured of the input, and how the output is made smaller."""

    sky: Mesh
    noise: Mesh
    floor: float
    fwhm: float
    correlation: float
    saturation: float
    sigma: float | None
    words: list[str]

    def units(self, values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the input: sky and noise, both float32 `[n, w]`."""
        place = (top, 0, *values.shape)
        return self.sky.window(*place), np.maximum(self.noise.window(*place), np.float32(self.floor))


def audit(
    pair: Pair,
    *,
    kernel: float | None = None,
    noise: float | None = None,
    fwhm: float | None = None,
) -> Audit:
    """Compare an output with its input.

    Args:
        kernel: FWHM, in pixels of the input, of the Gaussian that takes the output's PSF to the input's; 0: antialiased
            bicubic resampling, whatever made the output. None: the Gaussian, where the output is known to have been
            made by a model for frames, else bicubic resampling.
        noise: standard deviation of a pixel of the input, in its unit (pictures: levels of 255); None: measured.
        fwhm: of the input's stars, in its pixels; None: measured.

    Raises:
        UserError: there is nothing to measure; one line.
    """
    look = _look(pair, kernel, noise, fwhm)
    height, width = pair.input.shape
    residual = new_plane(height, width)
    detail = new_plane(pair.after.height, pair.after.width)
    detail[: row_of(pair, 0)] = np.nan
    detail[row_of(pair, height) :] = np.nan
    found, theirs = [], []
    rows = max(32, math.ceil(_BAND / max(1, pair.after.width) / pair.alignment.scale[0]))
    for top in range(0, height, rows):
        ours, input_sources = _band(pair, look, top, min(rows, height - top), residual, detail)
        found.append(ours)
        theirs.append(input_sources)
    table = _table(pair, look, np.concatenate(found), np.concatenate(theirs))
    return Audit(pair, residual, detail, table, _summary(pair, look, residual, detail, table))


def _look(pair: Pair, kernel: float | None, noise: float | None, fwhm: float | None) -> _Look:
    levels = pair.after.levels and min(pair.before.levels or pair.after.levels, pair.after.levels)
    floor = 255 / (levels - 1) / math.sqrt(12) if levels else 0.0
    words = []
    measured: Measured | None = None
    try:
        measured = measure(pair.input, noise=noise, fwhm=fwhm)
    except ValueError as error:
        if not floor and noise is None:
            raise UserError(f'{pair.before.path}: {error}; --noise says how much there is') from None
    shape = pair.input.shape
    if measured is None:
        flat = np.full((1, 1), float(np.nanmedian(pair.input[:: max(1, shape[0] // 512)])))
        sky, own = Mesh(flat, shape), Mesh(np.full((1, 1), noise or 0.0), shape)
        correlation, width, full = 0.0, fwhm or ASSUMED, None
    else:
        sky, own, full = measured.sky, measured.noise, measured.saturation
        correlation, width = measured.correlation.value, measured.fwhm.value
        words += [line for line in measured.lines() if not line.startswith('sky')]
    if floor and float(np.median(own.values)) < floor:
        words.append(
            f'less noise than the rounding of {levels} levels: {floor:.2g} levels of 255 are taken, and what is said '
            'in sigma is in units of that'
        )
    if levels:
        full = min(254.0, full) if full else 254.0
    factor = pair.alignment.factor
    if kernel is None:
        sigma = between(pair.after.header, factor) if pair.is_frame else None
    else:
        sigma = kernel * factor / math.sqrt(8 * math.log(2)) or None
    kind = 'antialiased bicubic resampling' if sigma is None else f'a Gaussian of {2.3548 * sigma / factor:.3g} px FWHM'
    words.append(f'made smaller again by {kind}')
    return _Look(sky, own, floor, width, float(np.clip(correlation, 0, 0.7)), full or math.inf, sigma, words)


def _band(
    pair: Pair, look: _Look, top: int, count: int, residual: np.ndarray, detail: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill rows of the maps; the sources of the output and the input in them, with places in pixels of both files.

    Returns:
        `[n, 8]`: row, column (output), height, excess, sigma, no counterpart, flux before, flux after; `[m, 6]`: row,
        column (input), sigma, sigma over what is next to it, flux before, flux after.
    """
    scale, factor = pair.alignment.scale, pair.alignment.factor
    margin = math.ceil(_ROOM * max(look.fwhm, 2.0)) + 6
    first, last = max(0, top - margin), min(pair.input.shape[0], top + count + margin)
    values = np.asarray(pair.input[first:last])
    sky, noise = look.units(values, first)
    missing = ~np.isfinite(values)
    z = np.where(missing, 0, (values - sky) / noise)
    difference = (smaller(pair, first, last - first, look.sigma) - values) / noise
    residual[top : top + count] = difference[top - first : top - first + count]
    start, stop = row_of(pair, first), row_of(pair, last)
    left, right = columns(pair)

    def up(plane: np.ndarray) -> np.ndarray:
        return larger(plane, pair, first, start, stop - start)

    output = pair.after.rows(start, stop - start)[:, left:right]
    shown = (output - up(sky)) / up(noise)
    added = shown - up(z)
    unusable = ~np.isfinite(shown)
    if missing.any():
        unusable |= up(ndimage.binary_dilation(missing, iterations=2).astype(np.float32)) > 0.01
    added[unusable] = np.nan
    own = slice(row_of(pair, top) - start, row_of(pair, top + count) - start)
    detail[start + own.start : start + own.stop] = np.nan
    detail[start + own.start : start + own.stop, left:right] = added[own]

    full = saturated(np.nan_to_num(values, nan=-np.inf), look.saturation) | missing
    mask = unusable | (up(full.astype(np.float32)) > 0.01)
    if pair.after.levels:
        mask |= saturated(np.nan_to_num(output), look.saturation)
    shown, added = (np.nan_to_num(plane, nan=0.0, posinf=0, neginf=0) for plane in (shown, added))
    widths, input_widths = sources.output_widths(look.fwhm, factor), sources.input_widths(look.fwhm, factor)

    found = sources.find(shown, added, widths, mask)
    at = _to_input(pair, found[:, :2], start, left) - (first, 0)
    errors = sources.filter_errors(input_widths, look.correlation)
    more = sources.significance(np.nan_to_num(difference), at, errors, around=False)
    rows = sources.classify(found, sources.significance(z, at, errors), more)
    theirs = sources.find_in_input(z, errors, look.correlation, full)

    here, there = _to_input(pair, rows[:, :2], start, left) - (first, 0), theirs[:, :2]
    size = 1 / (scale[0] * scale[1])
    fluxes = [
        (
            sources.flux(values, missing, here, look.fwhm),
            size * sources.flux(output, unusable, rows[:, :2], look.fwhm * factor),
        ),
        (
            sources.flux(values, missing, there, look.fwhm),
            size
            * sources.flux(output, unusable, _to_output(pair, there + (first, 0), start, left), look.fwhm * factor),
        ),
    ]
    ours = np.column_stack([rows, *fluxes[0]])
    theirs = np.column_stack([theirs, *fluxes[1]])
    inside = (ours[:, 0] > own.start - 0.5) & (ours[:, 0] <= own.stop - 0.5)
    ours = ours[inside]
    ours[:, :2] += (start, left)
    theirs = theirs[(theirs[:, 0] > top - first - 0.5) & (theirs[:, 0] <= top - first + count - 0.5)]
    theirs[:, 0] += first
    return ours, theirs


def _to_input(pair: Pair, places: np.ndarray, start: int, left: int) -> np.ndarray:
    return pair.alignment.to_input(places + (start, left))


def _to_output(pair: Pair, places: np.ndarray, start: int, left: int) -> np.ndarray:
    return pair.alignment.to_output(places) - (start, left)


def _table(pair: Pair, look: _Look, ours: np.ndarray, theirs: np.ndarray) -> dict[str, np.ndarray]:
    """Sources matched one to one; the columns of `Audit.sources`."""
    alone = ours[:, 5] > 0
    at = pair.alignment.to_input(ours[:, :2])
    radius = max(1.5, look.fwhm)
    # A source of the input whose light is gone is no partner: what is found there is another one, or noise.
    before, after = theirs[:, 4], theirs[:, 5]
    there = (before <= 0) | (after > _LEFT * before) | (theirs[:, 3] < sources.LOST)
    partner = np.full(len(ours), -1)
    partner[~alone] = match(at[~alone], np.where(there[:, None], theirs[:, :2], -1e9), radius)
    kinds = np.full(len(ours), 'kept', dtype='<U5')
    has = partner >= 0
    apart = np.zeros(len(ours))
    apart[has] = np.hypot(*(at[has] - theirs[partner[has], :2]).T)
    error = 3 * look.fwhm / 2.3548 / np.maximum(ours[:, 4], 1)
    kinds[has & (apart > np.maximum(_MOVED, error))] = 'moved'
    # Without a partner, but as high in the enlarged input: the input has it too.
    kinds[alone | (~has & (ours[:, 3] >= sources.EXCESS))] = 'added'
    lost = theirs[~there]
    places = np.concatenate([ours[:, :2], pair.alignment.to_output(lost[:, :2])])
    columns = {
        'y': places[:, 0],
        'x': places[:, 1],
        'kind': np.concatenate([kinds, np.full(len(lost), 'lost', dtype='<U5')]),
        'snr_in_input': np.concatenate([ours[:, 4], lost[:, 2]]),
        'height': np.concatenate([ours[:, 2], np.zeros(len(lost))]),
        'flux_before': np.concatenate([ours[:, 6], lost[:, 4]]),
        'flux_after': np.concatenate([ours[:, 7], lost[:, 5]]),
    }
    rank = np.array([KINDS.index(kind) for kind in columns['kind']], int)
    order = np.lexsort((columns['x'], columns['y'], rank))
    names = ('x', 'y', 'kind', 'snr_in_input', 'flux_before', 'flux_after', 'height')
    return {name: columns[name][order] for name in names}


def without_counterpart(table: dict[str, np.ndarray]) -> np.ndarray:
    """Which sources the output shows and the input does not, bool `[n]`."""
    return (table['kind'] == 'added') & (table['snr_in_input'] < sources.COUNTERPART)


def _summary(
    pair: Pair, look: _Look, residual: np.ndarray, detail: np.ndarray, table: dict[str, np.ndarray]
) -> dict[str, Any]:
    total = count = beyond = within = 0
    square = biggest = 0.0
    for top in range(0, len(residual), 512):
        chi = np.asarray(residual[top : top + 512])
        values = np.asarray(pair.input[top : top + 512])
        sky, noise = look.units(values, top)
        counted = np.isfinite(chi)
        within += int(counted.sum())
        biggest = max(biggest, float(np.abs(chi * noise)[counted].max(initial=0)))
        counted &= (values - sky) / noise < DARK
        small = counted & (np.abs(chi) < LARGE)
        square += float(np.square(chi[small], dtype=np.float64).sum())
        total += int(counted.sum())
        count += int(small.sum())
    beyond = total - count
    parts = (detail[top : top + 512] for top in range(0, len(detail), 512))
    squares = [(np.square(part[np.isfinite(part)], dtype=np.float64).sum(), np.isfinite(part).sum()) for part in parts]
    detail_square, detail_count = np.sum(squares, axis=0)
    kinds = {kind: int((table['kind'] == kind).sum()) for kind in KINDS}
    alone = without_counterpart(table)
    lonely, high = int(alone.sum()), int((alone & (table['height'] > HIGH)).sum())
    seen = sum(kinds.values()) - kinds['lost']
    line = (
        f'{lonely} of {seen} sources {"has" if lonely == 1 else "have"} no counterpart in the input at '
        f'{sources.COUNTERPART:g} sigma' + (f', {high} of these over {HIGH:g} times the noise' if high else '')
    )
    if pair.alignment.factor == 1 and pair.after.levels:
        line = f'brightness kept to {biggest:.2g} levels of 255; {line}'
    return {
        'line': line,
        'sources': seen,
        'without_counterpart': lonely,
        'without_counterpart_high': high,
        **kinds,
        'chi_square': _rounded(square / count) if count else None,
        'beyond_5_sigma': _rounded(beyond / total) if total else None,
        'largest_difference': _rounded(biggest),
        'added_detail': _rounded(math.sqrt(detail_square / detail_count)) if detail_count else None,
        'factor': _rounded(pair.alignment.factor),
        'aligned_by': pair.alignment.by,
        'noise': _rounded(max(look.floor, float(np.median(look.noise.values)))),
        'unit': pair.after.unit,
        'fwhm': _rounded(look.fwhm),
        'pixels': within,
        'notes': [*pair.notes, *look.words],
    }


def _rounded(value: float) -> float:
    return float(f'{value:.5g}')
