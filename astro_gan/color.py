"""Colour spaces on batches, inside jit: RGB <-> L*a*b* and the Y of the super-resolution benchmarks.

RGB is sRGB in [0, 1]; L* is in [0, 100], a* and b* in about [-128, 127] (CIE 1976, D65 white, 2 degree observer:
the numbers of scikit-image's `rgb2lab`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

# sRGB (IEC 61966-2-1) to CIE XYZ, and the D65 white point, as scikit-image has them.
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)
_EPSILON = 0.008856  # where the cube root of CIE 1976 gives way to a straight line
_SLOPE = 7.787


def luma(images: jax.Array) -> jax.Array:
    """BT.601 luma of RGB `[..., 3]` in [0, 1]: Y `[...]` in [16/255, 235/255], the channel papers measure on."""
    weights = jnp.asarray((65.481, 128.553, 24.966), images.dtype) / 255.0
    # A weighted sum, not a matrix product: accelerators round those to bfloat16 or TF32 by default.
    return (images * weights).sum(-1) + 16.0 / 255.0


def _matmul(pixels: jax.Array, matrix: jax.Array) -> jax.Array:
    return jnp.einsum('...c,dc->...d', pixels, matrix, precision='highest')


def rgb_to_lab(images: jax.Array) -> jax.Array:
    """sRGB `[..., 3]` in [0, 1] -> L*a*b* `[..., 3]`; finite gradients everywhere, black included."""
    # Each branch of a `where` sees only its own side: the other's infinite slope would turn gradients into NaN.
    low = images <= 0.04045
    curve = ((jnp.where(low, 0.5, images) + 0.055) / 1.055) ** 2.4
    linear = jnp.where(low, images / 12.92, curve)
    xyz = _matmul(linear, jnp.asarray(RGB_TO_XYZ, images.dtype)) / jnp.asarray(WHITE, images.dtype)
    high = xyz > _EPSILON
    f = jnp.where(high, jnp.cbrt(jnp.where(high, xyz, 1.0)), _SLOPE * xyz + 16.0 / 116.0)
    fx, fy, fz = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)], axis=-1)


def lab_to_rgb(lab: jax.Array) -> jax.Array:
    """L*a*b* `[..., 3]` -> sRGB `[..., 3]`, clipped to [0, 1] (colours outside the gamut lose what does not fit)."""
    fy = (lab[..., 0] + 16.0) / 116.0
    f = jnp.stack([lab[..., 1] / 500.0 + fy, fy, fy - lab[..., 2] / 200.0], axis=-1)
    high = f > 0.2068966
    xyz = jnp.where(high, jnp.where(high, f, 1.0) ** 3, (f - 16.0 / 116.0) / _SLOPE)
    xyz = jnp.maximum(xyz, 0.0) * jnp.asarray(WHITE, lab.dtype)
    linear = _matmul(xyz, jnp.linalg.inv(jnp.asarray(RGB_TO_XYZ, lab.dtype)))
    low = linear <= 0.0031308
    curve = 1.055 * jnp.where(low, 1.0, linear) ** (1.0 / 2.4) - 0.055
    return jnp.clip(jnp.where(low, linear * 12.92, curve), 0.0, 1.0)
