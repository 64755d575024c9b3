"""Fluxes of faint sources put right: where the network shows a source, as much light as the frame has there.

What is best for every star on its own, the mean of what it may be, is too little light for faint stars as a group, and
of a star's wings the network has a guess at best. But where it sees a source, the frame says how bright that is: the
output, seen again through the input's PSF, less the input, is fitted there with the PSF (least squares, as a matched
filter), and the source is made so much brighter or fainter, in the shape of the output's PSF. This is the debiasing of
the lasso by a second fit on what the first has chosen (Belloni and Chernozhukov 2013, arXiv 1001.0188), a few damped
steps of it, which share the light of sources that overlap.

The input's PSF is taken for a Gaussian with a wider one, its wings, so that it has the measured FWHM and concentration
(`stars`). All in noise units; frames `[h, w]`, outputs `[f h, f w]` in surface brightness per pixel of the input.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage, sparse

from astro_gan.noise_units import REACHES

_PER_SIGMA = math.sqrt(8 * math.log(2))
_PEAK = 1 / (1 + 0.6**2) - 1 / (1 + 2.0**2)  # contrast of a star, of its height in the output
CONTRAST = (0.5, 0.9)  # noise units above what is around it: from the first on it is a source, from the second wholly
SURE = (3.5, 4.5)  # sigma of a source as fitted: below the first it is left as it is, from the second wholly fitted
STRUCTURE = 0.3  # so much of what is around it is asked for besides
WINGS = 3.0  # FWHM of the wings, of the core's
# Of the light within 3 FWHM, from the concentration c: a + b c, at most 1. Fitted to 400 PSFs of `simulation.fields`,
# which scatter by 0.036 around it.
WITHIN = (0.674, 0.347)
STEPS, DAMPING = 4, 0.7
FITTED = 1.3  # FWHM around a source that are fitted
_GAIN = 100.0  # light, in noise units, whose own noise is as large as the sky's: bright pixels weigh less
REACH = 24.0  # FWHM around a place that it depends on: the steps by way of neighbours, and the blur before them


@dataclasses.dataclass(frozen=True)
class Psf:
    """What a star looks like in input and output; widths in pixels of the input.

    Attributes:
        fwhm: of the input.
        concentration: see `noise_units.conditions`.
        narrow: FWHM of the output.
        factor: pixels of the output per pixel of the input.
        correlation: of the input's noise.
    """

    fwhm: float
    concentration: float
    narrow: float
    factor: int
    correlation: float = 0.0

    @property
    def wings(self) -> float:
        """Share of core and wings that the wings have, 0 to 0.8."""
        inner, outer = REACHES
        core = [1 - 2 ** (-4 * r**2) for r in (inner, outer)]
        wide = [1 - 2 ** (-4 * (r / WINGS) ** 2) for r in (inner, outer)]
        more, less = core[0] - self.concentration * core[1], wide[0] - self.concentration * wide[1]
        return float(np.clip(more / (more - less), 0.0, 0.8))

    @property
    def shared_noise(self) -> float:
        """Of sums over pixels that share noise as after resampling, over that of independent pixels."""
        shared = min(self.correlation, 0.7)
        tap = shared / (1 + math.sqrt(max(1 - 2 * shared**2, 0)))
        return (1 + 2 * tap) ** 2 / (1 + 2 * tap**2)

    @property
    def shares(self) -> tuple[float, float]:
        """Of the light, in the core and in the wings; what is left is farther away than anything that is fitted."""
        wings = self.wings
        held = min(1.0, WITHIN[0] + WITHIN[1] * self.concentration) / (
            1 - wings * 2 ** (-4 * (REACHES[1] / WINGS) ** 2)
        )
        return (1 - wings) * min(1.0, held), wings * min(1.0, held)

    def seen(self, square: np.ndarray) -> np.ndarray:
        """Share of a star's light per pixel of the input, at that square of the distance from its centre."""
        core, wings = self.shares
        return core * _gaussian(square, self.fwhm) + wings * _gaussian(square, WINGS * self.fwhm)

    def shown(self, square: np.ndarray) -> np.ndarray:
        """A star of flux 1 in the output, at that square of the distance (pixels of the input)."""
        return _gaussian(square, self.narrow)


def _gaussian(square: np.ndarray, fwhm: float) -> np.ndarray:
    return 4 * math.log(2) / (math.pi * fwhm**2) * np.exp(-4 * math.log(2) / fwhm**2 * square)


def seen_again(output: np.ndarray, psf: Psf) -> np.ndarray:
    """The output as the input's PSF and pixels show it, `[h, w]`: what the input should be, but for its noise."""
    factor = psf.factor

    def variance(fwhm: float) -> float:
        return max((fwhm**2 - psf.narrow**2) / _PER_SIGMA**2, 1e-4)

    # Pixels of the output are summed to those of the input: that widens the core too.
    core = _blur(output, factor * math.sqrt(max(variance(psf.fwhm) - (1 - 1 / factor**2) / 12, 1e-4)))
    core, flat = _binned(core, factor), _binned(output, factor)
    shares = psf.shares
    return shares[0] * core + shares[1] * _blur(flat, math.sqrt(variance(WINGS * psf.fwhm)))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma, mode='nearest', truncate=4.5)


