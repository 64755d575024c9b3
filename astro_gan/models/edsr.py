"""EDSR: residual network without batch normalisation (Lim et al. 2017, arXiv 1707.02921)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.models.enlarging import (
    back_project,
    back_projection_radius,
    bicubic_upsample,
    pixel_shuffle,
    sub_pixel_radius,
    sub_pixel_stages,
)
from astro_gan.models.layers import DIV2K_MEAN, KERNEL_INIT, QUIET, Conv, per_channel, scaled_init


class EDSR(nn.Module):
    """`[N, h, w, 3]` in [0, 1] -> `[N, factor h, factor w, 3]` float32.

    The result is nominally in [0, 1] and not clipped.

    Inside, pixels are 0..255 with the DIV2K mean subtracted, as in the authors' code.

    Fields:
      factor: upsampling factor, a product of 2s and 3s: one sub-pixel stage each.
      features, blocks: 64 x 16 is the paper's baseline (1,517,571 parameters at x4), 256 x 32 with
        `residual_scale` 0.1 the full model (43.1M).
      residual_scale: multiplies each residual before it is added (section 3.3).
      bicubic_start: the fresh network is bicubic upsampling: that is added to the output (without
        parameters), and the last convolution starts turned down.
      back_projection: end with `layers.back_project`: the output, made smaller again, is close to the input.
      dtype: of the arithmetic, except the last convolution's, which makes the pixels: float32.

    Raises UserError for another factor.
    """

    factor: int = 4
    features: int = 64
    blocks: int = 16
    residual_scale: float = 1.0
    bicubic_start: bool = False
    back_projection: bool = False
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        radius = 2 + 2 * self.blocks + sub_pixel_radius(self.factor) + 1 / self.factor
        return radius + self.back_projection * back_projection_radius(self.factor)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        del train  # no batch statistics, no dropout
        mean = per_channel(jnp.asarray(DIV2K_MEAN, jnp.float32))
        x = jnp.asarray(x, jnp.float32)

        y = head = self._conv('head')((x - mean) * 255)
        for index in range(self.blocks):
            residual = nn.relu(self._conv(f'block{index}_conv1')(y))
            residual = self._conv(f'block{index}_conv2')(residual)
            y = y + residual * self.residual_scale
        y = self._conv('body')(y) + head
        for index, stage in enumerate(sub_pixel_stages(self.factor)):
            y = pixel_shuffle(self._conv(f'upsample{index}', self.features * stage**2)(y), stage)
        init = scaled_init(QUIET) if self.bicubic_start else KERNEL_INIT
        y = Conv(3, kernel_init=init, name='tail')(y) / 255
        y = y + (bicubic_upsample(x, self.factor) if self.bicubic_start else mean)
        return back_project(y, x, self.factor) if self.back_projection else y

    def _conv(self, name: str, features: int | None = None) -> Conv:
        return Conv(features or self.features, dtype=self.dtype, name=name)
