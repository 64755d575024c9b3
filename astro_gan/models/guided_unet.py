"""A U-Net that corrects a first guess of the colours: ResNet-18 sees the picture as the guides would colour it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.color import lab_to_rgb
from astro_gan.colorization import AB_SCALE, SMALLEST
from astro_gan.errors import UserError
from astro_gan.guides import PLANES
from astro_gan.models.backbones import imagenet_normalise
from astro_gan.models.layers import QUIET, Conv, UpConv, batch_norm, scaled_init
from astro_gan.models.resnet import ResNet
from astro_gan.models.unet import pad_to_multiple

USUAL_CHROMA = 20.0 / AB_SCALE
LEVELS = 9  # of L*, at which the global palette is read


class GuidedUNet(nn.Module):
    """L* / 100 and the planes of `guides.first_guess`, `[N, H, W, 1 + 6]` -> (a*, b*) / 110 `[N, H, W, 2]` float32.

    The encoder, 'encoder' in the parameters, sees the first guess as a picture, ImageNet-normalised (gray, where there
    is no guide), and stays as it is: a few hundred pictures train the decoder alone. That sees the input at each of its
    sizes, as means over blocks, beside the encoder's map, and at its deepest level the mean of that map over the
    picture. The output is the first guess and a difference; the fresh network, its last convolution turned down, gives
    almost the guess itself.

    Fields:
      space: 'lab', the only one.
      stages: how many of the encoder's four stages to keep.
      features: width of the decoder at half resolution; half of it at full resolution, double after each further
        halving.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the last convolution's, which makes the colours: float32.

    Raises ValueError for another space, a smaller image or another number of channels. With `train=True` make
    'batch_stats' mutable. Exports with height and width free.
    """

    space: str = 'lab'
    stages: int = 3
    features: int = 32
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """Sizes that are multiples of it need no padding."""
        return 2 ** (self.stages + 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if self.space != 'lab':
            raise UserError(f"space must be 'lab', not {self.space!r}")
        if x.ndim != 4 or x.shape[-1] != 1 + PLANES:
            raise UserError(f'a guided network takes images [N, H, W, {1 + PLANES}], got {x.shape}')
        if min((size for size in x.shape[1:3] if isinstance(size, int)), default=SMALLEST) < SMALLEST:
            raise UserError(f'a colorization network needs images of at least {SMALLEST} x {SMALLEST}, got {x.shape}')
        x = jnp.asarray(x, jnp.float32)
        height, width = x.shape[1:3]
        # Guides more saturated than pictures mostly are go through at the usual saturation.
        chroma = jnp.sqrt(jnp.square(x[..., 1:3]).sum(-1, keepdims=True)).mean((1, 2), keepdims=True)
        scale = jnp.maximum(1.0, chroma / USUAL_CHROMA)
        padded = pad_to_multiple(jnp.concatenate([x[..., :1], x[..., 1:3] / scale, x[..., 3:]], axis=-1), self.multiple)

        encoder = ResNet('resnet18', stages=self.stages, dtype=self.dtype, name='encoder')
        lab = jnp.concatenate([100.0 * padded[..., :1], AB_SCALE * padded[..., 1:3]], axis=-1)
        maps = [jax.lax.stop_gradient(y) for y in encoder(imagenet_normalise(lab_to_rgb(lab)), train=False)]
        inputs = [padded.astype(self.dtype)]
        for _ in range(self.stages):
            inputs.append(_halved(inputs[-1]))

        y = maps.pop()
        palette = nn.relu(nn.Dense(y.shape[-1], name='palette', dtype=self.dtype)(_palette(x)))[:, None, None]
        whole = [jnp.broadcast_to(vector, y.shape) for vector in (y.mean((1, 2), keepdims=True), palette)]
        y = jnp.concatenate([y, *whole], axis=-1)
        for level in reversed(range(self.stages + 1)):
            features = self.features * 2**level // 2
            y = self._step(UpConv, f'up{level}', features, y, train)
            y = jnp.concatenate([y, inputs[level], *([maps.pop()] if maps else [])], axis=-1)
            y = self._step(Conv, f'join{level}', features, y, train)
        y = Conv(2, kernel_init=scaled_init(QUIET), name='tail')(y)
        return x[..., 1:3] + y[:, :height, :width]

    def _step(self, conv: Any, name: str, features: int, x: jax.Array, train: bool) -> jax.Array:
        x = conv(features, name=name, use_bias=False, dtype=self.dtype)(x)
        x = batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=f'{name}_norm')(x)
        return nn.relu(x)


def _palette(x: jax.Array) -> jax.Array:
    """What the guides say of the whole picture `[N, 3 * LEVELS + 4]`.

    The share of the pixels at each level of L* and the mean a*b* of the first guess there; the means of the planes.
    """
    levels = jnp.linspace(0.0, 1.0, LEVELS)[None, None, None]
    near = jnp.maximum(0.0, 1.0 - (LEVELS - 1) * jnp.abs(x[..., :1] - levels))
    share = near.mean((1, 2))
    mean = [(near * x[..., c : c + 1]).mean((1, 2)) / (share + 1e-3) for c in (1, 2)]
    return jnp.concatenate([share, *mean, x[..., 3:].mean((1, 2))], axis=-1)


def _halved(x: jax.Array) -> jax.Array:
    """Means of 2 x 2 pixels; the sides are even."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
