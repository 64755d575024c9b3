"""Layers that every model uses: convolution, weight norm, PReLU, squeeze and excitation, batch norm.

Images are `[N, H, W, C]`, kernels `[kh, kw, in, out]`. Parameters are float32 whatever
the compute dtype.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.models.conv import conv
from astro_gan.models.products import up_products

# torch's default for convolutions, U(-1/sqrt(fan_in), 1/sqrt(fan_in)): EDSR and WDSR started so.
KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
# How far the learned part of a network that starts from bicubic is turned down at the start.
QUIET = 0.01
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB in [0, 1]; EDSR (1707.02921), section 4.1


def scaled_init(scale: float) -> Callable:
    """The default kernel initialiser, multiplied by `scale`."""
    return lambda key, shape, dtype=jnp.float32: scale * KERNEL_INIT(key, shape, dtype)


class Conv(nn.Module):
    """Square convolution, `[N, H, W, in]` -> `[N, H', W', features]`, zero padding.

    `padding` pixels on every side; None means `kernel_size // 2`. Each of the `groups` of output channels sees its own
    input channels only. The result has dtype `dtype`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = KERNEL_INIT

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        y = conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )
        return _add_bias(self, y)


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
        kernel = self.param('kernel', self.kernel_init, (3, 3, x.shape[-1], self.features), jnp.float32)
        return _add_bias(self, up_products(x.astype(self.dtype), kernel.astype(self.dtype)).astype(self.dtype))


def _add_bias(module: Any, y: jax.Array) -> jax.Array:
    """`y` plus the module's learned bias, if it has one."""
    if not module.use_bias:
        return y
    bias = module.param('bias', nn.initializers.zeros, (module.features,), jnp.float32)
    return y + per_channel(bias.astype(y.dtype))


def per_channel(values: Any) -> jax.Array:
    """`[C]` -> `[1, 1, 1, C]`, for images and kernels."""
    return jnp.asarray(values).reshape(1, 1, 1, -1)


class WeightNormConv(nn.Module):
    """Convolution whose filters are `scale * kernel / |kernel|` (1602.07868), biases starting at 0.

    `scale_init` is the starting gain: a number for all filters, or one per filter.
    """

    features: int
    kernel_size: int = 3
    padding: int | None = None
    scale_init: Any = 1.0
    kernel_init: Callable = KERNEL_INIT
    dtype: Any = jnp.float32
    precision: jax.lax.Precision | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        scale = self.param('scale', lambda _: jnp.broadcast_to(jnp.float32(self.scale_init), (self.features,)))
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        # The floor keeps a filter that is all zeros (and its gradient) finite.
        square = jnp.sum(jnp.square(kernel), axis=(0, 1, 2))
        kernel = kernel * per_channel(scale * jax.lax.rsqrt(jnp.maximum(square, 1e-24)))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = conv(x, kernel, padding=self.padding, precision=self.precision)
        return y + per_channel(bias.astype(self.dtype))


class PReLU(nn.Module):
    """Leaky ReLU with one learned slope per channel, starting at 0.25 (1502.01852)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.constant(0.25)
        slope = self.param('slope', init, (x.shape[-1],), jnp.float32).astype(x.dtype)
        return jnp.where(x >= 0, x, per_channel(slope) * x)


class SqueezeExcite(nn.Module):
    """Every channel times a weight in (0, 1) that the means of all channels over the picture give (1709.01507).

    Two 1x1 convolutions, called `names`, with `features` channels and `activation` between them, then a sigmoid.
    """

    features: int
    activation: Callable
    names: tuple[str, str]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.mean((1, 2), keepdims=True)
        y = self.activation(Conv(self.features, 1, dtype=self.dtype, name=self.names[0])(y))
        return x * nn.sigmoid(Conv(x.shape[-1], 1, dtype=self.dtype, name=self.names[1])(y))


def batch_norm(
    *, train: bool, dtype: Any, axis_name: str | None, name: str | None = None, epsilon: float = 1e-5
) -> nn.BatchNorm:
    """Batch normalisation with PyTorch's defaults: momentum 0.9 (torch's 0.1), epsilon 1e-5 (Keras has 1e-3).

    `axis_name` is the pmap axis over which the statistics are averaged.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name,
        name=name,
    )
