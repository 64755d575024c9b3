"""The noise of a frame and the correlation of its neighbours, from differences of pixels; boxes have NaN for gaps.

- Noise from differences of neighbouring pixels, in the darkest parts of every box. Whether a pair is dark is told by
  what is around it, which says nothing of its difference: choosing does not make the noise smaller.
- Its correlation from the differences along the diagonal, which are larger by 1 + correlation, as resampling works
  along rows and columns in turn: the correlation of diagonal neighbours is the square of that of direct ones. The
  farther away the partner, the more of the sources would come in; so no distant one is needed.
- Where sources cover the frame even neighbours differ by their light. Third differences along both axes see less of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage, special

_DARK = 0.3  # share of a box in which the noise is measured
_CLIP = 3.5
_CUT = 1 - 2 * _CLIP * math.exp(-(_CLIP**2) / 2) / math.sqrt(2 * math.pi) / special.erf(_CLIP / math.sqrt(2))
THIRD = (np.outer((1, -3, 3, -1), (1, -3, 3, -1)) / 20,)
_SECOND = np.outer((1, -2, 1), (1, -2, 1)) / 6
_ROOT = math.sqrt(0.5)
NEIGHBOURS = (np.array([[_ROOT, -_ROOT]]), np.array([[_ROOT], [-_ROOT]]))
_DIAGONALS = (_ROOT * np.array([[1, 0], [0, -1]]), _ROOT * np.array([[0, 1], [-1, 0]]))


class Level(NamedTuple):
    """A measured number, its standard error, and what it was taken from."""

    value: float
    error: float
    source: str


def _deviation(values: np.ndarray) -> float:
    """Standard deviation around 0 of a Gaussian with outliers; NaN for fewer than 16 values."""
    if values.size < 16:
        return math.nan
    size = np.abs(values)
    # The second is for whole numbers: half of them may be the same.
    deviation = max(1.4826 * float(np.median(size)), float(np.quantile(size, 0.9)) / 1.645)
    for _ in range(8):
        kept = size[size < _CLIP * deviation]
        new = math.sqrt(np.square(kept).mean() / _CUT) if kept.size else 0.0
        if abs(new - deviation) <= 1e-4 * deviation:
            return new
        deviation = new
    return deviation


def _middle(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """`values` at the middle of every run of `size` pixels: the pixel there, or the mean of the two."""
    count = values.shape[axis] - size + 1
    first, last = (size - 1) // 2, size // 2
    parts = [np.take(values, range(start, start + count), axis) for start in (first, last)]
    return (parts[0] + parts[1]) / 2


def _filtered(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation with a small kernel where it fits."""
    height, width = (n - k + 1 for n, k in zip(values.shape, kernel.shape, strict=True))
    total = np.zeros((height, width))
    for (y, x), weight in np.ndenumerate(kernel):
        if weight:
            total += weight * values[y : y + height, x : x + width]
    return total


def power(values: np.ndarray, kernels: tuple[np.ndarray, ...], dark: np.ndarray | None = None) -> float:
    """Variance of differences in the dark parts of a box; that of the noise, were it white. NaN if there are too few.

    Args:
        values: the box, NaN where there is no measurement.
        kernels: the differences, with squares that sum to 1.
        dark: `brightness(values)`, if it is at hand.
    """
    dark = brightness(values) if dark is None else dark
    found = []
    for kernel in kernels:
        if min(np.subtract(values.shape, kernel.shape)) < 0:
            return math.nan
        difference = _filtered(values, kernel)
        around = _middle(_middle(dark, kernel.shape[0], 0), kernel.shape[1], 1)
        good = np.isfinite(difference)
        if good.sum() < 64:
            return math.nan
        good &= around <= np.quantile(around[good], _DARK)
        found.append(difference[good])
    return _deviation(np.concatenate(found)) ** 2


def brightness(values: np.ndarray) -> np.ndarray:
    """The mean of what is around every pixel; no dead or hot pixel makes its surroundings dark or bright by itself."""
    good = values[np.isfinite(values)]
    if not good.size:
        return values
    low, middle, high = np.quantile(good, (0.01, 0.5, 0.99))
    return ndimage.uniform_filter(np.clip(np.nan_to_num(values, nan=middle), low, high), 3)


def powers(values: np.ndarray) -> list[float]:
    """Variances of four kinds of differences, and the skewness of the values; NaN where there are too few."""
    dark = brightness(values)
    return [
        *(power(values, kernels, dark) for kernels in (NEIGHBOURS, _DIAGONALS, (_SECOND,), THIRD)),
        _skewness(np.sort(values[np.isfinite(values)])),
    ]


def _skewness(ordered: np.ndarray) -> float:
    """How much farther from the middle the brighter values lie than the darker; 1 for a symmetric distribution."""
    count = len(ordered)
    if count < 64:
        return math.nan
    parts = ((0.05, 0.2), (0.4, 0.6), (0.8, 0.95))
    low, middle, high = (ordered[int(first * count) : int(last * count)].mean() for first, last in parts)
    return float((high - middle) / (middle - low)) if middle > low else math.nan


def expected(tap: np.ndarray | float) -> np.ndarray:
    """The four `_powers` of noise with variance 1 that was resampled with taps (tap, 1, tap) along both axes."""
    one, two = 2 * tap / (1 + 2 * tap**2), tap**2 / (1 + 2 * tap**2)
    second, third = (6 - 8 * one + 2 * two) / 6, (20 - 30 * one + 12 * two) / 20
    return np.array([1 - one, 1 - one**2, second**2, third**2])


def tap(correlation: float) -> float:
    return correlation / (1 + math.sqrt(max(0.0, 1 - 2 * correlation**2)))


def correlation(powers: np.ndarray) -> tuple[Level, bool, str, bool]:
    """From the boxes' powers: the correlation, whether the noise shows in the third differences alone, its source,
    and whether it is grain: correlated, and otherwise than resampling leaves it."""
    # Where there is least light: the half of the boxes with the largest share of third differences.
    powers = powers[np.argsort(-powers[:, 3] / powers[:, 0])[: max(1, math.ceil(len(powers) / 2))]]
    ratios = powers[:, 1] / powers[:, 0] - 1
    error = max(0.01, float(1.25 * ratios.std() / math.sqrt(len(ratios))))
    value = float(np.clip(np.median(ratios), -0.3, 0.95))
    plain = math.sqrt(np.median(powers[:, 0]) / (1 - value))
    taps = np.linspace(0, 0.7, 701)
    shares = expected(taps)
    curvatures = powers[:, 2] / powers[:, 3]
    best = int(np.argmin(np.abs(shares[2] / shares[3] - np.median(curvatures))))
    fine = math.sqrt(np.median(powers[:, 3]) / shares[3, best])
    # The third differences are less sure, and take noise that is smooth over several pixels, as a plate's grain, for
    # light. But light only adds: where it covers the frame, nearly all boxes have a brighter half that reaches farther.
    unsure = 4.5 * 1.25 * float(curvatures.std()) / math.sqrt(len(curvatures))  # of white noise, as a share
    if plain < (1.05 + 1.5 * unsure) * fine or np.quantile(powers[:, 4], 0.25) < 1.2:
        third = math.sqrt(np.median(powers[:, 3]) / expected(tap(value))[3]) / plain
        grain = value > 0.3 and not 0.8 < third < 1.25
        found = Level(value, error, 'differences along rows and diagonals')
        return found, False, 'differences of neighbouring pixels', grain
    source = 'third differences, as sources cover the frame'
    return Level(float(1 - shares[0, best]), max(0.05, error), source), True, source, False
