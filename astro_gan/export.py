"""Exported models: a directory with weights, a description and a StableHLO program.

weights.safetensors   tensors 'params/...' and 'batch_stats/...'; of a chain '0/params/...', '1/params/...'
model.json            task, generator and its fields, ranges, training data, metrics, versions, hash of the weights
model.stablehlo       `jax.export` artefact, weights included; any batch, height and width; for cpu and cuda

A colorizer's files take a gray picture and give the coloured one: what stands around the network is part of them.
`astro_gan.model` reads the directories back.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

import astro_gan
from astro_gan.model import FORMAT, Model, Network, load_model
from astro_gan.models import make_generator

TOLERANCE = 1e-3  # in units of the output's range; float32 rounding stays far below
# What a chain's description takes over from its parts' and what it leaves to them.
_OF_PARTS = ('task', 'factor', 'generator', 'input', 'output', 'reduction', 'name', 'training_data', 'degradation')


def _flatten(variables: Any, dtype: Any) -> dict[str, np.ndarray]:
    flat = flax.traverse_util.flatten_dict(variables, sep='/')
    return {name: np.ascontiguousarray(value, dtype) for name, value in flat.items()}


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
    """Write one generator as an exported model; see `write_model`.

    Args:
        params: of the generator.
        batch_stats: of the generator; {} without batch norm.
        description: 'task', 'factor', 'generator' {'name', 'fields'}, 'input' {'channels'} and what else describes it.
        directory: to be made.
    """
    variables = {'params': params} | ({'batch_stats': batch_stats} if batch_stats else {})
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    generator = make_generator(description['generator']['name'], **description['generator']['fields'])
    return write_model(Model(description, (Network(description, generator, variables),)), directory)


def join(models: Sequence[Model], name: str = '') -> Model:
    """Several models, applied one after the other, as one: a colorizer and what enlarges its pictures.

    Raises:
        ValueError: a colorizer comes second, or none comes first.
    """
    networks = tuple(network for model in models for network in model.networks)
    if [network.colorizes for network in networks] != [True] + [False] * (len(networks) - 1) or len(networks) < 2:
        names = ' + '.join(model.name for model in models)
        raise ValueError(f'{names}: a fused model is one colorizer followed by super-resolution models')
    parts = [{key: network.description[key] for key in _OF_PARTS if key in network.description} for network in networks]
    description = {
        'task': 'enhance',
        'name': name or '+'.join(model.name for model in models),
        'factor': int(np.prod([network.factor for network in networks])),
        'input': networks[0].description['input'],
        'output': networks[-1].description['output'],
        'parts': parts,
        'weights': {'parts': [model.description['weights'] for model in models if 'weights' in model.description]},
    }
    return Model(description, networks)


def write_model(model: Model, directory: str | Path, *, dtype: Any = np.float32) -> tuple[Path, float]:
    """Write an exported model, whole or not at all; an earlier export in `directory` is replaced.

    Args:
        model: to be written.
        directory: to be made.
        dtype: of the stored weights; with float16 the model changes a little: what is written is what is verified.

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
    tree = dict(enumerate(model.variables)) if model.task == 'enhance' else model.variables[0]
    flat = _flatten({str(key): value for key, value in tree.items()}, dtype)
    weights = safetensors.numpy.save(flat)
    digest = hashlib.sha256(weights).hexdigest()
    described = {**model.description, 'versions': versions()}
    full = {'format': FORMAT, **described, 'weights': {**model.description.get('weights', {}), 'sha256': digest}}

    temporary = directory.with_name(f'.{directory.name}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / 'weights.safetensors').write_bytes(weights)
    (temporary / 'model.json').write_text(json.dumps(full, indent=2) + '\n')
    stored = load_model(temporary)
    forward = functools.partial(stored.forward, stored.variables)
    (temporary / 'model.stablehlo').write_bytes(stablehlo(forward, model.channels))
    difference = _verify(model if dtype == np.float32 else stored, stored, temporary)
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


def _verify(live: Model, reloaded: Model, directory: Path) -> float:
    """Largest difference between the live model, the files' model and the StableHLO program, on two odd sizes."""
    program = jax.export.deserialize(bytearray((directory / 'model.stablehlo').read_bytes()))
    largest = 0.0
    for images in sample_images(live):
        expected = np.asarray(jax.jit(live.forward)(live.variables, images))
        for other in (jax.jit(reloaded.forward)(reloaded.variables, images), program.call(images)):
            largest = max(largest, float(np.abs(expected - np.asarray(other)).max()))
    return largest


def sample_images(model: Model) -> list[np.ndarray]:
    """Random images of two odd sizes, one of them a batch: what exported forms are compared on."""
    smallest = max(16, model.smallest)
    shapes = ((1, smallest + 1, smallest + 7), (2, smallest + 8, smallest))
    return [np.random.default_rng(0).random((*shape, model.channels), np.float32) for shape in shapes]
