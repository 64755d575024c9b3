"""Convolutions as matrix products, where XLA's are slow on the CPU (jaxlib 0.10). The numbers are the same.

- Pictures of a few pixels, at the bottom of an encoder: one product of patches. XLA takes up to 60 times longer: 900 ms
  instead of 9 ms for a 3x3 convolution of 512 to 512 channels on 16 x 2 x 2 pixels, with its gradients.
- One or few output channels, such as a logit: one product for each tap of the kernel, then a sum of shifted maps. From
  512 channels to 1, 4x4 on 31 x 31 pixels, 15 times faster, 20 times in the weight gradient.
- After nearest neighbour upsampling, which only repeats pixels: the same, with the products taken before, on a
  quarter of the pixels. 2 to 6 times faster, gradients included.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.models.conv import conv
from astro_gan.models.layers import KERNEL_INIT

FEW_PIXELS, FEW_CHANNELS = 9, 4  # of the output, see above


class ProductConv(nn.Module):
    """`layers.Conv`, also fast for few pixels and few output channels: `[N, H, W, in]` -> `[N, H', W', features]`.

    `padding` zeros on every side; None means `kernel_size // 2`. The result has dtype `dtype`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = KERNEL_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = _parameters(self, x.shape[-1], self.kernel_size)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        height, width = ((size + 2 * padding - self.kernel_size) // self.stride + 1 for size in x.shape[1:3])
        if isinstance(height, int) and isinstance(width, int) and height * width <= FEW_PIXELS:
            y = _patch_product(_pad(x, padding), kernel, self.stride)
        elif self.features <= FEW_CHANNELS and self.stride == 1:
            y = _tap_products(_pad(x, padding), kernel)
        else:
            y = conv(x, kernel, stride=self.stride, padding=padding)
        return (y if bias is None else y + bias).astype(self.dtype)


class UpConv(nn.Module):
    """Nearest neighbour upsampling by 2, then a 3x3 convolution: `[N, H, W, in]` -> `[N, 2 H, 2 W, features]`.

    Unlike a transposed convolution with stride 2 it treats all output pixels alike: no checkerboards (Odena et al.
    2016, "Deconvolution and Checkerboard Artifacts"). The result has dtype `dtype`.
    """

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = KERNEL_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = _parameters(self, x.shape[-1], 3)
        y = _both_axes(_products(x.astype(self.dtype), kernel.astype(self.dtype)), _up_sum)
        return (y if bias is None else y + bias).astype(self.dtype)


def _parameters(module: Any, channels: int, size: int) -> tuple[jax.Array, jax.Array | None]:
    shape = (size, size, channels, module.features)
    kernel = module.param('kernel', module.kernel_init, shape, jnp.float32)
    if not module.use_bias:
        return kernel, None
    return kernel, module.param('bias', nn.initializers.zeros, (module.features,), jnp.float32)


def _pad(x: jax.Array, pixels: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))


def _patch_product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The valid convolution of `[N, H, W, in]` and `[k, k, in, out]`, by patches `[N, H', W', k k in]`."""
    size = kernel.shape[0]
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    taps = [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]
    return conv(jnp.concatenate(taps, axis=-1), kernel.reshape(1, 1, -1, kernel.shape[-1]))


def _tap_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The valid convolution of `[N, H, W, in]` and `[k, k, in, out]` in float32, by maps `[N, H, W, k k out]`."""
    return _both_axes(_products(x, kernel), _tap_sum)


def _products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[N, H, W, in]`, `[k, k, in, out]` -> `[N, H, W, k, k, out]` float32: every pixel with every tap."""
    size, _, channels, out = kernel.shape
    y = conv(x, kernel.transpose(2, 0, 1, 3).reshape(1, 1, channels, -1))
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
