"""Generators and discriminators, by name.

Every module is called as `module.apply({'params': ..., 'batch_stats': ...}, x, train=...)`, with
`mutable=['batch_stats']` in training.
"""

import dataclasses
from typing import Any

import flax.linen as nn

from astro_gan.errors import UserError
from astro_gan.models.backbones import insert_backbone
from astro_gan.models.discriminators import SRGANDiscriminator
from astro_gan.models.edsr import EDSR
from astro_gan.models.efficientnet import EfficientNetB0
from astro_gan.models.encoders import load_encoder
from astro_gan.models.frame_wdsr import FrameWDSR
from astro_gan.models.growing import GrowingEDSR
from astro_gan.models.guided_unet import GuidedUNet
from astro_gan.models.lpips import load_lpips, lpips
from astro_gan.models.msrresnet import MSRResNet
from astro_gan.models.patch_discriminators import PatchDiscriminator, ResNet50PatchDiscriminator
from astro_gan.models.resnet import ResNet
from astro_gan.models.resnet_unet import EfficientNetB0UNet, ResNetUNet, SEResNeXt50UNet
from astro_gan.models.srresnet import SRResNet
from astro_gan.models.unet import UNet
from astro_gan.models.vgg import load_vgg, vgg_features
from astro_gan.models.vgg_discriminator import ResidualVGG16Discriminator
from astro_gan.models.wdsr import WDSR

GENERATORS: dict[str, type[nn.Module]] = {
    'srresnet': SRResNet,
    'msrresnet': MSRResNet,
    'edsr': EDSR,
    'growing_edsr': GrowingEDSR,
    'wdsr': WDSR,
    'frame_wdsr': FrameWDSR,
    'unet': UNet,
    'resnet18_unet': ResNetUNet,
    'seresnext50_unet': SEResNeXt50UNet,
    'efficientnet_b0_unet': EfficientNetB0UNet,
    'guided_unet': GuidedUNet,
}
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    'srgan': SRGANDiscriminator,
    'patch': PatchDiscriminator,
    'residual_vgg16': ResidualVGG16Discriminator,
    'resnet50_patch': ResNet50PatchDiscriminator,
}

__all__ = [
    'DISCRIMINATORS',
    'EDSR',
    'GENERATORS',
    'WDSR',
    'EfficientNetB0',
    'EfficientNetB0UNet',
    'FrameWDSR',
    'GrowingEDSR',
    'GuidedUNet',
    'MSRResNet',
    'PatchDiscriminator',
    'ResNet',
    'ResNet50PatchDiscriminator',
    'ResNetUNet',
    'ResidualVGG16Discriminator',
    'SEResNeXt50UNet',
    'SRGANDiscriminator',
    'SRResNet',
    'UNet',
    'insert_backbone',
    'load_encoder',
    'load_lpips',
    'load_vgg',
    'lpips',
    'make_discriminator',
    'make_generator',
    'vgg_features',
]


def make_generator(name: str, **fields: Any) -> nn.Module:
    """The generator of that name with those fields; UserError lists the valid ones."""
    return _make('generator', GENERATORS, name, fields)


def make_discriminator(name: str, **fields: Any) -> nn.Module:
    """The discriminator of that name with those fields; UserError lists the valid ones."""
    return _make('discriminator', DISCRIMINATORS, name, fields)


def _make(kind: str, table: dict[str, type[nn.Module]], name: str, fields: dict) -> nn.Module:
    if name not in table:
        raise UserError(f'unknown {kind} {name!r}: one of {", ".join(sorted(table))}')
    module = table[name]
    valid = sorted({f.name for f in dataclasses.fields(module)} - {'parent', 'name'})
    unknown = sorted(set(fields) - set(valid))
    if unknown:
        raise UserError(f'{kind} {name!r} has no field {", ".join(unknown)}: it has {", ".join(valid)}')
    return module(**fields)
