"""Frames: one in units of its noise in, the same sky through a narrower PSF and without noise out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from astro_gan import losses, metrics, summary
from astro_gan.models import make_generator
from astro_gan.models.layers import bicubic_upsample
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
    size, tile = config.dataset.crop_size // config.factor, config.dataset.eval_tile // config.factor

    def prepare(batch: Batch, keys: jax.Array | None) -> Batch:
        if keys is None:
            fresh = fields.make_batch(fields.held_out_keys(batch['split'], batch['index']), tile, config.factor)
        else:
            fresh = fields.make_batch(keys, size, config.factor)
        return {**batch, **fresh, 'truth': display(fresh['target'])}

    return Task(
        generator=generator,
        discriminator=parts.discriminator(config),
        input_shape=(size, size, 1 + CONDITIONS),
        discriminator_input=lambda frame, image: image,
        prepare=prepare,
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
    weight, factor = config[name].flux_weight, config.factor

    def flux(prediction: jax.Array, batch: Any) -> jax.Array:
        return weight * losses.flux(prediction, batch['target'], factor=factor)

    picture = lambda batch, image: display(image)  # noqa: E731
    return parts.make_stage(config, name, picture=picture, extra={'flux': flux} if weight else {})


def train_batches(count: int) -> Iterator[Batch]:
    """What a step is given: nothing but how many fields to make; `prepare` makes them of the step's keys."""
    devices, local = jax.device_count(), jax.local_device_count()
    while True:
        yield {'number': np.zeros((local, count // devices), np.int32)}


def eval_batches(config: ConfigDict, split: str) -> fields.HeldOut:
    """The held-out fields of a split: the same for every run, whatever its seed."""
    devices = jax.device_count()
    count = -(-config.dataset.eval_batch_size // devices) * devices
    return fields.HeldOut(SPLITS[split], total=config.dataset.eval_fields, count=count)


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
            'channels': 1 + CONDITIONS,
            'units': 'noise units, compressed (astro_gan.noise_units)',
            'conditions': {'fwhm': list(fields.FWHM), 'correlation': list(fields.CORRELATION)},
            'shape': ['batch', 'height', 'width', 1 + CONDITIONS],
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
