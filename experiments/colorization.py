"""Colorization: a gray image in, its colours out; the input's luminance is kept."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import safetensors.numpy
from ml_collections import ConfigDict

from astro_gan import color, colorization, colour_classes, images, losses, metrics, summary
from astro_gan.errors import UserError
from astro_gan.models import load_encoder, load_lpips, make_generator
from astro_gan.models.backbones import WEIGHTS
from astro_gan.task import Batch, Stage, Task
from astro_gan.train import AXIS
from experiments import parts

BASELINE = 'gray'  # what `Task.baseline` is called in tables: leaving it gray
HEADLINE = ('l1', 'l2', 'l1_ab', 'psnr', 'ssim_y', 'lpips', 'colourfulness', 'colourfulness_truth')
ENCODERS = {
    'resnet18_unet': 'resnet18',
    'seresnext50_unet': 'seresnext50',
    'efficientnet_b0_unet': 'efficientnet_b0',
    'guided_unet': 'resnet18',
    'resnet50_patch': 'resnet50',
}


def make_task(config: ConfigDict) -> Task:
    """What is learned and how it is measured.

    Raises:
        UserError: a setting is wrong.
    """
    dataset = config.dataset
    parts.check(config)
    if dataset.reduction < 1:
        raise UserError(f'config.dataset.reduction: {dataset.reduction} is too small; it must be at least 1')
    parts.check_divisible(config, dataset.reduction, 'dataset.reduction')
    for key in ('crop_size', 'eval_tile'):
        if dataset[key] // dataset.reduction < colorization.SMALLEST:
            least = colorization.SMALLEST * dataset.reduction
            raise UserError(
                f'config.dataset.{key}: {dataset[key]} is too small; at least {least} ({colorization.SMALLEST} reduced)'
            )
    space = parts.select(tuple(colorization.CHANNELS), config.generator.space, 'generator.space')
    reduction = dataset.reduction
    if config.chroma.boost <= -1 or config.chroma.scale <= 0:
        raise UserError('config.chroma: boost must be above -1 and scale above 0')

    def prepare(batch: Batch, keys: jax.Array | None) -> Batch:
        crops = images.to_float(batch['crop'])
        crops = crops if keys is None else images.random_dihedral(keys, crops)
        picture = images.quantize(images.downsample(crops, reduction))
        if space == 'rgb':
            return {**batch, 'input': color.gray_of(picture), 'target': picture, 'truth': picture}
        lab = color.rgb_to_lab(picture)
        made = {'input': lab[..., :1] / 100.0, 'target': lab[..., 1:] / colorization.AB_SCALE, 'truth': picture}
        return {**batch, **made}

    def tile_metrics(prediction: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
        result = metrics.image_metrics(prediction, truth, border=0, lpips_params=lpips_params)
        return result | metrics.colour_metrics(prediction, truth)

    def summarize(table: Any) -> tuple[dict[str, float], list[str]]:
        counts, warnings = summary.colour_health(table)
        return summary.summarize(table) | counts, warnings

    lpips_params = load_lpips()
    size = dataset.crop_size // reduction
    dtype = parts.PRECISIONS[config.precision]
    return Task(
        generator=make_generator(**config.generator.to_dict(), axis_name=AXIS, dtype=dtype),
        discriminator=parts.discriminator(config),
        input_shape=(size, size, 1),
        discriminator_input=functools.partial(_discriminator_input, space=space),
        prepare=prepare,
        # Rounded to what a file can hold.
        to_rgb=lambda gray, prediction: images.quantize(colorization.to_rgb(gray, prediction, space)),
        baseline=lambda gray: images.quantize(colorization.gray_picture(gray, space)),
        metrics=tile_metrics,
        summarize=summarize,
        headline=HEADLINE,
    )


def make_stage(config: ConfigDict, task: Task, name: str) -> Stage:
    """How the networks are trained in the stage 'supervised' or 'adversarial'.

    Raises:
        UserError: a setting is wrong.
    """
    del task
    parts.check_stage(config, name)
    weight, space, settings = config[name].chroma_weight, config.generator.space, config.chroma.to_dict()

    def chroma(prediction: jax.Array, batch: Any) -> jax.Array:
        ours, truth = (colorization.chromaticity(batch['input'], x, space) for x in (prediction, batch['target']))
        return weight * losses.chroma(ours, truth, **settings)

    return parts.make_stage(
        config,
        name,
        picture=lambda batch, x: colorization.compose(batch['input'], x, space),
        extra={'chroma': chroma} if weight else {},
        pixel=_class_entropy() if space == 'classes' else None,
    )


def _class_entropy() -> Any:
    """`losses.class_entropy`, in which colours count by how rare they are among press images."""
    shares = safetensors.numpy.load_file(WEIGHTS / 'colour_classes.safetensors')['shares']
    weights = jnp.asarray(colour_classes.weights_of(shares))
    return lambda prediction, target: losses.class_entropy(prediction, colorization.AB_SCALE * target, weights=weights)


def _discriminator_input(gray: jax.Array, output: jax.Array, *, space: str) -> jax.Array:
    """What the conditional discriminator sees: gray and RGB `[n, h, w, 4]`; or RGB, of which the input is the L*."""
    picture = colorization.compose(gray, output, space)
    return jnp.concatenate([gray, picture], axis=-1) if space == 'rgb' else picture


def pretrained(config: ConfigDict, net: str) -> dict[str, Any] | None:
    """ImageNet weights for the encoder of `net` ('generator' or 'discriminator'); None if it starts from scratch.

    Raises:
        ValueError: the weights cannot be had, or the network has no such encoder.
    """
    source = config.weights[net]
    if source == 'none':
        return None
    name = config[net].name
    if name not in ENCODERS:
        raise UserError(f'config.weights.{net}: {name} has no ImageNet encoder; it must be none')
    module = make_generator(**config.generator.to_dict()) if net == 'generator' else parts.discriminator(config)
    v1 = {'packaged': True, 'hub': False}.get(source)
    if name == 'resnet50_patch' and v1 not in (None, module.stride_in_1x1):
        raise UserError(f'config.{net}.stride_in_1x1: the {source} ResNet-50 needs {v1}')
    return load_encoder(
        ENCODERS[name], os.path.expanduser(source), stages=module.stages, setting=f'config.weights.{net}'
    )


def describe(config: ConfigDict) -> dict[str, Any]:
    """The parts of an exported model's description that this task knows."""
    fields = config.generator.to_dict()
    name = fields.pop('name')
    return {
        'task': 'colorization',
        'factor': 1,
        'generator': {'name': name, 'fields': fields},
        'input': {
            'channels': 1,
            'colour_space': 'gray (sRGB transfer curve)',
            'range': [0.0, 1.0],
            'shape': ['batch', 'height', 'width', 1],
            'smallest': colorization.SMALLEST,
        },
        'output': {
            'channels': 3,
            'colour_space': 'sRGB',
            'range': [0.0, 1.0],
            'shape': ['batch', 'height', 'width', 3],
            'clipped': True,
            'luminance': 'L* of the input',
        },
        'reduction': config.dataset.reduction,
    }
