"""Other projects' super-resolution networks, read into this package's: tensors and the fields of the generator.

Three layouts are known, each told by the names of its tensors, whatever the file is called:

    ours       'params/head/kernel' ...: safetensors
    krasserm   Keras layers in their order (krasserm/super-resolution: SRGAN's generator, EDSR, WDSR): h5, TensorFlow's
               weights-only format
    basicsr    'conv_first.weight' ... (XPixelGroup/BasicSR: EDSR, MSRResNet): safetensors, PyTorch's order of axes

Nothing is unpickled: a `.pth` file has to be made safetensors first, where it came from.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import numpy as np
import safetensors
import safetensors.numpy

from astro_gan import extras
from astro_gan.errors import UserError
from astro_gan.files.hashes import sha256_of
from astro_gan.files.paths import open_file, printable
from astro_gan.inference.exported import make_network
from astro_gan.model import Model

Tensors = dict[str, np.ndarray]  # by path: 'params/head/kernel'
Found = tuple[str, dict[str, Any], Tensors]  # generator's name, its fields, its tensors

_LARGEST = 2**30  # bytes; the largest network of this family, EDSR, has 172 MB
_KERAS_EPSILON = 1e-3  # of Keras's batch normalisation; PyTorch's, and ours, is 1e-5


def read_weights(path: str | os.PathLike[str]) -> Found:
    """Read a network's weights.

    Returns:
        The generator's name in `models.GENERATORS`, its fields, and float32 tensors by path.

    Raises:
        UserError: no such file, a format that is not read, damaged, or a network that is not known; one line.
    """
    with open_file(path) as (file, name):
        start = file.read(8)
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise UserError(f'{name}: larger than {_LARGEST >> 20} MB; no network that is known here is')
    if start == b'\x89HDF\r\n\x1a\n':
        return _from_keras(_read_h5(Path(path), name), name)
    if start[:2] == b'PK' or start[:1] == b'\x80':
        raise UserError(f'{name}: a pickle, which could run anything; save it as safetensors where it came from')
    try:
        tensors = {key: value.astype(np.float32) for key, value in safetensors.numpy.load_file(path).items()}
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f'{name}: neither safetensors nor h5 weights ({error})') from None
    for layout, read in _LAYOUTS.items():
        if layout in tensors:
            try:
                return read(tensors)
            except (KeyError, IndexError, ValueError) as error:
                raise UserError(
                    f'{name}: looks like a network that is known, but its tensors do not fit: {error}'
                ) from None
    first = ', '.join(map(printable, list(tensors)[:3]))
    raise UserError(f'{name}: tensors {first} ... are of no network that is known: EDSR, WDSR, SRResNet, MSRResNet')


def as_model(
    path: str | os.PathLike[str], *, name: str, licence: str | None = None, trained_on: str | None = None
) -> Model:
    """The network of a weights file as a super-resolution model.

    Args:
        path: see `read_weights`.
        name: what the model calls itself.
        licence, trained_on: what its description says of the weights and the data; None where that is not known.

    Raises:
        UserError: as `read_weights`, or the tensors do not make the network; one line.
    """
    generator, fields, tensors = read_weights(path)
    image = {'channels': 3, 'colour_space': 'sRGB', 'range': [0.0, 1.0]}
    description = {
        'task': 'super_resolution',
        'name': name,
        'factor': fields['factor'],
        'generator': {'name': generator, 'fields': fields},
        'input': image,
        'output': image | {'clipped': False},
        'imported_from': {'file': os.path.basename(path), 'sha256': sha256_of(path)},
        'training_data': {'name': trained_on or 'not known'},
    } | ({'licence': licence} if licence else {})
    variables = flax.traverse_util.unflatten_dict(tensors, sep='/')
    return Model(description, (make_network(description, variables, printable(path)),))


def _count(tensors: Any, pattern: str) -> int:
    """How many blocks there are: numbers in the names that match."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _factor(kernels: list[np.ndarray], features: int) -> int:
    """The enlargement of sub-pixel convolutions: a stage of s makes s^2 times as many features."""
    return math.prod(math.isqrt(kernel.shape[-1] // features) for kernel in kernels)


def _from_ours(tensors: Tensors) -> Found:
    head = tensors['params/head/kernel']
    fields: dict[str, Any] = {'features': head.shape[-1]}
    if 'params/skip/kernel' in tensors:
        expand = tensors['params/block0_expand/kernel']
        return (
            'wdsr',
            {
                **fields,
                'factor': math.isqrt(tensors['params/tail/kernel'].shape[-1] // 3),
                'blocks': _count(tensors, r'params/block(\d+)_expand/'),
                'variant': 'b' if 'params/block0_low_rank/kernel' in tensors else 'a',
                'expansion': expand.shape[-1] // head.shape[-1],
            },
            tensors,
        )
    stages = _count(tensors, r'params/upsample(\d+)/')
    upsample = [tensors[f'params/upsample{index}/kernel'] for index in range(stages)]
    fields |= {'blocks': _count(tensors, r'params/block(\d+)_conv1/'), 'factor': _factor(upsample, head.shape[-1])}
    if 'params/head_prelu/slope' not in tensors:
        return 'edsr', fields, tensors
    # This layout is used for networks that came from Keras; our own exports have a model.json and need no import.
    return 'srresnet', {**fields, 'norm_epsilon': _KERAS_EPSILON, 'tanh': True}, tensors


# -- krasserm/super-resolution --


def _read_h5(path: Path, name: str) -> list[tuple[str, Tensors]]:
    """The layers of a Keras weights file that have weights, in the network's order: name, and arrays by short name."""
    extras.need(f'{name}: reading it', 'h5py')
    import h5py

    layers = []
    try:
        with h5py.File(path, 'r') as file:
            for layer in file.attrs['layer_names']:
                group = file[layer]
                arrays = {
                    _text(weight).split('/')[-1].split(':')[0]: np.asarray(group[weight], np.float32)
                    for weight in group.attrs['weight_names']
                }
                if arrays:
                    layers.append((_text(layer), arrays))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f'{name}: not a Keras weights file ({error})') from None
    return layers


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _from_keras(layers: list[tuple[str, Tensors]], name: str) -> Found:
    convolutions = [(layer, arrays) for layer, arrays in layers if arrays.get('kernel', np.empty(0)).ndim == 4]
    try:
        if any('g' in arrays for _, arrays in convolutions):
            return _wdsr_from_keras(convolutions)
        if any('alpha' in arrays for _, arrays in layers):
            return _srresnet_from_keras(layers)
        return _edsr_from_keras([arrays for _, arrays in convolutions])
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f'{name}: not SRGAN, EDSR or WDSR of krasserm/super-resolution ({error!r})') from None


def _named(names: list[str], arrays: list[Tensors], keys: dict[str, str]) -> Tensors:
    """`{name/ours: array}`; ValueError unless there is an array for each name."""
    if len(names) != len(arrays):
        raise ValueError(f'{len(arrays)} layers instead of {len(names)}')
    return {
        f'{name}/{ours}': own[theirs].reshape(-1) if own[theirs].ndim < 4 and theirs != 'kernel' else own[theirs]
        for name, own in zip(names, arrays, strict=True)
        for theirs, ours in keys.items()
    }


def _blocks(count: int, *parts: str) -> list[str]:
    return [f'block{index}_{part}' for index in range(count) for part in parts]


def _srresnet_from_keras(layers: list[tuple[str, Tensors]]) -> Found:
    convolutions, norms, slopes = ([own for _, own in layers if key in own] for key in ('kernel', 'gamma', 'alpha'))
    features, blocks = convolutions[0]['kernel'].shape[-1], (len(norms) - 1) // 2
    stages = len(slopes) - 1 - blocks
    upsample = [f'upsample{index}' for index in range(stages)]
    names = ['head', *_blocks(blocks, 'conv1', 'conv2'), 'body_conv1', *upsample, 'tail']
    params = _named(names, convolutions, {'kernel': 'kernel', 'bias': 'bias'})
    norm_names = [*_blocks(blocks, 'norm1', 'norm2'), 'body_norm1']
    params |= _named(norm_names, norms, {'gamma': 'scale', 'beta': 'bias'})
    prelus = ['head_prelu', *_blocks(blocks, 'prelu'), *[f'{name}_prelu' for name in upsample]]
    params |= _named(prelus, slopes, {'alpha': 'slope'})
    statistics = _named(norm_names, norms, {'moving_mean': 'mean', 'moving_variance': 'var'})
    factor = _factor([params[f'{name}/kernel'] for name in upsample], features)
    fields = {'factor': factor, 'features': features, 'blocks': blocks, 'norm_epsilon': _KERAS_EPSILON, 'tanh': True}
    return 'srresnet', fields, _prefixed('params', params) | _prefixed('batch_stats', statistics)


def _edsr_from_keras(convolutions: list[Tensors]) -> Found:
    features = convolutions[0]['kernel'].shape[-1]
    stages = sum(own['kernel'].shape[-1] > features for own in convolutions)
    blocks, upsample = (len(convolutions) - 3 - stages) // 2, [f'upsample{index}' for index in range(stages)]
    names = ['head', *_blocks(blocks, 'conv1', 'conv2'), 'body']
    params = _named([*names, *upsample, 'tail'], convolutions, {'kernel': 'kernel', 'bias': 'bias'})
    # Theirs works on (x - mean) / 127.5 of 0..255, ours on x - mean: the first and the last layer make up for it.
    params['head/kernel'] = params['head/kernel'] / 127.5
    params |= {key: params[key] * 127.5 for key in ('tail/kernel', 'tail/bias')}
    factor = _factor([params[f'{name}/kernel'] for name in upsample], features)
    return 'edsr', {'factor': factor, 'features': features, 'blocks': blocks}, _prefixed('params', params)


def _wdsr_from_keras(convolutions: list[tuple[str, Tensors]]) -> Found:
    (skip,) = [own for layer, own in convolutions if 'skip' in layer]
    body = [own for layer, own in convolutions if 'skip' not in layer]
    features = body[0]['kernel'].shape[-1]
    parts = ('expand', 'low_rank', 'project') if body[1]['kernel'].shape[0] == 1 else ('expand', 'project')
    blocks = (len(body) - 2) // len(parts)
    names = ['head', *_blocks(blocks, *parts), 'tail', 'skip']
    params = _named(names, [*body, skip], {'kernel': 'kernel', 'g': 'scale', 'bias': 'bias'})
    fields = {
        'factor': math.isqrt(skip['kernel'].shape[-1] // 3),
        'features': features,
        'blocks': blocks,
        'variant': 'b' if len(parts) == 3 else 'a',
        'expansion': body[1]['kernel'].shape[-1] // features,
    }
    return 'wdsr', fields, _prefixed('params', params)


# -- BasicSR --


def _from_basicsr(tensors: Tensors) -> Found:
    features = tensors['conv_first.weight'].shape[0]
    blocks = _count(tensors, r'body\.(\d+)\.conv1\.')
    names = {f'body.{index}.conv{half}': f'block{index}_conv{half}' for index in range(blocks) for half in (1, 2)}
    names |= {'conv_first': 'head', 'conv_last': 'tail'}
    if 'conv_after_body.weight' in tensors:
        generator = 'edsr'
        stages = sorted({int(match[1]) for name in tensors if (match := re.match(r'upsample\.(\d+)\.', name))})
        upsample = [f'upsample.{number}' for number in stages]
        names |= {'conv_after_body': 'body'}
    else:
        generator = 'msrresnet'
        upsample = [name for name in ('upconv1', 'upconv2') if f'{name}.weight' in tensors]
        names |= {'conv_hr': 'last'}
    names |= {name: f'upsample{index}' for index, name in enumerate(upsample)}
    flat: Tensors = {}
    for theirs, ours in names.items():
        kernel, bias = tensors[f'{theirs}.weight'].transpose(2, 3, 1, 0), tensors[f'{theirs}.bias']
        if theirs in upsample:
            kernel, bias = (_shuffled(array, features) for array in (kernel, bias))
        flat |= {f'{ours}/kernel': kernel, f'{ours}/bias': bias}
    factor = _factor([flat[f'upsample{index}/kernel'] for index in range(len(upsample))], features)
    return generator, {'factor': factor, 'features': features, 'blocks': blocks}, _prefixed('params', flat)


def _shuffled(array: np.ndarray, features: int) -> np.ndarray:
    """Channels of a sub-pixel convolution from PyTorch's order (feature, place) to TensorFlow's (place, feature)."""
    places = array.shape[-1] // features
    return array.reshape(*array.shape[:-1], features, places).swapaxes(-1, -2).reshape(array.shape)


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f'{prefix}/{name}': value for name, value in tensors.items()}


# The name of a tensor that only this layout has.
_LAYOUTS: dict[str, Callable[[Tensors], Found]] = {
    'params/head/kernel': _from_ours,
    'conv_first.weight': _from_basicsr,
}
