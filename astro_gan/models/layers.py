"""Layers that every model uses: convolution, weight norm, PReLU, pixel shuffle, bicubic upsampling.

Images are `[N, H, W, C]`, kernels `[kh, kw, in, out]`. Parameters are float32 whatever
the compute dtype.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
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
