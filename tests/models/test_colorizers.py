"""Colorization networks: against numpy, any size, training, precision, export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models import ResNet, make_generator
from tests.networks import (
    apply,
    assert_alive,
    assert_close,
    conv,
    norm,
    pictures,
    randomise,
    relu,
    shapes,
    training_pass,
    upsample,
)

NAMES = ('unet', 'resnet18_unet')
SIZES = [(64, 64), (65, 97)]


def small(name, **fields):
    levels = {'depth': 3} if name == 'unet' else {'stages': 1}
    return make_generator(name, **{'features': 2, 'dropout': 0.5, **levels, **fields})


def numpy_unet(variables, x, space):
    """pix2pix's U-Net on a multiple of its size."""
    params, stats = variables['params'], variables['batch_stats']

    def layer(y, name, **options):
        y = conv(y, params[name]['kernel'], params[name].get('bias', 0), **options)
        return norm(y, params[f'{name}_norm'], stats[f'{name}_norm']) if f'{name}_norm' in params else y

    depth = sum(name.startswith('down') and 'norm' not in name for name in params)
    y, maps = 2 * x - 1, []
    for level in range(depth):
        y = layer(relu(y, 0.2) if level else y, f'down{level}', stride=2, padding=1)
        maps.append(y)
    y = maps.pop()
    while maps:
        y = layer(upsample(relu(y)), f'up{len(maps)}')
        y = np.concatenate([y, maps.pop()], axis=-1)
    y = layer(upsample(relu(y)), 'up0')
    if space == 'classes':
        return y
    y = np.tanh(y)
    return y / 2 + 0.5 if space == 'rgb' else y


@pytest.mark.parametrize('space', ['rgb', 'lab', 'classes'])
def test_unet_equals_numpy(space):
    """The U-Net's layers, skips, ranges and padding are those of an independent implementation."""
    module = small('unet', space=space, depth=4, features=3)
    x = pictures(2, 65, 70, 1)
    variables = randomise(module, x)
    padded = np.pad(x, ((0, 0), (0, 15), (0, 10), (0, 0)), mode='edge')
    y, updates = apply(module, variables, x, mutable=['batch_stats'])
    assert_close(y, numpy_unet(variables, padded, space)[:, :65, :70])
    jax.tree.map(np.testing.assert_array_equal, updates['batch_stats'], variables['batch_stats'])
    assert module.multiple == 16


