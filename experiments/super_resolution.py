"""Super-resolution: a low-resolution RGB image in, one `factor` times larger out."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from astro_gan import images, losses, metrics
from astro_gan.experiment import Experiment
from astro_gan.models import load_lpips, load_vgg, make_discriminator, make_generator, vgg_features
from astro_gan.train import AXIS

BASELINE = 'bicubic'  # what `Experiment.baseline` is called in tables
FACTORS = (2, 3, 4, 6, 8, 12)
PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def _select(table: Any, name: str, setting: str) -> Any:
    """`table[name]`, or a ValueError that lists the valid names of the setting."""
    if name not in table:
        raise ValueError(f'config.{setting}: {name!r} is unknown; valid are {", ".join(map(str, table))}')
    return table[name] if isinstance(table, dict) else name


def generator_fields(config: ConfigDict) -> dict[str, Any]:
    """What `models.make_generator` needs to rebuild the generator, but for the arithmetic's precision."""
    fields = config.generator.to_dict() | {'factor': config.factor}
    del fields['name']
    return fields


def _transformation(
    stage: ConfigDict, name: str, *, peak: float, clip: float, every: int = 1
) -> optax.GradientTransformation:
    """Adam with clipping and a learning-rate schedule; the same state tree for every setting.

    `every`: the network is updated at one step in so many; the schedule counts steps, not updates.
    """
    schedules = {
        'constant': lambda: optax.constant_schedule(peak),
        'cosine': lambda: optax.cosine_decay_schedule(peak, max(stage.steps // every, 1)),
        'step': lambda: optax.exponential_decay(peak, stage.decay_every / every, stage.decay_rate, staircase=True),
    }
    schedule = _select(schedules, stage.decay, f'{name}.decay')()
    return optax.chain(
        optax.clip_by_global_norm(clip or float('inf')),
        optax.scale_by_adam(stage.beta1, stage.beta2),
        optax.scale_by_learning_rate(schedule),
    )


def _generator_loss(config: ConfigDict, stage: ConfigDict, name: str, *, training: bool) -> Any:
    """`(prediction, batch, real_logits, fake_logits) -> (loss, terms)` with the stage's weights."""
    pixel = _select(losses.PIXEL, stage.pixel_loss, f'{name}.pixel_loss')
    content, vgg = config.content, None
    if stage.feature_weight and training:
        vgg = load_vgg(content.network, os.path.expanduser(content.vgg_file) or None, content.layer)

    def loss_fn(prediction: jax.Array, batch: Any, real_logits: Any, fake_logits: Any) -> Any:
        terms = {}
        if stage.pixel_weight:
            terms['pixel'] = stage.pixel_weight * pixel(prediction, batch['target'])
        if vgg is not None:
            features = functools.partial(vgg_features, vgg, layers=(content.layer,))
            dtype = PRECISIONS[config.precision]
            fake = features(prediction.astype(dtype))[content.layer].astype(jnp.float32)
            real = features(batch['target'].astype(dtype))[content.layer].astype(jnp.float32)
            terms['content'] = stage.feature_weight * losses.mse(content.scale * fake, content.scale * real)
        if fake_logits is not None:
            adversarial = losses.ADVERSARIAL[stage.loss][1]
            terms['adversarial'] = stage.adversarial_weight * adversarial(real_logits, fake_logits)
        return sum(terms.values()), {f'generator/{key}': value for key, value in terms.items()}

    return loss_fn


def _discriminator_loss(stage: ConfigDict) -> Any:
    """`(real_logits, fake_logits) -> (loss, terms)`."""
    adversarial, _ = _select(losses.ADVERSARIAL, stage.loss, 'adversarial.loss')

    def loss_fn(real_logits: jax.Array, fake_logits: jax.Array) -> Any:
        terms = {'discriminator/real': real_logits.mean(), 'discriminator/fake': fake_logits.mean()}
        return adversarial(real_logits, fake_logits, stage.real_label), terms

    return loss_fn


def _check_numbers(config: ConfigDict, stage: ConfigDict, name: str) -> None:
    """Raise ValueError for a number that would fail, or mislead, only later."""
    counts = {f'config.{key}': config[key] for key in ('log_every', 'patience', 'max_skipped', 'sample_rows')}
    for key in ('crop_size', 'eval_tile', 'eval_batch_size'):
        counts[f'config.dataset.{key}'] = config.dataset[key]
    for key in ('batch_size', 'eval_every', 'critic_steps', 'decay_every'):
        if key in stage:
            counts[f'config.{name}.{key}'] = stage[key]
    for setting, value in counts.items():
        if value < 1:
            raise ValueError(f'{setting}: {value} is too small; it must be at least 1')
    for key in ('crop_size', 'eval_tile'):
        if config.dataset[key] % config.factor:
            raise ValueError(f'config.dataset.{key}: {config.dataset[key]} is no multiple of factor {config.factor}')
    smallest = max(32, 2 * config.factor + 11)  # LPIPS, and SSIM's window inside the border
    if config.dataset.eval_tile < smallest:
        raise ValueError(f'config.dataset.eval_tile: {config.dataset.eval_tile} is too small; at least {smallest}')
    weights = ('pixel_weight', 'feature_weight', 'adversarial_weight')
    if not any(stage[key] for key in weights if key in stage):
        raise ValueError(f'config.{name}: {", ".join(key for key in weights if key in stage)} are all 0')


def make(config: ConfigDict, stage_name: str, *, training: bool = True) -> Experiment:
    """The record of the stage 'supervised' or 'adversarial'; without `training` the content loss's weights stay unread.

    Raises:
        ValueError: a setting is wrong, or weights that a loss needs cannot be had.
    """
    _select(FACTORS, config.factor, 'factor')
    _select(PRECISIONS, config.precision, 'precision')
    stage, adversarial = config[stage_name], stage_name == 'adversarial'
    _check_numbers(config, stage, stage_name)
    if adversarial and stage.gradient_penalty and config.discriminator.norm == 'batch':
        raise ValueError(
            'config.discriminator.norm: a gradient penalty needs none or spectral, not batch, which mixes the samples'
        )
    if adversarial and stage.loss == 'wasserstein' and not stage.gradient_penalty:
        raise ValueError('config.adversarial.gradient_penalty: the wasserstein loss needs one; 10 is usual')

    dtype = PRECISIONS[config.precision]
    name = config.generator.name
    generator = make_generator(name, **generator_fields(config), dtype=dtype)
    if hasattr(generator, 'axis_name'):
        generator = generator.clone(axis_name=AXIS)  # batch statistics over all devices
    fields = config.discriminator.to_dict()
    discriminator = make_discriminator(fields.pop('name'), **fields, axis_name=AXIS, dtype=dtype)
    factor = config.factor

    def preprocess(crop: Any, seed: Any) -> Any:
        from astro_gan.data.degradations import downsample, to_float

        del seed
        return {'input': downsample(crop, factor), 'target': to_float(crop)}

    low_size = config.dataset.crop_size // factor
    rate = stage.discriminator_learning_rate if adversarial else 0.0
    critic_steps = stage.critic_steps if adversarial else 1
    return Experiment(
        generator=generator,
        discriminator=discriminator,
        generator_tx=_transformation(
            stage, stage_name, peak=stage.learning_rate, clip=config.gradient_clip, every=critic_steps
        ),
        discriminator_tx=_transformation(stage, stage_name, peak=rate, clip=config.gradient_clip),
        generator_loss=_generator_loss(config, stage, stage_name, training=training),
        discriminator_loss=_discriminator_loss(stage) if adversarial else None,
        gradient_penalty=stage.gradient_penalty if adversarial else 0.0,
        critic_steps=critic_steps,
        preprocess=preprocess,
        # Rounded to what a file can hold, as the published numbers are.
        to_rgb=lambda low_res, prediction: images.quantize(prediction),
        baseline=lambda low_res: images.quantize(images.upsample(low_res, factor)),
        input_shape=(low_size, low_size, 3),
        metrics=functools.partial(metrics.image_metrics, border=factor, lpips_params=load_lpips()),
    )


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
