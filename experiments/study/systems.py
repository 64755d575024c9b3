"""The systems that the study compares: which config trains each, on which pictures, and what it starts from."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.initial import STAGES

ASTRO, NATURAL = 'astro', 'natural'
PUBLISHED = 'srgan_published'  # the imported network, as a model in the study's folder


@dataclasses.dataclass(frozen=True)
class System:
    """A training that the study makes, or finds in its folder.

    Attributes:
        name: of its workdir.
        config: module of `configs`.
        titles: of its supervised and its adversarial stage in the tables; '' for a stage that it leaves out.
        pictures: ASTRO or NATURAL.
        start: the system whose weights it starts from, or PUBLISHED; ''.
        settings: what differs from the config besides SETTINGS.
    """

    name: str
    config: str
    titles: tuple[str, str]
    pictures: str = ASTRO
    start: str = ''
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


PAPER = {'generator.features': 64, 'generator.blocks': 16}
SYSTEMS: Mapping[str, tuple[System, ...]] = {
    'colorization': (
        System('unet_rgb', 'unet_rgb', ('U-Net RGB', 'U-Net RGB GAN')),
        System('resnet18_unet_rgb', 'resnet18_unet_rgb', ('ResNet-18 RGB', 'ResNet-18 RGB GAN')),
        System('resnet18_unet_lab', 'resnet18_unet_lab', ('ResNet-18 L*a*b*', 'ResNet-18 L*a*b* GAN')),
        System(
            'resnet18_unet_lab_natural',
            'resnet18_unet_lab',
            ('ResNet-18 L*a*b* natural', 'ResNet-18 L*a*b* natural GAN'),
            pictures=NATURAL,
            settings={  # few and small pictures: soon overfitted
                'supervised.steps': 300,
                'supervised.eval_every': 100,
                'adversarial.steps': 60,
                'adversarial.eval_every': 30,
                'dataset.eval_tile': 256,
                'dataset.eval_tiles_per_image': 1,
            },
        ),
        System(
            'resnet18_unet_lab_tuned',
            'resnet18_unet_lab',
            ('ResNet-18 L*a*b* fine-tuned', 'ResNet-18 L*a*b* fine-tuned GAN'),
            start='resnet18_unet_lab_natural',
        ),
        System(
            'resnet18_unet_classes',
            'resnet18_unet_lab',
            ('ResNet-18 classes', 'ResNet-18 classes GAN'),
            settings={'generator.space': 'classes', 'adversarial.pixel_weight': 1.0},
        ),
        System(  # F4 of the report's future work: the loss weighted towards low saturation
            'resnet18_unet_lab_gray',
            'resnet18_unet_lab',
            ('ResNet-18 L*a*b* low saturation', 'ResNet-18 L*a*b* low saturation GAN'),
            settings={  # in CIE units, as 110 of the plain loss's
                'supervised.chroma_weight': 1 / 110,
                'supervised.pixel_weight': 0.0,
                'adversarial.chroma_weight': 100 / 110,
                'adversarial.pixel_weight': 0.0,
            },
        ),
        System('seresnext50_unet', 'seresnext50_unet', ('SE-ResNeXt-50 L*a*b*', 'SE-ResNeXt-50 L*a*b* GAN')),  # F1
        System(
            'efficientnet_b0_unet', 'efficientnet_b0_unet', ('EfficientNet-B0 L*a*b*', 'EfficientNet-B0 L*a*b* GAN')
        ),
        System(
            'pix2pix',
            'pix2pix',
            ('U-Net 256 px', 'U-Net 256 px, PatchGAN'),
            settings={'dataset.reduction': 2, 'dataset.crop_size': 512},
        ),
    ),
    'super_resolution': (
        # About as many parameters each: 248,227, 232,963 and 242,248.
        System('srgan', 'srgan', ('SRResNet', 'SRGAN')),
        System('edsr', 'edsr', ('EDSR', 'EDSR-GAN')),
        System('wdsr', 'wdsr', ('WDSR', 'WDSR-GAN'), settings={'generator.blocks': 12}),
        # As the papers have them: 1.55, 1.52 and 1.20 million.
        System('srgan_paper', 'srgan', ('SRResNet 16 x 64', 'SRGAN 16 x 64'), settings=PAPER),
        System('edsr_paper', 'edsr', ('EDSR 16 x 64', 'EDSR-GAN 16 x 64'), settings=PAPER),
        System(
            'wdsr_paper',
            'wdsr',
            ('WDSR-A 16 x 32', 'WDSR-A-GAN 16 x 32'),
            settings={'generator.variant': 'a', 'generator.blocks': 16},
        ),
        # The report's 'pre-trained' is the published network (--published), which this one starts from.
        System('srgan_x4', 'srgan_x4', ('', 'SRGAN fine-tuned'), start=PUBLISHED, settings={'supervised.steps': 0}),
        System(
            'srgan_natural',
            'srgan',
            ('SRResNet natural', 'SRGAN natural'),
            pictures=NATURAL,
            settings={'dataset.eval_tiles_per_image': 1},
        ),
        System(
            'srgan_natural_tuned',
            'srgan',
            ('SRResNet natural, fine-tuned', 'SRGAN natural, fine-tuned'),
            start='srgan_natural',
            settings={'supervised.steps': 400},
        ),
        System(  # F2: 1704.00028, algorithm 1; the generator moves as often as the others'
            'srgan_wasserstein',
            'srgan',
            ('SRResNet before WGAN-GP', 'SRGAN WGAN-GP'),
            settings={
                'adversarial.loss': 'wasserstein',
                'adversarial.gradient_penalty': 10.0,
                'adversarial.critic_steps': 5,
                'adversarial.steps': 750,
                'adversarial.eval_every': 375,
                'adversarial.beta1': 0.0,
                'adversarial.beta2': 0.9,
                'discriminator.norm': 'none',
            },
        ),
        System(  # F3, in two levels of as many blocks together as EDSR's; 224,582 parameters
            'growing_edsr',
            'growing_edsr',
            ('EDSR growing', 'EDSR-GAN growing'),
            settings={'factor': 4, 'generator.grow_steps': 250},
        ),
    ),
}
SMOKE = {f'{stage}.{key}': 2 for stage in STAGES for key in ('steps', 'eval_every')}
# What is left as the configs' smoke variants have it.
SIZES = ('dataset.', 'generator.features', 'generator.blocks', 'generator.variant', 'adversarial.critic_steps')
# Equal for all systems of a task but the pre-trained and fine-tuned ones, so that networks are compared and not
# schedules.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    'colorization': {
        'dataset.reduction': 4,  # press pictures are smooth at the scale of a pixel
        'dataset.crop_size': 256,
        'dataset.eval_tile': 512,
        'dataset.eval_tiles_per_image': 4,
        'dataset.eval_batch_size': 8,
        'supervised.steps': 800,
        'supervised.eval_every': 200,
        'adversarial.steps': 90,
        'adversarial.eval_every': 45,
    },
    'super_resolution': {
        'dataset.eval_tiles_per_image': 4,
        'supervised.steps': 800,
        'supervised.eval_every': 200,
        'adversarial.steps': 150,
        'adversarial.eval_every': 75,
    },
}


def folder_of(system: str, seed: int) -> str:
    """The workdir of a system trained with a seed; the first seed's has the system's own name."""
    return system if seed == 0 or system == PUBLISHED else f'{system}_seed{seed}'


def make_config(
    system: System, task: str, *, smoke: bool, folders: Mapping[str, str], runs: Path, seed: int = 0
) -> ConfigDict:
    """The config that trains a system.

    Args:
        system: of SYSTEMS[task].
        task: 'colorization' or 'super_resolution'.
        smoke: the size for tests.
        folders: of pictures, by ASTRO and NATURAL; '' for the embedded ones.
        runs: the study's folder of workdirs.
        seed: all of a training's randomness derives from it.
    """
    variant = 'smoke' if smoke else 'default'
    config: ConfigDict = importlib.import_module(f'configs.{system.config}').get_config(variant)
    config.name = system.name
    folder = folders[system.pictures]
    settings = {**SETTINGS[task], **system.settings}
    if smoke:
        settings = {name: value for name, value in settings.items() if not name.startswith(SIZES)}
        settings |= {name: value for name, value in SMOKE.items() if settings.get(name) != 0}
    if not folder:  # the configs' own sizes suit the embedded picture
        settings = {name: value for name, value in settings.items() if not name.startswith('dataset.')}
    config.update_from_flattened_dict(settings)
    config.dataset.folder = folder
    config.init_from = str(runs / folder_of(system.start, seed)) if system.start else ''
    config.seed = seed
    return config.lock()
