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


@dataclasses.dataclass(frozen=True)
class System:
    """A training that the study makes, or finds in its folder.

    Attributes:
        name: of its workdir.
        config: module of `configs`.
        titles: of its supervised and its adversarial stage in the tables.
        pictures: ASTRO or NATURAL.
        start: the system whose weights it starts from; ''.
        settings: what differs from the config besides SETTINGS.
    """

    name: str
    config: str
    titles: tuple[str, str]
    pictures: str = ASTRO
    start: str = ''
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
    ),
    'super_resolution': (
        System(
            'srgan_natural',
            'srgan',
            ('SRResNet natural', 'SRGAN natural'),
            pictures=NATURAL,
            settings={'dataset.eval_tiles_per_image': 1},
        ),
        System(
            'srgan',
            'srgan',
            ('SRResNet fine-tuned', 'SRGAN fine-tuned'),
            start='srgan_natural',
            settings={'supervised.steps': 400},
        ),
        System('edsr', 'edsr', ('EDSR', 'EDSR-GAN')),
        System('wdsr', 'wdsr', ('WDSR', 'WDSR-GAN')),
    ),
}
SMOKE = {f'{stage}.{key}': 2 for stage in STAGES for key in ('steps', 'eval_every')}
# Equal for all systems of a task but the pre-trained and fine-tuned ones, so that networks are compared and not
# schedules: about an hour on two cores.
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


def make_config(system: System, task: str, *, smoke: bool, folders: Mapping[str, str], runs: Path) -> ConfigDict:
    """The config that trains a system.

    Args:
        system: of SYSTEMS[task].
        task: 'colorization' or 'super_resolution'.
        smoke: the size for tests.
        folders: of pictures, by ASTRO and NATURAL; '' for the embedded ones.
        runs: the study's folder of workdirs.
    """
    variant = 'smoke' if smoke else 'default'
    config: ConfigDict = importlib.import_module(f'configs.{system.config}').get_config(variant)
    config.name = system.name
    folder = folders[system.pictures]
    settings = dict(SMOKE) if smoke else {**SETTINGS[task], **system.settings}
    if not folder:  # the configs' own sizes suit the embedded picture
        settings = {name: value for name, value in settings.items() if not name.startswith('dataset.')}
    config.update_from_flattened_dict(settings)
    config.dataset.folder = folder
    config.init_from = str(runs / system.start) if system.start else ''
    return config.lock()
