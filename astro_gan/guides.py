"""What is known of a picture's colours beforehand, as the planes that a guided colorizer sees beside L*.

Three kinds of knowledge, any of them together, none included:

    palette     rows (L*, a*, b*) `[n, 3]`: which colour a lightness has; one row is one colour for all
    picture     a*b* `[h, w, 2]` of the same sky, blurred or of fewer pixels
    known       a*b* `[H, W, 2]` where `mask` `[H, W]` is true: hints of single pixels, or bands that were measured

They become one dense first guess, `first_guess`: what can be said without a network, and what a network has to beat.
The network corrects it (after Zhang et al. 2017, arXiv 1705.02999, who give sparse hints and a global palette; a
palette over L* and hints spread along L* say the same in every pixel). Numpy; CIE units: L* in [0, 100].
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from PIL import Image

from astro_gan.color import EPSILON, RGB_TO_XYZ, SLOPE, rgb_to_lab

AB_SCALE = 110.0  # as in `colorization`
PLANES = 6  # a*, b* of the first guess; known; how near a known pixel is; how much palette; picture
CURVE = 16  # rows of a palette that was read from a picture
# How hints become colours everywhere: the covariance of two pixels' a*b*. Chosen on 22 validation pictures, where ten
# hints leave 0.48 of gray's error; means by distance leave 0.51.
REACH = 30.0  # along L* a colour reaches as far over so many units as over the whole picture
COMMON = 4.0  # variance of what all pixels have in common, over that of what falls off with the distance
ALONG = 1.0  # and of what grows with L*
DOUBT = 0.02  # and of each hint
CONTRAST = 3.0  # of L*, squared: where a small picture's L* varies by less its colours do not follow it
NEIGHBOUR = 0.107  # a neighbouring cell's share in the slope of colour over L*: a Gaussian of half a cell
ROUNDS = 2  # of corrections that make an enlarged picture's means over the cells right again
_CHUNK = 2**24  # distances at a time
MOST_POINTS = 1024  # of the known pixels that colours are spread from
FALL = 0.25  # of the picture's size, or 10 of L*: over that the correction of a hint to other guides falls to 1/e


def palette_of(lab: np.ndarray, rows: int = CURVE) -> np.ndarray:
    """The palette of a picture `[..., 3]` in L*a*b*: mean colours of `rows` ranges of lightness, `[up to rows, 3]`.

    One row is the mean colour; up to 8 rows are of equal shares of the pixels (three: dark, middle, light); more are
    of equal steps of L*, from 0 to 100, left out where they hold less than a thousandth of the pixels.
    """
    pixels = np.asarray(lab, np.float64).reshape(-1, 3)
    if rows <= 8:
        edges = np.quantile(pixels[:, 0], np.arange(1, rows) / rows)
        least = 1
    else:
        edges = np.linspace(0.0, 100.0, rows + 1)[1:-1]
        least = max(1, len(pixels) // 1000)
    number = np.searchsorted(edges, pixels[:, 0], side='right')
    counts = np.bincount(number, minlength=rows)
    sums = np.stack([np.bincount(number, pixels[:, c], minlength=rows) for c in range(3)], axis=-1)
    used = counts >= least
    return (sums[used] / counts[used, None]).astype(np.float32)


def fill_palette(lab: np.ndarray) -> np.ndarray:
    """a*b* `[CURVE, 2]` of a picture's palette at the middles of equal steps of L*, those that it lacks too."""
    return paint((np.arange(CURVE) + 0.5) * 100.0 / CURVE, palette_of(lab))


