"""Convolutions as matrix products, where XLA's are slow on the CPU (jaxlib 0.10); `conv.conv` chooses.

- Pictures of a few pixels, at the bottom of an encoder: one product of patches. XLA takes up to 60 times longer: 900 ms
  instead of 9 ms for a 3x3 convolution of 512 to 512 channels on 16 x 2 x 2 pixels, with its gradients.
- One or few output channels, such as a logit: one product for each tap of the kernel, then a sum of shifted maps. From
  512 channels to 1, 4x4 on 31 x 31 pixels, 15 times faster, 20 times in the weight gradient.
- After nearest neighbour upsampling, which only repeats pixels: the same, with the products taken before, on a
  quarter of the pixels. 2 to 6 times faster, gradients included.
- In groups of channels: XLA takes 15 s instead of 0.2 s for the gradients of a 3x3 convolution of 128 channels in 32
  groups on 16 x 16 x 16 pixels.

All are `[N, H, W, in]`, `[k, k, in, out]` -> `[N, H', W', out]`, and differentiable any number of times.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Precision = jax.lax.Precision | None


def pixel_product(x: jax.Array, matrix: jax.Array, precision: Precision = None) -> jax.Array:
    """`[N, H, W, in]`, `[in, out]` -> `[N, H, W, out]`."""
    # Two axes: with four, the CPU transposes whole pictures for the weight gradient, ten times its cost.
    rows = jnp.dot(x.reshape(-1, x.shape[-1]), matrix, precision=precision)
    return rows.reshape(*x.shape[:-1], matrix.shape[-1])


def patch_product(x: jax.Array, kernel: jax.Array, stride: int, precision: Precision = None) -> jax.Array:
    """The valid convolution, by patches `[N, H', W', k k in]`."""
    size = kernel.shape[0]
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    taps = [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]
    return pixel_product(jnp.concatenate(taps, axis=-1), kernel.reshape(-1, kernel.shape[-1]), precision)


def tap_products(x: jax.Array, kernel: jax.Array, precision: Precision = None) -> jax.Array:
    """The valid convolution in float32, by maps `[N, H, W, k k out]`."""
    return _both_axes(_products(x, kernel, precision), _tap_sum)


def up_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3x3 convolution after nearest neighbour upsampling by 2, in float32: `[N, 2 H, 2 W, out]`."""
    return _both_axes(_products(x, kernel), _up_sum)


def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The valid convolution of every channel with its own filter, `[k, k, 1, C]`: `[N, H', W', C]`."""
    size = kernel.shape[0]
    rows, columns = ((side - size) // stride * stride + 1 for side in x.shape[1:3])
    total: Any = 0
    for i in range(size):
        down = jax.lax.slice_in_dim(x, i, i + rows, stride, axis=1)
        for j in range(size):
            total = total + jax.lax.slice_in_dim(down, j, j + columns, stride, axis=2) * kernel[i, j].reshape(
                1, 1, 1, -1
            )
    return total


def block_diagonal(kernel: jax.Array, groups: int) -> jax.Array:
    """`[k, k, in / groups, out]` -> `[k, k, in, out]`, zero between groups."""
    *size, channels, out = kernel.shape
    blocks = kernel.reshape(*size, 1, channels, groups, out // groups)
    # A constant: numpy's, which exports know.
    same = jnp.asarray(np.eye(groups), kernel.dtype).reshape(1, 1, groups, 1, groups, 1)
    return (blocks * same).reshape(*size, groups * channels, out)


def _products(x: jax.Array, kernel: jax.Array, precision: Precision = None) -> jax.Array:
    """`[N, H, W, in]`, `[k, k, in, out]` -> `[N, H, W, k, k, out]` float32: every pixel with every tap."""
    size, _, channels, out = kernel.shape
    y = pixel_product(x, kernel.transpose(2, 0, 1, 3).reshape(channels, -1), precision)
    return y.reshape(*x.shape[:3], size, size, out).astype(jnp.float32)


def _both_axes(products: jax.Array, tap_sum: Callable) -> jax.Array:
    """Sums the taps `[N, H, W, k, k, out]` along H, then along W."""
    n, h, w, size, _, out = products.shape
    y = tap_sum(products.reshape(n, h, w, size, size * out), 1)
    return tap_sum(y.reshape(n, y.shape[1], w, size, out), 2)


def _taps(y: jax.Array) -> list[jax.Array]:
    # Not y[..., tap, :]: with symbolic sizes that becomes a gather. The same goes for the slices below.
    return [jax.lax.index_in_dim(y, tap, -2, keepdims=False) for tap in range(y.shape[-2])]


def _tap_sum(y: jax.Array, axis: int) -> jax.Array:
    """`[N, ..., k, out]` -> `[N, ..., out]`, `axis` shorter by k - 1: the sum of its taps, each from its place."""
    length = y.shape[axis] - y.shape[-2] + 1
    shifted = [jax.lax.slice_in_dim(tap, at, at + length, axis=axis) for at, tap in enumerate(_taps(y))]
    return functools.reduce(jnp.add, shifted)


def _up_sum(y: jax.Array, axis: int) -> jax.Array:
    """`[N, ..., 3, out]` -> `[N, ..., out]`, `axis` doubled: repeats its pixels, then sums the three taps."""
    first, middle, last = _taps(y)
    size = y.shape[axis]
    padding = [(1, 1) if at == axis else (0, 0) for at in range(first.ndim)]
    before = jax.lax.slice_in_dim(jnp.pad(first, padding), 0, size, axis=axis)
    after = jax.lax.slice_in_dim(jnp.pad(last, padding), 2, size + 2, axis=axis)
    # Both pixels of a pair see the pair itself with two taps, and one neighbour with the third.
    pairs = jnp.stack([before + middle + last, first + middle + after], axis + 1)
    return pairs.reshape(*first.shape[:axis], 2 * size, *first.shape[axis + 1 :])
