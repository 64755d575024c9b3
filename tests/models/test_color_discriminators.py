"""Discriminators of the colorization systems: maps of logits, patches, norms, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models import ResNet, make_discriminator
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
)

NAMES = ('patch', 'residual_vgg16', 'resnet50_patch')
PATCHES = ('patch', 'resnet50_patch')


def small(name, **fields):
    hidden = {'hidden': 3} if name == 'residual_vgg16' else {}
    return make_discriminator(name, **{'features': 2, **hidden, **fields})


def numpy_norm(variables, y, name):
    if name not in variables['params']:
        return y
    return norm(y, variables['params'][name], variables['batch_stats'][name])


def numpy_patch(variables, x, halvings):
    y = 2 * x - 1
    for index in range(halvings + 1):
        layer = variables['params'][f'conv{index}']
        y = conv(y, layer['kernel'], layer.get('bias', 0), stride=1 + (index < halvings), padding=1)
        y = relu(numpy_norm(variables, y, f'norm{index}'), 0.2)
    logit = variables['params']['logit']
    return conv(y, logit['kernel'], logit['bias'], padding=1)


def numpy_vgg(variables, x):
    params = variables['params']
    y = 2 * x - 1
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
        if block > 1:
            y = y[:, : y.shape[1] // 2 * 2, : y.shape[2] // 2 * 2]
            y = y.reshape(len(y), y.shape[1] // 2, 2, y.shape[2] // 2, 2, -1).mean((2, 4))
        before = y
        for index in range(1, depth + 1):
            layer = params[f'block{block}_conv{index}']
            y = numpy_norm(variables, conv(y, layer['kernel'], layer.get('bias', 0)), f'block{block}_norm{index}')
            y = relu(y, 0.2) if index < depth else y
        if layer := params.get(f'block{block}_shortcut'):
            before = conv(before, layer['kernel'], layer['bias'])
        y = relu(y + before, 0.2)
    y = relu(y.mean((1, 2)) @ params['hidden']['kernel'] + params['hidden']['bias'], 0.2)
    return y @ params['logit']['kernel'] + params['logit']['bias']


def numpy_resnet50_patch(variables, x):
    mean, std = np.float32([0.449, 0.485, 0.456, 0.406]), np.float32([0.226, 0.229, 0.224, 0.225])
    encoder = {name: tree['encoder'] for name, tree in variables.items()}
    y = apply(ResNet('resnet50', stages=1), encoder, (x - mean) / std)[-1]
    head, logit = variables['params']['head'], variables['params']['logit']
    y = relu(conv(y, head['kernel'], head['bias'], padding=1), 0.2)
    return conv(y, logit['kernel'], logit['bias'], padding=1)


@pytest.mark.parametrize(
    ('name', 'fields', 'reference'),
    [
        ('patch', {'halvings': 2}, lambda variables, x: numpy_patch(variables, x, 2)),
        ('patch', {'norm': 'none'}, lambda variables, x: numpy_patch(variables, x, 1)),
        ('residual_vgg16', {}, numpy_vgg),
        ('resnet50_patch', {'halvings': 2}, numpy_resnet50_patch),
    ],
)
def test_equals_numpy(name, fields, reference):
    """Layers, norms, ranges and residual connections are those of an independent implementation."""
    module = small(name, **fields)
    x = pictures(2, 27, 34, 4)
    variables = randomise(module, x)
    assert_close(apply(module, variables, x), reference(variables, x), 5e-5)


@pytest.mark.parametrize('name', PATCHES)
def test_patch_maps(name):
    """64 px with one halving and 256 px with three give 30 x 30 logits, with and without a condition."""
    for size, halvings, channels, out in ((64, 1, 3, 30), (256, 3, 3, 30), (64, 2, 4, 14), (64, 3, 4, 6)):
        y = shapes(small(name, halvings=halvings), (2, size, size, channels))[0]
        assert (y.shape, y.dtype) == ((2, out, out, 1), jnp.float32)


@pytest.mark.parametrize(('halvings', 'patch'), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field(halvings, patch):
    """One logit of pix2pix's PatchGAN sees exactly the paper's 16, 34 and 70 pixels."""
    module = small('patch', halvings=halvings, norm='none')
    x = pictures(1, 112, 112, 3)
    variables = randomise(module, x)

    def logit(x):
        y = module.apply(variables, x)
        return y[0, y.shape[1] // 2, y.shape[2] // 2, 0]

    seen = np.abs(jax.jit(jax.grad(logit))(x)).sum((0, 3)) > 0
    for axis in (0, 1):
        where = np.flatnonzero(seen.any(axis))
        assert where[-1] - where[0] + 1 == patch
        assert where[0] > 0
        assert where[-1] < 111


def test_vgg_takes_any_size():
    """One set of parameters and one logit whatever the size; VGG-16's 13 convolutions."""
    module = make_discriminator('residual_vgg16')
    params = []
    for size in ((64, 64), (65, 97), (16, 40)):
        y, variables = shapes(module, (2, *size, 3))
        assert (y.shape, y.dtype) == ((2, 1), jnp.float32)
        params.append(variables['params'])
    assert params[0] == params[1] == params[2]
    convs = {name: layer['kernel'].shape for name, layer in params[0].items() if '_conv' in name}
    assert len(convs) == 13
    assert convs['block5_conv3'] == (3, 3, 512, 512)


