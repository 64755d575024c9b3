"""Exported models: a directory with weights, a description and a StableHLO program; and reading them back.

weights.safetensors   float32 tensors 'params/...' and 'batch_stats/...'
model.json            task, generator and its fields, ranges, training data, metrics, versions, hash of the weights
model.stablehlo       `jax.export` artefact, weights included; any batch, height and width; for cpu and cuda

A colorizer's files take a gray picture and give the coloured one: what stands around the network is part of them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

import astro_gan
from astro_gan import colorization
from astro_gan.images import to_uint8
from astro_gan.models import make_generator

FORMAT = 1
TASKS = ('super_resolution', 'colorization')
TOLERANCE = 1e-3  # in units of the output's range; float32 rounding stays far below
SHIPPED = Path(__file__).parent / 'weights'


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained generator, ready to be called.

    Attributes:
        description: the content of model.json.
        generator: the flax module.
        variables: {'params': ..., 'batch_stats': ...}.
    """

    description: dict[str, Any]
    generator: nn.Module
    variables: dict[str, Any]

    def __post_init__(self) -> None:
        apply = jax.jit(make_forward(self.description, self.generator))
        object.__setattr__(self, '_apply', apply)

    def __call__(self, image: np.ndarray | jax.Array) -> np.ndarray:
        """Apply the model to `[H, W, C]` or `[N, H, W, C]`; a colorizer (C = 1) also to `[H, W]`.

        Floats in [0, 1] give float32 (of a super-resolution model: nominally in [0, 1], not clipped), uint8 uint8.

        Raises:
            ValueError: another shape, channel count, size or type.
        """
        image = np.asarray(image)
        channels = self.description['input']['channels']
        if channels == 1 and image.ndim == 2:
            image = image[..., None]
        if image.ndim not in (3, 4) or image.shape[-1] != channels:
            kind = 'gray' if channels == 1 else 'in colour'
            raise ValueError(
                f'model: the image must be {kind}, [H, W, {channels}] or [N, H, W, {channels}], not {image.shape}'
            )
        smallest = self.description['input'].get('smallest', 1)
        if min(image.shape[-3:-1]) < smallest:
            raise ValueError(f'model: the image must be at least {smallest} x {smallest} pixels, not {image.shape}')
        if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f'model: the image must be float in [0, 1] or uint8, not {image.dtype}')
        scaled = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
        batch = scaled if image.ndim == 4 else scaled[None]
        output = np.asarray(self._apply(self.variables, batch))  # type: ignore[attr-defined]
        output = output if image.ndim == 4 else output[0]
        return to_uint8(output) if image.dtype == np.uint8 else output


