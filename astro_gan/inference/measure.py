"""What a frame is like: its sky, its noise, how wide its stars are, how much neighbouring pixels share their noise.

Networks for frames are told these (see `astro_gan.noise_units`). All are taken from the frame itself and made to stand
crowding and nebulae, which must not count as noise:

- Noise from differences of neighbouring pixels, in the darkest parts of every box. Whether a pair is dark is told by
  what is around it, which says nothing of its difference: choosing does not make the noise smaller.
- Its correlation from the differences along the diagonal, which are larger by 1 + correlation, as resampling works
  along rows and columns in turn: the correlation of diagonal neighbours is the square of that of direct ones. The
  farther away the partner, the more of the sources would come in; so no distant one is needed.
- Where sources cover the frame even neighbours differ by their light. Third differences along both axes see less of it.
- The sky of a box is the place of a Gaussian as wide as the noise that fits the darker half of the box.

Nothing larger than a row of boxes is held in memory.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage, special

from astro_gan.inference import stars

BOX = 64  # pixels on a side of the boxes in which sky and noise are measured
_DARK = 0.3  # share of a box in which the noise is measured
_SAMPLES = 256  # boxes that tell the correlation
_WINDOW, _WINDOWS = 512, 9  # pixels on a side, and number of the parts in which stars are looked for
_CLIP = 3.5
_CUT = 1 - 2 * _CLIP * math.exp(-(_CLIP**2) / 2) / math.sqrt(2 * math.pi) / special.erf(_CLIP / math.sqrt(2))
_THIRD = np.outer((1, -3, 3, -1), (1, -3, 3, -1)) / 20
_SECOND = np.outer((1, -2, 1), (1, -2, 1)) / 6
_ROOT = math.sqrt(0.5)
_NEIGHBOURS = (np.array([[_ROOT, -_ROOT]]), np.array([[_ROOT], [-_ROOT]]))
_DIAGONALS = (_ROOT * np.array([[1, 0], [0, -1]]), _ROOT * np.array([[0, 1], [-1, 0]]))
_FILL_SHARE = 0.01  # more pixels than these at exactly zero, among real numbers, are the outside of a footprint


class Level(NamedTuple):
    """A measured number, its standard error, and what it was taken from."""

    value: float
    error: float
    source: str


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """A smooth map over a frame, known at the centres of boxes and linear between them.

    Attributes:
        values: `[m, n]`.
        shape: of the frame.
    """

    values: np.ndarray
    shape: tuple[int, int]

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part of the map, float32 `[height, width]`."""
        rows = _weights(self.shape[0], self.values.shape[0], top, height)
        columns = _weights(self.shape[1], self.values.shape[1], left, width)
        return (rows @ self.values @ columns.T).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """What a frame is like.

    Attributes:
        sky, noise: maps, in the frame's unit; the noise is the standard deviation of a pixel.
        sky_level, noise_level: their medians.
        fwhm: of a star, in pixels.
        correlation: of the noise of neighbouring pixels.
        saturation: the level at which pixels are full, or None.
        full: share of the pixels that are.
        linear: False if the values cannot be proportional to light (a picture of at most 256 levels).
    """

    sky: Mesh
    noise: Mesh
    sky_level: Level
    noise_level: Level
    fwhm: Level
    correlation: Level
    saturation: float | None
    full: float
    linear: bool

    def lines(self) -> list[str]:
        """One line for each number and what it was taken from."""
        named = {'sky': self.sky_level, 'noise': self.noise_level, 'star FWHM': self.fwhm}
        named['noise correlation'] = self.correlation
        unit = {'star FWHM': ' px'}
        return [
            f'{name} {level.value:.4g} +- {level.error:.2g}{unit.get(name, "")} ({level.source})'
            for name, level in named.items()
        ]