@pytest.mark.parametrize('name', ['patch', 'residual_vgg16'])  # the third: below
def test_training(name):
    """Every batch statistic moves, and gradients reach every kernel."""
    module = small(name)
    x = pictures(2, 16, 17, 3)
    variables = randomise(module, x)
    _, stats, gradient = training_pass(module, variables, x)
    pairs = zip(*map(jax.tree.leaves, (variables['batch_stats'], stats)), strict=True)
    assert all((old != new).any() for old, new in pairs)
    assert_alive(gradient)


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('patch', {'norm': 'none'}),
        ('resnet50_patch', {'norm': 'frozen', 'halvings': 2}),
    ],
)
def test_gradient_penalty(name, fields):
    """The input gradient's norm has finite parameter gradients, in training mode: WGAN-GP can train these."""
    module = small(name, **fields)
    x = pictures(1, 16, 16, 3)
    variables = randomise(module, x)

    def penalty(params):
        def score(x):
            return module.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])[0].sum()

        return (jnp.sqrt(jnp.sum(jax.grad(score)(x) ** 2)) - 1) ** 2

    assert_alive(jax.jit(jax.grad(penalty))(variables['params']))


@pytest.mark.parametrize('name', ['patch', 'residual_vgg16'])
def test_spectral_norm(name):
    """Spectral norm is on every layer, and there is no other."""
    variables = shapes(small(name, norm='spectral'), (1, 32, 32, 3))[1]
    assert set(variables['batch_stats']) == {f'{layer}_spectral' for layer in variables['params']}


@pytest.mark.parametrize('name', NAMES)
def test_bfloat16(name):
    """bfloat16 arithmetic leaves parameters, statistics and logits float32."""
    for leaf in jax.tree.leaves(shapes(small(name, dtype=jnp.bfloat16), (1, 32, 32, 3))):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize(
    ('name', 'smallest'),
    [('patch', 6), ('resnet50_patch', 6), ('residual_vgg16', 16)],
)
def test_refusals(name, smallest):
    """A misspelt norm, a picture without a logit and impossible halvings are refused in words."""
    with pytest.raises(ValueError, match=r"norm must be one of batch, .*not 'layer'"):
        shapes(small(name, norm='layer'), (1, 32, 32, 3))
    assert shapes(small(name), (1, smallest, smallest, 3))[0].size == 1
    with pytest.raises(ValueError, match=f'at least {smallest} x {smallest} pixels, got {smallest} x {smallest - 1}'):
        shapes(small(name), (1, smallest, smallest - 1, 3))
    if name == 'resnet50_patch':
        with pytest.raises(ValueError, match='halvings must be 1, 2 or 3, not 4'):
            shapes(small(name, halvings=4), (1, 64, 64, 3))