def _flatten(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    flat = flax.traverse_util.flatten_dict(variables, sep='/')
    return {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}


def make_forward(description: dict[str, Any], generator: nn.Module) -> Callable[[Any, jax.Array], jax.Array]:
    """`(variables, images [N, H, W, C]) -> images`: from what a user has to what a user gets."""

    def super_resolve(variables: Any, images: jax.Array) -> jax.Array:
        return generator.apply(variables, images, train=False)  # type: ignore[return-value]

    def colorize(variables: Any, images: jax.Array) -> jax.Array:
        space = description['generator']['fields']['space']
        x = colorization.network_input(images, space)
        prediction: Any = generator.apply(variables, x, train=False)
        return colorization.to_rgb(x, prediction, space)

    return colorize if description['task'] == 'colorization' else super_resolve


def stablehlo(forward: Callable[[jax.Array], jax.Array], channels: int) -> bytes:
    """The forward pass for any batch, height and width, on cpu and cuda."""
    batch, height, width = jax.export.symbolic_shape('b, h, w')
    spec = jax.ShapeDtypeStruct((batch, height, width, channels), jnp.float32)
    return bytes(jax.export.export(jax.jit(forward), platforms=('cpu', 'cuda'))(spec).serialize())


def versions() -> dict[str, str]:
    """Versions of what computes: this package, jax, flax, numpy."""
    return {'astro_gan': astro_gan.__version__} | {name: metadata.version(name) for name in ('jax', 'flax', 'numpy')}


def export_model(
    params: Any, batch_stats: Any, description: dict[str, Any], directory: str | Path
) -> tuple[Path, float]:
    """Write an exported model, whole or not at all; an earlier export in `directory` is replaced.

    Args:
        params: of the generator.
        batch_stats: of the generator; {} without batch norm.
        description: 'task', 'generator' {'name', 'fields'}, 'input' {'channels'} and whatever else describes it.
        directory: to be made.

    Returns:
        The directory, and the largest difference between the live model, the reloaded one and the StableHLO program
        on random images.

    Raises:
        ValueError: `directory` exists and is no exported model.
        RuntimeError: the written forms do not agree.
    """
    directory = Path(directory)
    if directory.exists() and not (directory / 'model.json').exists():
        raise ValueError(f'{directory}: exists and is no exported model; choose another directory')
    variables = {'params': params} | ({'batch_stats': batch_stats} if batch_stats else {})
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    generator = make_generator(description['generator']['name'], **description['generator']['fields'])
    weights = safetensors.numpy.save(_flatten(variables))
    digest = hashlib.sha256(weights).hexdigest()
    full = {'format': FORMAT, **description, 'versions': versions(), 'weights': {'sha256': digest}}
    forward = functools.partial(make_forward(full, generator), variables)
    program = stablehlo(forward, description['input']['channels'])

    temporary = directory.with_name(f'.{directory.name}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / 'weights.safetensors').write_bytes(weights)
    (temporary / 'model.stablehlo').write_bytes(program)
    (temporary / 'model.json').write_text(json.dumps(full, indent=2) + '\n')
    difference = _verify(Model(full, generator, variables), temporary)
    old = directory.with_name(f'.{directory.name}.old')
    shutil.rmtree(old, ignore_errors=True)
    if not difference < TOLERANCE:
        shutil.rmtree(temporary)
        raise RuntimeError(f'{directory}: the exported forms differ by {difference:.1e}; nothing was exported')
    if directory.exists():
        directory.rename(old)
    temporary.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
    return directory, difference


def _verify(live: Model, directory: Path) -> float:
    """Largest difference between the live model, the files' model and the StableHLO program, on two odd sizes."""
    reloaded = load_model(directory)
    program = jax.export.deserialize(bytearray((directory / 'model.stablehlo').read_bytes()))
    largest, described = 0.0, live.description['input']
    smallest = described.get('smallest', 16)
    for shape in ((1, smallest + 1, smallest + 7), (2, smallest + 8, smallest)):
        images = np.random.default_rng(0).random((*shape, described['channels']), np.float32)
        expected = live(images)
        for other in (reloaded(images), np.asarray(program.call(images))):
            largest = max(largest, float(np.abs(expected - other).max()))
    return largest


def load_model(model: str | Path) -> Model:
    """Load an exported model from its directory, or one that ships with the package by its name.

    Raises:
        ValueError: no such model, or its files are damaged or do not belong together.
    """
    directory = Path(model)
    if not (directory / 'model.json').is_file():
        shipped = sorted(path.parent.name for path in SHIPPED.glob('*/model.json'))
        if str(model) not in shipped:
            names = ', '.join(shipped) or 'none'
            raise ValueError(f'{model}: no model.json there, and no shipped model of that name (there are: {names})')
        directory = SHIPPED / model
    try:
        description = json.loads((directory / 'model.json').read_text())
        if description['format'] != FORMAT:
            raise ValueError(f'format {description["format"]} is not {FORMAT}')
        if description['task'] not in TASKS:
            raise ValueError(f'task {description["task"]!r} is none of {", ".join(TASKS)}')
        name, fields, digest = (
            description['generator']['name'],
            description['generator']['fields'],
            description['weights']['sha256'],
        )
        channels = int(description['input']['channels'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{directory}/model.json: not the description of an exported model ({error})') from error
    path = directory / 'weights.safetensors'
    if not path.is_file():
        raise ValueError(f'{path}: missing; export the model again')
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f'{path}: does not match the hash in model.json; it was changed or damaged: export again')
    generator = make_generator(name, **fields)
    smallest = description['input'].get('smallest', 16)
    variables = flax.traverse_util.unflatten_dict(safetensors.numpy.load(data), sep='/')
    spec = jax.eval_shape(
        lambda key: generator.init(key, jnp.zeros((1, smallest, smallest, channels)), train=False), jax.random.key(0)
    )
    expected = {name: value.shape for name, value in flax.traverse_util.flatten_dict(spec, sep='/').items()}
    found = {name: value.shape for name, value in flax.traverse_util.flatten_dict(variables, sep='/').items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise ValueError(f'{path}: the tensor {wrong} does not fit the generator {name} of model.json')
    return Model(description, generator, variables)
