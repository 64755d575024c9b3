"""Super-resolution: a low-resolution RGB image in, one `factor` times larger out."""

from __future__ import annotations

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from astro_gan import images, losses, metrics, summary
from astro_gan.errors import UserError
from astro_gan.models import load_lpips, make_generator
from astro_gan.task import Batch, Stage, Task
from astro_gan.train import AXIS
from experiments import parts

BASELINE = 'bicubic'  # what `Task.baseline` is called in tables
HEADLINE = ('l1', 'l2', 'psnr', 'psnr_y', 'ssim_y', 'lpips')
FACTORS = (2, 3, 4, 6, 8, 12)


def generator_fields(config: ConfigDict) -> dict[str, Any]:
    """What `models.make_generator` needs to rebuild the generator, but for the arithmetic's precision."""
    fields = config.generator.to_dict() | {'factor': config.factor}
    del fields['name']
    return fields


def make_task(config: ConfigDict) -> Task:
    """What is learned and how it is measured.

    Raises:
        UserError: a setting is wrong.
    """
    parts.check(config)
    parts.select(FACTORS, config.factor, 'factor')
    parts.check_divisible(config, config.factor, 'factor')
    smallest = max(32, 2 * config.factor + 11)  # LPIPS, and SSIM's window inside the border
    if config.dataset.eval_tile < smallest:
        raise UserError(f'config.dataset.eval_tile: {config.dataset.eval_tile} is too small; at least {smallest}')

    dtype = parts.PRECISIONS[config.precision]
    generator = make_generator(config.generator.name, **generator_fields(config), dtype=dtype)
    if hasattr(generator, 'axis_name'):
        generator = generator.clone(axis_name=AXIS)  # batch statistics over all devices
    factor = config.factor

    def prepare(batch: Batch, keys: jax.Array | None) -> Batch:
        crops = images.to_float(batch['crop'])
        crops = crops if keys is None else images.random_dihedral(keys, crops)
        # Rounded to 8 bits, as a file of the reduced picture would be.
        return {**batch, 'input': images.quantize(images.downsample(crops, factor)), 'target': crops, 'truth': crops}

    low_size = config.dataset.crop_size // factor
    return Task(
        generator=generator,
        discriminator=parts.discriminator(config),
        input_shape=(low_size, low_size, 3),
        discriminator_input=lambda low_res, image: image,
        prepare=prepare,
        # Rounded to what a file can hold, as the published numbers are.
        to_rgb=lambda low_res, prediction: images.quantize(prediction),
        baseline=lambda low_res: images.quantize(images.upsample(low_res, factor)),
        metrics=functools.partial(metrics.image_metrics, border=factor, lpips_params=load_lpips()),
        summarize=lambda table: (summary.summarize(table), []),
        headline=HEADLINE,
    )


def make_stage(config: ConfigDict, task: Task, name: str) -> Stage:
    """How the networks are trained in the stage 'supervised' or 'adversarial'.

    Raises:
        UserError: a setting is wrong.
    """
    del task
    parts.check_stage(config, name)
    weight, factor = config[name].grid_weight, config.factor
    if weight and config.dataset.crop_size < (least := losses.GRID_BLOCKS * factor):
        raise UserError(
            f'config.dataset.crop_size: {config.dataset.crop_size} is too small for grid_weight; at least {least}'
        )

    def grid(prediction: jax.Array, batch: Any) -> jax.Array:
        return weight * losses.grid(prediction, batch['target'], period=factor)

    return parts.make_stage(config, name, picture=lambda batch, image: image, extra={'grid': grid} if weight else {})


def pretrained(config: ConfigDict, net: str) -> None:
    """No network of this task starts from the weights of another one."""
    del config, net


def describe(config: ConfigDict) -> dict[str, Any]:
    """The parts of an exported model's description that this task knows."""
    image = {'channels': 3, 'colour_space': 'sRGB', 'range': [0.0, 1.0]}
    return {
        'task': 'super_resolution',
        'factor': config.factor,
        'generator': {'name': config.generator.name, 'fields': generator_fields(config)},
        'input': image | {'shape': ['batch', 'height', 'width', 3]},
        'output': image
        | {'shape': ['batch', f'{config.factor} height', f'{config.factor} width', 3], 'clipped': False},
        'degradation': 'antialiased bicubic (Keys a = -0.5), rounded to 8 bits',
    }