def numpy_resnet_unet(variables, x):
    """The decoder of RGB or classes, on a multiple of its size; the encoder has a test of its own."""
    params, stats = variables['params'], variables['batch_stats']

    def layer(y, name):
        return relu(norm(conv(y, params[name]['kernel']), params[f'{name}_norm'], stats[f'{name}_norm']))

    stages = sum(name.startswith('up') and 'norm' not in name for name in params) - 1
    rgb = (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    encoder = {name: tree['encoder'] for name, tree in variables.items()}
    maps = [2 * x - 1, *apply(ResNet('resnet18', stages=stages), encoder, rgb)]
    y = maps.pop()
    while maps:
        level = len(maps) - 1
        y = np.concatenate([layer(upsample(y), f'up{level}'), maps.pop()], axis=-1)
        y = layer(y, f'join{level}')
    y = conv(y, params['tail']['kernel'], params['tail']['bias'])
    return x + np.tanh(y) if y.shape[-1] == 3 else y


@pytest.mark.parametrize('space', ['rgb', 'classes'])
def test_resnet_unet_equals_numpy(space):
    """The ResNet U-Net's decoder, skips, ranges and padding are those of an independent implementation."""
    module = small('resnet18_unet', space=space, stages=2, features=4)
    x = pictures(1, 65, 70, 1)
    variables = randomise(module, x)
    padded = np.pad(x, ((0, 0), (0, 7), (0, 2), (0, 0)), mode='edge')
    y, updates = apply(module, variables, x, mutable=['batch_stats'])
    assert_close(y, numpy_resnet_unet(variables, padded)[:, :65, :70])
    jax.tree.map(np.testing.assert_array_equal, updates['batch_stats'], variables['batch_stats'])
    assert module.multiple == 8


def test_paper_unet():
    """With 8 halvings the widths are the paper's; the first and the innermost map are not normalised."""
    params = shapes(make_generator('unet', depth=8), (1, 256, 256, 1))[1]['params']
    assert [params[f'down{i}']['kernel'].shape[-1] for i in range(8)] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [params[f'up{i}']['kernel'].shape[-1] for i in range(8)] == [3, 64, 128, 256, 512, 512, 512, 512]
    assert params['up1']['kernel'].shape[2] == 256
    assert {'down0_norm', 'down7_norm', 'up0_norm'}.isdisjoint(params)
    assert {'bias', 'kernel'} == set(params['down7'])
    assert {'kernel'} == set(params['down6'])


@pytest.mark.parametrize('name', NAMES)
def test_any_size(name):
    """The default networks take every size from 64 x 64 and give float32 of that size."""
    for size, space, channels in ((SIZES[0], 'rgb', 3), (SIZES[1], 'lab', 2)):
        y = shapes(make_generator(name, space=space), (2, *size, 1))[0]
        assert (y.shape, y.dtype) == ((2, *size, channels), jnp.float32)


@pytest.mark.parametrize('name', NAMES)
def test_training(name):
    """Gradients reach every kernel; statistics move in training only; dropout follows its key."""
    module = small(name)
    x = pictures(2, 65, 70, 1)  # padded and cropped
    variables = randomise(module, x)
    keys = [{'dropout': jax.random.key(seed)} for seed in (0, 0, 1)]
    (a, stats, gradient), (b, *_), (c, *_) = (training_pass(module, variables, x, key) for key in keys)
    assert_alive(gradient)
    assert jax.tree.structure(stats) == jax.tree.structure(variables['batch_stats'])
    for old, new in zip(jax.tree.leaves(variables['batch_stats']), jax.tree.leaves(stats), strict=True):
        assert (old != new).any()
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0


@pytest.mark.parametrize('space', ['rgb', 'lab'])
def test_resnet_unet_starts_gray(space):
    """A fresh ResNet U-Net paints almost gray: L1 training starts from the right picture."""
    x = pictures(2, 64, 64, 1)
    module = small('resnet18_unet', space=space)
    variables = randomise(module, x)
    # Of the fresh parameters only these: the compiler leaves out the rest.
    tail = jax.jit(lambda key: module.init(key, x)['params']['tail'])(jax.random.key(0))
    y = apply(module, {**variables, 'params': variables['params'] | {'tail': tail}}, x)
    difference = y - (x if space == 'rgb' else 0)
    assert np.abs(difference).max() < 0.02
    assert np.abs(difference).max() > 0


@pytest.mark.parametrize('name', NAMES)
def test_bfloat16(name):
    """bfloat16 leaves parameters, statistics and output float32, and the colours close."""
    x = pictures(2, 64, 64, 1)
    variables = randomise(small(name, space='lab'), x)
    y = apply(small(name, space='lab', dtype=jnp.bfloat16), variables, x)
    assert y.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    difference = y - apply(small(name, space='lab'), variables, x)
    assert np.sqrt(np.mean(np.square(difference))) < 0.03


@pytest.mark.parametrize('name', [*NAMES, 'seresnext50_unet', 'efficientnet_b0_unet'])
def test_export_with_free_sizes(name):
    """One artefact serves every batch and size, multiples or not."""
    module = small(name)
    variables = randomise(module, (1, 64, 64, 1))
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape('n, h, w, 1'), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: module.apply(variables, x)), platforms=['cpu'])(shape)
    for size in SIZES:
        x = pictures(2, *size, 1)
        np.testing.assert_allclose(exported.call(x), apply(module, variables, x), atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_multiples_are_not_padded(name):
    """With sizes that are known multiples the program has no padding: nothing is gathered."""
    module = small(name)
    shape = jax.export.symbolic_shape(f'n, {module.multiple}*h, {module.multiple}*w, 1')
    run = jax.jit(functools.partial(module.apply, randomise(module, (1, 64, 64, 1))))
    text = jax.export.export(run, platforms=['cpu'])(jax.ShapeDtypeStruct(shape, jnp.float32)).mlir_module()
    assert 'gather' not in text


@pytest.mark.parametrize('name', NAMES)
def test_refusals(name):
    """A misspelt space, a small image and a colour image are refused in words."""
    with pytest.raises(ValueError, match="one of rgb, lab, classes, not 'hsv'"):
        shapes(small(name, space='hsv'), (1, 64, 64, 1))
    with pytest.raises(ValueError, match='at least 64 x 64 pixels, got 63 x 64'):
        shapes(small(name), (1, 63, 64, 1))
    with pytest.raises(ValueError, match=r'\[N, H, W, 1\], got \(1, 64, 64, 3\)'):
        shapes(small(name), (1, 64, 64, 3))
