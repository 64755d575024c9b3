"""One convolution for all models: XLA's, or matrix products where those are faster on the CPU (jaxlib 0.10).

- 1x1 convolutions are matrix products: 2 to 4 times faster, and the same thing elsewhere. So are those of few pixels,
  and small ones to few channels: `products.py`.
- Weight gradients. XLA computes them as a convolution of `x`, its channels taken as the batch, with
  filters as large as the picture, one for each output channel. The CPU's kernel for that wants some
  16 to 64 filters: with 3 (a generator's last layer) or 256 (a sub-pixel stage) it is 2 to 4 times
  slower.
- Convolutions of groups of channels: shifted pictures, or one convolution whose kernel is zero between groups.

Forward passes and input gradients stay XLA's: im2col and sums of shifted products were slower.
GPUs get XLA's own weight gradient.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from astro_gan.models.products import block_diagonal, depthwise, patch_product, pixel_product, tap_products

Array = jax.Array
Precision = lax.Precision | None

FEW, MANY = 16, 64  # output channels, see above
FEW_PIXELS, FEW_CHANNELS, FEW_TAPS = 9, 4, 16  # of the output, and of the kernel: see products.py


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    precision: Precision = None,
) -> Array:
    """Convolution with zero padding: `[N, H, W, in]`, `[k, k, in / groups, out]` -> `[N, H', W', out]`.

    `padding` pixels are added on every side (as in PyTorch); None means `k // 2`. Each of the `groups` of output
    channels sees its own input channels only. Differentiable in
    reverse mode, any number of times (a gradient penalty needs two). The result has the dtype of `x`.
    """
    size, out = kernel.shape[0], kernel.shape[-1]
    pad = size // 2 if padding is None else padding
    if groups > 1 and groups == x.shape[-1] == out:
        return depthwise(_zero_pad(x, pad), kernel, stride)
    if groups > 1:
        kernel = block_diagonal(kernel, groups)
    if (size, stride, pad) == (1, 1, 0):
        return pixel_product(x, kernel[0, 0], precision)
    height, width = ((side + 2 * pad - size) // stride + 1 for side in x.shape[1:3])
    if isinstance(height, int) and isinstance(width, int) and height * width <= FEW_PIXELS:
        return patch_product(_zero_pad(x, pad), kernel, stride, precision)
    if out <= FEW_CHANNELS and size**2 <= FEW_TAPS and stride == 1:
        return tap_products(_zero_pad(x, pad), kernel, precision).astype(x.dtype)
    return _conv(x, kernel, stride, pad, precision)


def _zero_pad(x: Array, pixels: int) -> Array:
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))


def _xla_conv(x: Array, kernel: Array, stride: int, pad: int, precision: Precision) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=precision,
    )


# A convolution, its input gradient and its kernel gradient are bilinear, and the gradients of each
# are the other two: so these rules serve every order of differentiation.


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x: Array, kernel: Array, stride: int, pad: int, precision: Precision) -> Array:
    return _xla_conv(x, kernel, stride, pad, precision)


def _conv_forward(x, kernel, stride, pad, precision):
    return _conv(x, kernel, stride, pad, precision), (x, kernel)


def _conv_backward(stride, pad, precision, residuals, g):
    x, kernel = residuals
    return (
        _input_gradient(g, kernel, x.shape, stride, pad, precision),
        _kernel_gradient(x, g, kernel.shape[0], stride, pad, precision),
    )


_conv.defvjp(_conv_forward, _conv_backward)


def _input_gradient(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, pad: int, precision: Precision
) -> Array:
    if stride == 1 and pad < kernel.shape[0]:
        flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return _conv(g, flipped, 1, kernel.shape[0] - 1 - pad, precision)
    x = jax.ShapeDtypeStruct(shape, g.dtype)
    return jax.linear_transpose(lambda x: _xla_conv(x, kernel, stride, pad, precision), x)(g)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _kernel_gradient(x: Array, g: Array, size: int, stride: int, pad: int, precision: Precision) -> Array:
    """`[N, H, W, in]`, gradient of the output `[N, H', W', out]` -> `[size, size, in, out]`."""

    def xla(x: Array, g: Array, pad: int = pad) -> Array:
        kernel = jax.ShapeDtypeStruct((size, size, x.shape[-1], g.shape[-1]), x.dtype)
        transpose = jax.linear_transpose(lambda kernel: _xla_conv(x, kernel, stride, pad, precision), kernel)
        return transpose(g)[0]

    def cpu(x: Array, g: Array) -> Array:
        channels, out = x.shape[-1], g.shape[-1]
        if out < FEW <= channels and stride == 1 and pad < size:
            # With x and g in each other's place the result is the same, mirrored.
            return jnp.flip(xla(g, x, size - 1 - pad), (0, 1)).swapaxes(2, 3)
        parts = [xla(x, g[..., start : start + MANY]) for start in range(0, out, MANY)]
        return jnp.concatenate(parts, axis=-1)

    return lax.platform_dependent(x, g, cpu=cpu, default=xla)


def _kernel_gradient_forward(x, g, size, stride, pad, precision):
    return _kernel_gradient(x, g, size, stride, pad, precision), (x, g)


def _kernel_gradient_backward(size, stride, pad, precision, residuals, h):
    x, g = residuals
    return (
        _input_gradient(g, h, x.shape, stride, pad, precision),
        _conv(x, h, stride, pad, precision),
    )


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)
