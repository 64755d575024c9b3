"""Guided colorization: L* and what is known of the colours in, a*b* out; one network for all kinds of guides."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from astro_gan import color, guide_draws, guides, images, losses
from astro_gan import colorization as colours
from astro_gan.errors import UserError
from astro_gan.task import Batch, Stage, Task
from experiments import colorization, parts

BASELINE = 'guides alone'  # what `Task.baseline` is called in tables: the first guess, without a network


def make_task(config: ConfigDict) -> Task:
    """What is learned and how it is measured: colorization with guides in the input.

    Raises:
        UserError: a setting is wrong.
    """
    plain, dataset = colorization.make_task(config), config.dataset
    if not 1.0 <= dataset.least_reduction <= dataset.reduction:
        raise UserError(
            f'config.dataset.least_reduction: {dataset.least_reduction} must be from 1 to dataset.reduction'
        )
    if config.generator.space != 'lab':
        raise UserError("config.generator.space: guides are a*b*, so it must be 'lab'")
    size = plain.input_shape[0]

    def prepare(batch: Batch, keys: jax.Array | None) -> Batch:
        crops = images.to_float(batch['crop'])
        if keys is None:
            # An evaluation draws nothing: each tile has its own guides, the same every time.
            keys = jax.vmap(jax.random.key)(batch['index'])
        else:
            crops = images.random_dihedral(keys, crops)
        made = jax.vmap(lambda key, crop: _example(key, crop, size, dataset.least_reduction))(keys, crops)
        return {**batch, **made}

    return dataclasses.replace(
        plain,
        prepare=prepare,
        discriminator_input=lambda input, output: plain.discriminator_input(input[..., :1], output),
        to_rgb=lambda input, prediction: plain.to_rgb(input[..., :1], prediction),
        baseline=lambda input: images.quantize(colours.to_rgb(input[..., :1], input[..., 1:3], 'lab')),
        input_shape=(size, size, 1 + guides.PLANES),
    )


def make_stage(config: ConfigDict, task: Task, name: str) -> Stage:
    """How the networks are trained in the stage 'supervised' or 'adversarial'.

    Raises:
        UserError: a setting is wrong.
    """
    del task
    parts.check_stage(config, name)
    weight = config[name].colourfulness_weight
    if weight < 0:
        raise UserError(f'config.{name}.colourfulness_weight: {weight} is below 0')

    def colourfulness(prediction: jax.Array, batch: Any) -> jax.Array:
        return weight * losses.colourfulness(prediction, batch['target'])

    return parts.make_stage(
        config,
        name,
        picture=lambda batch, x: colours.compose(batch['input'][..., :1], x, 'lab'),
        extra={'colourfulness': colourfulness} if weight else {},
    )


def _example(key: jax.Array, crop: jax.Array, size: int, least: float) -> dict[str, jax.Array]:
    """A part of a crop `[S, S, 3]` made `size`, reduced by `least` or more, with guides read from it and the crop."""
    side = crop.shape[0]
    scale_key, place_key, guide_key = jax.random.split(key, 3)
    # Log-uniform, from the least reduction to that of the whole crop.
    part = size * least * (side / size / least) ** jax.random.uniform(scale_key)
    corner = jax.random.uniform(place_key, (2,)) * (side - part)
    scale = size / part
    picture = jax.image.scale_and_translate(
        crop, (size, size, 3), (0, 1), jnp.full(2, scale), -corner * scale, 'cubic', antialias=True
    )
    whole = jax.image.resize(crop, (size, size, 3), 'cubic', antialias=True)
    lab, context = (color.rgb_to_lab(images.quantize(image)) for image in (picture, whole))
    ab, planes = guide_draws.draw(guide_key, lab, context)
    lightness = lab[..., :1]
    return {
        'input': jnp.concatenate([lightness / 100.0, planes], axis=-1),
        'target': ab / colours.AB_SCALE,
        'truth': color.lab_to_rgb(color.fit_gamut(jnp.concatenate([lightness, ab], axis=-1))),
    }


pretrained = colorization.pretrained


def describe(config: ConfigDict) -> dict[str, Any]:
    """The parts of an exported model's description that this task knows."""
    return colorization.describe(config) | {'guides': guides.PLANES, 'reduction': config.dataset.working_reduction}