def paint(lightness: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """a*b* `[..., 2]` that a palette gives to L* `[...]`: between its rows linear, beyond them constant."""
    order = np.argsort(palette[:, 0], kind='stable')
    at, colours = palette[order, 0], palette[order, 1:]
    return np.stack([np.interp(lightness, at, colours[:, c]) for c in (0, 1)], axis=-1).astype(np.float32)


def spread(lightness: np.ndarray, values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` `[H, W, 2]` of the pixels in `mask` for all pixels, and the distance `[H, W]` to the nearest.

    Distances are in the picture's size (root of its area) and L* together: colours keep to surfaces of one lightness
    and stop at edges. Kriging, or regression by a Gaussian process (Rasmussen and Williams 2006, section 2.2), with the
    covariance exp(-distance) + COMMON + ALONG times the product of the lightnesses.
    """
    height, width = mask.shape
    y, x = np.nonzero(mask)
    if len(y) > MOST_POINTS:
        chosen = np.linspace(0, len(y) - 1, MOST_POINTS).round().astype(int)
        y, x = y[chosen], x[chosen]
    size = np.sqrt(height * width)
    rows, columns = np.mgrid[:height, :width] / size
    places = np.stack([rows, columns, lightness / REACH - 1.0], axis=-1).astype(np.float32)
    points, known = places[y, x], values[y, x].astype(np.float32)
    among, _ = _covariance(points, points)
    weights = np.linalg.solve(among.astype(np.float64) + DOUBT * np.eye(len(points)), known).astype(np.float32)
    open_places, filled, nearest = places[~mask], np.array(values, np.float32), np.zeros(mask.shape, np.float32)
    parts = []
    for first in range(0, len(open_places), _CHUNK // len(points) + 1):
        covariance, distances = _covariance(open_places[first : first + _CHUNK // len(points) + 1], points)
        parts.append((covariance @ weights, distances.min(1)))
    if parts:
        filled[~mask], nearest[~mask] = (np.concatenate(part) for part in zip(*parts, strict=True))
    return filled, nearest


def _covariance(places: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance and distance `[m, n]` of `places` `[m, 3]` and `points` `[n, 3]`: y, x and lightness."""
    distances = np.sqrt(sum(np.square(places[:, c, None] - points[:, c]) for c in range(3)))
    return np.exp(-distances) + COMMON + ALONG * places[:, 2:] * points[:, 2], distances


def first_guess(
    lightness: np.ndarray,
    *,
    palette: np.ndarray | None = None,
    picture: np.ndarray | None = None,
    known: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """The guides' planes for a picture, float32 `[H, W, PLANES]`; all zero without any guide.

    a* and b* of the first guess in units of AB_SCALE; 1 where colours are known; from 1 at a known pixel to 0 far off;
    0.25, 0.5 or 1 with a palette of one, a few or many rows; 1 with a picture.

    Args:
        lightness: L* `[H, W]`.
        palette: rows (L*, a*, b*).
        picture: a*b* `[h, w, 2]`, as large or smaller; it counts more than a palette.
        known: a*b* `[H, W, 2]`, looked at where `mask` is true.
        mask: `[H, W]`.
    """
    planes = np.zeros((*lightness.shape, PLANES), np.float32)
    guess = np.zeros((*lightness.shape, 2), np.float32)
    told = False
    if palette is not None:
        guess, told = paint(lightness, palette), True
        planes[..., 4] = palette_strength(len(palette))
    if picture is not None:
        guess, told = enlarge(lightness, picture), True
        planes[..., 5] = 1.0
    if known is not None and mask is not None and mask.any():
        correction, distance = spread(lightness, known - guess, mask)
        fall = np.exp(-distance / FALL)
        guess = guess + (correction * fall[..., None] if told else correction)
        planes[..., 2], planes[..., 3] = mask, fall
    planes[..., :2] = guess / AB_SCALE
    return planes


def palette_strength(rows: int) -> float:
    """What the planes say of a palette with so many rows."""
    return 0.25 if rows == 1 else 0.5 if rows <= 8 else 1.0


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`[h, w, C]` made `height` x `width`: means over areas where it becomes smaller, bicubic where larger; float32."""
    smaller = height <= image.shape[0] and width <= image.shape[1]
    kernel = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(image.shape[-1])]
    return np.stack([np.asarray(plane.resize((width, height), kernel)) for plane in planes], axis=-1)


def enlarge(lightness: np.ndarray, small: np.ndarray) -> np.ndarray:
    """a*b* `[H, W, 2]` of a small picture `[h, w, 2]`, drawn along the edges of L* `[H, W]`.

    In and around each cell a*b* is taken for linear in L*, as in guided filters (He et al. 2013, IEEE TPAMI 35, 1397,
    section 3); its means over the cells stay the small picture's.
    """
    height, width = lightness.shape
    rows, columns = small.shape[:2]
    if (rows, columns) == (height, width):
        return small
    if rows > height or columns > width:
        raise ValueError(f'a picture of {rows} x {columns} is no small one of {height} x {width}')
    grow = functools.partial(resized, height=height, width=width)
    light = lightness[..., None].astype(np.float32)
    low = resized(light, rows, columns)
    mean = _smooth(low)
    slope = (_smooth(low * small) - mean * _smooth(small)) / (_smooth(low * low) - mean * mean + CONTRAST)
    made = grow(small) + grow(slope) * (light - grow(low))
    for _ in range(ROUNDS):
        made = made + grow(small - resized(made, rows, columns))
    return made


def _smooth(image: np.ndarray) -> np.ndarray:
    """`[h, w, C]`, each cell mixed with its neighbours by NEIGHBOUR along both axes; the rim is repeated."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode='edge')
        before, after = (np.take(padded, range(k, k + image.shape[axis]), axis) for k in (0, 2))
        image = (1.0 - 2.0 * NEIGHBOUR) * image + NEIGHBOUR * (before + after)
    return image


def lightness_of(gray: np.ndarray) -> np.ndarray:
    """L* of gray values in [0, 1]: numpy's `color.lightness`."""
    linear = np.where(gray <= 0.04045, gray / 12.92, ((np.maximum(gray, 0.0) + 0.055) / 1.055) ** 2.4)
    return 116.0 * np.where(linear > EPSILON, np.cbrt(linear), SLOPE * linear + 16.0 / 116.0) - 16.0


def lightness_to_gray(lightness: np.ndarray) -> np.ndarray:
    """Gray values of L*: numpy's `color.lightness_to_gray`, not clipped."""
    return _from_linear(_luminance(lightness))


def _luminance(lightness: np.ndarray) -> np.ndarray:
    f = (lightness + 16.0) / 116.0
    return np.where(f > 0.2068966, f**3, (f - 16.0 / 116.0) / SLOPE)


def _from_linear(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0) ** (1.0 / 2.4) - 0.055)


def two_bands(lightness: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """a*b* `[..., 2]` of the colours with these L*, red and blue (sRGB in [0, 1]): their green follows.

    Where no green from 0 to 1 gives the lightness, the nearest does.
    """
    linear = [np.where(band <= 0.04045, band / 12.92, ((band + 0.055) / 1.055) ** 2.4) for band in (red, blue)]
    weights = RGB_TO_XYZ[1]
    rest = _luminance(lightness) - weights[0] * linear[0] - weights[2] * linear[1]
    green = _from_linear(np.clip(rest / weights[1], 0.0, 1.0))
    return np.asarray(rgb_to_lab(jnp.asarray(np.stack([red, green, blue], axis=-1), jnp.float32)))[..., 1:]


def at_lightness(rgb: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """a*b* `[H, W, 2]` of the colours with the ratios of `rgb` `[H, W, 3]` (not negative) and L* `[H, W]`.

    Black has no ratios and stays without colour.
    """
    ratios = rgb / np.maximum(rgb.max(-1, keepdims=True), 1e-6)
    low, high = np.zeros(lightness.shape), np.ones(lightness.shape)
    for _ in range(12):  # to 1/4096 of white
        middle = (low + high) / 2
        linear = ((ratios * middle[..., None]) / 12.92, ((ratios * middle[..., None] + 0.055) / 1.055) ** 2.4)
        linear = np.where(ratios * middle[..., None] <= 0.04045, *linear)
        dark = (linear * RGB_TO_XYZ[1]).sum(-1) < _luminance(lightness)
        low, high = np.where(dark, middle, low), np.where(dark, high, middle)
    return np.asarray(rgb_to_lab(jnp.asarray(ratios * high[..., None], jnp.float32)))[..., 1:]
