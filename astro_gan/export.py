"""Exported models: directories, each with a description and one form of the model.

Every form has model.json: task, generator and its fields, ranges, training data, metrics, versions, the hash of the
weights, and the hashes of the other files. Beside it stand

    safetensors   weights.safetensors: tensors 'params/...' and 'batch_stats/...', of a chain '0/params/...';
                  and model.stablehlo. This form is what `astro_gan.model.load_model` reads.
    stablehlo     model.stablehlo: a `jax.export` artefact, weights included, for cpu and cuda
    savedmodel    saved_model.pb, variables/ ...: TensorFlow; `astro_gan.export_tensorflow`
    onnx          model.onnx: `astro_gan.export_onnx`

The programs take images `[batch, height, width, channels]` in [0, 1] of any batch, height and width. A colorizer's take
a gray picture and give the coloured one: what stands around the network is part of them. They are `Model.forward`:
without tiles, and with the colours predicted at the picture's own scale.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import safetensors.numpy

import astro_gan
from astro_gan import extras
from astro_gan.errors import UserError
from astro_gan.export_forms import FORMS, NEEDED, TOLERANCE, greatest_difference
from astro_gan.files import atomic
from astro_gan.inference.exported import FORMAT, read_description
from astro_gan.inference.network import Network
from astro_gan.model import Model
from astro_gan.models import make_generator


def _flatten(model: Model, dtype: Any) -> dict[str, np.ndarray]:
    chain = 'parts' in model.description
    tree = {str(at): own for at, own in enumerate(model.variables)} if chain else model.variables[0]
    flat = flax.traverse_util.flatten_dict(tree, sep='/')
    return {name: np.ascontiguousarray(value, dtype) for name, value in flat.items()}


def versions() -> dict[str, str]:
    """Versions of what computes: this package, jax, flax, numpy."""
    return {'astro_gan': astro_gan.__version__} | {name: metadata.version(name) for name in ('jax', 'flax', 'numpy')}


def export_model(
    params: Any, batch_stats: Any, description: dict[str, Any], directory: str | Path
) -> tuple[Path, float]:
    """Write one generator as an exported model of the form 'safetensors', replacing an earlier one; see `write_model`.

    Args:
        params: of the generator.
        batch_stats: of the generator; {} without batch norm.
        description: 'task', 'factor', 'generator' {'name', 'fields'}, 'input' {'channels'} and what else describes it.
        directory: to be made.
    """
    variables = {'params': params} | ({'batch_stats': batch_stats} if batch_stats else {})
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    generator = make_generator(description['generator']['name'], **description['generator']['fields'])
    return write_model(Model(description, (Network(description, generator, variables),)), directory, overwrite=True)


def to_half(model: Model) -> Model:
    """The model with its weights rounded to float16 (and still kept as float32).

    Raises:
        UserError: a weight is beyond the range of float16.
    """
    for name, value in _flatten(model, np.float32).items():
        if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            raise UserError(f'{model.name}: {name} is beyond the range of float16; export its weights as float32')
    networks = [
        Network(
            network.description,
            network.generator,
            jax.tree.map(lambda x: np.asarray(x, np.float16).astype(np.float32), network.variables),
        )
        for network in model.networks
    ]
    weights = dict(model.description.get('weights', {}))
    if 'sha256' in weights:
        weights['rounded_from'] = weights.pop('sha256')
    return Model({**model.description, 'weights': weights}, tuple(networks))


def write_model(
    model: Model, directory: str | Path, *, form: str = 'safetensors', dtype: Any = np.float32, overwrite: bool = False
) -> tuple[Path, float]:
    """Write an exported model, whole or not at all, verified against the live one.

    Args:
        model: to be written.
        directory: to be made.
        form: one of `export_forms.FORMS`.
        dtype: of the weights in the form 'safetensors'; float16 wants a model that has gone through `to_half`.
        overwrite: replace an earlier export in `directory`.

    Returns:
        The directory, and the largest difference between the live model and what was written, run by its own runtime
        on `export_forms.sample_images`.

    Raises:
        UserError: `directory` exists, and may not or shall not be replaced; unknown form; a package is missing.
        RuntimeError: the written form does not agree with the model.
        OSError: the directory cannot be written.
    """
    if form not in FORMS:
        raise UserError(f'form {form!r} is unknown; valid are {", ".join(FORMS)}')
    extras.need(f'the form {form}', *NEEDED.get(form, ()))
    directory = Path(directory)
    _check_target(directory, overwrite)
    tensors = _flatten(model, dtype)
    weights = safetensors.numpy.save(tensors)
    about = {'sha256': hashlib.sha256(weights).hexdigest(), 'dtype': np.dtype(dtype).name}
    about |= {'parameters': sum(value.size for name, value in tensors.items() if 'batch_stats/' not in name)}
    described: dict[str, Any] = {key: value for key, value in model.description.items() if key != 'files'}
    described |= {'format': FORMAT, 'form': form, 'versions': versions()}
    described['weights'] = {**model.description.get('weights', {}), **about, 'bytes': len(weights)}
    with _whole(directory) as folder:
        _write_description(folder, described)
        difference = greatest_difference(model, FORMS[form](model, folder, weights))
        if not difference <= TOLERANCE:
            raise RuntimeError(f'{directory}: the exported forms differ by {difference:.1e}; nothing was exported')
        files = {name: digest for name, digest in _digests(folder).items() if name != 'model.json'}
        _write_description(folder, {**described, 'files': files})
    return directory, difference


def _write_description(folder: Path, description: dict[str, Any]) -> None:
    (folder / 'model.json').write_text(json.dumps(_finite(description), indent=2, allow_nan=False) + '\n')


def _finite(value: Any) -> Any:
    """JSON knows no NaN: a metric that is none is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_target(directory: Path, overwrite: bool) -> None:
    """UserError unless `directory` can be made, or is an export with nothing else in it and may be replaced."""
    if not os.path.lexists(directory):
        return
    try:
        description = read_description(directory)
    except ValueError as error:
        raise UserError(f'{directory}: exists and is no exported model; choose another directory') from error
    known = {'model.json', 'weights.safetensors', 'model.stablehlo', *_files(description)}
    for path in sorted(directory.rglob('*')):
        if not path.is_dir() and path.relative_to(directory).as_posix() not in known:
            raise UserError(f'{path}: not written by an export, and would be lost; move it away first')
    if not overwrite:
        raise UserError(f'{directory}: holds an exported model; choose another directory, or --overwrite to replace it')


