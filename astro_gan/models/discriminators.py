"""Discriminators. They return logits: larger means 'looks real'."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.errors import UserError
from astro_gan.models.layers import Conv, batch_norm

NORMS = ('batch', 'none', 'spectral')


class SRGANDiscriminator(nn.Module):
    """`[N, H, W, 3]` in [0, 1] -> logits `[N, 1]` float32 (SRGAN, 1609.04802, figure 4).

    Eight 3x3 convolutions, `features` to `8 features`, stride 2 at every second one, LeakyReLU 0.2,
    then two dense layers. Inside, pixels are in [-1, 1].

    Fields:
      features, hidden: width of the first convolution and of the dense layer.
      norm: 'batch' as in the paper (not after the first convolution); 'none', which gradient
        penalties need; or 'spectral', on every layer (1802.05957). Its vectors live in
        'batch_stats' and move only with `train=True`.
      global_pool: average over the picture before the dense layers: any size from one set of
        parameters. Otherwise (the paper) the parameters fix the size.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the logit's: float32.

    Raises UserError for another norm, or without `global_pool` for pictures below 16 pixels.
    """

    features: int = 64
    hidden: int = 1024
    norm: str = 'batch'
    global_pool: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check_norm(self.norm, NORMS)
        if not self.global_pool and min(x.shape[1:3]) < 16:
            raise UserError(
                f'the discriminator needs pictures of at least 16 x 16 pixels, got {x.shape[1]} x '
                f'{x.shape[2]} (or global_pool=True)'
            )
        y = jnp.asarray(x, jnp.float32) * 2 - 1
        for index in range(8):
            features = self.features * 2 ** (index // 2)
            layer = Conv(
                features,
                stride=1 + index % 2,
                use_bias=index == 0 or self.norm != 'batch',
                dtype=self.dtype,
                name=f'conv{index}',
            )
            y = call_layer(layer, y, norm=self.norm, train=train)
            if self.norm == 'batch' and index > 0:
                y = batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=f'norm{index}')(y)
            y = nn.leaky_relu(y, 0.2)
        y = y.mean(axis=(1, 2)) if self.global_pool else y.reshape(y.shape[0], -1)
        hidden = nn.Dense(self.hidden, dtype=self.dtype, name='hidden')
        y = nn.leaky_relu(call_layer(hidden, y, norm=self.norm, train=train), 0.2)
        logit = nn.Dense(1, dtype=jnp.float32, name='logit')
        return call_layer(logit, y, norm=self.norm, train=train)


def call_layer(layer: nn.Module, x: jax.Array, *, norm: str, train: bool) -> jax.Array:
    """`layer(x)`; with norm 'spectral' its kernel is divided by its largest singular value."""
    if norm == 'spectral':
        return nn.SpectralNorm(layer, name=f'{layer.name}_spectral')(x, update_stats=train)
    return layer(x)


def check_norm(norm: str, valid: tuple[str, ...]) -> None:
    """UserError that lists the valid ones."""
    if norm not in valid:
        raise UserError(f'norm must be one of {", ".join(valid)}, not {norm!r}')


def check_size(x: jax.Array, smallest: int) -> None:
    """UserError unless `[N, H, W, C]` has at least `smallest` pixels on each side."""
    if min(x.shape[1:3]) < smallest:
        size = f'{x.shape[1]} x {x.shape[2]}'
        raise UserError(f'the discriminator needs pictures of at least {smallest} x {smallest} pixels, got {size}')
