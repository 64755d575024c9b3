"""How far an enlarged picture or frame may be off: for every pixel an interval that was calibrated on known truths.

Split conformal prediction (Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", section 5.2): a
score says where errors are larger, and quantiles of the error by score and brightness make intervals of it. `python -m
benchmarks.trust` calibrates models and measures how much is covered; the numbers are in each model's description under
'calibration'.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.files.picture_writer import write_picture
from astro_gan.inference.network import Network
from astro_gan.inference.provenance import NOTICE, SOFTWARE
from astro_gan.inference.refine import turned
from astro_gan.inference.render import render
from astro_gan.model import Model, to_levels
from astro_gan.models.layers import bicubic_upsample, edge_pad
from astro_gan.noise_units import from_network, to_network

FLOOR = 0.05 / 255  # added before logarithms: below a twentieth of a level nothing differs
_WINDOW = 17  # pixels of the input in which contrast is measured
_REACH = _WINDOW // 2 + 1


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Trusted:
    """A network whose output is half the width of the interval that the truth is in; for frames after its own output.

    Attributes:
        network: that enlarges.
    """

    network: Network
    colorizes: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """The network's; the generator is told by all that decides what is computed."""
        own = self.network.description
        return own | {'generator': {**own['generator'], 'trust': own['calibration']}}

    @property
    def factor(self) -> int:
        return self.network.factor

    @property
    def variables(self) -> Any:
        return self.network.variables

    @property
    def generator(self) -> Any:
        return types.SimpleNamespace(radius=max(self.network.generator.radius, _REACH))

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, h, w, C]` -> `[N, factor h, factor w, C']`, in the unit of the network's output."""
        output, features, level = observe(self.network, variables, images)
        half = half_width(self.network.description['calibration'], features, level)
        return jnp.concatenate([output, half], -1) if self.network.description['task'] == 'frames' else half


def observe(network: Network, variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a network makes of images `[N, h, w, C]`, and what tells how far that may be off.

    Returns:
        The output `[N, factor h, factor w, C']`; the logarithms `[3, N, factor h, factor w, C']` of its spread over
        eight flips and turns and of the input's finest and next finest contrast in a window; and the input, enlarged.
    """
    outputs = turned(functools.partial(network.forward, variables), images)
    factor, images = network.factor, images[..., : outputs.shape[-1]]
    contrasts = [jnp.sqrt(_mean(jnp.square(x), _WINDOW)) for x in (_finest(images), images - _mean(images, 3))]
    enlarged = [x.repeat(factor, 1).repeat(factor, 2) for x in contrasts]
    features = jnp.log(jnp.stack([outputs.std(0), *enlarged]) + FLOOR)
    return outputs[0], features, bicubic_upsample(images, factor)


def _finest(images: jax.Array) -> jax.Array:
    """Second differences along both axes, of the deviation that white noise has; borders repeated."""
    x = edge_pad(images, 1)
    x = x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:]
    return (x[:, :, :-2] - 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 6


def _mean(images: jax.Array, side: int) -> jax.Array:
    """Over squares of `side` pixels; borders repeated."""
    images = edge_pad(images, side // 2)
    for window in ((1, side, 1, 1), (1, 1, side, 1)):
        images = jax.lax.reduce_window(images, 0.0, jax.lax.add, window, (1, 1, 1, 1), 'VALID') / side
    return images


def half_width(calibration: dict[str, Any], features: jax.Array, level: jax.Array) -> jax.Array:
    """Half of the interval's width, by score and level, between the calibrated ones: of `observe`'s results."""
    score = jnp.tensordot(jnp.asarray(calibration['weights'], jnp.float32), features, 1)
    levels = np.asarray(calibration['levels'], np.float32)
    total = jnp.zeros_like(level)
    for index in range(len(levels)):
        hat = jnp.interp(level, levels, np.eye(len(levels), dtype=np.float32)[index])
        logarithms = np.log(np.asarray(calibration['half_widths'][index]))
        total += hat * jnp.interp(score, np.asarray(calibration['scores'][index], np.float32), np.float32(logarithms))
    return jnp.exp(total)


@functools.lru_cache(maxsize=4)
def trusted(model: Model) -> Trusted:
    """The network of a model's that enlarges, calibrated.

    Raises:
        UserError: there is none, or several, or it was calibrated with other weights.
    """
    networks = [network for network in model.networks if not network.colorizes]
    if not networks:
        raise UserError(
            f'--trust: {model.name} makes colours, which are guesses; errors of what enlarges were measured'
        )
    if len(networks) > 1:
        raise UserError(
            f'--trust: {model.name} is a chain of {len(networks)} networks; errors of single ones were measured, '
            'for --factor 2, 3 and 4'
        )
    if 'calibration' not in networks[0].description:
        raise UserError(f'--trust: no errors of {model.name} were measured, only of single networks that ship')
    if networks[0].description['calibration']['weights_sha256'] != networks[0].description['weights']['sha256']:
        raise UserError(f'--trust: errors of {model.name} were measured with other weights; calibrate it anew')
    return Trusted(networks[0])


def trust_path(target: Path, *, frame: bool) -> Path:
    """`m51.trust.png` beside `m51.png`, `m51.jpg.trust.png` beside `m51.jpg`, `m51.trust.fits` beside a frame."""
    suffix = '.fits' if frame else '.png'
    return target.with_name(f'{target.name.removesuffix(suffix)}.trust{suffix}')


def promise(model: Model, source: Any, target: Path, settings: Any) -> dict[str, Any]:
    """What the description of an output says of the map beside it.

    Args:
        model: that was chosen, without refinements.
        source: the opened picture, or a frame that was measured (`observed.Observed`).
        target: the output.
        settings: `settings.Settings`.

    Raises:
        UserError: the model is not calibrated for this, or there is no place for the map; one line.
    """
    calibration = trusted(model).network.description['calibration']
    if model.task != 'frames' and hasattr(source, 'frame'):
        raise UserError(f'{source.path}: --trust: errors of {model.name} were measured on pictures, not on frames')
    if model.task == 'frames' and source.source.turned:
        raise UserError(f'{source.source.path}: --trust is a frame, beside a frame; leave --format out')
    if settings.sharpen != 1 or settings.denoise != 1:
        raise UserError('--trust: errors were measured of all that a network does; leave --sharpen, --denoise out')
    path = trust_path(target, frame=model.task == 'frames')
    if os.path.lexists(path) and not (settings.overwrite or settings.resume):
        raise UserError(f'{printable(path)}: exists already; --overwrite replaces it')
    values = {'frames': 'enlarged data values', 'enhance': 'enlarged gray values'}.get(model.task, 'enlarged values')
    return {
        'file': path.name,
        'meaning': f'half width of the interval around {values} that holds {calibration["coverage"]:.0%} of the true',
        'unit': 'data values' if model.task == 'frames' else 'white is 65535, the whole range',
        'coverage': calibration['coverage'],
        'measured': calibration['measured'],
    }


def write_trust(
    model: Model, source: Any, target: Path, settings: Any, promised: dict[str, Any], log: Callable[[str], None] = print
) -> None:
    """Write the map that goes with an output: a PNG of 16 bits, or a frame in data values; see `promise`."""
    network: Any = trusted(model)
    path = target.with_name(promised['file'])
    if model.task == 'frames':
        _write_frame(network, source, path, settings, promised['meaning'], log)
        return
    size = (network.factor * source.height, network.factor * source.width, source.channels)
    levels = (to_levels(strip, np.uint16) for strip in render([network], source, tile=settings.tile, log=log))
    comment = json.dumps({'trust': promised}, allow_nan=False)
    write_picture(path, 'png', size, np.uint16, levels, like=None, comment=comment, notice=NOTICE, software=SOFTWARE)


def _write_frame(
    network: Trusted, observed: Any, path: Path, settings: Any, about: str, log: Callable[[str], None]
) -> None:
    from astro_gan.files.fits import enlarged_header, open_writer

    factor, source = network.factor, observed.source
    planes = source.frame.data.shape[:-2]
    shape = (*planes, factor * source.height, factor * source.width)
    header = enlarged_header(source.frame.header, factor, shape)
    header.add_history(about)
    scale = factor**2 if settings.conserve == 'flux' else 1
    top = 0
    with open_writer(path, shape, header, overwrite=settings.overwrite or settings.resume) as write:
        outputs = dataclasses.replace(observed, network=network, residual=None).outputs(settings.tile, log)
        own = (np.stack([from_network(x[:, :, 0]), x[:, :, 1], from_network(x[:, :, 0])], 2) for x in outputs)
        for values, _ in observed.corrected(own):
            output, half = to_network(values[:, :, 0]), values[:, :, 1]
            width = (from_network(output + half) - from_network(output - half)) / 2
            data = observed.to_data(width, top, factor, sky=False) / np.float32(scale)
            write(data if planes else data[0])
            top += len(width)
