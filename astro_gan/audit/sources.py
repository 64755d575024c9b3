"""Sources of an output, and what its input says at their places; images in units of the input's noise.

Sources are looked for with photutils' DAOFIND at several widths, from the narrowest that pixels show to that of the
input's stars: a star may come out as sharp as an enlargement makes it. What the input says at a place is the height of
a matched filter on it over that filter's noise, above the level around: the darker quarter of a ring (the middle would
be too high among stars), put right for noise.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from astro_gan.fidelity import find_sources
from astro_gan.inference.noise import tap

CLAIM = 4.0  # noise units: a peak of the output as high as this is a source
COUNTERPART = 3.0  # sigma: what the input shows at a place from here on is a counterpart
# Where it shows less, a source of the output has no counterpart if its height, or what of that is over the enlarged
# input, is the first of these at least, and the two the others (an output may have kept the input's noise or not) ...
_ALONE, _HEIGHT, EXCESS = 3.2, 2.0, 1.5  # noise units
# ... and if the output, made smaller again, shows that much more there than the input. A point as narrow and as high as
# this has so little light that the input could not show it; there it is enough that it does not show much more.
_MISSING = 0.5  # sigma
_POINT, _UNSEEN = 3.5, -1.0  # noise units, sigma
LOST = 5.0  # sigma over what is next to it: a source of the input that the output should show
_NARROWEST = (2.0, 1.2)  # pixels of the output, of the input: FWHM of the narrowest source
_STEP = 1.8  # widths lie in this ratio at most: between two of them a height comes out 20% low
_RING = (1.5, 3.0)  # FWHM around a place in which its level is taken
_PEAK = 2.0  # sigma over what is next to it: what that tells less of is no peak
_SAME = 0.7  # widths: what two filters find closer than this is one source
_RING_PIXELS = 200  # of a ring that are looked at, about
_QUARTER = 0.6745  # standard deviations that the quarter of Gaussian noise lies below its middle
_AT_A_TIME = 512  # sources whose pixels are held
_PER_SIGMA = math.sqrt(8 * math.log(2))


def output_widths(fwhm: float, factor: float) -> list[float]:
    """Widths of sources that are looked for in the output, FWHM in its pixels; `fwhm`: of the input's stars."""
    narrowest = _NARROWEST[0]
    widest = max(fwhm * factor, narrowest)
    steps = math.ceil(math.log(widest / narrowest) / math.log(_STEP) - 0.2)
    return [float(x) for x in np.geomspace(narrowest, widest, steps + 1)] if steps > 0 else [widest]


def input_widths(fwhm: float, factor: float) -> list[float]:
    """The same, as the input's pixels can show them."""
    return sorted({max(width / factor, _NARROWEST[1]) for width in output_widths(fwhm, factor)})


@functools.lru_cache(maxsize=64)
def _kernel(fwhm: float, local: bool) -> np.ndarray:
    """The filter whose sum with an image is the height of a Gaussian there, on level 0, or on any if `local`."""
    sigma = fwhm / _PER_SIGMA
    reach = max(2, round(2.5 * sigma))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    gauss = np.exp(-(y * y + x * x) / (2 * sigma**2))
    if local:
        inside = np.hypot(y, x) <= max(2.0, 1.5 * sigma)  # as DAOFIND
        gauss = np.where(inside, gauss - gauss[inside].mean(), 0)
        rim = (inside.shape[0] - inside.any(0).sum()) // 2
        gauss = gauss[rim : len(gauss) - rim, rim : len(gauss) - rim]
    return (gauss / np.square(gauss).sum()).astype(np.float32)


def filter_noise(fwhm: float, correlation: float, *, local: bool) -> float:
    """Standard deviation of what a filter gives on noise of 1 whose neighbours share `correlation`."""
    one = tap(correlation)
    seen = np.pad(_kernel(fwhm, local).astype(np.float64), 1)
    for axis in (0, 1):
        seen = ndimage.convolve1d(seen, np.array([one, 1, one]) / math.sqrt(1 + 2 * one**2), axis, mode='constant')
    return float(np.sqrt(np.square(seen).sum()))