def measure(
    data: np.ndarray,
    bad: np.ndarray | None = None,
    *,
    sky: float | None = None,
    noise: float | None = None,
    fwhm: float | None = None,
) -> Measured:
    """Measure a frame.

    Args:
        data: `[H, W]` of any real type, at least 16 x 16; pixels that are not finite are left out.
        bad: bool `[H, W]`, pixels to leave out.
        sky, noise, fwhm: what the user knows better.

    Raises:
        ValueError: no valid pixels, or no noise to measure; one line.
    """
    frame = _Frame(data, bad)
    ys, xs = (_edges(size) for size in data.shape)
    boxes = [(y, x) for y in range(len(ys) - 1) for x in range(len(xs) - 1)]
    chosen = boxes[:: max(1, len(boxes) // _SAMPLES)]
    powers = np.array([_powers(frame.box(ys, xs, *place)) for place in chosen])
    powers = powers[np.isfinite(powers).all(1) & (powers > 0).all(1)]
    if not len(powers):
        raise ValueError('no noise to measure: too few pixels are valid, or neighbouring pixels are equal')
    correlation, third, source = _correlation(powers)
    share = _expected(_tap(correlation.value))[3]  # of the noise, in the third differences
    skies, noises = (np.full((len(ys) - 1, len(xs) - 1), np.nan) for _ in range(2))
    for place in boxes:
        values = frame.box(ys, xs, *place)
        dark = _brightness(values)
        power = _power(values, _NEIGHBOURS, dark) / (1 - correlation.value)
        fine = _power(values, (_THIRD,), dark) / share
        # In a box that a nebula fills, its light is in the differences of neighbours.
        noises[place] = (fine if third or (correlation.value < 0.6 and power > 1.3 * fine) else power) ** 0.5
        skies[place] = _sky(values, noise or noises[place])
    noise_map = Mesh(_smooth(noises) if noise is None else np.full((1, 1), noise), data.shape)
    sky_map = Mesh(_smooth(skies) if sky is None else np.full((1, 1), sky), data.shape)
    given = Level(0.0, 0.0, 'as given')
    count = np.isfinite(noises).sum() ** 0.5
    level = float(np.median(noise_map.values))
    # Of the noise: what the correlation leaves open counts too.
    error = level * float(np.hypot(0.02 / count, correlation.error / (2 * (1 - correlation.value))))
    sky_level = Level(
        float(np.median(sky_map.values)), float(1.25 * np.nanstd(skies) / count), 'the darker half of boxes'
    )
    saturation, full = _saturation(frame, sky_level.value)
    windows = _windows(frame, sky_map, noise_map, saturation)
    return Measured(
        sky=sky_map,
        noise=noise_map,
        sky_level=sky_level if sky is None else given._replace(value=sky),
        noise_level=Level(level, error, source) if noise is None else given._replace(value=noise),
        fwhm=Level(*stars.width(windows)) if fwhm is None else given._replace(value=fwhm),
        correlation=correlation,
        saturation=saturation,
        full=full,
        linear=not _few_levels(frame),
    )


class _Frame:
    """A frame's valid pixels, in windows."""

    def __init__(self, data: np.ndarray, bad: np.ndarray | None):
        self.data, self.bad = data, bad
        step = max(1, math.ceil(math.sqrt(data.size / 1e6)))
        sample = np.asarray(data[::step, ::step], np.float64)
        sample = sample[np.isfinite(sample)]
        rest = sample[sample != 0]
        self.sample = sample
        self.zeros = bool(1 - rest.size / max(sample.size, 1) > _FILL_SHARE and (rest % 1 != 0).any())
        if self.zeros:
            self.sample = rest

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """float64, NaN where there is no measurement."""
        with np.errstate(invalid='ignore'):
            values = np.array(self.data[rows, columns], np.float64)
        missing = ~np.isfinite(values)
        if self.bad is not None:
            missing |= self.bad[rows, columns]
        if self.zeros:
            missing |= values == 0
        values[missing] = np.nan
        return values

    def box(self, ys: np.ndarray, xs: np.ndarray, y: int, x: int) -> np.ndarray:
        return self.window(slice(ys[y], ys[y + 1]), slice(xs[x], xs[x + 1]))


def _edges(size: int) -> np.ndarray:
    """Where the boxes along an axis begin and end: about BOX pixels each, three of them at least from 96 pixels on."""
    count = max(1, min(3, size // 32), round(size / BOX))
    return np.round(np.linspace(0, size, count + 1)).astype(int)


def _weights(size: int, count: int, start: int, length: int) -> np.ndarray:
    """Linear interpolation between the centres of `count` boxes, as a matrix `[length, count]`."""
    if count == 1:
        return np.ones((length, 1))
    edges = np.linspace(0, size, count + 1)
    at = np.interp(np.arange(start, start + length) + 0.5, (edges[1:] + edges[:-1]) / 2, np.arange(count))
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Boxes without a value get their nearest neighbour's; then the median of 3 x 3."""
    missing = ~np.isfinite(values)
    if missing.any():
        values = values[tuple(ndimage.distance_transform_edt(missing, return_indices=True)[1])]
    return ndimage.median_filter(values, 3, mode='nearest')


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


def _power(values: np.ndarray, kernels: tuple[np.ndarray, ...], dark: np.ndarray | None = None) -> float:
    """Variance of differences in the dark parts of a box; that of the noise, were it white. NaN if there are too few.

    Args:
        values: the box, NaN where there is no measurement.
        kernels: the differences, with squares that sum to 1.
        dark: `_brightness(values)`, if it is at hand.
    """
    dark = _brightness(values) if dark is None else dark
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


def _brightness(values: np.ndarray) -> np.ndarray:
    """The mean of what is around every pixel; no dead or hot pixel makes its surroundings dark or bright by itself."""
    good = values[np.isfinite(values)]
    if not good.size:
        return values
    low, middle, high = np.quantile(good, (0.01, 0.5, 0.99))
    return ndimage.uniform_filter(np.clip(np.nan_to_num(values, nan=middle), low, high), 3)


def _powers(values: np.ndarray) -> list[float]:
    """Variances of four kinds of differences, and the skewness of the values; NaN where there are too few."""
    dark = _brightness(values)
    return [
        *(_power(values, kernels, dark) for kernels in (_NEIGHBOURS, _DIAGONALS, (_SECOND,), (_THIRD,))),
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


def _expected(tap: np.ndarray | float) -> np.ndarray:
    """The four `_powers` of noise with variance 1 that was resampled with taps (tap, 1, tap) along both axes."""
    one, two = 2 * tap / (1 + 2 * tap**2), tap**2 / (1 + 2 * tap**2)
    second, third = (6 - 8 * one + 2 * two) / 6, (20 - 30 * one + 12 * two) / 20
    return np.array([1 - one, 1 - one**2, second**2, third**2])


def _tap(correlation: float) -> float:
    return correlation / (1 + math.sqrt(max(0.0, 1 - 2 * correlation**2)))


def _correlation(powers: np.ndarray) -> tuple[Level, bool, str]:
    """From the boxes' powers: the correlation, whether the noise shows in the third differences alone, its source."""
    # Where there is least light: the half of the boxes with the largest share of third differences.
    powers = powers[np.argsort(-powers[:, 3] / powers[:, 0])[: max(1, math.ceil(len(powers) / 2))]]
    ratios = powers[:, 1] / powers[:, 0] - 1
    error = max(0.01, float(1.25 * ratios.std() / math.sqrt(len(ratios))))
    value = float(np.clip(np.median(ratios), -0.3, 0.95))
    plain = math.sqrt(np.median(powers[:, 0]) / (1 - value))
    taps = np.linspace(-0.1, 0.7, 801)
    expected = _expected(taps)
    best = int(np.argmin(np.abs(expected[2] / expected[3] - np.median(powers[:, 2] / powers[:, 3]))))
    fine = math.sqrt(np.median(powers[:, 3]) / expected[3, best])
    # The third differences are less sure, and take noise that is smooth over several pixels, as a plate's grain, for
    # light. But light only adds: where it covers the frame, nearly all boxes have a brighter half that reaches farther.
    if plain < 1.08 * fine or np.quantile(powers[:, 4], 0.25) < 1.2:
        return Level(value, error, 'differences along rows and diagonals'), False, 'differences of neighbouring pixels'
    source = 'third differences, as sources cover the frame'
    return Level(float(1 - expected[0, best]), max(0.05, error), source), True, source


def _sky(values: np.ndarray, noise: float) -> float:
    """Where a Gaussian with that standard deviation lies whose darker half is the box's darker half."""
    ordered = np.sort(values[np.isfinite(values)])
    if len(ordered) < 64:
        return math.nan
    ordered = ordered[len(ordered) // 200 :]  # dead pixels
    total = np.cumsum(ordered)
    level = float(np.median(ordered))
    for _ in range(100):
        count = max(1, int(np.searchsorted(ordered, level)))
        new = total[count - 1] / count + math.sqrt(2 / math.pi) * noise
        if abs(new - level) < 1e-3 * noise:
            break
        level = new
    return float(level)


def _saturation(frame: _Frame, sky: float) -> tuple[float | None, float]:
    """The level of a plateau at the bright end, if there is one: a pixel whose neighbours are as full."""
    if not frame.sample.size:
        return None, 0.0
    top = max(
        float(np.nanmax(frame.window(slice(y, y + _WINDOW), slice(None)), initial=-np.inf))
        for y in range(0, frame.data.shape[0], _WINDOW)
    )
    level = top - 0.02 * (top - sky)
    count = plateau = 0
    for y in range(0, frame.data.shape[0], _WINDOW):
        full = frame.window(slice(y, y + _WINDOW), slice(None)) >= level
        count += int(full.sum())
        plateau += int(ndimage.binary_erosion(full).sum())
    return (level, count / frame.data.size) if plateau else (None, 0.0)


def _few_levels(frame: _Frame) -> bool:
    """At most 256 levels, spread over a range that is no count of photons: a stretched picture."""
    levels = np.unique(frame.sample)
    return len(levels) <= 256 and (levels.max() <= 255 and levels.min() >= 0)


def _windows(frame: _Frame, sky: Mesh, noise: Mesh, saturation: float | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Parts of the frame, in units of the noise, with what is not to be used of them."""
    height, width = frame.data.shape
    count = round(math.sqrt(_WINDOWS))
    tops, lefts = (
        [0]
        if size <= _WINDOW
        else sorted(
            {
                round(i * (size - _WINDOW) / (min(count, math.ceil(size / _WINDOW)) - 1))
                for i in range(min(count, math.ceil(size / _WINDOW)))
            }
        )
        for size in (height, width)
    )
    parts = []
    for top in tops:
        for left in lefts:
            values = frame.window(slice(top, top + _WINDOW), slice(left, left + _WINDOW))
            place = (top, left, *values.shape)
            unusable = ~np.isfinite(values)
            if saturation is not None:
                unusable |= np.nan_to_num(values, nan=-np.inf) >= saturation
            z = np.nan_to_num((values - sky.window(*place)) / noise.window(*place))
            parts.append((z, unusable))
    return parts
