"""MSRResNet: SRResNet without batch normalisation, as BasicSR (XPixelGroup) trains and publishes it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.models.conv import conv
from astro_gan.models.enlarging import edge_pad, pixel_shuffle
from astro_gan.models.layers import Conv

_SLOPE = 0.1  # of its leaky ReLUs


class MSRResNet(nn.Module):
    """`[N, h, w, 3]` in [0, 1] -> `[N, factor h, factor w, 3]` float32.

    The result is nominally in [0, 1] and not clipped. What the network makes is added to the bilinear enlargement.

    Fields:
      factor: 2, 3 or 4; 4 has two sub-pixel stages.
      features, blocks: BasicSR's 64 x 16 has 1,517,571 parameters at x4.
      dtype: of the arithmetic, except the last convolution's, which makes the pixels: float32.

    Raises UserError for another factor.
    """

    factor: int = 4
    features: int = 64
    blocks: int = 16
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        return 1 + 2 * self.blocks + 1 + (0.5 if self.factor == 4 else 0) + 2 / self.factor

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        del train  # no batch statistics, no dropout
        stages = {2: (2,), 3: (3,), 4: (2, 2)}.get(self.factor)
        if stages is None:
            raise UserError(f'MSRResNet factor must be 2, 3 or 4, not {self.factor}')
        x = jnp.asarray(x, jnp.float32)
        y = _activate(self._conv('head')(x))
        for index in range(self.blocks):
            y = y + self._conv(f'block{index}_conv2')(nn.relu(self._conv(f'block{index}_conv1')(y)))
        for index, stage in enumerate(stages):
            y = _activate(pixel_shuffle(self._conv(f'upsample{index}', self.features * stage**2)(y), stage))
        y = Conv(3, name='tail')(_activate(self._conv('last')(y)))
        return y + _bilinear_upsample(x, self.factor)

    def _conv(self, name: str, features: int | None = None) -> Conv:
        return Conv(features or self.features, dtype=self.dtype, name=name)


def _bilinear_upsample(x: jax.Array, factor: int) -> jax.Array:
    """Half-pixel centres, borders repeated; a convolution, so that it exports with free height and width."""
    offset = (np.arange(factor) + 0.5) / factor - 0.5
    weight = np.maximum(0, 1 - np.abs(offset - np.arange(-1, 2)[:, None]))  # [tap, phase]
    kernel = np.einsum('yp,xq,cd->yxcpqd', weight, weight, np.eye(x.shape[-1]))
    kernel = kernel.reshape(3, 3, x.shape[-1], -1).astype(np.float32)
    padded = edge_pad(x, 1)
    return pixel_shuffle(conv(padded, jnp.asarray(kernel), padding=0, precision=jax.lax.Precision.HIGHEST), factor)


def _activate(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, _SLOPE)