def find(image: np.ndarray, detail: np.ndarray, widths: list[float], mask: np.ndarray | None) -> np.ndarray:
    """All that could be a source of an output at any of the widths, the same one several times (see `classify`).

    Args:
        image: `[H, W]`.
        detail: what it has over the enlarged input.
        mask: bool, pixels that hold no measurement.

    Returns:
        `[n, 5]`: row, column, height, height in the detail (the most within a pixel), width.
    """
    found = [np.empty((0, 5))]
    for width in widths:
        places, heights = find_sources(image, fwhm=width, threshold=_HEIGHT, mask=mask)
        found.append(np.column_stack([places, heights, _most(detail, places, width), np.full(len(places), width)]))
    rows = np.concatenate(found)
    return rows[(rows[:, 2] >= CLAIM) | _stands_out(rows)]


def _most(image: np.ndarray, places: np.ndarray, fwhm: float) -> np.ndarray:
    """What the local filter gives at places `[n, 2]`, the most within a pixel, `[n]`; the rest is not computed."""
    kernel = _kernel(fwhm, True)
    reach = len(kernel) // 2 + 1
    windows = _windows(image, reach, None)
    found = np.empty(len(places))
    for first in range(0, len(places), _AT_A_TIME):
        some = windows[_pixels(places[first : first + _AT_A_TIME], image.shape)]
        sums = [
            np.tensordot(some[:, y : y + len(kernel), x : x + len(kernel)], kernel) for y in range(3) for x in range(3)
        ]
        found[first : first + _AT_A_TIME] = np.max(sums, axis=0)
    return found


def _stands_out(found: np.ndarray) -> np.ndarray:
    height, excess = found[:, 2], found[:, 3]
    return (np.maximum(height, excess) >= _ALONE) & (height >= _HEIGHT) & (excess >= EXCESS)


def find_in_input(
    image: np.ndarray, errors: dict[float, float], correlation: float, mask: np.ndarray | None
) -> np.ndarray:
    """Sources of an input that are COUNTERPART sigma, `[n, 4]`: row, column, sigma, and over what is next to it."""
    found = [np.empty((0, 4))]
    for width in errors:
        noise = filter_noise(width, correlation, local=True)
        places, heights = find_sources(image, fwhm=width, threshold=_PEAK * noise, mask=mask)
        found.append(np.column_stack([places, heights / noise, np.full(len(places), width)]))
    rows = np.concatenate(found)
    rows = rows[_distinct(rows[:, :2], rows[:, 3], rows[:, 2])]
    sigmas = significance(image, rows[:, :2], errors)
    return np.column_stack([rows[:, :2], sigmas, rows[:, 2]])[sigmas >= COUNTERPART]


def filter_errors(widths: list[float], correlation: float) -> dict[float, float]:
    """How much noisier matched filters are than on white noise, by width."""
    return {
        width: filter_noise(width, correlation, local=False) / filter_noise(width, 0.0, local=False) for width in widths
    }


def significance(
    image: np.ndarray, places: np.ndarray, errors: dict[float, float], *, around: bool = True
) -> np.ndarray:
    """How many sigma an image `[h, w]` shows at places `[n, 2]`, the most of all widths, `[n]`.

    The filters stand on the places, not on their pixels: a narrow star between four pixels is in all of them.

    Args:
        errors: of `filter_errors`.
        around: over the level around it; otherwise over 0.
    """
    level = _level(image, places, max(*errors, 1.5)) if around and len(places) else np.zeros(len(places))
    best = np.full(len(places), -np.inf)
    for width, error in errors.items():
        reach = len(_kernel(width, False)) // 2
        windows, steps = _windows(image, reach, None), np.arange(-reach, reach + 1)
        for first in range(0, len(places), _AT_A_TIME):
            some = slice(first, first + _AT_A_TIME)
            middle = _pixels(places[some], image.shape)
            lines = [
                np.exp(-4 * math.log(2) / width**2 * np.square(at[:, None] + steps - places[some, axis, None]))
                for axis, at in enumerate(middle)
            ]
            norm = np.sqrt(np.square(lines[0]).sum(1) * np.square(lines[1]).sum(1))
            sums = np.einsum('nij,ni,nj->n', windows[middle], *lines)
            sums -= level[some] * lines[0].sum(1) * lines[1].sum(1)
            best[some] = np.maximum(best[some], sums / norm / error)
    return best


def _level(image: np.ndarray, places: np.ndarray, fwhm: float) -> np.ndarray:
    """What is around places, without what they are."""
    return np.quantile(ring(image, places, fwhm), 0.25, axis=1) + _QUARTER


