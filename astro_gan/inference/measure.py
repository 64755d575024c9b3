"""What a frame is like: its sky, its noise, how wide its stars are, how much neighbouring pixels share their noise.

Networks for frames are told these (see `astro_gan.noise_units`). All are taken from the frame itself and made to stand
crowding and nebulae, which must not count as noise:

- Noise and its correlation from differences of neighbouring pixels (`noise`).
- The width and the concentration of stars from those that are bright and alone (`stars`).
- The sky of a box is the place of a Gaussian as wide as the noise that fits the darker half of the box.

Nothing larger than a row of boxes is held in memory.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from astro_gan.inference import noise as noise_of
from astro_gan.inference import stars
from astro_gan.inference.noise import Level

BOX = 64  # pixels on a side of the boxes in which sky and noise are measured
_SAMPLES = 256  # boxes that tell the correlation
_WINDOW = 512  # pixels on a side of the parts in which stars are looked for
_LEAST = float(np.finfo(np.float32).tiny)  # noise that maps of 32 bits can hold
_TAIL = 4.0  # of the noise: what is darker than the sky by more is none of its noise
_FILL_SHARE = 0.01  # more pixels than these at exactly zero, among real numbers, are the outside of a footprint


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
        concentration: share of a star's light within 3 FWHM that is within 1 FWHM.
        grain: whether the noise is correlated otherwise than resampling leaves it, as on a plate.
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
    concentration: Level
    grain: bool
    saturation: float | None
    full: float
    linear: bool

    def facts(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        names = ('sky_level', 'noise_level', 'fwhm', 'correlation', 'concentration')
        found = {name: getattr(self, name)._asdict() for name in names}
        return found | {'saturation': self.saturation, 'saturated_share': self.full}

    def lines(self) -> list[str]:
        """One line for each number and what it was taken from."""
        named = {'sky': self.sky_level, 'noise': self.noise_level, 'star FWHM': self.fwhm}
        named |= {'noise correlation': self.correlation, 'light of a star near its centre': self.concentration}
        unit = {'star FWHM': ' px'}
        return [
            f'{name} {level.value:.4g} +- {level.error:.2g}{unit.get(name, "")} ({level.source})'
            for name, level in named.items()
        ]


@np.errstate(invalid='ignore')  # conversions of NaN that signal
def measure(
    data: np.ndarray,
    bad: np.ndarray | None = None,
    *,
    sky: float | None = None,
    noise: float | None = None,
    fwhm: float | None = None,
    correlation: float | None = None,
    concentration: float | None = None,
) -> Measured:
    """Measure a frame.

    Args:
        data: `[H, W]` of any real type, at least 16 x 16; pixels that are not finite are left out.
        bad: bool `[H, W]`, pixels to leave out.
        sky, noise, fwhm, correlation, concentration: what the user knows better.

    Raises:
        ValueError: no valid pixels, or no noise to measure; one line.
    """
    frame = _Frame(data, bad)
    ys, xs = (_edges(size) for size in data.shape)
    boxes = [(y, x) for y in range(len(ys) - 1) for x in range(len(xs) - 1)]
    chosen = boxes[:: max(1, len(boxes) // _SAMPLES)]
    powers = np.array([noise_of.powers(frame.box(ys, xs, *place)) for place in chosen])
    powers = powers[np.isfinite(powers).all(1) & (powers > 0).all(1)]
    if not len(powers):
        raise ValueError('no noise to measure: too few pixels are valid, or neighbouring pixels are equal')
    shared, third, source, grain = noise_of.correlation(powers)
    given = Level(0.0, 0.0, 'as given')
    if correlation is not None:
        shared, grain = given._replace(value=correlation), False
    share = noise_of.expected(noise_of.tap(shared.value))[3]  # of the noise, in the third differences
    skies, noises = (np.full((len(ys) - 1, len(xs) - 1), np.nan) for _ in range(2))
    for place in boxes:
        values = frame.box(ys, xs, *place)
        dark = noise_of.brightness(values)
        power = noise_of.power(values, noise_of.NEIGHBOURS, dark) / (1 - shared.value)
        fine = noise_of.power(values, noise_of.THIRD, dark) / share
        # In a box that a nebula fills, its light is in the differences of neighbours.
        found = (fine if third or (shared.value < 0.6 and power > 1.3 * fine) else power) ** 0.5
        noises[place] = found if found > _LEAST else np.nan
        skies[place] = _sky(values, noise or noises[place])
    if noise is None and not np.isfinite(noises).any():
        raise ValueError('no noise to measure: it is zero, or less than numbers of 32 bits can hold')
    noise_map = Mesh(_smooth(noises) if noise is None else np.full((1, 1), noise), data.shape)
    sky_map = Mesh(_smooth(skies) if sky is None else np.full((1, 1), sky), data.shape)
    count = np.isfinite(noises).sum() ** 0.5
    level = float(np.median(noise_map.values))
    # Of the noise: what the correlation leaves open counts too.
    error = level * float(np.hypot(0.02 / count, shared.error / (2 * (1 - shared.value))))
    sky_level = Level(
        float(np.median(sky_map.values)), float(1.25 * np.nanstd(skies) / count), 'the darker half of boxes'
    )
    saturation, full = _saturation(frame, sky_level.value)
    windows = _windows(frame, sky_map, noise_map, saturation)
    width = Level(*stars.width(windows)) if fwhm is None else given._replace(value=fwhm)
    light = given._replace(value=concentration or 0.0)
    if concentration is None:
        light = Level(*stars.concentration(windows, width.value))
    return Measured(
        sky=sky_map,
        noise=noise_map,
        sky_level=sky_level if sky is None else given._replace(value=sky),
        noise_level=Level(level, error, source) if noise is None else given._replace(value=noise),
        fwhm=width,
        correlation=shared,
        concentration=light,
        grain=grain,
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


def _sky(values: np.ndarray, noise: float) -> float:
    """Where a Gaussian with that standard deviation lies whose darker half is what the box has there.

    What is darker by more than _TAIL belongs to something else, dark rows or a vignetted corner; so the search begins
    where a quarter of the box is darker.
    """
    ordered = np.sort(values[np.isfinite(values)])
    if len(ordered) < 64 or not noise > 0:
        return math.nan
    ordered = ordered[len(ordered) // 200 :]  # dead pixels
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    level = float(np.quantile(ordered, 0.25))
    for _ in range(100):
        first, last = np.searchsorted(ordered, (level - _TAIL * noise, level))
        last = max(last, first + 1)
        new = (total[last] - total[first]) / (last - first) + math.sqrt(2 / math.pi) * noise
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
    tops, lefts = map(_starts, frame.data.shape)
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


def _starts(size: int) -> list[int]:
    """Where windows begin along an axis: as many as cover it, up to three that are spread over it."""
    count = min(3, math.ceil(size / _WINDOW))
    return [round(start) for start in np.linspace(0, max(0, size - _WINDOW), count)]
