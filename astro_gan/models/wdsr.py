"""WDSR: wide activation, weight normalisation (Yu et al. 2018, arXiv 1808.08718)."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.models.enlarging import back_project, back_projection_radius, bicubic_kernel, edge_pad, pixel_shuffle
from astro_gan.models.layers import DIV2K_MEAN, QUIET, WeightNormConv, per_channel


class WDSR(nn.Module):
    """`[N, h, w, channels + conditions]` -> `[N, factor h, factor w, channels]` float32.

    Pictures are in [0, 1]; the result is so nominally, and not clipped.

    Inside, pixels are `(x - mean) / 127.5` of 0..255 values (section 4): `2 (x - mean)` here. Anything but pictures in
    colour has mean 0.

    Fields:
      factor: upsampling factor, any integer from 1.
      channels: of the picture.
      conditions: maps after the picture's channels that only the body sees, not the skip.
      features, blocks: width and number of residual blocks. The paper's x4 models: A with 16
        blocks of 32 (1,203,312 parameters), B with 32 of 32 (615,088).
      variant: 'a', 3x3 expand, ReLU, 3x3; or 'b', 1x1 expand, ReLU, 1x1 to low rank, 3x3.
      expansion: widening before the ReLU; None means the papers' 4 for A and 6 for B.
      low_rank: B only, width of the low-rank layer relative to `features`.
      bicubic_start: the fresh network is bicubic upsampling: the 5x5 skip starts as that kernel
        (and repeats the border instead of padding with zeros), the body's last convolution starts
        turned down.
      back_projection: end with `layers.back_project`: the output, made smaller again, is close to the input.
      dtype: of the body's arithmetic. The skip, which carries the picture, is always float32.

    Raises UserError for an unknown variant, a factor below 1 or another number of channels.
    """

    factor: int = 4
    channels: int = 3
    conditions: int = 0
    features: int = 32
    blocks: int = 16
    variant: str = 'a'
    expansion: int | None = None
    low_rank: float = 0.8
    bicubic_start: bool = False
    back_projection: bool = False
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        radius = 2 + self.blocks * (2 if self.variant == 'a' else 1)
        return radius + self.back_projection * back_projection_radius(self.factor)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        del train  # no batch statistics, no dropout
        if self.variant not in ('a', 'b'):
            raise UserError(f"WDSR variant must be 'a' or 'b', not {self.variant!r}")
        if self.factor < 1:
            raise UserError(f'WDSR factor must be at least 1, not {self.factor}')
        if x.shape[-1] != self.channels + self.conditions:
            raise UserError(
                f'WDSR takes {self.channels} channels and {self.conditions} conditions, not {x.shape[-1]} channels'
            )
        mean = per_channel(jnp.asarray(DIV2K_MEAN, jnp.float32)) if self.channels == 3 else jnp.float32(0.0)
        given = jnp.asarray(x, jnp.float32)
        low_res = given[..., : self.channels]
        x = (low_res - mean) * 2
        seen = jnp.concatenate([x, given[..., self.channels :]], axis=-1) if self.conditions else x

        y = self._conv(self.features, 'head')(seen)
        for index in range(self.blocks):
            y = y + self._block(y, index)
        out = self.channels * self.factor**2
        y = self._conv(out, 'tail', scale=QUIET if self.bicubic_start else 1.0)(y)
        y = y.astype(jnp.float32) + self._skip(x, out)
        y = pixel_shuffle(y, self.factor) / 2 + mean
        return back_project(y, low_res, self.factor) if self.back_projection else y

    def _conv(self, features: int, name: str, *, kernel_size: int = 3, scale: float = 1.0):
        return WeightNormConv(features, kernel_size, scale_init=scale, dtype=self.dtype, name=name)

    def _block(self, x: jax.Array, index: int) -> jax.Array:
        # Starting gains are the authors': 2 undoes the ReLU's halving, 1/sqrt(blocks) keeps the sum
        # of all residuals at unit variance.
        first, last = f'block{index}_expand', f'block{index}_project'
        end = 1 / math.sqrt(self.blocks)
        if self.variant == 'a':
            y = self._conv(self.features * (self.expansion or 4), first, scale=2.0)(x)
            return self._conv(self.features, last, scale=end)(nn.relu(y))
        wide = self.features * (self.expansion or 6)
        y = self._conv(wide, first, kernel_size=1, scale=2.0)(x)
        low = int(self.features * self.low_rank)
        y = self._conv(low, f'block{index}_low_rank', kernel_size=1)(nn.relu(y))
        return self._conv(self.features, last, scale=end)(y)

    def _skip(self, x: jax.Array, out: int) -> jax.Array:
        precision = jax.lax.Precision.HIGHEST
        if not self.bicubic_start:
            return WeightNormConv(out, 5, precision=precision, name='skip')(x)
        kernel = bicubic_kernel(self.factor, self.channels)
        return WeightNormConv(
            out,
            5,
            padding=0,
            scale_init=np.sqrt(np.sum(kernel**2, axis=(0, 1, 2))),
            kernel_init=lambda *_: jnp.asarray(kernel),
            precision=precision,
            name='skip',
        )(edge_pad(x, 2))
