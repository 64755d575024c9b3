"""Forward passes against independent tf.keras models that carry the same weights."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from astro_gan.models import make_discriminator, make_generator

MEAN = np.float32([0.4488, 0.4371, 0.4040])


def randomise(module, x):
    """Random parameters and batch statistics at a scale that keeps signals of order one."""
    shapes = jax.eval_shape(lambda key: module.init(key, x, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == 'kernel':
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype('float32')
        if name in ('scale', 'var', 'slope'):
            return rng.uniform(0.3, 1.0, leaf.shape).astype('float32')
        return rng.normal(0, 0.1, leaf.shape).astype('float32')

    return jax.tree_util.tree_map_with_path(fill, shapes)


def load(model, variables):
    """Copies Flax variables into the Keras layers of the same names."""
    stats = variables.get('batch_stats', {})
    for name, params in variables['params'].items():
        layer = model.get_layer(name)
        if name in stats:
            weights = [params['scale'], params['bias'], stats[name]['mean'], stats[name]['var']]
        elif 'slope' in params:
            weights = [params['slope'].reshape(1, 1, -1)]
        elif 'scale' in params:
            flat = params['kernel'].reshape(-1, params['kernel'].shape[-1])
            unit = params['kernel'] / np.linalg.norm(flat, axis=0)
            weights = [unit * params['scale'], params['bias']]
        else:
            weights = [params[key] for key in ('kernel', 'bias') if key in params]
        layer.set_weights(weights)


def conv(features, size, name, **options):
    return layers.Conv2D(features, size, padding='same', name=name, **options)


def norm(name):
    return layers.BatchNormalization(epsilon=1e-5, name=name)


def shuffle(factor):
    return layers.Lambda(lambda x: tf.nn.depth_to_space(x, factor))


def bicubic(x, factor):
    """jax.image.resize with repeated borders (tf.image.resize tabulates the cubic: 1e-3 off)."""
    x = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode='edge')
    big = (len(x), factor * x.shape[1], factor * x.shape[2], 3)
    big = np.asarray(jax.image.resize(x, big, 'cubic'))
    return big[:, 4 * factor : -4 * factor, 4 * factor : -4 * factor]


def keras_edsr(blocks, features, stages, residual_scale):
    x = keras.Input((None, None, 3))
    y = head = conv(features, 3, 'head')(x)
    for i in range(blocks):
        z = layers.ReLU()(conv(features, 3, f'block{i}_conv1')(y))
        z = layers.Rescaling(residual_scale)(conv(features, 3, f'block{i}_conv2')(z))
        y = layers.Add()([y, z])
    y = layers.Add()([conv(features, 3, 'body')(y), head])
    for i, stage in enumerate(stages):
        y = shuffle(stage)(conv(features * stage**2, 3, f'upsample{i}')(y))
    return keras.Model(x, conv(3, 3, 'tail')(y))


def keras_srresnet(blocks, features, stages):
    def prelu(name):
        return layers.PReLU(shared_axes=[1, 2], name=name)

    x = keras.Input((None, None, 3))
    y = head = prelu('head_prelu')(conv(features, 9, 'head')(x))
    for i in range(blocks):
        z = norm(f'block{i}_norm1')(conv(features, 3, f'block{i}_conv1')(y))
        z = conv(features, 3, f'block{i}_conv2')(prelu(f'block{i}_prelu')(z))
        y = layers.Add()([y, norm(f'block{i}_norm2')(z)])
    y = layers.Add()([norm('body_norm1')(conv(features, 3, 'body_conv1')(y)), head])
    for i, stage in enumerate(stages):
        y = shuffle(stage)(conv(features * stage**2, 3, f'upsample{i}')(y))
        y = prelu(f'upsample{i}_prelu')(y)
    return keras.Model(x, conv(3, 9, 'tail')(y))


def keras_wdsr(variant, blocks, features, factor, edge):
    x = keras.Input((None, None, 3))
    y = conv(features, 3, 'head')(x)
    for i in range(blocks):
        first, last = f'block{i}_expand', f'block{i}_project'
        if variant == 'a':
            z = layers.ReLU()(conv(features * 4, 3, first)(y))
        else:
            z = layers.ReLU()(conv(features * 6, 1, first)(y))
            z = conv(int(0.8 * features), 1, f'block{i}_low_rank')(z)
        y = layers.Add()([y, conv(features, 3, last)(z)])
    skip = x
    for _ in range(2 * edge):  # one symmetric pixel, twice, is two edge pixels
        skip = layers.Lambda(lambda z: tf.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='SYMMETRIC'))(skip)
    padding = 'valid' if edge else 'same'
    skip = layers.Conv2D(3 * factor**2, 5, padding=padding, name='skip')(skip)
    y = layers.Add()([conv(3 * factor**2, 3, 'tail')(y), skip])
    return keras.Model(x, shuffle(factor)(y))


def keras_discriminator(features, hidden, size, batch_norm, pool):
    x = keras.Input((size, size, 3))
    y = x
    for i in range(8):
        y = layers.ZeroPadding2D(1)(y)
        width, bias = features * 2 ** (i // 2), i == 0 or not batch_norm
        y = layers.Conv2D(width, 3, strides=1 + i % 2, use_bias=bias, name=f'conv{i}')(y)
        if i and batch_norm:
            y = norm(f'norm{i}')(y)
        y = layers.LeakyReLU(negative_slope=0.2)(y)
    y = layers.GlobalAveragePooling2D()(y) if pool else layers.Flatten()(y)
    y = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(hidden, name='hidden')(y))
    return keras.Model(x, layers.Dense(1, name='logit')(y))


def pictures(size=10):
    return np.random.default_rng(1).random((2, size, size + 2, 3), np.float32)


def assert_close(actual, expected):
    assert actual.dtype == jnp.float32
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('bicubic_start', [False, True])
def test_edsr_equals_keras(bicubic_start):
    """EDSR's layers, residual scaling, mean shift and sub-pixel stages are the paper's."""
    x = pictures()
    module = make_generator('edsr', factor=6, features=8, blocks=2, residual_scale=0.1, bicubic_start=bicubic_start)
    variables = randomise(module, x)
    model = keras_edsr(2, 8, (2, 3), 0.1)
    load(model, variables)
    base = bicubic(x, 6) if bicubic_start else MEAN
    assert_close(jax.jit(module.apply)(variables, x), model((x - MEAN) * 255).numpy() / 255 + base)


@pytest.mark.parametrize('bicubic_start', [False, True])
def test_srresnet_equals_keras(bicubic_start):
    """SRResNet's layers, batch statistics, PReLU and output range are the paper's."""
    x = pictures()
    module = make_generator('srresnet', factor=4, features=8, blocks=2, bicubic_start=bicubic_start)
    variables = randomise(module, x)
    model = keras_srresnet(2, 8, (2, 2))
    load(model, variables)
    base = bicubic(x, 4) if bicubic_start else 0.5
    assert_close(jax.jit(module.apply)(variables, x), model(x).numpy() / 2 + base)


@pytest.mark.parametrize('bicubic_start', [False, True])
@pytest.mark.parametrize('variant', ['a', 'b'])
def test_wdsr_equals_keras(variant, bicubic_start):
    """WDSR's weight norm, blocks, skip and pixel normalisation are the paper's."""
    x = pictures()
    module = make_generator('wdsr', factor=3, features=10, blocks=2, variant=variant, bicubic_start=bicubic_start)
    variables = randomise(module, x)
    model = keras_wdsr(variant, 2, 10, 3, bicubic_start)
    load(model, variables)
    expected = model((x - MEAN) * 255 / 127.5).numpy() * 127.5 / 255 + MEAN
    assert_close(jax.jit(module.apply)(variables, x), expected)


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('norm_name', 'pool'), [('batch', False), ('none', True)])
def test_discriminator_equals_keras(norm_name, pool, train):
    """The discriminator's layers and both batch-norm modes are the paper's."""
    x = np.random.default_rng(1).random((3, 32, 32, 3), np.float32)
    module = make_discriminator('srgan', features=4, hidden=16, norm=norm_name, global_pool=pool)
    variables = randomise(module, x)
    model = keras_discriminator(4, 16, 32, norm_name == 'batch', pool)
    load(model, variables)
    run = jax.jit(functools.partial(module.apply, train=train, mutable=['batch_stats']))
    y, _ = run(variables, x)
    expected = model(x * 2 - 1, training=train).numpy()
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)
