"""What the tasks' experiments have in common: a config's settings checked, and turned into losses and optimizers."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from astro_gan import losses
from astro_gan.models import load_vgg, make_discriminator, vgg_features
from astro_gan.train import AXIS

PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
WEIGHTS = ('pixel_weight', 'feature_weight', 'chroma_weight', 'adversarial_weight')


def select(table: Any, name: str, setting: str) -> Any:
    """`table[name]`, or a ValueError that lists the valid names of the setting."""
    if name not in table:
        raise ValueError(f'config.{setting}: {name!r} is unknown; valid are {", ".join(map(str, table))}')
    return table[name] if isinstance(table, dict) else name


def check_stage(config: ConfigDict, name: str) -> None:
    """Raise ValueError for a setting of any task that would fail, or mislead, only later."""
    select(PRECISIONS, config.precision, 'precision')
    stage = config[name]
    counts = {f'config.{key}': config[key] for key in ('log_every', 'patience', 'max_skipped', 'sample_rows')}
    for key in ('crop_size', 'eval_tile', 'eval_batch_size'):
        counts[f'config.dataset.{key}'] = config.dataset[key]
    for key in ('batch_size', 'eval_every', 'critic_steps', 'decay_every'):
        if key in stage:
            counts[f'config.{name}.{key}'] = stage[key]
    for key in ('features', 'blocks', 'depth', 'stages'):
        if key in config.generator:
            counts[f'config.generator.{key}'] = config.generator[key]
    for setting, value in counts.items():
        if value < 1:
            raise ValueError(f'{setting}: {value} is too small; it must be at least 1')
    if stage.steps > 0 and stage.epochs > 0:
        raise ValueError(f'config.{name}: steps and epochs are both set; set one of them to 0')
    if 'dropout' in config.generator and not 0.0 <= config.generator.dropout < 1.0:
        raise ValueError(
            f'config.generator.dropout: {config.generator.dropout} is no rate; it must be from 0 to below 1'
        )
    weights = [key for key in WEIGHTS if key in stage]
    if not any(stage[key] for key in weights):
        raise ValueError(f'config.{name}: {", ".join(weights)} are all 0')
    if name != 'adversarial':
        return
    if stage.gradient_penalty and config.discriminator.norm == 'batch':
        raise ValueError(
            'config.discriminator.norm: batch mixes the samples, which a gradient penalty does not allow; take none or '
            'spectral (resnet50_patch: frozen)'
        )
    if stage.loss == 'wasserstein' and not stage.gradient_penalty:
        raise ValueError('config.adversarial.gradient_penalty: the wasserstein loss needs one; 10 is usual')


def check_divisible(config: ConfigDict, divisor: int, what: str) -> None:
    """Raise ValueError unless crops and tiles divide by the factor or the reduction."""
    for key in ('crop_size', 'eval_tile'):
        if config.dataset[key] % divisor:
            raise ValueError(f'config.dataset.{key}: {config.dataset[key]} is no multiple of {what} {divisor}')


def transformation(
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
    schedule = select(schedules, stage.decay, f'{name}.decay')()
    return optax.chain(
        optax.clip_by_global_norm(clip or float('inf')),
        optax.scale_by_adam(stage.beta1, stage.beta2),
        optax.scale_by_learning_rate(schedule),
    )


def optimizers(config: ConfigDict, name: str) -> dict[str, Any]:
    """The fields of the stage's Experiment that say how the networks are updated."""
    stage, adversarial = config[name], name == 'adversarial'
    critic_steps = stage.critic_steps if adversarial else 1
    rate = stage.discriminator_learning_rate if adversarial else 0.0
    return {
        'generator_tx': transformation(
            stage, name, peak=stage.learning_rate, clip=config.gradient_clip, every=critic_steps
        ),
        'discriminator_tx': transformation(stage, name, peak=rate, clip=config.gradient_clip),
        'critic_steps': critic_steps,
        'gradient_penalty': stage.gradient_penalty if adversarial else 0.0,
    }


def discriminator(config: ConfigDict) -> Any:
    """The module that `config.discriminator` describes."""
    fields = config.discriminator.to_dict()
    return make_discriminator(fields.pop('name'), **fields, axis_name=AXIS, dtype=PRECISIONS[config.precision])


def discriminator_loss(config: ConfigDict, name: str) -> Any:
    """`(real_logits, fake_logits) -> (loss, terms)`; None for the supervised stage."""
    if name != 'adversarial':
        return None
    stage = config[name]
    adversarial, _ = select(losses.ADVERSARIAL, stage.loss, 'adversarial.loss')

    def loss_fn(real_logits: jax.Array, fake_logits: jax.Array) -> Any:
        terms = {'discriminator/real': real_logits.mean(), 'discriminator/fake': fake_logits.mean()}
        return adversarial(real_logits, fake_logits, stage.real_label), terms

    return loss_fn


def generator_loss(
    config: ConfigDict,
    name: str,
    *,
    training: bool,
    picture: Callable[[Any, jax.Array], jax.Array],
    extra: Mapping[str, Callable[[jax.Array, Any], jax.Array]] | None = None,
) -> Any:
    """`(prediction, batch, real_logits, fake_logits) -> (loss, terms)` with the stage's weights.

    Args:
        config: of the run.
        name: of the stage.
        training: False leaves the weights of the content loss unread.
        picture: `(batch, prediction or target) -> RGB [N, H, W, 3]`, what the content loss looks at.
        extra: further losses of the task, weighted already: `{name: (prediction, batch) -> scalar}`.
    """
    stage, content, vgg = config[name], config.content, None
    pixel = select(losses.PIXEL, stage.pixel_loss, f'{name}.pixel_loss')
    dtype = PRECISIONS[config.precision]
    if stage.feature_weight and training:
        vgg = load_vgg(content.network, os.path.expanduser(content.vgg_file) or None, content.layer)

    def loss_fn(prediction: jax.Array, batch: Any, real_logits: Any, fake_logits: Any) -> Any:
        terms = {}
        if stage.pixel_weight:
            terms['pixel'] = stage.pixel_weight * pixel(prediction, batch['target'])
        if vgg is not None:
            features = functools.partial(vgg_features, vgg, layers=(content.layer,))
            fake, real = (
                content.scale * features(picture(batch, x).astype(dtype))[content.layer].astype(jnp.float32)
                for x in (prediction, batch['target'])
            )
            terms['content'] = stage.feature_weight * losses.mse(fake, real)
        for key, term in (extra or {}).items():
            terms[key] = term(prediction, batch)
        if fake_logits is not None:
            adversarial = losses.ADVERSARIAL[stage.loss][1]
            terms['adversarial'] = stage.adversarial_weight * adversarial(real_logits, fake_logits)
        return sum(terms.values()), {f'generator/{key}': value for key, value in terms.items()}

    return loss_fn
