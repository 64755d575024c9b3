"""A network that grows: it learns to enlarge 2 times, then 4, then 8 (after Karras et al. 2018, arXiv 1710.10196)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.models.enlarging import (
    back_project,
    back_projection_radius,
    bicubic_upsample,
    pixel_shuffle,
    sub_pixel_stages,
)
from astro_gan.models.layers import DIV2K_MEAN, QUIET, Conv, per_channel, scaled_init

FADE = 0.5  # of the steps between two levels


class GrowingEDSR(nn.Module):
    """`[N, h, w, 3]` in [0, 1] -> `[N, factor h, factor w, 3]` float32.

    The result is nominally in [0, 1] and not clipped.

    A level for each sub-pixel stage of the factor: EDSR's residual blocks, an enlargement, and a convolution to the
    detail of that size (a pyramid of residuals as in LapSRN, Lai et al. 2017, 1704.03915). The picture so far, enlarged
    by bicubic interpolation, plus the detail is the picture of the next size, so that the fresh network is bicubic.

    Training brings the levels in one after the other. Level k starts after k `grow_steps` and its detail fades in over
    the first half of its own; before that it adds nothing and learns nothing, and the levels below learn what
    they can add to the enlarged picture. How far the growth has come is the variable 'growth' in 'batch_stats', which
    moves with `train=True`: it is saved, averaged and exported with the weights.

    Fields:
      factor: upsampling factor, a product of 2s and 3s: one level each.
      features, blocks: channels, and residual blocks of each level.
      grow_steps: steps from the start of one level to that of the next.
      back_projection: end with `layers.back_project`: the output, made smaller again, is close to the input.
      dtype: of the arithmetic, except that of the convolutions that make pixels: float32.

    Raises UserError for another factor. With `train=True` make 'batch_stats' mutable.
    """

    factor: int = 8
    features: int = 32
    blocks: int = 4
    grow_steps: int = 1000
    back_projection: bool = False
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        radius, scale = 1.0, 1
        for stage in sub_pixel_stages(self.factor):
            radius += (2 * self.blocks + 1) / scale
            scale *= stage
        radius += 1 / scale
        # The interpolation of details of lower levels reaches less far than the blocks above them: 2 pixels, not 3.
        return radius + self.back_projection * back_projection_radius(self.factor)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        stages = sub_pixel_stages(self.factor)
        growth = self.variable('batch_stats', 'growth', lambda: jnp.zeros(1, jnp.float32))
        now = growth.value.reshape(())
        if train and not self.is_initializing():
            growth.value = jnp.minimum(growth.value + 1 / self.grow_steps, float(len(stages)))

        picture = jnp.asarray(x, jnp.float32)
        y = self._conv('head')((picture - per_channel(jnp.asarray(DIV2K_MEAN, jnp.float32))) * 255)
        for level, stage in enumerate(stages):
            for index in range(self.blocks):
                residual = nn.relu(self._conv(f'level{level}_block{index}_conv1')(y))
                y = y + self._conv(f'level{level}_block{index}_conv2')(residual)
            y = pixel_shuffle(self._conv(f'level{level}_upsample', self.features * stage**2)(y), stage)
            detail = Conv(3, kernel_init=scaled_init(QUIET), name=f'level{level}_detail')(y) / 255
            share = jnp.clip((now - level) / FADE, 0.0, 1.0) if level else 1.0
            picture = bicubic_upsample(picture, stage) + share * detail
        return back_project(picture, jnp.asarray(x, jnp.float32), self.factor) if self.back_projection else picture

    def _conv(self, name: str, features: int | None = None) -> Conv:
        return Conv(features or self.features, dtype=self.dtype, name=name)
