"""Measures of frames whose truth is known: what is found and invented; whether flux, place, width, shape are kept.

Frames and outputs are in units of the input's noise; places `[n, 2]` (row, column) in pixels of the input, of pixel
centres, from 0. One record (a dict of arrays) stands for one picture; statistics are of many, for
`astro_gan.fidelity.interval`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from astro_gan.fidelity import find_sources, match, unrelated
from astro_gan.inference.stars import fit_gaussian

PURITY = 0.95  # share of the detections that have to be real
BINS = ((3.0, 5.0), (5.0, 10.0), (10.0, 30.0), (30.0, math.inf))  # sigma of a star measured with its PSF
LOWEST = 1.5  # noise units: heights from which detections are kept to choose a threshold among
REAL = 2.0  # sigma: from here on a star of the truth makes a detection real
PAIRS = (0.7, 1.5)  # FWHM between the stars of a close pair
_PAIR_RATIO = 3.0  # of their fluxes at most
_ALONE = 3.0  # FWHM to the next star that counts, for fluxes and widths
Record = dict[str, Any]


def to_output(places: np.ndarray, factor: int) -> np.ndarray:
    """Places of the input as places of an output that is `factor` times larger."""
    return (places + 0.5) * factor - 0.5


def detections(
    output: np.ndarray,
    places: np.ndarray,
    sigmas: np.ndarray,
    *,
    factor: int,
    fwhm: float,
    seen: float,
    others: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Record:
    """What a finder sees in an output, matched one to one with the stars of the truth.

    Args:
        output: `[f h, f w]`.
        places, sigmas: of the stars, and how many sigma each is.
        factor: of the output.
        fwhm: of the input's stars, pixels of the input; matches lie within half of it.
        seen: FWHM that is looked for, pixels of the output.
        others: places of what is real and no star: galaxies, cosmic rays of the scene.
        mask: bool `[f h, f w]`, pixels that do not count.

    Returns:
        'height' `[n]`, 'real' and 'chance' bool `[n]` of the detections ('chance': a match half the picture away);
        'sigmas' `[m]`, 'seen' `[m]` (height of a star's detection, -inf without one), 'offset' `[m]` (pixels of the
        input, NaN without one), 'pair' int `[m]` (the partner in a close pair, or -1) of the stars.
    """
    found, heights = find_sources(output, fwhm=seen, threshold=LOWEST, mask=mask)
    found = (found + 0.5) / factor - 0.5
    keep = sigmas >= REAL
    if mask is not None:
        rows, columns = np.clip(np.round(to_output(places, factor)).astype(int), 0, np.array(mask.shape) - 1).T
        keep &= ~mask[rows, columns]
    places, sigmas = places[keep], sigmas[keep]
    shape = (output.shape[0] // factor, output.shape[1] // factor)
    partner = match(places, found, 0.5 * fwhm)
    real = np.zeros(len(found), bool)
    real[partner[partner >= 0]] = True
    if others is not None and len(others) and len(found):
        real |= np.isfinite(cKDTree(others).query(found, distance_upper_bound=1.5 * fwhm)[0])
    lost = np.full(len(places), np.nan)
    has = partner >= 0
    lost[has] = np.hypot(*(found[partner[has]] - places[has]).T)
    return {
        'height': heights,
        'real': real,
        'chance': match(unrelated(found, shape), places, 0.5 * fwhm) >= 0,
        'sigmas': sigmas,
        'seen': np.where(has, heights[partner], -np.inf) if len(heights) else np.full(len(places), -np.inf),
        'offset': lost,
        'pair': _pairs(places, sigmas, fwhm),
    }


def _pairs(places: np.ndarray, sigmas: np.ndarray, fwhm: float) -> np.ndarray:
    """The partner of every star in a close pair of similar stars over 10 sigma, with no third one near; or -1."""
    partner = np.full(len(places), -1)
    bright = np.flatnonzero(sigmas >= 5)
    if len(bright) < 2:
        return partner
    tree = cKDTree(places[bright])
    for index, near in enumerate(tree.query_ball_point(places[bright], 2.5 * fwhm)):
        one = bright[index]
        rest = [bright[i] for i in near if i != index]
        if len(rest) != 1 or min(sigmas[one], sigmas[rest[0]]) < 10:
            continue
        apart = float(np.hypot(*(places[one] - places[rest[0]]))) / fwhm
        ratio = sigmas[one] / sigmas[rest[0]]
        if PAIRS[0] <= apart <= PAIRS[1] and 1 / _PAIR_RATIO <= ratio <= _PAIR_RATIO:
            partner[one] = rest[0]
    return partner


def _joined(records: Sequence[Record], key: str) -> np.ndarray:
    return np.concatenate([record[key] for record in records])


def threshold(records: Sequence[Record], purity: float = PURITY) -> float:
    """The lowest height above which that share of all detections is real; infinite if there is none."""
    heights, real = _joined(records, 'height'), _joined(records, 'real')
    order = np.argsort(-heights)
    shares = np.cumsum(real[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(shares >= purity)
    return float(heights[order][good[-1]]) if len(good) else math.inf


def completeness(records: Sequence[Record]) -> np.ndarray:
    """Shares of the stars that are found at the threshold of PURITY, in BINS of sigma; then of pairs that are split."""
    level = threshold(records)
    sigmas, found = _joined(records, 'sigmas'), _joined(records, 'seen') >= level
    shares = [_mean(found[(sigmas >= low) & (sigmas < high)]) for low, high in BINS]
    both = [
        (record['seen'][record['pair'] >= 0] >= level) & (record['seen'][record['pair'][record['pair'] >= 0]] >= level)
        for record in records
    ]
    return np.array([*shares, _mean(np.concatenate(both))])


def chance(records: Sequence[Record]) -> float:
    """Share of the detections over the threshold that have a star half the picture away."""
    return _mean(_joined(records, 'chance')[_joined(records, 'height') >= threshold(records)])


def offset(records: Sequence[Record]) -> np.ndarray:
    """Median distance from the true place, pixels of the input, of the stars found in BINS of sigma."""
    sigmas, offsets = _joined(records, 'sigmas'), _joined(records, 'offset')
    found = _joined(records, 'seen') >= threshold(records)
    return np.array([_median(offsets[found & (sigmas >= low) & (sigmas < high)]) for low, high in BINS])


def fluxes(
    output: np.ndarray, truth: np.ndarray, places: np.ndarray, sigmas: np.ndarray, *, factor: int, fwhm: float
) -> Record:
    """Aperture fluxes of the output's stars over those of the truth, of stars over 5 sigma that stand alone.

    Differences are summed, so that neighbours and sky, which both have, do not count.

    Args:
        output, truth: `[f h, f w]`; the truth has the PSF that the output should have.
        places, sigmas, factor, fwhm: see `detections`.

    Returns:
        'sigmas' `[k]` and 'error' `[k]`: (output - truth) / truth in an aperture with a radius of 1.5 FWHM of the
        input, in units of the star's own flux there.
    """
    from photutils.aperture import CircularAperture, aperture_photometry

    alone = _alone(places, sigmas, fwhm, output.shape, factor) & (sigmas >= 5)
    if not alone.any():
        return {'sigmas': np.empty(0), 'error': np.empty(0)}
    at = to_output(places[alone], factor)[:, ::-1]
    apertures = CircularAperture(at, 1.5 * fwhm * factor)
    sums = [np.asarray(aperture_photometry(x, apertures)['aperture_sum']) / factor**2 for x in (output - truth, truth)]
    own = sigmas[alone] * math.sqrt(4 * math.pi / (8 * math.log(2))) * fwhm  # the flux of so many sigma
    return {'sigmas': sigmas[alone], 'error': sums[0] / own}


def flux_error(records: Sequence[Record], low: float, high: float = math.inf) -> np.ndarray:
    """Mean and scatter (half of the 16th to 84th percentile) of the relative flux error, of so many sigma."""
    sigmas, errors = _joined(records, 'sigmas'), _joined(records, 'error')
    errors = errors[(sigmas >= low) & (sigmas < high)]
    if not len(errors):
        return np.full(2, np.nan)
    inner = errors[np.abs(errors - np.median(errors)) < 10 * max(np.median(np.abs(errors - np.median(errors))), 1e-9)]
    return np.array([inner.mean(), np.diff(np.percentile(errors, (16, 84)))[0] / 2])


def widths(output: np.ndarray, places: np.ndarray, sigmas: np.ndarray, *, factor: int, fwhm: float) -> np.ndarray:
    """FWHM, pixels of the input, of the stars over 50 sigma that stand alone, `[k]`."""
    chosen = _alone(places, sigmas, fwhm, output.shape, factor) & (sigmas >= 50)
    reach = math.ceil(2.5 * fwhm * factor)
    found = []
    for y, x in np.round(to_output(places[chosen], factor)).astype(int):
        cutout = output[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        if cutout.shape == (2 * reach + 1,) * 2 and (fit := fit_gaussian(cutout)) is not None:
            found.append(fit[0] / factor)
    return np.array(found)


def ellipticity(image: np.ndarray, places: np.ndarray, *, factor: int, radius: float) -> np.ndarray:
    """e1 and e2 of what stands at the places, from second moments under a Gaussian window, `[k, 2]`.

    Args:
        image: `[f h, f w]`.
        radius: standard deviation of the window, pixels of the input.
    """
    size = math.ceil(3 * radius * factor)
    y, x = np.mgrid[-size : size + 1, -size : size + 1]
    window = np.exp(-0.5 * (y * y + x * x) / (radius * factor) ** 2)
    found = np.full((len(places), 2), np.nan)
    for index, (row, column) in enumerate(np.round(to_output(places, factor)).astype(int)):
        cutout = image[max(0, row - size) : row + size + 1, max(0, column - size) : column + size + 1]
        if cutout.shape != window.shape:
            continue
        weights = cutout * window
        total = weights.sum()
        rows, columns = (weights * y).sum() / total, (weights * x).sum() / total
        yy, xx, xy = (
            (weights * a * b).sum() / total for a, b in ((y - rows,) * 2, (x - columns,) * 2, (y - rows, x - columns))
        )
        if total > 0 and yy + xx > 0:
            found[index] = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
    return found


def _alone(places: np.ndarray, sigmas: np.ndarray, fwhm: float, shape: tuple[int, ...], factor: int) -> np.ndarray:
    """Stars without another of a tenth of their flux near, away from the border."""
    near = cKDTree(places).query_ball_point(places, _ALONE * fwhm)
    alone = np.array(
        [
            sigmas[[i for i in group if i != index]].max(initial=0) < 0.1 * sigmas[index]
            for index, group in enumerate(near)
        ]
    )
    inside = (places > _ALONE * fwhm) & (places < np.array(shape) / factor - 1 - _ALONE * fwhm)
    return alone & inside.all(axis=1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan
