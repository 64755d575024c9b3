"""What the tasks' experiments have in common: a config's settings checked, and turned into losses and optimizers."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from astro_gan import losses
from astro_gan.errors import UserError
from astro_gan.models import load_vgg, make_discriminator, vgg_features
from astro_gan.task import Stage
from astro_gan.train import AXIS

PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
WEIGHTS = (
    'pixel_weight',
    'feature_weight',
    'chroma_weight',
    'grid_weight',
    'flux_weight',
    'bias_weight',
    'adversarial_weight',
)


def select(table: Any, name: str, setting: str) -> Any:
    """`table[name]`, or a UserError that lists the valid names of the setting."""
    if name not in table:
        raise UserError(f'config.{setting}: {name!r} is unknown; valid are {", ".join(map(str, table))}')
    return table[name] if isinstance(table, dict) else name


def check(config: ConfigDict) -> None:
    """Raise UserError for a setting of the run that would fail, or mislead, only later."""
    for setting, value in _numbers(config.to_dict()):
        if not math.isfinite(value):
            raise UserError(f'{setting}: {value} is no number to train with')
    select(PRECISIONS, config.precision, 'precision')
    _check_range(config, ('log_every', 'max_skipped', 'sample_rows'), 1)
    _check_range(config, ('patience', 'gradient_clip', 'max_rollbacks', 'seed'), 0)
    _check_range(
        config, ('crop_size', 'eval_tile', 'eval_batch_size', 'eval_tiles_per_image', 'eval_fields'), 1, group='dataset'
    )
    _check_range(config, ('cache_mib',), 0, group='dataset')
    _check_range(config, ('features', 'blocks', 'depth', 'stages', 'grow_steps'), 1, group='generator')
    _check_range(config, ('features', 'hidden'), 1, group='discriminator')
    for name in ('supervised', 'adversarial'):  # a stage that is left out too: it is by these
        _check_range(config, ('steps', 'epochs'), 0, group=name)
    if 'dropout' in config.generator and not 0.0 <= config.generator.dropout < 1.0:
        raise UserError(
            f'config.generator.dropout: {config.generator.dropout} is no rate; it must be from 0 to below 1'
        )


def check_stage(config: ConfigDict, name: str) -> None:
    """Raise UserError for a setting of a stage that would fail, or mislead, only later."""
    stage = config[name]
    _check_range(config, ('batch_size', 'eval_every', 'critic_steps', 'decay_every'), 1, group=name)
    _check_range(config, ('learning_rate', 'discriminator_learning_rate', 'gradient_penalty'), 0, group=name)
    _check_range(config, ('ema_decay', 'real_label', 'decay_rate'), 0, 1, group=name)
    weights = [key for key in WEIGHTS if key in stage]
    _check_range(config, weights, 0, group=name)
    for key in ('beta1', 'beta2'):
        if not 0.0 <= stage[key] < 1.0:
            raise UserError(f'config.{name}.{key}: {stage[key]} is out of range; it must be from 0 to below 1')
    if stage.steps > 0 and stage.epochs > 0:
        raise UserError(f'config.{name}: steps and epochs are both set; set one of them to 0')
    if not any(stage[key] for key in weights):
        raise UserError(f'config.{name}: {", ".join(weights)} are all 0')
    if name != 'adversarial':
        return
    if stage.gradient_penalty and config.discriminator.norm == 'batch':
        raise UserError(
            'config.discriminator.norm: batch mixes the samples, which a gradient penalty does not allow; take none or '
            'spectral (resnet50_patch: frozen)'
        )
    if stage.loss == 'wasserstein' and not stage.gradient_penalty:
        raise UserError('config.adversarial.gradient_penalty: the wasserstein loss needs one; 10 is usual')


def _numbers(tree: Mapping[str, Any], prefix: str = 'config') -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f'{prefix}.{key}')
        elif isinstance(value, float):
            yield f'{prefix}.{key}', value


def _check_range(
    config: ConfigDict, keys: Iterable[str], least: float, most: float = math.inf, *, group: str = ''
) -> None:
    """Raise UserError for those of the settings, where a task or a network has them, that are out of range."""
    settings = config[group] if group else config
    for key in keys:
        value = settings.get(key)
        if value is None or least <= value <= most:
            continue
        setting = '.'.join(filter(None, ('config', group, key)))
        what, right = ('small', f'at least {least}') if value < least else ('large', f'at most {most:g}')
        raise UserError(f'{setting}: {value} is too {what}; it must be {right}')


def check_divisible(config: ConfigDict, divisor: int, what: str) -> None:
    """Raise UserError unless crops and tiles divide by the factor or the reduction."""
    for key in ('crop_size', 'eval_tile'):
        if config.dataset[key] % divisor:
            raise UserError(f'config.dataset.{key}: {config.dataset[key]} is no multiple of {what} {divisor}')


def transformation(stage: ConfigDict, name: str, *, peak: float, clip: float) -> optax.GradientTransformation:
    """Adam with clipping and a learning-rate schedule; the same state tree for every setting.

    Its `update` needs `stage_step`: the schedule counts the steps of the stage, not updates, of which a step that is
    skipped or rolled back, or an extra one of the critic, makes none.
    """
    schedules = {
        'constant': lambda: optax.constant_schedule(peak),
        'cosine': lambda: optax.cosine_decay_schedule(peak, max(stage.steps, 1)),
        'step': lambda: optax.exponential_decay(peak, stage.decay_every, stage.decay_rate, staircase=True),
    }
    schedule = select(schedules, stage.decay, f'{name}.decay')()
    return optax.chain(
        optax.clip_by_global_norm(clip or float('inf')),
        optax.scale_by_adam(stage.beta1, stage.beta2),
        _scale_by_rate(schedule),
    )


def _scale_by_rate(schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """As `optax.scale_by_learning_rate`, at `stage_step` of the schedule; its state is a note of where that was."""

    def init(params: Any) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, *, stage_step: jax.Array, **extra: Any) -> Any:
        del state, params, extra
        rate = schedule(stage_step)
        scaled = jax.tree.map(lambda update: -jnp.asarray(rate, update.dtype) * update, updates)
        return scaled, optax.ScaleByScheduleState(count=stage_step + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def make_stage(
    config: ConfigDict,
    name: str,
    *,
    picture: Callable[[Any, jax.Array], jax.Array],
    extra: Mapping[str, Callable[[jax.Array, Any], jax.Array]],
    pixel: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Stage:
    """The record of the stage 'supervised' or 'adversarial'.

    Args:
        config: of the run.
        name: of the stage.
        picture: `(batch, prediction or target) -> RGB [N, H, W, 3]`, what the content loss looks at.
        extra: further losses of the task, weighted already: `{name: (prediction, batch) -> scalar}`.
        pixel: `(prediction, target) -> scalar` in place of the config's `pixel_loss`.
    """
    stage, adversarial = config[name], name == 'adversarial'
    critic_steps = stage.critic_steps if adversarial else 1
    rate = stage.discriminator_learning_rate if adversarial else 0.0
    return Stage(
        name=name,
        steps=stage.steps,
        batch_size=stage.batch_size,
        eval_every=stage.eval_every,
        best_metric=stage.best_metric,
        ema_decay=stage.ema_decay,
        generator_tx=transformation(stage, name, peak=stage.learning_rate, clip=config.gradient_clip),
        discriminator_tx=transformation(stage, name, peak=rate, clip=config.gradient_clip),
        generator_loss=_generator_loss(config, name, picture=picture, extra=extra, pixel=pixel),
        discriminator_loss=_discriminator_loss(config, name),
        gradient_penalty=stage.gradient_penalty if adversarial else 0.0,
        critic_steps=critic_steps,
    )


def discriminator(config: ConfigDict) -> Any:
    """The module that `config.discriminator` describes."""
    fields = config.discriminator.to_dict()
    return make_discriminator(fields.pop('name'), **fields, axis_name=AXIS, dtype=PRECISIONS[config.precision])


def _discriminator_loss(config: ConfigDict, name: str) -> Any:
    """`(real_logits, fake_logits) -> (loss, terms)`; None for the supervised stage."""
    if name != 'adversarial':
        return None
    stage = config[name]
    adversarial, _ = select(losses.ADVERSARIAL, stage.loss, 'adversarial.loss')

    def loss_fn(real_logits: jax.Array, fake_logits: jax.Array) -> Any:
        terms = {'discriminator/real': real_logits.mean(), 'discriminator/fake': fake_logits.mean()}
        return adversarial(real_logits, fake_logits, stage.real_label), terms

    return loss_fn


def content_weights(config: ConfigDict) -> Any:
    """The network behind the content loss, read once in a process.

    Raises:
        ValueError: its weights cannot be had.
    """
    return _load_vgg(config.content.network, os.path.expanduser(config.content.vgg_file), config.content.layer)


@functools.cache
def _load_vgg(network: str, file: str, layer: str) -> Any:
    return load_vgg(network, file or None, layer)


def _generator_loss(
    config: ConfigDict,
    name: str,
    *,
    picture: Callable[[Any, jax.Array], jax.Array],
    extra: Mapping[str, Callable[[jax.Array, Any], jax.Array]],
    pixel: Callable[[jax.Array, jax.Array], jax.Array] | None,
) -> Any:
    """`(prediction, batch, real_logits, fake_logits) -> (loss, terms)` with the stage's weights; see `make_stage`."""
    stage, content = config[name], config.content
    pixel = pixel or select(losses.PIXEL, stage.pixel_loss, f'{name}.pixel_loss')
    dtype = PRECISIONS[config.precision]

    def loss_fn(prediction: jax.Array, batch: Any, real_logits: Any, fake_logits: Any) -> Any:
        terms = {}
        if stage.pixel_weight:
            terms['pixel'] = stage.pixel_weight * pixel(prediction, batch['target'])
        if stage.feature_weight:
            # Asked for here: who only measures a network does not need them.
            features = functools.partial(vgg_features, content_weights(config), layers=(content.layer,))
            fake, real = (
                content.scale * features(picture(batch, x).astype(dtype))[content.layer].astype(jnp.float32)
                for x in (prediction, batch['target'])
            )
            terms['content'] = stage.feature_weight * losses.mse(fake, real)
        for key, term in extra.items():
            terms[key] = term(prediction, batch)
        if fake_logits is not None:
            adversarial = losses.ADVERSARIAL[stage.loss][1]
            terms['adversarial'] = stage.adversarial_weight * adversarial(real_logits, fake_logits)
        return sum(terms.values()), {f'generator/{key}': value for key, value in terms.items()}

    return loss_fn
