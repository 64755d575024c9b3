"""Damaged and doctored exports: one line each, soon, and never a network that is not the one described."""

import copy
import hashlib
import json
import os
import struct

import numpy as np
import pytest
import safetensors.numpy

from astro_gan import cli
from astro_gan.errors import UserError
from astro_gan.inference.chain import join
from astro_gan.model import load_model
from tests.networks import pictures
from tests.small_models import saved, upscaler


@pytest.fixture(scope='module')
def healthy(tmp_path_factory):
    """Description and weights of a small upscaler."""
    directory = saved(upscaler(2), tmp_path_factory.mktemp('exported') / 'model')
    return json.loads((directory / 'model.json').read_text()), (directory / 'weights.safetensors').read_bytes()


def written(directory, description, weights, *, signed=True):
    """An export of that content; `signed`: the description holds the hash of the weights, so that they are read."""
    directory.mkdir(exist_ok=True)
    if signed:
        description = description | {'weights': {'sha256': hashlib.sha256(weights).hexdigest()}}
    text = description if isinstance(description, str) else json.dumps(description)
    (directory / 'model.json').write_text(text)
    (directory / 'weights.safetensors').write_bytes(weights)
    return directory


def refusal(directory):
    """The one line that loading gives, which names the directory; '' if it loads."""
    try:
        load_model(directory)
    except UserError as error:
        line = str(error)
    else:
        return ''
    assert str(directory) in line
    assert '\n' not in line
    assert len(line) < 1000
    return line


VALUES = (None, 0, -1, 10**9, 10**4000, 1e300, float('inf'), 2.5, True, 'x', '', [], {}, [1] * 5, {'a': 1})


def places(tree, path=()):
    """The paths of all values in a description that decide what is loaded."""
    for key in sorted(tree):
        yield (*path, key)
        if isinstance(tree[key], dict):
            yield from places(tree[key], (*path, key))


def test_values_of_other_types_are_refused(healthy, tmp_path):
    """Whatever stands in the place of whatever value of model.json: it loads as what it was, or there is one line."""
    description, weights = healthy
    decisive = [path for path in places(description) if path[0] in ('format', 'task', 'factor', 'generator', 'input')]
    tried = 0
    for path in decisive:
        for value in VALUES:
            changed = copy.deepcopy(description)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            if inner[path[-1]] == value:
                continue
            inner[path[-1]] = value
            directory = written(tmp_path / 'model', changed, weights)
            tried += 1
            line = refusal(directory)
            assert line or load_model(directory).factor == 2
    assert tried > 150


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[]',
        '3',
        '"x"',
        'null',
        '{',
        '[' * 100_000,
        '{"a":' * 100_000,
        '1' * 5000,
        '\0\0\0',
        '\ud800'.encode('utf-8', 'surrogatepass'),
    ],
)
def test_descriptions_that_are_none(healthy, tmp_path, text):
    """Text of any kind in place of a description: deep nesting, huge numbers, nothing at all."""
    directory = written(tmp_path / 'model', '{}', healthy[1], signed=False)
    (directory / 'model.json').write_bytes(text.encode() if isinstance(text, str) else text)
    assert refusal(directory)


