"""Exported models read back: whatever a file holds, the networks or one line that says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import safetensors.numpy

from astro_gan import colorization, guides
from astro_gan.errors import UserError
from astro_gan.files.paths import open_file, printable
from astro_gan.inference.network import Network
from astro_gan.models import make_generator
from astro_gan.noise_units import CONDITIONS

FORMAT = 1
TASKS = ('super_resolution', 'colorization', 'frames', 'enhance')
_LARGEST_WEIGHTS = 2**31  # bytes of a weights file that is read
_LARGEST_DESCRIPTION = 2**24  # bytes of a model.json that is read
# Of what a description may say of a network: nothing in this package comes near, and more keeps a computer busy.
_LARGEST = {'factor': 64, 'reduction': 1024, 'smallest': 4096, 'channels': 1 + len(CONDITIONS)}
_FLOATS = ('float16', 'bfloat16', 'float32', 'float64')


def read_description(directory: Path) -> dict[str, Any]:
    """The content of a directory's model.json; UserError if that does not describe an exported model."""
    path = directory / 'model.json'
    try:
        with open_file(path) as (file, _):
            text = file.read(_LARGEST_DESCRIPTION + 1)
        if len(text) > _LARGEST_DESCRIPTION:
            raise ValueError(f'larger than {_LARGEST_DESCRIPTION >> 20} MiB')
        description = json.loads(text)
        if description['format'] != FORMAT:
            raise ValueError(f'format {description["format"]} is not {FORMAT}')
        if description['task'] not in TASKS:
            raise ValueError(f'task {description["task"]!r} is none of {", ".join(TASKS)}')
        if not isinstance(description['weights']['sha256'], str):
            raise ValueError('the hash of the weights is no text')
        _check_part(description, own=not is_chain(description))
        if is_chain(description):
            parts = description['parts']
            if not isinstance(parts, list) or not parts:
                raise ValueError('a chain of no networks')
            for part in parts:
                _check_part(part, own=True)
            if any(part['task'] == 'colorization' for part in parts[1:]):
                raise ValueError('a chain with a colorizer that is not its first network')
            if any(part['task'] == 'frames' for part in parts):
                raise ValueError('a chain with a network for frames, which is none of pictures')
            if description['factor'] != math.prod(part['factor'] for part in parts):
                raise ValueError(f'factor {description["factor"]} is not that of its networks together')
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f'{printable(path)}: not the description of an exported model ({_reason(error)})') from error
    return description


def _reason(error: Exception) -> str:
    """What an error says of a description."""
    if isinstance(error, KeyError):
        return printable(f'{str(error)[:80]} is missing')
    if isinstance(error, UnicodeDecodeError | RecursionError):
        return 'not UTF-8 text' if isinstance(error, UnicodeDecodeError) else 'nested too deeply'
    if isinstance(error, TypeError | AttributeError | OverflowError):
        return 'a part of it is of another type than it has to be'
    return printable(' '.join(str(error).split())[:300])


def is_chain(description: dict[str, Any]) -> bool:
    """Whether a description is that of several networks."""
    return 'parts' in description or description['task'] == 'enhance'


def _check_part(part: dict[str, Any], *, own: bool) -> None:
    """ValueError, KeyError or TypeError unless a part says all that a network needs, or (not `own`) a whole chain."""
    numbers = {'factor': part['factor'], 'reduction': part.get('reduction', 1)}
    if part.get('guides', 0) not in (0, guides.PLANES):
        raise ValueError(f'guides {str(part["guides"])[:40]}: this version knows {guides.PLANES}')
    if own:
        if part['task'] not in TASKS[:3]:
            raise ValueError(f'task {part["task"]!r} is that of no single network')
        numbers |= {'channels': part['input']['channels'], 'smallest': part['input'].get('smallest', 1)}
        generator = part['generator']
        if not isinstance(generator['fields'], dict) or not isinstance(generator['name'], str):
            raise TypeError
    for name, value in numbers.items():
        if type(value) is not int or not 1 <= value <= _LARGEST.get(name, 3):
            raise ValueError(f'{name} {str(value)[:40]} is no whole number from 1 to {_LARGEST.get(name, 3)}')


