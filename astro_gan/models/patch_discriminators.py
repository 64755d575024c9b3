"""Patch discriminators: a map of logits, each judging one patch (Isola et al. 2017, arXiv 1611.07004)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.errors import UserError
from astro_gan.models.backbones import imagenet_normalise
from astro_gan.models.discriminators import NORMS, call_layer, check_norm, check_size
from astro_gan.models.layers import Conv, batch_norm
from astro_gan.models.resnet import ResNet
from astro_gan.models.unet import PIX2PIX_INIT


class PatchDiscriminator(nn.Module):
    """`[N, H, W, C]` in [0, 1] -> logits `[N, H', W', 1]` float32 (pix2pix's PatchGAN, section 6.1.2).

    4x4 convolutions, padded by 1, LeakyReLU 0.2: `halvings` with stride 2, one with stride 1, and the logit's. H' is
    floor(H / 2^halvings) - 2. Inside, pixels are in [-1, 1].

    Fields:
      features: width of the first convolution; it doubles with each further one, up to 8 `features`.
      halvings: 1, 2, 3, 4 give patches of 16, 34, 70, 142 pixels. The logits are 30 x 30 for 64 px with one and for
        256 px with three.
      norm: 'batch' as in the paper (not after the first convolution); 'none', which gradient penalties need; or
        'spectral', on every layer (1802.05957). Its vectors live in 'batch_stats' and move only with `train=True`.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the logit's: float32.

    Raises UserError for another norm, or pictures below 3 * 2^halvings pixels.
    """

    features: int = 64
    halvings: int = 1
    norm: str = 'batch'
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check_norm(self.norm, NORMS)
        check_size(x, 3 * 2**self.halvings)
        y = jnp.asarray(x, jnp.float32) * 2 - 1
        for index in range(self.halvings + 1):
            layer = Conv(
                self.features * min(2**index, 8),
                4,
                stride=2 if index < self.halvings else 1,
                padding=1,
                use_bias=index == 0 or self.norm != 'batch',
                dtype=self.dtype,
                kernel_init=PIX2PIX_INIT,
                name=f'conv{index}',
            )
            y = call_layer(layer, y, norm=self.norm, train=train)
            if self.norm == 'batch' and index > 0:
                y = batch_norm(train=train, dtype=self.dtype, axis_name=self.axis_name, name=f'norm{index}')(y)
            y = nn.leaky_relu(y, 0.2)
        logit = Conv(1, 4, padding=1, kernel_init=PIX2PIX_INIT, name='logit')
        return call_layer(logit, y, norm=self.norm, train=train)


class ResNet50PatchDiscriminator(nn.Module):
    """`[N, H, W, C]` in [0, 1] -> logits `[N, H', W', 1]` float32: an ImageNet ResNet-50, clipped to judge patches.

    The encoder, 'encoder' in the parameters, is followed by a 4x4 convolution to `features`, LeakyReLU 0.2, and one to
    the logit, both with stride 1 and padded by 1, as pix2pix's PatchGAN ends: H' is ceil(H / 2^halvings) - 2. Input is
    ImageNet-normalised inside. `load_encoder` has the encoder's weights, `insert_backbone` puts them in.

    Fields:
      features: width between encoder and logit.
      halvings: 1, the stem without its pool and layer1; 2, the stem and layer1; 3, the stem, layer1 and layer2. The
        logits are 30 x 30 for 64 px with one and for 256 px with three.
      stride_in_1x1: where layer2's stride is; the weights decide (see `ResNet`).
      norm: of the encoder, 'batch' or 'frozen', which gradient penalties need (see `ResNet`). After it there is none.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic, except the logit's: float32.

    Raises UserError for another norm or number of halvings, or pictures below 3 * 2^halvings pixels.
    """

    features: int = 64
    halvings: int = 1
    stride_in_1x1: bool = False
    norm: str = 'batch'
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def stages(self) -> int:
        """Stages of the encoder, for `load_encoder`."""
        return max(1, self.halvings - 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if self.halvings not in (1, 2, 3):
            raise UserError(f'halvings must be 1, 2 or 3, not {self.halvings}')
        check_size(x, 3 * 2**self.halvings)
        encoder = ResNet(
            'resnet50',
            stages=self.stages,
            pool=self.halvings > 1,
            stride_in_1x1=self.stride_in_1x1,
            norm=self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name='encoder',
        )
        y = encoder(imagenet_normalise(jnp.asarray(x, jnp.float32)), train=train)[-1]
        y = nn.leaky_relu(Conv(self.features, 4, padding=1, dtype=self.dtype, name='head')(y), 0.2)
        return Conv(1, 4, padding=1, name='logit')(y)