def header(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack('<Q', len(text)) + text


WEIGHTS = {
    'header too large': lambda data: struct.pack('<Q', 2**63) + data[8:],
    'header beyond the file': lambda data: struct.pack('<Q', len(data)) + data[8:],
    'header of zeros': lambda data: data[:8] + bytes(len(data) - 8),
    'truncated': lambda data: data[:-7],
    'half': lambda data: data[: len(data) // 2],
    'eight bytes': lambda data: data[:8],
    'three bytes': lambda data: data[:3],
    'integers': lambda data: changed_types(data, np.int32),
    'booleans': lambda data: changed_types(data, bool),
    'complex': lambda data: header(a={'dtype': 'C64', 'shape': [1], 'data_offsets': [0, 8]}) + bytes(8),
    'unknown type': lambda data: header(a={'dtype': 'F3', 'shape': [1], 'data_offsets': [0, 4]}) + bytes(4),
    'huge shape': lambda data: header(a={'dtype': 'F32', 'shape': [2**40, 2**40], 'data_offsets': [0, 4]}) + bytes(4),
    'offsets outside': lambda data: header(a={'dtype': 'F32', 'shape': [1], 'data_offsets': [90, 94]}) + bytes(4),
    'another model': lambda data: safetensors.numpy.save({'params/x/kernel': np.zeros((3, 3), np.float32)}),
    'a tensor and below it another': lambda data: safetensors.numpy.save(
        {'params': np.zeros(3, np.float32), 'params/x': np.zeros(3, np.float32)}
    ),
    'not a number': lambda data: spoiled(data),
}


def changed_types(data, dtype):
    return safetensors.numpy.save({name: value.astype(dtype) for name, value in safetensors.numpy.load(data).items()})


def spoiled(data):
    tensors = safetensors.numpy.load(data)
    tensors[sorted(tensors)[0]].flat[0] = np.nan
    return safetensors.numpy.save(tensors)


@pytest.mark.parametrize('name', WEIGHTS)
def test_weights_that_are_none(healthy, tmp_path, name):
    """Weights that were damaged before their hash was taken: header, types, offsets, values."""
    assert refusal(written(tmp_path / 'model', healthy[0], WEIGHTS[name](healthy[1])))


def test_random_damage(healthy, tmp_path):
    """Bits flipped, pieces cut out and doubled, in either file: one line, or the same network."""
    rng = np.random.default_rng(0)
    description, weights = json.dumps(healthy[0]).encode(), healthy[1]
    expected = load_model(written(tmp_path / 'good', *healthy))(pictures(20, 20, 3))
    directory = written(tmp_path / 'model', *healthy)
    refusals = 0
    for index in range(60):
        data = bytearray(weights if index % 3 == 0 else description)
        place, length = rng.integers(len(data)), rng.integers(1, 40)
        if index % 4 == 0:
            del data[place : place + length]
        elif index % 4 == 1:
            data[place:place] = data[place : place + length]
        else:
            data[place] ^= 1 << rng.integers(8)
        if index % 3 == 0:
            written(directory, healthy[0], bytes(data))
        else:
            (directory / 'weights.safetensors').write_bytes(weights)
            (directory / 'model.json').write_bytes(data)
        if refusal(directory):
            refusals += 1
        elif index % 3:
            np.testing.assert_allclose(load_model(directory)(pictures(20, 20, 3)), expected, atol=1e-6)
    assert refusals > 20


def test_pipes_in_place_of_files(healthy, tmp_path):
    """A model directory whose files are pipes ends in a line, not in waiting."""
    directory = written(tmp_path / 'model', *healthy)
    (directory / 'weights.safetensors').unlink()
    os.mkfifo(directory / 'weights.safetensors')
    assert refusal(directory)


def test_an_unreadable_name_is_not_printed_raw(healthy, tmp_path, capsys):
    """Terminal codes in a model's name are escaped, and a long one is cut."""
    description = healthy[0] | {'name': '\x1b[2J' + 'x' * 10_000}
    directory = written(tmp_path / 'model', description, healthy[1])
    assert load_model(directory).name.startswith("'\\x1b[2J")
    assert len(load_model(directory).name) < 250
    assert cli.main(['models', str(directory)]) in (0, 1)
    captured = capsys.readouterr()
    assert '\x1b' not in captured.out + captured.err


def test_a_chain_of_upscalers_is_exported_and_read(tmp_path):
    """Two upscalers in one directory give what they give one after the other, to the last bit, and say so."""
    chain = join([upscaler(2), upscaler(3)])
    assert (chain.task, chain.factor, chain.name) == ('super_resolution', 6, 'tiny_x2+tiny_x3')
    loaded = load_model(saved(chain, tmp_path / 'chain'))
    assert (loaded.task, loaded.factor, len(loaded.networks)) == ('super_resolution', 6, 2)
    image = pictures(17, 23, 3)
    np.testing.assert_array_equal(loaded(image), chain(image))
    np.testing.assert_allclose(loaded(image), upscaler(3)(upscaler(2)(image)), atol=1e-5)
    three = join([loaded, upscaler(2)])
    assert (three.factor, len(three.networks)) == (12, 3)


@pytest.mark.parametrize('dtype', ['>f4', '>f8', '>u2', '<u2', 'float16'])
def test_either_byte_order(dtype):
    """An array as astropy reads it, big-endian, gives what the same numbers give in the machine's own order."""
    image = pictures(20, 20, 3)
    image = (image * 65535).astype(np.uint16) if 'u2' in dtype else image.astype(np.float16).astype(np.float32)
    expected = upscaler(2)(image)
    result = upscaler(2)(image.astype(dtype))
    assert result.dtype == (np.uint16 if 'u2' in dtype else np.float32)
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_no_numbers(value):
    """NaN would spread over the receptive field: how many there are, how far each reaches, and what to do."""
    image = pictures(20, 20, 3)
    image[3, 4, 1] = value
    with pytest.raises(UserError, match=r'1 of 1200 values are NaN or infinite.*\d+ pixels around.*nan_to_num'):
        upscaler(2)(image)


REASONS = {
    b'{\x80': 'not UTF-8 text',
    b'[1]': 'of another type',
    b'[' * 100_000: 'nested too deeply',
    b'{"format": 1}': "'task' is missing",
}


@pytest.mark.parametrize('text', REASONS)
def test_what_is_wrong_with_a_description(healthy, tmp_path, text):
    """Said in words about the file, not about Python."""
    directory = written(tmp_path / 'model', '{}', healthy[1], signed=False)
    (directory / 'model.json').write_bytes(text)
    assert REASONS[text] in refusal(directory)


def test_what_is_wrong_with_a_network(healthy, tmp_path):
    """Fields of other types, and a header of weights that is none."""
    description, weights = healthy
    description = copy.deepcopy(description)
    description['generator']['fields']['features'] = 'many'
    assert 'the fields of its generator wdsr make none' in refusal(written(tmp_path / 'a', description, weights))
    broken = struct.pack('<Q', 2) + b'[]' + weights
    assert 'its header cannot be read' in refusal(written(tmp_path / 'b', healthy[0], broken))