def read_networks(directory: Path, description: dict[str, Any], *, check: bool = True) -> tuple[Network, ...]:
    """The networks that a description tells of, with the weights beside it.

    Args:
        check: whether description and weights belong together; it takes a third of a second.

    Raises:
        UserError: files are missing, damaged, or do not belong together.
    """
    path, where = printable(directory / 'weights.safetensors'), printable(directory / 'model.json')
    variables = _read_weights(directory / 'weights.safetensors', description['weights']['sha256'])
    if not is_chain(description):
        return (make_network(description, variables, where, check=check),)
    if set(variables) != {str(index) for index in range(len(description['parts']))}:
        raise UserError(f'{path}: not the weights of {len(description["parts"])} networks, of which model.json tells')
    parts = enumerate(description['parts'])
    return tuple(make_network(part, variables[str(index)], where, check=check) for index, part in parts)


def _read_weights(path: Path, digest: str) -> dict[str, Any]:
    """The tensors of weights.safetensors as a tree of float32."""
    name = printable(path)
    if not path.is_file():
        raise UserError(f'{name}: missing; export the model again')
    with open_file(path) as (file, _):
        data = file.read(_LARGEST_WEIGHTS + 1)
    if len(data) > _LARGEST_WEIGHTS:
        raise UserError(f'{name}: larger than {_LARGEST_WEIGHTS >> 30} GiB; no model of this package is')
    if hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f'{name}: does not match the hash in model.json; it was changed or damaged: export again')
    try:
        tensors = safetensors.numpy.load(data)
        others = {str(value.dtype) for value in tensors.values()}.difference(_FLOATS)
        if others:
            raise UserError(f'{name}: weights of the type {", ".join(sorted(others))}; floats are wanted')
        flat = {key: value.astype(np.float32) for key, value in tensors.items()}
        tree = flax.traverse_util.unflatten_dict(flat, sep='/')
    except UserError:
        raise
    except Exception as error:  # what readers make of a header that is none
        raise UserError(f'{name}: no weights of a model; its header cannot be read: export the model again') from error
    broken = next((key for key, value in flat.items() if not np.isfinite(value).all()), None)
    if broken is not None:
        raise UserError(f'{name}: {printable(broken)} holds values that are no numbers; the training has failed')
    return tree


def make_network(description: dict[str, Any], variables: dict[str, Any], where: str, *, check: bool = True) -> Network:
    """A network of its description and its tensors.

    Raises:
        UserError: no such network can be made, or the tensors are another's; one line that begins with `where`.
    """
    name, factor, fields = description['generator']['name'], description['factor'], description['generator']['fields']
    if not check:
        return Network(description, make_generator(name, **fields), variables)
    found = {path: value.shape for path, value in flax.traverse_util.flatten_dict(variables, sep='/').items()}
    try:
        # A network of so many blocks or stages has more tensors; making one for nothing can take hours.
        for field in ('blocks', 'stages', 'depth'):
            if not fields.get(field, 0) <= len(found):
                raise UserError(f'{field} {str(fields[field])[:40]}, and {len(found)} tensors of weights')
        generator = make_generator(name, **fields)
        size = max(16, description['input'].get('smallest', 16))
        planes = description['input']['channels'] + description.get('guides', 0)
        image = jax.ShapeDtypeStruct((1, size, size, planes), np.float32)
        output, spec = jax.eval_shape(
            lambda key, image: generator.init_with_output(key, image, train=False), jax.random.key(0), image
        )
        colorizes = description['task'] == 'colorization'
        channels = (1 + description.get('guides', 0), colorization.CHANNELS[fields['space']]) if colorizes else (3, 3)
        if description['task'] == 'frames':
            names = tuple(description['input']['conditions'])
            if names != CONDITIONS[: len(names)]:
                raise UserError(
                    f'conditions {", ".join(names)}: this version knows {", ".join(CONDITIONS)}, in this order'
                )
            channels = (1 + len(names), 1)
        if (image.shape[-1], *output.shape[1:]) != (channels[0], factor * size, factor * size, channels[1]):
            raise UserError(f'{image.shape} becomes {output.shape}, which is not factor {factor} of this task')
    except Exception as error:  # whatever a module makes of fields that are no fields
        told = ' '.join(str(error).split())[:300] if isinstance(error, UserError) else ''
        reason = printable(told) or f'the fields of its generator {printable(name)} make none'
        raise UserError(f'{where}: its network cannot be made ({reason})') from error
    expected = {path: value.shape for path, value in flax.traverse_util.flatten_dict(spec, sep='/').items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise UserError(f'{where}: the tensor {printable(wrong)} does not fit the generator {printable(name)}')
    return Network(description, generator, variables)
