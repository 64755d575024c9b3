"""Pure functions on batches of images: resampling, comparison rows, 8-bit conversion.

Images are `[N, H, W, C]` floats in [0, 1] unless a docstring says otherwise. The resampling kernel of the whole
project is the Keys cubic (a = -0.5) with half-pixel centres, widened (antialiased) when shrinking: what MATLAB's
`imresize` and the super-resolution benchmarks use.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def resize_bicubic(images: jax.Array, height: int, width: int) -> jax.Array:
    """Antialiased bicubic resampling of `[N, H, W, C]` to `[N, height, width, C]`; may overshoot [0, 1]."""
    batch, _, _, channels = images.shape
    return jax.image.resize(images, (batch, height, width, channels), 'cubic', antialias=True)


def upsample(images: jax.Array, factor: int) -> jax.Array:
    """Bicubic enlargement `[N, h, w, C]` -> `[N, factor h, factor w, C]`, unclipped: the baseline of every table."""
    return resize_bicubic(images, images.shape[1] * factor, images.shape[2] * factor)


def downsample(images: jax.Array, factor: int) -> jax.Array:
    """Antialiased bicubic reduction `[N, H, W, C]` -> `[N, H/factor, W/factor, C]`, unclipped and not rounded.

    Raises:
        ValueError: the height or the width is not a multiple of `factor`.
    """
    height, width = images.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(f'downsample: {height}x{width} does not divide by the factor {factor}; crop it first')
    return resize_bicubic(images, height // factor, width // factor)


def quantize(images: jax.Array) -> jax.Array:
    """Clip to [0, 1] and round to the 256 levels that an 8-bit file can hold; still float in [0, 1]."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * 255.0) / 255.0


def to_uint8(images: np.ndarray | jax.Array) -> np.ndarray:
    """Floats in [0, 1] (clipped) -> uint8 numpy array of the same shape."""
    return np.round(np.clip(np.asarray(images, np.float32), 0.0, 1.0) * 255.0).astype(np.uint8)


def to_float(images: jax.Array) -> jax.Array:
    """uint8 -> float32 in [0, 1].

    Raises:
        TypeError: another type, whose range is unknown.
    """
    if images.dtype != jnp.uint8:
        raise TypeError(f'expected uint8, not {images.dtype.name}')
    return images.astype(jnp.float32) / 255.0


def random_dihedral(keys: jax.Array, images: jax.Array) -> jax.Array:
    """One of the eight flips and quarter turns of each square image `[N, S, S, C]`; the sky has no up.

    Args:
        keys: `[N]`, one for each image.
        images: of any type.
    """
    bits = jax.vmap(lambda key: jax.random.bernoulli(key, shape=(3,)))(keys)[..., None, None, None]
    for bit, turned in enumerate((lambda x: x.swapaxes(1, 2), lambda x: x[:, ::-1], lambda x: x[:, :, ::-1])):
        images = jnp.where(bits[:, bit], turned(images), images)
    return images


def comparison_grid(columns: list[np.ndarray], *, gap: int = 4) -> np.ndarray:
    """Put equal-sized images side by side, one row per image: input | bicubic | output | truth.

    Args:
        columns: arrays `[N, H, W, 3]` in [0, 1], one per column; smaller ones (a low-resolution input) are enlarged
            by whole pixels to the size of the last column, so that their pixels can be seen.
        gap: white pixels between the pictures.

    Returns:
        uint8 `[N (H + gap) - gap, K (W + gap) - gap, 3]`.
    """
    height = columns[-1].shape[1]
    rows = []
    for row in zip(*[to_uint8(column) for column in columns], strict=True):
        cells: list[np.ndarray] = []
        for picture in row:
            scale = height // picture.shape[0]
            enlarged = picture.repeat(scale, axis=0).repeat(scale, axis=1)
            cells += [enlarged, np.full((height, gap, 3), 255, np.uint8)]
        rows += [np.concatenate(cells[:-1], axis=1)]
        rows += [np.full((gap, rows[0].shape[1], 3), 255, np.uint8)]
    return np.concatenate(rows[:-1], axis=0)
