"""Stretches between the values of an astronomical frame and the [0, 1] that networks and screens want.

A stretch is two limits and a curve. It is strictly increasing over all real numbers and nothing is clipped, so that it
can be undone: a frame goes to a network and back without a loss. The curves are those of `astropy.visualization`,
continued below `black` by odd symmetry.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from astropy.io import fits

CURVES = ('asinh', 'log', 'linear')
CHOICES = CURVES + ('zscale',)
_CARDS = {'name': 'AGSTRCH', 'black': 'AGBLACK', 'white': 'AGWHITE', 'softening': 'AGSOFT'}

# Statistics come from a regular grid of at most this many pixels.
_SAMPLE = 1_000_000
# The background lies this many times its noise above black, and the curve bends over the same length: where white is
# 300 to 30000 times the noise, as in most frames, asinh brings the background to between 0.17 and 0.09.
_NOISE = 3.0
# 0.1 is at 3.1 times the noise below the background of a normal frame. 1 pixel in 10000 passes white, a little, as the
# curves are logarithmic there.
_PERCENTILES = (0.1, 99.99)
_LINEAR_PERCENTILES = (0.5, 99.5)
# More than this share of pixels at exactly zero among real numbers is the outside of a footprint, not sky.
_FILL_SHARE = 0.01
# Of the noise: more than this lost on the way there and back is a frame that 32 bits cannot hold.
_LOST = 0.1


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A curve `name` ('asinh', 'log' or 'linear') that takes the value `black` to 0 and `white` to 1.

    With x = (value - black) / (white - black) and a = `softening`:

        asinh   y = asinh(x / a) / asinh(1 / a)
        log     y = log(1 + x / a) / log(1 + 1 / a), for x < 0 the same with opposite sign
        linear  y = x, whatever the softening

    These are astropy's `AsinhStretch(a)`, `LogStretch(1 / a)` and `LinearStretch()` on [black, white]. The numbers are
    kept to 12 significant digits, as many as surely fit into a FITS card.

    Raises:
        ValueError: an unknown name, limits that are not finite or not in order, a softening that is not positive.
    """

    name: str
    black: float
    white: float
    softening: float = 1.0

    def __post_init__(self):
        if self.name not in CURVES:
            raise ValueError(f'unknown stretch {self.name!r}; there are {", ".join(CURVES)}')
        for field in ('black', 'white', 'softening'):
            object.__setattr__(self, field, float(f'{float(getattr(self, field)):.12g}'))
        if not (math.isfinite(self.black) and math.isfinite(self.white) and self.black < self.white):
            raise ValueError(f'a stretch from black {self.black:g} to white {self.white:g}: black must be below white')
        if not (math.isfinite(self.softening) and self.softening > 0):
            raise ValueError(f'the softening of a stretch must be above 0, not {self.softening:g}')

    def apply(self, data: np.ndarray) -> np.ndarray:
        """Data values of any shape to float32, 0 at black and 1 at white, unclipped; NaN stays NaN."""
        with np.errstate(over='ignore', invalid='ignore'):
            x = (np.asarray(data, np.float64) - self.black) / (self.white - self.black)
            if self.name == 'asinh':
                x = np.arcsinh(x / self.softening) / math.asinh(1 / self.softening)
            elif self.name == 'log':
                x = np.copysign(np.log1p(np.abs(x) / self.softening), x) / math.log1p(1 / self.softening)
            return x.astype(np.float32)

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Undo `apply`: float32 data values; those beyond float32 become infinite, NaN stays NaN."""
        with np.errstate(over='ignore', invalid='ignore'):
            y = np.asarray(values, np.float64)
            if self.name == 'asinh':
                y = self.softening * np.sinh(y * math.asinh(1 / self.softening))
            elif self.name == 'log':
                y = self.softening * np.copysign(np.expm1(np.abs(y) * math.log1p(1 / self.softening)), y)
            return (self.black + y * (self.white - self.black)).astype(np.float32)

    def to_cards(self) -> list[fits.Card]:
        """Cards that record the stretch in a FITS header."""
        return [
            fits.Card(_CARDS['name'], self.name, 'stretch of the values that the network saw'),
            fits.Card(_CARDS['black'], self.black, 'data value at 0'),
            fits.Card(_CARDS['white'], self.white, 'data value at 1'),
            fits.Card(_CARDS['softening'], self.softening, 'softening, in units of white - black'),
        ]

    @classmethod
    def from_cards(cls, header: fits.Header) -> Stretch:
        """The stretch that a header records, the same to the last bit.

        Raises:
            ValueError: the header records none, or one that cannot be.
        """
        missing = [keyword for keyword in _CARDS.values() if keyword not in header]
        if missing:
            raise ValueError(f'no stretch is recorded in the FITS header: {", ".join(missing)} missing')
        try:
            numbers = [float(header[_CARDS[field]]) for field in ('black', 'white', 'softening')]
        except (TypeError, ValueError) as error:
            raise ValueError(f'the stretch recorded in the FITS header is not a number: {error}') from None
        return cls(str(header[_CARDS['name']]), *numbers)


@np.errstate(over='ignore', invalid='ignore')  # conversions of NaN that signal, and values beyond float32
def choose_stretch(data: np.ndarray, name: str = 'asinh', *, bad: np.ndarray | None = None) -> Stretch:
    """Find limits for a frame: `data` `[H, W]` or `[P, H, W]` (the same for all planes), any real type; `bad` bool
    `[H, W]` marks pixels to leave out.

    'asinh' and 'log': black lies 3 times the noise below the background (median and standard deviation after clipping
    at 3 sigma, `astropy.stats`) or at the percentile 0.1 if that is higher, white at the percentile 99.99 but no lower
    than 5 times the noise above the background; the softening is 3 times the noise.
    'linear': the percentiles 0.5 and 99.5. 'zscale': a linear stretch with the limits of `ZScaleInterval`, as IRAF.

    NaN and infinite pixels never count, nor does exact zero where it fills the outside of a footprint. A frame of more
    than a million pixels is sampled on a regular grid, so the same frame gives the same stretch.

    Raises:
        ValueError: an unknown name; no valid pixel, or all have the same value; values that lie too far apart for
            float32 to bring them back.
    """
    if name not in CHOICES:
        raise ValueError(f'unknown stretch {name!r}; there are {", ".join(CHOICES)}')
    planes = data.reshape(-1, *data.shape[-2:])
    values = np.concatenate([valid_sample(plane, bad) for plane in planes])
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise ValueError(f'every valid pixel of the frame is {low:g}: there is nothing to see')
    background, noise = sky(values)
    chosen = _limits(values, name, background, noise)
    _check_undone(chosen, values, background, noise)
    return chosen


def _limits(values: np.ndarray, name: str, background: float, noise: float) -> Stretch:
    low, high = float(values.min()), float(values.max())
    if name == 'zscale':
        from astropy.visualization import ZScaleInterval

        black, white = map(float, ZScaleInterval().get_limits(values))
        return Stretch('linear', *((black, white) if black < white else (low, high)))
    if name == 'linear':
        black, white = map(float, np.percentile(values, _LINEAR_PERCENTILES))
        return Stretch('linear', *((black, white) if black < white else (low, high)))
    # The nearest values inside: between the last two of a small frame, one of which may be anything, nothing is told.
    dark = float(np.percentile(values, _PERCENTILES[0], method='higher'))
    bright = float(np.percentile(values, _PERCENTILES[1], method='lower'))
    dark, bright = (dark, bright) if dark < bright else (low, high)
    # Frames without noise: pictures made by a computer, and counts of which most are zero.
    noise = max(noise, (bright - dark) * 1e-6)
    # Where a nebula fills the frame, the "noise" is its structure, and no pixel may be as dark as 3 times that.
    black = max(dark, background - _NOISE * noise)
    # Where there is nothing but noise, it should not be stretched over the whole range.
    white = max(bright, background + 5 * noise)
    return Stretch(name, black, white, _NOISE * noise / (white - black))


def _check_undone(stretch: Stretch, values: np.ndarray, background: float, noise: float) -> None:
    """Refuse a stretch that loses the sky: values far beyond it, or a large pedestal, leave it too few digits."""
    near = values[np.abs(values - background) <= 5 * noise]
    if noise > 0 and len(near):
        error = float(np.abs(stretch.invert(stretch.apply(near)) - near).max())
        if error > _LOST * noise:
            raise ValueError(
                f'its values span {values.min():.10g} to {values.max():.10g} with a noise of {noise:.2g}: numbers of '
                f'32 bits cannot bring them back (the background would be off by {error:.2g}); cut off or subtract '
                'what is far from the sky first'
            )


def lupton(
    red: np.ndarray,
    green: np.ndarray,
    blue: np.ndarray,
    *,
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0),
    stretch: float = 50.0,
    softening: float = 8.0,
) -> np.ndarray:
    """Three aligned bands `[H, W]` to a colour picture, float32 `[H, W, 3]` in [0, 1], rows as in the bands.

    The method of Lupton et al. 2004 (PASP 116, 133) in astropy's `make_lupton_rgb`: brightness is stretched by asinh,
    the ratios between the bands, and so the colours, are kept. The background of each band is subtracted first, as the
    method tints the whole picture otherwise, and put back as one neutral gray of 3 times the noise.

    Args:
        red, green, blue: in the same unit; pixels that are not finite in any band come out black.
        scales: factors on the bands, to balance their colours.
        stretch: astropy's `stretch`, in units of the noise of the mean of the bands: larger is darker.
        softening: astropy's `Q`: larger shows more of the bright parts.

    Raises:
        ValueError: bands of different shapes, or one without a valid pixel or of one value only; settings that are not
            positive.
    """
    from astropy.visualization import make_lupton_rgb

    bands = [np.asarray(band) for band in (red, green, blue)]
    if len({band.shape for band in bands}) > 1 or bands[0].ndim != 2:
        raise ValueError(f'three bands of the same size are wanted, not {", ".join(str(b.shape) for b in bands)}')
    if not min(stretch, softening, *scales) > 0:
        raise ValueError('stretch, softening and scales must be above 0')
    valid = np.logical_and.reduce([np.isfinite(band) for band in bands])
    flat = []
    for band, scale, color in zip(bands, scales, ('red', 'green', 'blue'), strict=True):
        values = valid_sample(band, ~valid)
        if values.min() == values.max():
            raise ValueError(f'every valid pixel of the {color} band is {values[0]:g}: there is nothing to see')
        background = sky(values)[0]
        flat.append(np.where(valid, scale * (band.astype(np.float64) - background), 0))
    noise = sky(valid_sample(np.mean(flat, axis=0), ~valid))[1]
    noise = noise or max(float(band.max()) for band in flat) / 1000
    picture = make_lupton_rgb(
        *(band + _NOISE * noise for band in flat), stretch=stretch * noise, Q=softening, output_dtype=np.float64
    )
    picture[~valid] = 0
    return np.clip(picture, 0, 1).astype(np.float32)


def sky(values: np.ndarray) -> tuple[float, float]:
    """Background and its noise: median and standard deviation, clipped at 3 sigma until nothing changes."""
    from astropy.stats import sigma_clipped_stats

    _, median, deviation = sigma_clipped_stats(values, sigma=3, maxiters=10)
    return float(median), float(deviation)


def valid_sample(data: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
    """Valid values of a regular grid over `data` `[H, W]`, float64 `[n]`; all of them up to a million pixels.

    Raises:
        ValueError: `bad` has another shape, or no pixel is valid.
    """
    if bad is not None and bad.shape != data.shape:
        raise ValueError(f'a mask of shape {bad.shape} for a frame of shape {data.shape}')
    step = max(1, math.ceil(math.sqrt(data.size / _SAMPLE)))
    while True:
        grid = np.asarray(data[::step, ::step], np.float64)
        good = np.isfinite(grid)
        if bad is not None:
            good &= ~bad[::step, ::step]
        values = grid[good]
        if values.size or step == 1:
            break
        step //= 2  # a footprint so small that the grid misses it
    if not values.size:
        raise ValueError('the frame has no valid pixel: all are NaN, infinite or flagged as bad')
    rest = values[values != 0]
    filled = 1 - rest.size / values.size > _FILL_SHARE and (rest % 1 != 0).any()
    return rest if filled and rest.min() < rest.max() else values