def ring(image: np.ndarray, places: np.ndarray, fwhm: float) -> np.ndarray:
    """Pixels in a ring around each place, `[n, k]`; beyond the border its pixels are repeated."""
    reach = math.ceil(_RING[1] * fwhm)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(y, x)
    inside = (distance >= _RING[0] * fwhm) & (distance <= _RING[1] * fwhm)
    every = max(1, inside.sum() // _RING_PIXELS)
    rows, columns = _pixels(places, image.shape)
    rows = np.clip(rows[:, None] + y[inside][::every], 0, image.shape[0] - 1)
    return image[rows, np.clip(columns[:, None] + x[inside][::every], 0, image.shape[1] - 1)]


def flux(image: np.ndarray, missing: np.ndarray, places: np.ndarray, radius: float) -> np.ndarray:
    """Sums in circles less what is around them (the median of a ring from 1.5 to 3 radii), `[n]`.

    Pixels on a circle count by how far they lie within it; those that are missing count as what is around.
    """
    reach = math.ceil(radius) + 1
    known = np.where(missing, np.float32(np.nan), image)
    windows = _windows(known, reach, np.nan)
    steps = np.arange(-reach, reach + 1)
    found = np.empty(len(places))
    for first in range(0, len(places), _AT_A_TIME):
        some = places[first : first + _AT_A_TIME]
        middle = _pixels(some, image.shape)
        dy, dx = (np.square(at[:, None] + steps - some[:, axis, None]) for axis, at in enumerate(middle))
        share = np.clip(radius + 0.5 - np.sqrt(dy[:, :, None] + dx[:, None, :]), 0, 1)
        around = ring(known, some, radius)
        around[np.isnan(around).all(1)] = 0
        over = np.nan_to_num(windows[middle] - np.nanmedian(around, axis=1)[:, None, None])
        area = share.sum((1, 2))  # of what should be a circle
        found[first : first + _AT_A_TIME] = math.pi * radius**2 / area * np.einsum('nij,nij->n', share, over)
    return found


def _windows(image: np.ndarray, reach: int, beyond: float | None) -> np.ndarray:
    """Pixels around every pixel, a view `[h, w, k, k]`; beyond the border `beyond`, or what is nearest."""
    options: dict[str, Any] = {'mode': 'edge'} if beyond is None else {'constant_values': beyond}
    return np.lib.stride_tricks.sliding_window_view(np.pad(image, reach, **options), (2 * reach + 1,) * 2)


def classify(found: np.ndarray, sigmas: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """One row for each source of an output: what the input does not bear out first, then the highest.

    Args:
        found: of `find`.
        sigmas: `[n]`, what the input shows at the places.
        missing: `[n]`, how many sigma more the output shows there, made smaller again.

    Returns:
        `[m, 6]`: row, column, height, height in the detail, sigma in the input, 1 where it has no counterpart.
    """
    height, _, width = found[:, 2:].T
    alone = _stands_out(found) & (sigmas < COUNTERPART)
    point = (width <= 1.1 * _NARROWEST[0]) & (height >= _POINT) & (missing >= _UNSEEN)
    alone &= point | (missing >= _MISSING)
    chosen = alone | (found[:, 2] >= CLAIM)
    rows = np.column_stack([found[:, :4], sigmas, alone])[chosen]
    # What has no counterpart at one width is without it, whatever noise peak beside it has one.
    return rows[_distinct(rows[:, :2], found[chosen, 4], rows[:, 2] + 1e6 * rows[:, 5])]


def _distinct(places: np.ndarray, widths: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Indices of those of the highest rank where several stand closer than 0.7 of the larger width."""
    if not len(places):
        return np.empty(0, int)
    pairs = cKDTree(places).query_pairs(_SAME * widths.max(), output_type='ndarray')
    apart = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    near: dict[int, list[int]] = {}
    for one, other in pairs[apart < _SAME * widths[pairs].max(1)].tolist():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    free = np.ones(len(places), bool)
    kept = []
    for index in np.argsort(-ranks, kind='stable'):
        if free[index]:
            kept.append(index)
            free[near.get(index, [])] = False
    return np.array(kept, int)


def _pixels(places: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.clip(np.round(places).astype(int), 0, np.array(shape) - 1).T
    return y, x
