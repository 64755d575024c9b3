"""Which models a command applies: named ones, or those that ship with the package."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import numpy as np

from astro_gan.errors import UserError
from astro_gan.inference.chain import join
from astro_gan.inference.network import Network
from astro_gan.model import Model, load_model, shipped_models
from astro_gan.models.bicubic import Bicubic

COLORIZER = 'colorize'
UPSCALER = 'wdsr_x{factor}'
GAN = 'wdsr_gan_x{factor}'  # with the weights of an UPSCALER trained on
FRAMES = 'frames_x2'  # for frames, where it ships
_STEPS = (4, 3, 2)  # factors of single networks, in the order in which a larger factor is taken apart


def choose_model(command: str, names: Sequence[str], factor: int | None, blend: float | None = None) -> Model:
    """The model for 'colorize', 'upscale' or 'enhance': one, or several in a chain.

    Args:
        command: what is to be done.
        names: exported directories or shipped models, in the order in which they are applied; none: the default.
        factor: enlargement that is wanted; None: the models' own, or 4.
        blend: share of the last model's weights in those of the one before it (`interpolated`); None: a chain.

    Raises:
        UserError: no such model, or one that does not do this.
    """
    chosen = list(names) or _default(command, factor or 4)
    if blend is not None:
        chosen = _pair(command, names, factor or 4)
    models = [load_model(name) for name in chosen]
    if blend is not None:
        models[-2:] = [interpolated(models[-2], models[-1], blend)]
    networks = tuple(network for model in models for network in model.networks)
    tasks = ['color' if network.colorizes else 'size' for network in networks]
    wanted = {'colorize': tasks == ['color'], 'upscale': 'color' not in tasks}
    wanted['enhance'] = tasks[0] == 'color' and len(tasks) > 1 and 'color' not in tasks[1:]
    label = ' + '.join(chosen)
    if not wanted[command]:
        does = {'color': 'adds colour', 'size': 'enlarges'}
        needs = {
            'colorize': 'one colorizer',
            'upscale': 'super-resolution models only',
            'enhance': 'a colorizer, then super-resolution (--model COLORIZER --model UPSCALER, or a fused model)',
        }
        steps = ', then '.join(does[task] for task in tasks)
        raise UserError(f'--model {label}: {steps}; {command} needs {needs[command]}')
    if len(models) > 1 and any(model.task == 'frames' for model in models):
        raise UserError(f'--model {label}: a model for frames is none of a chain: what it makes is no frame with noise')
    total = math.prod(network.factor for network in networks)
    if factor not in (None, total):
        raise UserError(f'--factor {factor}: {label} enlarges {total} times; leave --factor out or name other models')
    return models[0] if len(models) == 1 else join(models)


def choose_frame_model(command: str, names: Sequence[str], factor: int | None) -> Model | None:
    """The model for frames that takes the place of `choose_model`'s, where the user named none; None: there is none.

    What frames_x2 makes has a PSF of two of its pixels or more: factors beyond 2 are interpolated, as nothing finer is
    known. On compressed values bicubic interpolation is nearly exact: the logarithm of a Gaussian is a parabola.
    """
    if command != 'upscale' or names or FRAMES not in shipped_models() or (factor or 2) % 2:
        return None
    model = load_model(FRAMES)
    finer = (factor or 2) // model.factor
    if finer == 1:
        return model
    more = bicubic(finer)
    description = model.description | {'name': f'{model.name}+bicubic_x{finer}', 'factor': model.factor * finer}
    return Model(description, (*model.networks, *more.networks))


def _pair(command: str, names: Sequence[str], factor: int) -> list[str]:
    """Names of the models of a command, the last two of which are to be blended."""
    colorizers = command == 'enhance'
    if names:
        if len(names) != 2 + colorizers:
            raise UserError(
                f'--blend: {len(names)} models are named; name {"a colorizer and " * colorizers}two of one '
                'architecture, the supervised one first, or none'
            )
        return list(names)
    gan = GAN.format(factor=factor)
    if gan not in shipped_models():
        pairs = [str(n) for n in range(2, 13) if GAN.format(factor=n) in shipped_models()]
        raise UserError(f'--blend: no model {gan} ships; --factor {" or ".join(pairs)}, or two models by --model')
    return [*_default(command, factor), gan]


def interpolated(first: Model, second: Model, share: float) -> Model:
    """One network whose weights lie between two models': (1 - share) of the first's and share of the second's.

    Between a supervised network and the GAN that was trained on from it all shares are networks that work (Wang et al.
    2018, "ESRGAN", section 3.4).

    Raises:
        UserError: they are no single networks of one architecture.
    """
    described = [[model.description[key] for key in ('task', 'factor')] for model in (first, second)]
    same = len(first.networks) == len(second.networks) == 1 and described[0] == described[1]
    if not same or first.networks[0].description['generator'] != second.networks[0].description['generator']:
        raise UserError(f'--blend: {first.name} and {second.name} are no two networks of one architecture')
    weights = [model.networks[0].variables for model in (first, second)]
    mixed = jax.tree.map(lambda a, b: np.float32(1 - share) * a + np.float32(share) * b, *weights)
    digests = [model.description['weights']['sha256'] for model in (first, second)]
    description = first.description | {
        'name': f'{first.name} with {share:g} of {second.name}',
        'weights': {'sha256': '+'.join(digests)},
    }
    description.pop('calibration', None)  # of the first alone
    return Model(description, (Network(description, first.networks[0].generator, mixed),))


@functools.lru_cache(maxsize=4)
def bicubic(factor: int) -> Model:
    """Bicubic interpolation as a model."""
    image = {'channels': 3}
    description = {'task': 'super_resolution', 'name': 'bicubic', 'factor': factor, 'input': image, 'output': image}
    description |= {'generator': {'name': 'bicubic', 'fields': {'factor': factor}}}
    network = Network(description, Bicubic(factor), {})
    return Model(description | {'weights': {'sha256': 'none'}}, (network,))


def _default(command: str, factor: int) -> list[str]:
    colorizer = [] if command == 'upscale' else [COLORIZER]
    upscalers = [] if command == 'colorize' else [UPSCALER.format(factor=step) for step in _take_apart(factor)]
    missing = [name for name in colorizer + upscalers if name not in shipped_models()]
    if missing:
        there = ', '.join(shipped_models()) or 'none'
        raise UserError(
            f'{command}: no model {missing[0]} ships with this version (there are: {there}); name others with --model'
        )
    return colorizer + upscalers


def _take_apart(factor: int) -> list[int]:
    """Factors of shipped models with that product: 12 -> [4, 3]."""
    if UPSCALER.format(factor=factor) in shipped_models():
        return [factor]
    steps, rest = [], factor
    for step in _STEPS:
        while rest % step == 0 and rest > 1:
            steps.append(step)
            rest //= step
    if rest != 1 or factor < 2:
        raise UserError(f'--factor {factor}: must be a product of 2s and 3s (2, 3, 4, 6, 8, 12)')
    return steps
