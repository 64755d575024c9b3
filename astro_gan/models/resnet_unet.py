"""U-Nets whose encoder is an ImageNet network with its last layers clipped."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.colorization import CHANNELS
from astro_gan.models.backbones import imagenet_normalise
from astro_gan.models.encoders import ENCODERS
from astro_gan.models.layers import QUIET, Conv, UpConv, batch_norm, scaled_init
from astro_gan.models.unet import check_input, pad_to_multiple


class ResNetUNet(nn.Module):
    """`[N, H, W, 1]` in [0, 1] -> colours `[N, H, W, CHANNELS[space]]` float32, any size from 64 x 64.

    The encoder, 'encoder' in the parameters, is a ResNet-18, or what a subclass names. It sees the input as three equal
    channels, ImageNet-normalised; `load_encoder` has its weights, `insert_backbone` puts them in. Each step up is
    nearest neighbour upsampling and a 3x3 convolution, then another 3x3 convolution that also sees the encoder's map of
    that size; the last one, the input.

    Fields:
      space: 'lab', L* / 100 in and (a*, b*) / 110 in [-1, 1] out; or 'rgb', gray in and RGB out: the gray plus a
        difference in [-1, 1], so nominally in [0, 1] and not clipped. Either way the fresh network paints almost gray:
        its last convolution starts turned down. Or 'classes', L* / 100 in and logits of `colour_classes` out.
      stages: how many of the encoder's four stages to keep.
      features: width of the decoder at half resolution; half of it at full resolution, double after each further
        halving. With 32 the decoder's work is about the encoder's.
      dropout: rate in the first three steps up, with `train=True` and a PRNG key as `rngs={'dropout': key}`.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the last convolution's, which makes the colours: float32.

    Raises UserError for another space, a smaller image or one that has not one channel, or stages other than 1 to
    4. With `train=True` make 'batch_stats' mutable. Exports with height and width free.
    """

    network: ClassVar[str] = 'resnet18'  # of ENCODERS
    space: str = 'lab'
    stages: int = 3
    features: int = 32
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """Sizes that are multiples of it need no padding."""
        return 2 ** (self.stages + 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check_input(self.space, x)
        x = jnp.asarray(x, jnp.float32)
        height, width = x.shape[1:3]
        padded = pad_to_multiple(x, self.multiple)

        options = {'axis_name': self.axis_name, 'dtype': self.dtype}
        encoder = ENCODERS[self.network](stages=self.stages, **options, name='encoder')
        rgb = imagenet_normalise(jnp.repeat(padded, 3, axis=-1))
        maps = [2 * padded.astype(self.dtype) - 1, *encoder(rgb, train=train)]
        y = maps.pop()
        for index, level in enumerate(reversed(range(self.stages + 1))):
            options = {'use_bias': False, 'dtype': self.dtype}
            features = self.features * 2**level // 2
            y = self._norm_relu(UpConv(features, name=f'up{level}', **options)(y), f'up{level}_norm', train)
            y = jnp.concatenate([y, maps.pop()], axis=-1)
            y = self._norm_relu(Conv(features, name=f'join{level}', **options)(y), f'join{level}_norm', train)
            y = nn.Dropout(self.dropout if index < 3 else 0.0, deterministic=not train)(y)
        y = Conv(CHANNELS[self.space], kernel_init=scaled_init(QUIET), name='tail')(y)[:, :height, :width]
        if self.space == 'classes':
            return y
        y = jnp.tanh(y)
        return x + y if self.space == 'rgb' else y

    def _norm_relu(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        return nn.relu(batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=name)(x))


class SEResNeXt50UNet(ResNetUNet):
    """The same with an SE-ResNeXt-50 as its encoder."""

    network: ClassVar[str] = 'seresnext50'


class EfficientNetB0UNet(ResNetUNet):
    """The same with an EfficientNet-B0 as its encoder."""

    network: ClassVar[str] = 'efficientnet_b0'
