"""Colour spaces on batches, inside jit: RGB <-> L*a*b*, the gamut, and the Y of the super-resolution benchmarks.

RGB is sRGB in [0, 1]; L* is in [0, 100], a* and b* in about [-128, 127] (CIE 1976, D65 white, 2 degree observer:
the numbers of scikit-image's `rgb2lab`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

# sRGB (IEC 61966-2-1) to CIE XYZ, and the D65 white point, as scikit-image has them.
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
# Inverted here: inside jit it would be a call to a linear algebra library, which exported models cannot carry along.
XYZ_TO_RGB = tuple(map(tuple, np.linalg.inv(RGB_TO_XYZ).tolist()))
WHITE = (0.95047, 1.0, 1.08883)
EPSILON = 0.008856  # where the cube root of CIE 1976 gives way to a straight line
SLOPE = 7.787

_BISECTIONS = 16  # of the chroma, from 128: to 0.002 CIE units
_LARGEST = 128.0  # a* or b*; sRGB colours stay below 110
# Of linear RGB. Above the rounding errors of the conversions, so that the gamut's own surface lies inside; at black,
# where it matters most, it is 0.009 of L*.
_TOLERANCE = 1e-5

# Channel planes `[...]`: elementwise arithmetic on them runs as one loop, several times faster than on `[..., 3]`.
Channels = list[jax.Array]


def luma(images: jax.Array) -> jax.Array:
    """BT.601 luma of RGB `[..., 3]` in [0, 1]: Y `[...]` in [16/255, 235/255], the channel papers measure on."""
    weights = jnp.asarray((65.481, 128.553, 24.966), images.dtype) / 255.0
    # A weighted sum, not a matrix product: accelerators round those to bfloat16 or TF32 by default.
    return (images * _like_channels(weights, images)).sum(-1) + 16.0 / 255.0


def _like_channels(values: jax.Array, images: jax.Array) -> jax.Array:
    """`[C]` with as many axes as `images`, the last one the channels."""
    return values.reshape((1,) * (images.ndim - 1) + (-1,))


def _mix(channels: Channels, matrix: tuple[tuple[float, ...], ...]) -> Channels:
    """Three planes times a 3 x 3 matrix, as weighted sums (see `luma`)."""
    first, second, third = channels
    return [first * row[0] + second * row[1] + third * row[2] for row in matrix]


# In the four curves each branch of a `where` sees only its own side: the other's infinite slope would turn gradients
# into NaN. Below zero they go on as straight lines, but for `_from_linear`, which is mirrored.


def _to_linear(images: jax.Array) -> jax.Array:
    low = images <= 0.04045
    return jnp.where(low, images / 12.92, ((jnp.where(low, 0.5, images) + 0.055) / 1.055) ** 2.4)


def _from_linear(linear: jax.Array) -> jax.Array:
    low = jnp.abs(linear) <= 0.0031308
    curve = 1.055 * jnp.where(low, 1.0, jnp.abs(linear)) ** (1.0 / 2.4) - 0.055
    return jnp.where(low, linear * 12.92, jnp.sign(linear) * curve)


def _cube_root(xyz: jax.Array) -> jax.Array:
    high = xyz > EPSILON
    return jnp.where(high, jnp.cbrt(jnp.where(high, xyz, 1.0)), SLOPE * xyz + 16.0 / 116.0)


def _cube(f: jax.Array) -> jax.Array:
    high = f > 0.2068966
    return jnp.where(high, jnp.where(high, f, 1.0) ** 3, (f - 16.0 / 116.0) / SLOPE)


def _planes(images: jax.Array) -> Channels:
    return [images[..., index] for index in range(3)]


def rgb_to_lab(images: jax.Array) -> jax.Array:
    """sRGB `[..., 3]` in [0, 1] -> L*a*b* `[..., 3]`; finite gradients everywhere, black included."""
    xyz = _mix(_planes(_to_linear(images)), RGB_TO_XYZ)
    fx, fy, fz = (_cube_root(channel / white) for channel, white in zip(xyz, WHITE, strict=True))
    return jnp.stack([116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)], axis=-1)


def _lab_to_linear(light: jax.Array, a: jax.Array, b: jax.Array) -> Channels:
    fy = (light + 16.0) / 116.0
    xyz = [_cube(f) * white for f, white in zip((fy + a / 500.0, fy, fy - b / 200.0), WHITE, strict=True)]
    return _mix(xyz, XYZ_TO_RGB)


def lab_to_rgb(lab: jax.Array, *, clip: bool = True) -> jax.Array:
    """L*a*b* `[..., 3]` -> sRGB `[..., 3]`.

    Colours outside the gamut are clipped to [0, 1], which changes their lightness and hue (`fit_gamut` before it
    avoids that); with `clip=False` they come out below 0 and above 1, smoothly, where a loss can see them (below 0 the
    curve is mirrored, as in scRGB: IEC 61966-2-2).
    """
    rgb = _from_linear(jnp.stack(_lab_to_linear(*_planes(lab)), axis=-1))
    return jnp.clip(rgb, 0.0, 1.0) if clip else rgb


def lightness(images: jax.Array) -> jax.Array:
    """L* `[..., 1]` in [0, 100] of sRGB `[..., 3]` or gray `[..., 1]` in [0, 1]; a gray g is the colour (g, g, g).

    Raises:
        ValueError: neither one nor three channels.
    """
    linear = _to_linear(images)
    if images.shape[-1] == 3:
        linear = _luminance(linear)
    elif images.shape[-1] != 1:
        raise ValueError(f'lightness: images have 1 or 3 channels, not {images.shape[-1]} (shape {images.shape})')
    return 116.0 * _cube_root(linear) - 16.0


def gray_of(images: jax.Array) -> jax.Array:
    """The gray value `[..., 1]` in [0, 1] that is as light as sRGB `[..., 3]`: of the same L*."""
    return jnp.clip(_from_linear(_luminance(_to_linear(images))), 0.0, 1.0)


def _luminance(linear: jax.Array) -> jax.Array:
    """Y `[..., 1]` of linear RGB `[..., 3]`."""
    return (linear * _like_channels(jnp.asarray(RGB_TO_XYZ[1], linear.dtype), linear)).sum(-1, keepdims=True)


def lightness_to_gray(lightness: jax.Array) -> jax.Array:
    """L* `[..., 1]` -> the gray value `[..., 1]` in [0, 1] that has it; L* outside [0, 100] gives black or white."""
    return jnp.clip(_from_linear(_cube((lightness + 16.0) / 116.0)), 0.0, 1.0)


def fit_gamut(lab: jax.Array) -> jax.Array:
    """The most saturated sRGB colours with the lightness and the hue of `lab`, and no more than its chroma.

    L* is clipped to [0, 100]; where the colour is outside sRGB, a* and b* shrink towards gray together (bisection to
    0.002 CIE units). A colour inside stays exactly as it is. NaN and infinity give NaN in that pixel alone.

    Args:
        lab: `[..., 3]`.

    Returns:
        `[..., 3]`; `lab_to_rgb` of it clips rounding errors only. Gradients take the scale for a constant.
    """
    light, a, b = _planes(lab)
    light = jnp.clip(light, 0.0, 100.0)

    def inside(scale: jax.Array | float) -> jax.Array:
        red, green, blue = _lab_to_linear(light, scale * a, scale * b)
        low = jnp.minimum(jnp.minimum(red, green), blue)
        high = jnp.maximum(jnp.maximum(red, green), blue)
        return (low >= -_TOLERANCE) & (high <= 1.0 + _TOLERANCE)

    step = _LARGEST / jnp.maximum(jnp.maximum(jnp.abs(a), jnp.abs(b)), _LARGEST)
    scale = jnp.zeros_like(step)
    for _ in range(_BISECTIONS):
        step = step / 2.0
        scale = jnp.where(inside(scale + step), scale + step, scale)
    scale = jax.lax.stop_gradient(jnp.where(inside(1.0), 1.0, scale))
    return jnp.stack([light, scale * a, scale * b], axis=-1)
