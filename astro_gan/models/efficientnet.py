"""EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946) with the layout of timm's `efficientnet_b0`, up to a stage."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.errors import UserError
from astro_gan.models.layers import Conv, SqueezeExcite, batch_norm

# (blocks, kernel size, stride of the first, expansion, features), table 1
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
ENDS = (1, 2, 3, 5, 7)  # how many of them end with the last map of a size
DENSE_INIT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # timm's, as the authors' own
DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')  # the same, for one channel


class EfficientNetB0(nn.Module):
    """`[N, H, W, C]`, ImageNet-normalised, -> feature maps of dtype `dtype`: H / 2, H / 4, ..., rounded up.

    A list of `stages` + 1 maps of 16, 24, 40, 112 and 320 channels. Zero padding is PyTorch's: the same on both sides.

    Fields:
      stages: how many of the four after the first to keep.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic and the maps.

    Raises UserError for stages other than 1 to 4.
    """

    stages: int = 4
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> list[jax.Array]:
        if self.stages not in range(1, 5):
            raise UserError(f'an EfficientNet has 1 to 4 stages, not {self.stages}')
        norm = partial(batch_norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        stem = Conv(32, 3, 2, use_bias=False, dtype=self.dtype, kernel_init=DENSE_INIT, name='conv_stem')
        y = nn.silu(norm(name='bn1')(stem(x)))
        maps = []
        for stage, (blocks, size, stride, expansion, features) in enumerate(BLOCKS[: ENDS[self.stages]], start=1):
            for index in range(blocks):
                options = (features, size, stride if index == 0 else 1, expansion, norm)
                y = _Block(*options, dtype=self.dtype, name=f'blocks_{stage - 1}_{index}')(y)
            if stage in ENDS:
                maps.append(y)
        return maps


class _Block(nn.Module):
    """An inverted residual; without expansion it begins with the convolution of single channels."""

    features: int
    kernel_size: int
    stride: int
    expansion: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inner, options = x.shape[-1] * self.expansion, {'use_bias': False, 'dtype': self.dtype}
        wider = self.expansion > 1
        first, second, third = ('bn1', 'bn2', 'bn3') if wider else ('', 'bn1', 'bn2')
        y = x
        if wider:
            y = nn.silu(self.norm(name=first)(Conv(inner, 1, kernel_init=DENSE_INIT, name='conv_pw', **options)(y)))
        single = {'groups': inner, 'kernel_init': DEPTHWISE_INIT, **options}
        y = nn.silu(self.norm(name=second)(Conv(inner, self.kernel_size, self.stride, name='conv_dw', **single)(y)))
        squeezed = x.shape[-1] // 4  # of the block's input
        y = SqueezeExcite(squeezed, nn.silu, ('conv_reduce', 'conv_expand'), dtype=self.dtype, name='se')(y)
        name = 'conv_pwl' if wider else 'conv_pw'
        y = self.norm(name=third)(Conv(self.features, 1, kernel_init=DENSE_INIT, name=name, **options)(y))
        return x + y if x.shape == y.shape else y
