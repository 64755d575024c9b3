"""The basic U-Net: pix2pix's generator (Isola et al. 2017, arXiv 1611.07004), and what colorizers share."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.colorization import CHANNELS, SMALLEST
from astro_gan.errors import UserError
from astro_gan.models.layers import Conv, UpConv, batch_norm

PIX2PIX_INIT = nn.initializers.normal(0.02)  # 1611.07004, section 6.2


class UNet(nn.Module):
    """`[N, H, W, 1]` in [0, 1] -> colours `[N, H, W, CHANNELS[space]]` float32, any size from 64 x 64.

    4x4 convolutions with stride 2 and LeakyReLU 0.2 on the way down, then ReLU and as many steps up, each joined by the
    map of its size (section 6.1.1). A step up is nearest neighbour upsampling and a 3x3 convolution, which makes no
    checkerboards; the paper's is a transposed convolution. Inside, pixels are in [-1, 1].

    Fields:
      space: 'rgb', gray in and RGB in [0, 1] out; 'lab', L* / 100 in and (a*, b*) / 110 in [-1, 1] out; or
        'classes', L* / 100 in and logits of `colour_classes` out.
      features: width at half resolution; it doubles with each halving, up to 8 `features`.
      depth: number of halvings. Other sizes than multiples of 2^depth are padded by repeating the last row and
        column, and cropped again. The paper has 8, for 256 px; 6 bring 64 px to a single one.
      dropout: rate in the first three steps up, with `train=True` and a PRNG key as `rngs={'dropout': key}`.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the last convolution's, which makes the colours: float32.

    Raises UserError for another space, a smaller image or one that has not one channel. With `train=True` make
    'batch_stats' mutable. Exports with height and width free.
    """

    space: str = 'rgb'
    features: int = 64
    depth: int = 6
    dropout: float = 0.5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """Sizes that are multiples of it need no padding."""
        return 2**self.depth

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check_input(self.space, x)
        height, width = x.shape[1:3]
        y = pad_to_multiple(jnp.asarray(x, jnp.float32) * 2 - 1, self.multiple)

        maps = []
        for level in range(self.depth):
            # No norm on the first map (the paper's choice) nor the innermost: normalised alone, as with one image, a
            # single pixel would always be zero.
            norm = 0 < level < self.depth - 1
            down = Conv(
                self._width(level),
                4,
                stride=2,
                padding=1,
                use_bias=not norm,
                dtype=self.dtype,
                kernel_init=PIX2PIX_INIT,
                name=f'down{level}',
            )
            y = down(y if level == 0 else nn.leaky_relu(y, 0.2))
            y = self._norm(f'down{level}_norm', train)(y) if norm else y
            maps.append(y)
        y = maps.pop()
        for index, level in enumerate(reversed(range(self.depth - 1))):
            up = UpConv(
                self._width(level), use_bias=False, dtype=self.dtype, kernel_init=PIX2PIX_INIT, name=f'up{level + 1}'
            )
            y = self._norm(f'up{level + 1}_norm', train)(up(nn.relu(y)))
            y = nn.Dropout(self.dropout if index < 3 else 0.0, deterministic=not train)(y)
            y = jnp.concatenate([y, maps.pop()], axis=-1)
        y = UpConv(CHANNELS[self.space], kernel_init=PIX2PIX_INIT, name='up0')(nn.relu(y))[:, :height, :width]
        if self.space == 'classes':
            return y
        y = jnp.tanh(y)
        return (y + 1) / 2 if self.space == 'rgb' else y

    def _width(self, level: int) -> int:
        return self.features * min(2**level, 8)

    def _norm(self, name: str, train: bool) -> nn.Module:
        return batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=name)


def check_input(space: str, x: jax.Array) -> None:
    """UserError unless `space` is known and `x` is `[N, H, W, 1]`, at least 64 x 64 (symbolic sizes pass)."""
    if space not in CHANNELS:
        raise UserError(f'space must be one of {", ".join(CHANNELS)}, not {space!r}')
    if x.ndim != 4 or x.shape[-1] != 1:
        raise UserError(f'a colorization network takes images [N, H, W, 1], got {x.shape}')
    if min((size for size in x.shape[1:3] if isinstance(size, int)), default=SMALLEST) < SMALLEST:
        raise UserError(
            f'a colorization network needs images of at least {SMALLEST} x {SMALLEST} pixels, got {x.shape[1]} x '
            f'{x.shape[2]}'
        )


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Repeats the last row and column of `[N, H, W, C]` until both sizes are multiples; they may be symbolic."""
    for axis in (1, 2):
        # Written as a multiple, so that symbolic sizes halve and double without a remainder.
        padded = multiple * -(-x.shape[axis] // multiple)
        if padded != x.shape[axis]:
            x = jnp.take(x, jnp.arange(padded), axis=axis, mode='clip')
    return x