@contextlib.contextmanager
def _whole(directory: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `directory` if all goes well and vanishes if not."""
    directory = Path(os.path.realpath(directory))  # a link stays one
    try:
        if not directory.parent.exists():
            directory.parent.mkdir(parents=True, exist_ok=True)
        atomic.remove_stale(directory.parent)
        with atomic.replacing_folder(directory) as folder:
            yield folder
            for path in folder.rglob('*'):
                atomic.flush(path)
    except OSError as error:  # some name no file
        raise OSError(f'{directory}: cannot be written ({(error.strerror or str(error)).lower()})') from error


def _files(description: dict[str, Any]) -> dict[str, Any]:
    """The hashes that a description has, by file name."""
    files = description.get('files')  # not in the first exports
    return files if isinstance(files, dict) else {'weights.safetensors': description['weights']['sha256']}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder, by their names relative to it."""
    found = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            with path.open('rb') as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, 'sha256').hexdigest()
    return found


def check_files(directory: Path) -> None:
    """Compare an exported model's files with the hashes in its description; UserError names the first that differs."""
    found = _digests(directory)
    for name, digest in _files(read_description(directory)).items():
        if name not in found:
            raise UserError(f'{directory / name}: missing; export the model again')
        if found[name] != digest:
            raise UserError(
                f'{directory / name}: does not match the hash in model.json; it was changed or damaged: export again'
            )
