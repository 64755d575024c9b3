"""The residual VGG-16 discriminator: VGG-16's convolutions (1409.1556) with residual connections around its blocks."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.models.discriminators import NORMS, call_layer, check_norm, check_size
from astro_gan.models.layers import Conv, batch_norm
from astro_gan.models.vgg import PLANS


class ResidualVGG16Discriminator(nn.Module):
    """`[N, H, W, C]` in [0, 1] -> logits `[N, 1]` float32, any size from 16 x 16.

    The 13 3x3 convolutions in five blocks, LeakyReLU 0.2; each block's input is added to its output, through a 1x1
    convolution where the width changes. Between blocks 2x2 means (VGG's maxima would give the generator a gradient at
    one pixel in four), at the end the mean over the picture and two dense layers. Inside, pixels are in [-1, 1].

    Fields:
      features: width of the first block; the others have 2, 4, 8 and 8 times that. VGG's is 64.
      hidden: width of the dense layer.
      norm: 'batch' (not after the first convolution); 'none', which gradient penalties need; or 'spectral', on every
        layer (1802.05957). Its vectors live in 'batch_stats' and move only with `train=True`.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the logit's: float32.

    Raises UserError for another norm, or smaller pictures.
    """

    features: int = 64
    hidden: int = 1024
    norm: str = 'batch'
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check_norm(self.norm, NORMS)
        check_size(x, 16)
        y = jnp.asarray(x, jnp.float32) * 2 - 1
        for block, depth in enumerate(PLANS['vgg16'], start=1):
            if block > 1:
                y = nn.avg_pool(y, (2, 2), (2, 2))
            features = self.features * min(2 ** (block - 1), 8)
            shortcut = y
            for index in range(1, depth + 1):
                y = self._conv(y, features, 3, f'block{block}_conv{index}', train=train)
                if self.norm == 'batch' and (block, index) != (1, 1):
                    name = f'block{block}_norm{index}'
                    y = batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=name)(y)
                y = nn.leaky_relu(y, 0.2) if index < depth else y
            if shortcut.shape[-1] != features:
                shortcut = self._conv(shortcut, features, 1, f'block{block}_shortcut', train=train)
            y = nn.leaky_relu(y + shortcut, 0.2)
        hidden = nn.Dense(self.hidden, dtype=self.dtype, name='hidden')
        y = nn.leaky_relu(call_layer(hidden, y.mean(axis=(1, 2)), norm=self.norm, train=train), 0.2)
        logit = nn.Dense(1, dtype=jnp.float32, name='logit')
        return call_layer(logit, y, norm=self.norm, train=train)

    def _conv(self, x: jax.Array, features: int, size: int, name: str, *, train: bool) -> jax.Array:
        # A batch norm right behind would undo a bias.
        bias = self.norm != 'batch' or name == 'block1_conv1' or size == 1
        layer = Conv(features, size, use_bias=bias, dtype=self.dtype, name=name)
        return call_layer(layer, x, norm=self.norm, train=train)
