"""How wide a star is: from a frame's own stars, those that are bright, alone and not saturated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from scipy import ndimage, optimize, sparse
from scipy.spatial import cKDTree

from astro_gan.fidelity import find_sources
from astro_gan.noise_units import REACHES, TYPICAL

ASSUMED = 2.5  # pixels: where nothing tells
_SEARCH = 2.5  # pixels: FWHM for which sources are looked for
_BRIGHT = (30.0, 12.0)  # noise units: heights of sources that are fitted; the lower if there are too few
_REACH = 12  # pixels around a source that are cut out
_LIGHT = (0.05, 0.15)  # of the height: neighbours' heights together, of stars whose light is measured around them
_ALONE = (10.0, 5.0)  # pixels to the next source of a tenth of the height or more; the smaller if there are too few
_MOST = 100  # sources that are fitted
_NARROWEST = 0.9  # pixels: what is narrower is a cosmic ray or a hot pixel
_ROUND = 0.6  # 1 - minor / major of stars at most: bad tracking draws them out, cosmic rays are longer still
_LIKE, _CLOSE = 1.2, 1.07  # widths of stars in one frame lie within these ratios: nearly all, and most of them
_FEWEST = 8  # stars that are believed: fewer galaxies can be alike by chance
_JOINT = 50  # stars, the brightest, that are fitted together


def width(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, str]:
    """FWHM of a star in pixels, as the pixels show it, its standard error, and what it was taken from.

    Args:
        parts: of the frame: values in units of the noise above the sky `[h, w]`, and which of them are not to be used.
    """
    parts = list(parts)
    for apart in _ALONE:
        cutouts = _cutouts(parts, apart)
        if len(cutouts) >= _FEWEST:
            break
    fits = [(fit, cutout) for cutout in cutouts if (fit := fit_gaussian(cutout)) is not None]
    fits = [(fit, cutout) for fit, cutout in fits if fit[0] >= _NARROWEST]
    if not fits:
        return ASSUMED, ASSUMED / 2, 'assumed: no source is bright enough and alone'
    widths = np.array([fit[0] for fit, _ in fits])
    alike = np.array([fit[1] <= _ROUND for fit, _ in fits])
    closest = _most_common(widths, alike, _CLOSE)
    alike &= _most_common(widths, alike, _LIKE)
    # Galaxies are of all widths; so are stars that are narrower than their pixels, as far as one fit can tell.
    stars = alike.sum() >= max(_FEWEST, 0.3 * len(fits))
    if not stars or (np.median(widths[alike]) > 1.8 and (alike & closest).sum() < 0.55 * alike.sum()):
        narrow = float(np.quantile(widths, 0.1))
        return narrow, 0.3 * narrow, f'the narrowest of {len(fits)} sources; none are alike as stars are'
    chosen = [pair for pair, star in zip(fits, alike, strict=True) if star][:_JOINT]
    value = _profile_width(chosen, float(np.median(widths[alike])))
    count = int(alike.sum())
    error = math.hypot(0.02 * value, float(widths[alike].std()) / math.sqrt(count))
    return value, error, f'{count} stars'


def _cutouts(parts: Sequence[tuple[np.ndarray, np.ndarray]], apart: float) -> list[np.ndarray]:
    """The brightest sources that stand alone, `[25, 25]` each, NaN where a pixel is not to be used."""
    found: list[tuple[float, np.ndarray]] = []
    for z, unusable in parts:
        if min(z.shape) <= 2 * _REACH:
            continue
        spoiled = ndimage.binary_dilation(unusable, iterations=3)
        places, heights = find_sources(z, fwhm=_SEARCH, threshold=5.0, mask=unusable)
        if not len(places):
            continue
        tree, usable = cKDTree(places), np.where(unusable, np.nan, z)
        for index in np.argsort(-heights):
            y, x = np.round(places[index]).astype(int)
            inside = _REACH <= y < z.shape[0] - _REACH and _REACH <= x < z.shape[1] - _REACH
            if heights[index] < _BRIGHT[1] or not inside or spoiled[y, x]:
                continue
            near = [i for i in tree.query_ball_point(places[index], apart) if i != index]
            if near and heights[near].max() > 0.1 * heights[index]:
                continue
            cutout = usable[y - _REACH : y + _REACH + 1, x - _REACH : x + _REACH + 1]
            found.append((float(heights[index]), cutout))
    found.sort(key=lambda pair: -pair[0])
    bright = [cutout for height, cutout in found if height >= _BRIGHT[0]]
    return (bright if len(bright) >= _FEWEST else [cutout for _, cutout in found])[:_MOST]


def concentration(parts: Iterable[tuple[np.ndarray, np.ndarray]], fwhm: float) -> tuple[float, float, str]:
    """Share of a star's light within 3 FWHM that is within 1 FWHM, its standard error, and what it was taken from.

    Args:
        parts: see `width`.
        fwhm: pixels.
    """
    parts = list(parts)
    for lowest, most in zip(_BRIGHT, _LIGHT, strict=True):
        found = sorted(_shares(parts, fwhm, lowest, most), reverse=True)[:_JOINT]
        if len(found) >= 3:
            break
    else:
        return TYPICAL, 0.1, 'assumed: too few stars are bright enough and alone'
    values, errors = np.array([row[1:] for row in found]).T
    middle = float(np.median(values))
    weights = 1 / (np.square(errors) + 0.03**2)
    weights *= np.abs(values - middle) < 3 * max(1.4826 * float(np.median(np.abs(values - middle))), 0.02)
    value = float((weights * values).sum() / weights.sum())
    error = max(math.sqrt(1 / weights.sum()), float(np.std(values[weights > 0])) / math.sqrt((weights > 0).sum()))
    return value, error, f'{int((weights > 0).sum())} stars'


def _shares(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], fwhm: float, lowest: float, most: float
) -> Iterator[tuple[float, float, float]]:
    """Height, share, and its error, of stars of such a height with at most so much light of others beside them."""
    reach = math.ceil((REACHES[1] + 1) * fwhm) + 1
    for z, unusable in parts:
        if min(z.shape) <= 2 * reach:
            continue
        places, heights = find_sources(z, fwhm=max(fwhm, 1.2), threshold=5.0, mask=unusable)
        tree = cKDTree(places)
        for index in np.argsort(-heights)[:_MOST]:
            inside = (places[index] > reach) & (places[index] < np.array(z.shape) - 1 - reach)
            near = [i for i in tree.query_ball_point(places[index], (REACHES[1] + 1) * fwhm) if i != index]
            if heights[index] >= lowest and inside.all() and heights[near].sum() < most * heights[index]:
                share, error = _share(z, unusable, places[index], fwhm)
                if math.isfinite(share):
                    yield float(heights[index]), share, error


def _share(z: np.ndarray, unusable: np.ndarray, place: np.ndarray, fwhm: float) -> tuple[float, float]:
    """Of one star, with the error that the noise gives it; NaN where a pixel is missing."""
    from photutils.aperture import CircularAperture

    reach = math.ceil((REACHES[1] + 1) * fwhm) + 1
    y, x = np.round(place).astype(int)
    cut = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
    values, (dy, dx) = z[cut], place - (y, x)
    if unusable[cut].any():
        return math.nan, math.nan
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(rows - dy, columns - dx) / fwhm
    around = values[(distance > REACHES[1]) & (distance < REACHES[1] + 1)]
    values = values - float(np.median(around))
    apertures = [CircularAperture((reach + dx, reach + dy), radius * fwhm) for radius in REACHES]
    inner, outer = (float(aperture.do_photometry(values)[0][0]) for aperture in apertures)
    error = math.sqrt(apertures[1].area * (1 + apertures[1].area / len(around)))
    return (inner / outer, error / outer) if outer > 5 * error else (math.nan, math.nan)


def fit_gaussian(cutout: np.ndarray) -> tuple[float, float, float, float, float] | None:
    """Fit a Gaussian to the core of a source, on the level of what is around it.

    Args:
        cutout: `[n, n]`, the source in its middle; NaN where a pixel is not to be used.

    Returns:
        FWHM, 1 - minor / major (0 below 1.5 pixels, where so few pixels do not tell), row and column from the middle,
        height; None where no Gaussian fits.
    """
    reach = len(cutout) // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    good = np.isfinite(cutout)
    if not good[reach - 1 : reach + 2, reach - 1 : reach + 2].all():
        return None
    values = cutout - _level(cutout)
    height = float(values[reach - 1 : reach + 2, reach - 1 : reach + 2].max())
    # A first width from how many pixels are above half the height, in one piece.
    piece = ndimage.label(good & (values > height / 2))[0]
    start = (
        max(1.0, math.sqrt(4 / math.pi * float((piece == piece[reach, reach]).sum()))) if piece[reach, reach] else 1.0
    )
    core = good & (np.hypot(y, x) <= min(reach, max(1.6, 1.2 * start)))
    ys, xs, values = y[core], x[core], values[core]

    def circle(p: np.ndarray) -> np.ndarray:
        return p[0] * np.exp(-np.exp(p[3]) * (np.square(ys - p[1]) + np.square(xs - p[2]))) - values

    def ellipse(p: np.ndarray) -> np.ndarray:
        u, v = ys - p[1], xs - p[2]
        return p[0] * np.exp(-np.exp(p[3]) * u * u - np.exp(p[4]) * v * v - p[5] * u * v) - values

    fit = _least_squares(circle, (height, 0, 0, math.log(4 * math.log(2) / start**2)))
    if fit is None or fit[0] <= 0 or np.hypot(*fit[1:3]) > 1.5:
        return None
    flattening, fwhm = 0.0, math.sqrt(4 * math.log(2)) * math.exp(-fit[3] / 2)
    if 1.5 <= fwhm <= 2 * reach:
        long = _least_squares(ellipse, (*fit, fit[3], 0))
        if long is None:
            return None
        a, b, c = math.exp(min(long[3], 50)), math.exp(min(long[4], 50)), long[5]
        middle, apart = (a + b) / 2, math.hypot((a - b) / 2, c / 2)
        flattening = 1 - math.sqrt(max(0.0, middle - apart) / (middle + apart))
    return (fwhm, flattening, float(fit[1]), float(fit[2]), float(fit[0])) if fwhm <= 2 * reach else None


def _level(cutout: np.ndarray) -> float:
    """Of what is around a source: in its fit a Gaussian would take the first ring of an Airy disk for it."""
    reach = len(cutout) // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    outside = cutout[np.isfinite(cutout) & (np.hypot(y, x) > 0.8 * reach)]
    return float(np.median(outside)) if outside.size else 0.0


def _least_squares(residual: Callable[[np.ndarray], np.ndarray], start: Sequence[float]) -> np.ndarray | None:
    with np.errstate(over='ignore', invalid='ignore'):
        try:
            fit = optimize.least_squares(residual, start, method='lm', max_nfev=200)
        except ValueError:  # not finite, or fewer pixels than parameters
            return None
    return fit.x if fit.success else None


def _most_common(widths: np.ndarray, allowed: np.ndarray, ratio: float) -> np.ndarray:
    """Which widths lie in the window of that ratio that holds the most of those allowed; the narrowest such one."""
    ordered = np.sort(widths[allowed])
    if not len(ordered):
        return np.zeros(len(widths), bool)
    counts = np.searchsorted(ordered, ratio * ordered, side='right') - np.arange(len(ordered))
    start = ordered[int(np.argmax(counts))]
    return (widths >= start) & (widths <= ratio * start)


def _profile_width(fits: Sequence[tuple[tuple[float, ...], np.ndarray]], typical: float) -> float:
    """FWHM of the Moffat profile that fits the cores of all stars together, each at a place of its own.

    One star that is narrower than its pixels does not tell its width; many at different places between the pixels do.
    """
    reach = max(2, math.ceil(typical))
    middle = len(fits[0][1]) // 2
    inner = slice(middle - reach, middle + reach + 1)
    values = np.stack([(cutout[inner, inner] - _level(cutout)) / fit[4] for fit, cutout in fits])
    places = np.array([fit[2:4] for fit, _ in fits])
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    core = np.isfinite(values) & (np.hypot(y - places[:, :1, None], x - places[:, 1:, None]) <= max(1.6, 0.9 * typical))
    values = np.where(core, values, 0)

    def residual(p: np.ndarray) -> np.ndarray:
        rows, columns = p[2:].reshape(2, -1, 1, 1)
        square = (np.square(y - rows) + np.square(x - columns)) * 4 / np.square(p[0])
        profile = core * (1 + square * (2 ** (1 / p[1]) - 1)) ** -p[1]
        height = (profile * values).sum((1, 2)) / np.square(profile).sum((1, 2))
        return (height[:, None, None] * profile - values).ravel()

    bounds = (np.r_[0.5 * typical, 2.5, places.T.ravel() - 0.7], np.r_[2 * typical, 50, places.T.ravel() + 0.7])
    start = np.r_[typical, 5.0, places.T.ravel()]
    pixels = values[0].size  # a star's own place does nothing to the others
    own = sparse.kron(sparse.eye_array(len(fits)), np.ones((pixels, 1)))
    depends = sparse.hstack([np.ones((len(fits) * pixels, 2)), own, own])
    options = {'loss': 'soft_l1', 'f_scale': 0.05, 'max_nfev': 30, 'jac_sparsity': depends}
    fit = optimize.least_squares(residual, start, bounds=bounds, **options)
    return float(fit.x[0])
