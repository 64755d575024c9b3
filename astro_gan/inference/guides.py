"""A user's guides for one image: what the network is told of them, and what is put right exactly after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from astro_gan.color import fit_gamut
from astro_gan.guides import first_guess, lightness_of, resized

ORIGINS = ('guessed', 'guided', 'given')  # of colours
_LIGHTER = 0.1  # of the gray value: over that, as over `reach` pixels, a correction at a hint falls to 1/e
_FAR = 7.0  # reaches: farther off a correction is below a thousandth
Window = Callable[[int, int, int, int], np.ndarray]  # top, left, height, width -> [height, width, C]


@dataclasses.dataclass(frozen=True, eq=False)
class Guides:
    """What is known of an image's colours; all of it may be missing.

    Attributes:
        size: height and width of the image.
        colours: a*b* `[n, 2]` for equal shares of the pixels, from dark to light.
        palette: rows (L*, a*, b*) `[n, 3]`.
        hints: rows (x, y, a*, b*) `[n, 4]`, in pixels of the image from 0, one for a pixel.
        picture: a*b* `[h, w, 2]` of the same sky, of any size.
        known: a*b* `[H, W, 2]` of the image's pixels, NaN where it is not known.
        variant: which guess of a palette, from 0, where there is no guide.
    """

    size: tuple[int, int] = (0, 0)
    colours: np.ndarray | None = None
    palette: np.ndarray | None = None
    hints: np.ndarray | None = None
    picture: np.ndarray | None = None
    known: np.ndarray | None = None
    variant: int = 0

    @property
    def given(self) -> bool:
        """Whether there is any guide."""
        return any(x is not None for x in (self.colours, self.palette, self.hints, self.picture, self.known))

    @property
    def complete(self) -> bool:
        """Whether every pixel's colour is known, so that nothing is left to guess."""
        return self.known is not None and bool(np.isfinite(self.known).all())


def origins(guides: Guides) -> np.ndarray:
    """Where each pixel's colour comes from, uint8 `[H, W]`: numbers of ORIGINS."""
    follows = any(x is not None for x in (guides.colours, guides.palette, guides.picture))
    made = np.full(guides.size, ORIGINS.index('guided' if follows else 'guessed'), np.uint8)
    if guides.known is not None:
        made[np.isfinite(guides.known).all(-1)] = ORIGINS.index('given')
    if guides.hints is not None:
        made[guides.hints[:, 1].astype(int), guides.hints[:, 0].astype(int)] = ORIGINS.index('given')
    return made


def shares(origin: np.ndarray) -> dict[str, float]:
    """Shares of the pixels whose colours are given, follow a palette or a picture, and are guessed."""
    counts = np.bincount(origin.ravel(), minlength=len(ORIGINS)) / origin.size
    return {name: float(f'{counts[ORIGINS.index(name)]:.6g}') for name in reversed(ORIGINS)}


def paler_hints(guides: Guides, read_gray: Window) -> int:
    """How many hints cannot be met within Delta E 2: sRGB has no such colour at their pixels' lightness."""
    if guides.hints is None:
        return 0
    gray = np.array([read_gray(int(y), int(x), 1, 1)[0, 0, 0] for x, y in guides.hints[:, :2]])
    lab = np.column_stack([lightness_of(np.clip(gray, 0.0, 1.0)), guides.hints[:, 2:]])
    shown = np.asarray(fit_gamut(jnp.asarray(lab, jnp.float32)))
    return int((np.linalg.norm(shown - lab, axis=-1) > 2.0).sum())


