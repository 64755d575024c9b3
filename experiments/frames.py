"""Frames: one in units of its noise in, the same sky through a narrower PSF and without noise out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from astro_gan import losses, metrics, summary
from astro_gan.models import make_generator
from astro_gan.models.enlarging import bicubic_upsample
from astro_gan.noise_units import CONDITIONS, to_network
from astro_gan.simulation import fields
from astro_gan.task import Batch, Stage, Task
from experiments import parts

BASELINE = 'bicubic'
HEADLINE = ('l1', 'l2', 'psnr')
FACTORS = (1, 2)
BLACK, WHITE = -3.0, 1e4  # noise units that pictures show as black and white, and between which errors count
SPLITS = {'validation': 1, 'test': 2}


def generator_fields(config: ConfigDict) -> dict[str, Any]:
    """What `models.make_generator` needs to rebuild the generator, but for the arithmetic's precision."""
    made = config.generator.to_dict() | {'factor': config.factor}
    made['scales'] = list(made['scales'])  # as a description has it
    del made['name']
    return made


def display(x: jax.Array) -> jax.Array:
    """Compressed frames `[N, H, W, 1]` (conditions may follow) -> gray RGB `[N, H, W, 3]` in [0, 1]."""
    x = x[..., :1]
    black, white = to_network(BLACK), to_network(WHITE)
    return jnp.repeat(jnp.clip((x - black) / (white - black), 0.0, 1.0), 3, -1)


def frame_metrics(prediction: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """Errors of what `display` shows: `[N]` each."""
    return metrics.distances(prediction, truth, '', ()) | {'psnr': metrics.psnr(prediction, truth)}


def make_task(config: ConfigDict) -> Task:
    """What is learned and how it is measured.

    Raises:
        UserError: a setting is wrong.
    """
    parts.check(config)
    parts.select(FACTORS, config.factor, 'factor')
    parts.check_divisible(config, config.factor, 'factor')
    parts.select(('frame_wdsr',), config.generator.name, 'generator.name')
    generator = make_generator(
        config.generator.name, **generator_fields(config), dtype=parts.PRECISIONS[config.precision]
    )
    size = config.dataset.crop_size // config.factor
    return Task(
        generator=generator,
        discriminator=parts.discriminator(config),
        input_shape=(size, size, 1 + len(CONDITIONS)),
        discriminator_input=lambda frame, image: image,
        prepare=lambda batch, keys: {**batch, 'truth': display(batch['target'])},
        to_rgb=lambda frame, image: display(image),
        baseline=lambda frame: display(bicubic_upsample(frame[..., :1], config.factor)),
        metrics=frame_metrics,
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
    stage = config[name]

    def weighted(loss: Any, weight: float) -> Any:
        return lambda prediction, batch: weight * loss(prediction, batch['target'], factor=config.factor)

    extra = {'flux': (losses.flux, stage.flux_weight), 'bias': (losses.flux_bias, stage.bias_weight)}
    return parts.make_stage(
        config,
        name,
        picture=lambda batch, image: display(image),
        extra={key: weighted(loss, weight) for key, (loss, weight) in extra.items() if weight},
    )


def train_batches(config: ConfigDict, count: int, start_step: int) -> Iterator[Batch]:
    """Batches from a step on: all from (seed, step)."""
    size = config.dataset.crop_size // config.factor
    return fields.Fields(count, size, config.factor).training(config.seed, start_step)


@dataclasses.dataclass(frozen=True)
class EvalFields:
    """The held-out fields of a split, iterated anew at every evaluation: the same for every run, whatever its seed."""

    config: ConfigDict
    split: str

    def __iter__(self) -> Iterator[Batch]:
        dataset, devices = self.config.dataset, jax.device_count()
        count = -(-dataset.eval_batch_size // devices) * devices
        source = fields.Fields(count, dataset.eval_tile // self.config.factor, self.config.factor)
        return source.held_out(SPLITS[self.split], dataset.eval_fields)


def pretrained(config: ConfigDict, net: str) -> None:
    """No network of this task starts from the weights of another one."""
    del config, net


def describe(config: ConfigDict) -> dict[str, Any]:
    """The parts of an exported model's description that this task knows."""
    return {
        'task': 'frames',
        'factor': config.factor,
        'generator': {'name': config.generator.name, 'fields': generator_fields(config)},
        'input': {
            'channels': 1 + len(CONDITIONS),
            'units': 'noise units, compressed (astro_gan.noise_units)',
            'conditions': {
                'fwhm': list(fields.FWHM),
                'correlation': [0.0, round(fields.MOST_CORRELATION, 2)],
                'concentration': list(fields.CONCENTRATION),
            },
            'shape': ['batch', 'height', 'width', 1 + len(CONDITIONS)],
        },
        'output': {
            'channels': 1,
            'units': 'noise units, compressed; surface brightness per pixel of the input',
            'psf': {'shape': 'gaussian', 'ratio': fields.PSF_RATIO, 'least_fwhm_in_output_pixels': fields.LEAST_FWHM},
            'shape': ['batch', f'{config.factor} height', f'{config.factor} width', 1],
            'clipped': False,
        },
        'degradation': 'simulated (astro_gan.simulation)',
    }
