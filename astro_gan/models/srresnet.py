"""SRResNet, the generator of SRGAN (Ledig et al. 2017, arXiv 1609.04802)."""

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
from astro_gan.models.layers import KERNEL_INIT, QUIET, Conv, PReLU, batch_norm, scaled_init


class SRResNet(nn.Module):
    """`[N, h, w, 3]` in [0, 1] -> `[N, factor h, factor w, 3]` float32.

    The result is nominally in [0, 1] and not clipped.

    The network's own output is in [-1, 1] (section 3.2) and brought to [0, 1] at the end.

    Fields:
      factor: upsampling factor, a product of 2s and 3s: one sub-pixel stage each.
      features, blocks: the paper's 64 x 16 has 1,550,659 parameters at x4.
      bicubic_start: the fresh network is bicubic upsampling: that is added to the output (without
        parameters), and the last convolution starts turned down.
      norm_epsilon: of the batch normalisation; Keras's is 1e-3.
      tanh: end with tanh, as the published Keras network (krasserm/super-resolution) does.
      back_projection: end with `layers.back_project`: the output, made smaller again, is close to the input.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the last convolution's, which makes the pixels: float32.

    Raises UserError for another factor. With `train=True` make 'batch_stats' mutable.
    """

    factor: int = 4
    features: int = 64
    blocks: int = 16
    bicubic_start: bool = False
    norm_epsilon: float = 1e-5
    tanh: bool = False
    back_projection: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        radius = 5 + 2 * self.blocks + sub_pixel_radius(self.factor) + 4 / self.factor
        return radius + self.back_projection * back_projection_radius(self.factor)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = jnp.asarray(x, jnp.float32)

        y = head = PReLU(name='head_prelu')(self._conv('head', kernel_size=9)(x))
        for index in range(self.blocks):
            residual = self._conv_norm(y, f'block{index}', 1, train=train)
            residual = PReLU(name=f'block{index}_prelu')(residual)
            y = y + self._conv_norm(residual, f'block{index}', 2, train=train)
        y = self._conv_norm(y, 'body', 1, train=train) + head
        for index, stage in enumerate(sub_pixel_stages(self.factor)):
            y = self._conv(f'upsample{index}', self.features * stage**2)(y)
            y = PReLU(name=f'upsample{index}_prelu')(pixel_shuffle(y, stage))
        init = scaled_init(QUIET) if self.bicubic_start else KERNEL_INIT
        y = Conv(3, kernel_size=9, kernel_init=init, name='tail')(y)
        y = (jnp.tanh(y) if self.tanh else y) / 2
        y = y + (bicubic_upsample(x, self.factor) if self.bicubic_start else 0.5)
        return back_project(y, x, self.factor) if self.back_projection else y

    def _conv(self, name: str, features: int | None = None, kernel_size: int = 3) -> Conv:
        return Conv(features or self.features, kernel_size, dtype=self.dtype, name=name)

    def _conv_norm(self, x: jax.Array, name: str, index: int, *, train: bool) -> jax.Array:
        x = self._conv(f'{name}_conv{index}')(x)
        norm = batch_norm(
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=f'{name}_norm{index}',
            epsilon=self.norm_epsilon,
        )
        return norm(x)
