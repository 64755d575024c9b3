"""Enlarging and making smaller inside of networks: pixel shuffle, bicubic resampling, back-projection.

Images are `[N, H, W, C]`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.models.conv import conv


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """`[N, H, W, factor^2 C]` -> `[N, factor H, factor W, C]`, channels in TensorFlow's order."""
    n, h, w, c = x.shape
    channels = c // factor**2
    x = x.reshape(n, h, w, factor, factor, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * factor, w * factor, channels)


def sub_pixel_stages(factor: int) -> tuple[int, ...]:
    """The sub-pixel stages of a factor: 4 -> (2, 2), 12 -> (2, 2, 3), 5 -> UserError."""
    stages, rest = [], factor
    for stage in (2, 3):
        while rest > 1 and rest % stage == 0:
            stages.append(stage)
            rest //= stage
    if rest != 1 or factor < 2:
        raise UserError(f'factor must be a product of 2s and 3s (2, 3, 4, 6, 8, 12), not {factor}')
    return tuple(stages)


def sub_pixel_radius(factor: int) -> float:
    """How far the 3x3 convolutions of the sub-pixel stages see, in pixels of the first one's input."""
    radius, scale = 0.0, 1
    for stage in sub_pixel_stages(factor):
        radius += 1 / scale
        scale *= stage
    return radius


def _bicubic_weights(factor: int) -> np.ndarray:
    """`[5, factor]`: what an enlarged pixel takes from the five input pixels around it, by its phase.

    Keys' cubic with a = -0.5 and half-pixel centres.
    """
    # Output pixel `factor * i + phase` lies at `i + offset` of the input; taps at i - 2 ... i + 2.
    offset = (np.arange(factor) + 0.5) / factor - 0.5
    distance = np.abs(offset - np.arange(-2, 3)[:, None])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def bicubic_kernel(factor: int, channels: int = 3) -> np.ndarray:
    """`[5, 5, channels, factor^2 channels]`; with `pixel_shuffle` it is bicubic upsampling.

    Away from the border the same as `jax.image.resize(..., 'cubic')` and `tf.image.resize(..., 'bicubic')`.
    """
    weight = _bicubic_weights(factor)
    kernel = np.einsum('yp,xq,cd->yxcpqd', weight, weight, np.eye(channels))
    return kernel.reshape(5, 5, channels, factor**2 * channels).astype(np.float32)


def edge_pad(x: jax.Array, pixels: int) -> jax.Array:
    """`[N, H, W, C]` -> `[N, H + 2 pixels, W + 2 pixels, C]` by repeating the border."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode='edge')


def bicubic_upsample(x: jax.Array, factor: int) -> jax.Array:
    """`[N, H, W, C]` -> `[N, factor H, factor W, C]` float32, borders repeated, not clipped.

    A convolution rather than `jax.image.resize`, so that it exports with free height and width.
    """
    x = jnp.asarray(x, jnp.float32)
    kernel = jnp.asarray(bicubic_kernel(factor, x.shape[-1]))
    # Full precision: a GPU's default (TF32) would be coarser than 12 bits.
    y = conv(edge_pad(x, 2), kernel, padding=0, precision=jax.lax.Precision.HIGHEST)
    return pixel_shuffle(y, factor)


def bicubic_downsample(x: jax.Array, factor: int) -> jax.Array:
    """`[N, factor h, factor w, C]` -> `[N, h, w, C]` float32, antialiased, borders repeated, not clipped.

    Away from the border the same as `jax.image.resize(..., 'cubic')`; like `bicubic_upsample` it exports with free
    height and width. Weighted sums of slices: convolutions of three channels, and their gradients, are slow on the CPU.
    """
    weights = (_bicubic_weights(factor)[::-1] / factor).astype(np.float32)  # [tap, phase]: the transpose of enlarging
    x = edge_pad(jnp.asarray(x, jnp.float32), 2 * factor)
    for axis in (1, 2):
        size = x.shape[axis] // factor
        x = x.reshape(*x.shape[:axis], size, factor, *x.shape[axis + 1 :])
        parts = [jax.lax.slice_in_dim(x, tap, tap + size - 4, axis=axis) for tap in range(5)]
        column = (*[1] * (axis + 1), factor, *[1] * (x.ndim - axis - 2))
        products = [parts[tap] * weights[tap].reshape(column) for tap in range(5)]
        x = jnp.sum(sum(products[1:], products[0]), axis=axis + 1)
    return x


def back_projection_radius(factor: int) -> float:
    """Pixels of the input by which `back_project` widens what an output pixel depends on: two cubics, less a step."""
    return 4 - 1 / factor


def back_project(output: jax.Array, low_res: jax.Array, factor: int) -> jax.Array:
    """Move an enlarged image towards those that become the input when made smaller again.

    One step of iterative back-projection (Irani and Peleg 1991): the residual `low_res - down(output)`, enlarged, is
    added. What the input says stays; a network, or a GAN, chooses only what it leaves open.

    Args:
        output: `[N, factor h, factor w, C]`.
        low_res: `[N, h, w, C]`.
        factor: of the enlargement.
    """
    return output + bicubic_upsample(low_res - bicubic_downsample(output, factor), factor)