def _binned(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = image.shape
    return image.reshape(height // factor, factor, width // factor, factor).mean((1, 3))


def sources(output: np.ndarray, psf: Psf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks of the output that stand out: places `[n, 2]` (row, column, its pixels), how far each counts, fluxes."""
    width = psf.narrow * psf.factor
    smooth = _blur(output, 0.6 * width / _PER_SIGMA)
    contrast = smooth - _blur(output, 2.0 * width / _PER_SIGMA)
    highest = ndimage.maximum_filter(smooth, 2 * round(width / 2) + 1, mode='nearest')
    # On a galaxy or a nebula every grain is a peak.
    beyond = contrast - STRUCTURE * np.maximum(smooth - contrast, 0)
    peaks = np.stack(np.nonzero((smooth == highest) & (beyond > CONTRAST[0])), -1)
    # No step: what is a little above or below by the rounding of a number comes out the same.
    counts = _ramp(beyond[tuple(peaks.T)], CONTRAST)
    fluxes = contrast[tuple(peaks.T)] / _PEAK / psf.shown(np.zeros(()))
    places, last = peaks.astype(np.float64), np.array(smooth.shape) - 1
    for axis in (0, 1):  # between the pixels: the top of a parabola
        step = np.eye(2, dtype=int)[axis]
        before, at, after = (smooth[tuple(np.clip(peaks + n * step, 0, last).T)] for n in (-1, 0, 1))
        curve = np.minimum(before - 2 * at + after, -1e-6)
        places[:, axis] += np.clip((before - after) / (2 * curve), -0.5, 0.5)
    return places, counts, fluxes


def _ramp(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)


@np.errstate(over='ignore')  # an output at the end of float32 leaves what has no number
def refit(z: np.ndarray, usable: np.ndarray, output: np.ndarray, psf: Psf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit what the output's sources lack.

    Args:
        z: the input `[h, w]`; what it has where it is not usable does not matter, as long as it is finite.
        usable: bool `[h, w]`.
        output: `[f h, f w]`.
        psf: of both.

    Returns:
        Places `[n, 2]` of the output's sources in pixels of the input, the flux that each lacks `[n]`, and the
        residual `[h, w]`: the input less the output with those fluxes, seen again.
    """
    residual = z - seen_again(output, psf)
    places, counts, fluxes = sources(output, psf)
    places = (places + 0.5) / psf.factor - 0.5
    if not len(places):
        return places, np.empty(0), residual
    shape = z.shape
    fitted = _stamps(places, shape, FITTED * psf.fwhm, psf.seen)
    whole = _stamps(places, shape, 3.0 * psf.fwhm, psf.seen)
    weights = (usable / (1 + np.maximum(z, 0) / _GAIN)).ravel()
    # The fit has a level of its own around every source, so that what is missing in the smooth does not go to stars.
    there = fitted.astype(bool).astype(np.float64).multiply(weights[:, None]).tocsc()
    weighted = fitted.multiply(weights[:, None]).tocsc()
    mean = _sums(weighted) / np.maximum(_sums(there), 1e-12)
    weighted = (weighted - there.multiply(mean[None])).tocsc()
    power = _sums(weighted.multiply(fitted))
    # Where the core is not usable, nothing is known.
    square = fitted.multiply(fitted)
    known = _sums(square.multiply(usable.ravel()[:, None])) > 0.7 * _sums(square)
    least = -0.5 * np.maximum(_at(output, places, psf.factor), 0) / float(psf.shown(np.zeros(())))
    missing, left = np.zeros(len(places)), residual.ravel().astype(np.float64)
    for _ in range(STEPS):
        more = np.where(known, counts * DAMPING * (weighted.T @ left) / np.maximum(power, 1e-12), 0)
        more = np.maximum(missing + more, least) - missing  # a source does not become a hole
        missing += more
        left -= whole @ more
    # Noise has peaks too: what it could have made stays as small as the network has it.
    sigma = np.sqrt(_sums(weighted.multiply(weighted))) / np.maximum(power, 1e-12) * psf.shared_noise
    unsure = missing * (1 - _ramp((fluxes + missing) / np.maximum(sigma, 1e-12), SURE)) * (missing > 0)
    missing, left = missing - unsure, left + whole @ unsure
    return places, missing, left.reshape(shape).astype(np.float32)


def _sums(matrix: sparse.sparray) -> np.ndarray:
    return np.asarray(matrix.sum(0)).ravel()


def _at(output: np.ndarray, places: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = np.clip(np.round((places + 0.5) * factor - 0.5).astype(int), 0, np.array(output.shape) - 1).T
    return output[rows, columns]


def stars(places: np.ndarray, fluxes: np.ndarray, shape: tuple[int, int], psf: Psf, *, narrow: bool) -> np.ndarray:
    """Sources as the output `shape` shows them, `narrow`, or as wide as the input's core."""
    width = psf.narrow if narrow else psf.fwhm
    scaled = (places + 0.5) * psf.factor - 0.5
    profile = _stamps(scaled, shape, 2.2 * width * psf.factor, lambda square: _gaussian(square / psf.factor**2, width))
    return (profile @ fluxes).reshape(shape).astype(np.float32)


def _stamps(
    places: np.ndarray, shape: tuple[int, int], reach: float, profile: Callable[[np.ndarray], np.ndarray]
) -> sparse.csc_array:
    """A matrix `[h w, n]` of profiles around places, 0 beyond `reach` pixels along an axis."""
    radius = math.ceil(reach)
    offsets = np.arange(-radius, radius + 1)
    middle = np.round(places).astype(int)
    rows, columns = (middle[:, axis, None] + offsets for axis in (0, 1))
    dy, dx = rows - places[:, :1], columns - places[:, 1:]
    values = profile(np.square(dy)[:, :, None] + np.square(dx)[:, None, :])
    inside = ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((columns >= 0) & (columns < shape[1]))[:, None, :]
    index = rows[:, :, None] * shape[1] + columns[:, None, :]
    number = np.broadcast_to(np.arange(len(places))[:, None, None], index.shape)
    total = (shape[0] * shape[1], len(places))
    return sparse.csc_array((values[inside], (index[inside], number[inside])), shape=total)