def planes(guides: Guides, lightness: np.ndarray, guess: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """What the network is told, for L* `[h, w]` of the reduced copy: `astro_gan.guides.first_guess`.

    Args:
        guess: `(lightness, variant) -> palette`, asked where there is no guide at all.
    """
    height, width = lightness.shape
    palette, picture, known, mask = guides.palette, None, None, None
    if guides.colours is not None:
        groups = np.array_split(np.sort(lightness, axis=None), len(guides.colours))
        levels = np.array([[group.mean()] for group in groups])
        palette = np.concatenate([levels, guides.colours], axis=1).astype(np.float32)
    elif not guides.given:
        palette = guess(lightness, guides.variant)
    if guides.picture is not None:
        rows, columns = guides.picture.shape[:2]
        picture = resized(guides.picture, min(rows, height), min(columns, width))
    if guides.known is not None:
        there = np.isfinite(guides.known).all(-1, keepdims=True)
        share = resized(there.astype(np.float32), height, width)
        known = resized(np.where(there, guides.known, 0.0), height, width) / np.maximum(share, 1e-6)
        mask = share[..., 0] > 0.5
    if guides.hints is not None:
        known = np.zeros((height, width, 2), np.float32) if known is None else known
        mask = np.zeros((height, width), bool) if mask is None else mask
        y = ((guides.hints[:, 1] + 0.5) * height / guides.size[0]).astype(int)
        x = ((guides.hints[:, 0] + 0.5) * width / guides.size[1]).astype(int)
        known[y, x], mask[y, x] = guides.hints[:, 2:], True
    return first_guess(lightness, palette=palette, picture=picture, known=known, mask=mask)


def exactly(guides: Guides, read: Window, read_gray: Window) -> Window:
    """`read` with the colours that were given: known pixels replaced, hints met by corrections around them.

    A correction falls off over a few pixels and with the difference in lightness, so that it stops at edges. Together
    they meet every hint to rounding.

    Args:
        guides: of the image.
        read: gives windows of the predicted a*b*.
        read_gray: gives windows of the image.
    """
    if guides.hints is None and guides.known is None:
        return read
    known = guides.known

    def with_known(top: int, left: int, height: int, width: int) -> np.ndarray:
        ab = read(top, left, height, width)
        if known is None:
            return ab
        own = known[top : top + height, left : left + width]
        return np.where(np.isfinite(own), own, ab)

    if guides.hints is None:
        return with_known
    hints = guides.hints.astype(np.float64)
    x, y = hints[:, 0].astype(int), hints[:, 1].astype(int)
    reach = max(2.0, 0.01 * float(np.sqrt(guides.size[0] * guides.size[1])))
    now = np.array([with_known(row, column, 1, 1)[0, 0] for row, column in zip(y, x, strict=True)])
    light = np.array([read_gray(row, column, 1, 1)[0, 0, 0] for row, column in zip(y, x, strict=True)])
    among = _kernel(np.hypot(x[:, None] - x, y[:, None] - y) / reach, light[:, None] - light)
    weights = np.linalg.solve(among, hints[:, 2:] - now)
    far = int(np.ceil(_FAR * reach))

    def corrected(top: int, left: int, height: int, width: int) -> np.ndarray:
        ab = np.array(with_known(top, left, height, width), np.float32)
        gray: np.ndarray | None = None
        for column, row, value, weight in zip(x - left, y - top, light, weights, strict=True):
            rows = slice(max(0, row - far), min(height, row + far + 1))
            columns = slice(max(0, column - far), min(width, column + far + 1))
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            gray = read_gray(top, left, height, width)[..., 0] if gray is None else gray
            distance = np.hypot(
                np.arange(rows.start, rows.stop)[:, None] - row, np.arange(columns.start, columns.stop) - column
            )
            share = _kernel(distance / reach, gray[rows, columns] - value)
            ab[rows, columns] += (share[..., None] * weight).astype(np.float32)
        return ab

    return corrected


def _kernel(distance: np.ndarray, lighter: np.ndarray) -> np.ndarray:
    """1 at a hint, falling with the distance (in reaches) and the difference in gray; positive definite."""
    near = np.where(distance <= _FAR, np.exp(-distance), 0.0)
    return near * np.exp(-np.abs(lighter) / _LIGHTER)
