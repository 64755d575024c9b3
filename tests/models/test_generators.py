"""Super-resolution generators: sizes, parameter counts, bicubic start, precision, export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan import fidelity
from astro_gan.models import make_generator
from astro_gan.models.enlarging import bicubic_downsample, bicubic_upsample
from astro_gan.models.layers import WeightNormConv
from tests.networks import apply, init

NAMES = ('edsr', 'srresnet', 'wdsr')  # of super-resolution


def small(name, **fields):
    return make_generator(name, features=8, blocks=2, **fields)


def pictures(n=1, h=12, w=14):
    return np.random.default_rng(0).random((n, h, w, 3), np.float32)


@pytest.mark.parametrize(
    ('name', 'fields', 'count'),
    [
        ('edsr', {}, 1_517_571),
        ('edsr', {'features': 256, 'blocks': 32, 'residual_scale': 0.1}, 43_089_923),
        ('wdsr', {'variant': 'a'}, 1_203_312),
        ('wdsr', {'variant': 'b', 'blocks': 32}, 615_088),
        ('srresnet', {}, 1_550_659),
    ],
)
@pytest.mark.parametrize('bicubic_start', [False, True])
def test_parameter_counts(name, fields, count, bicubic_start):
    """The x4 models have exactly the papers' parameter counts, also with a bicubic start."""
    module = make_generator(name, bicubic_start=bicubic_start, **fields)
    shapes = jax.eval_shape(lambda key: module.init(key, pictures()), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes['params'])) == count


@pytest.mark.parametrize('factor', [2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize('name', NAMES)
def test_factors(name, factor):
    """Every factor of the specification gives pictures of that size."""
    module = small(name, factor=factor, bicubic_start=True)
    x = pictures(2, 5, 6)
    shape = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x)[0])
    assert shape.shape == (2, 5 * factor, 6 * factor, 3)
    assert shape.dtype == jnp.float32


@pytest.mark.parametrize('name', ['edsr', 'srresnet'])
def test_impossible_factor(name):
    """A factor without sub-pixel stages is refused with the ones there are."""
    with pytest.raises(ValueError, match=r'2, 3, 4, 6, 8, 12\), not 5'):
        init(small(name, factor=5), pictures())


def test_unknown_variant():
    """A misspelt WDSR variant is refused, not taken for one of the two."""
    with pytest.raises(ValueError, match="'a' or 'b', not 'c'"):
        init(small('wdsr', variant='c'), pictures())


@pytest.mark.parametrize('factor', [2, 3, 4, 12])
def test_bicubic_upsample(factor):
    """The convolution form is jax.image.resize's cubic away from the border."""
    x = pictures(2)
    y = bicubic_upsample(x, factor)
    expected = jax.image.resize(x, y.shape, 'cubic')
    inner = slice(2 * factor, -2 * factor)
    np.testing.assert_allclose(y[:, inner, inner], expected[:, inner, inner], atol=2e-6)


@pytest.mark.parametrize('factor', [2, 3, 4, 12])
def test_bicubic_downsample(factor):
    """The form of weighted slices is jax.image.resize's antialiased cubic away from the border."""
    x = np.random.default_rng(1).random((2, 9 * factor, 8 * factor, 3), np.float32)
    expected = jax.image.resize(x, (2, 9, 8, 3), 'cubic')
    np.testing.assert_allclose(bicubic_downsample(x, factor)[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=2e-6)


@pytest.mark.parametrize('factor', [2, 3, 4])
@pytest.mark.parametrize('name', NAMES)
def test_back_projection(name, factor):
    """The same weights with a back-projection keep much closer to the input, by Pillow's own resampling."""
    plain, projected = small(name, factor=factor), small(name, factor=factor, back_projection=True)
    x = pictures(1, 24, 20)
    x = np.asarray(jax.image.resize(x[:, ::4, ::4], x.shape, 'cubic'))  # smooth, as pictures are
    variables = init(plain, x)
    before, after = (fidelity.consistency(np.asarray(apply(net, variables, x))[0], x[0]) for net in (plain, projected))
    assert after < before / 4


@pytest.mark.parametrize('factor', [2, 3, 4, 8])
@pytest.mark.parametrize('name', NAMES)
def test_bicubic_start(name, factor):
    """A fresh network that starts from bicubic is within 1% (rms) of it, borders included."""
    module = small(name, factor=factor, bicubic_start=True)
    x = pictures(2)
    y = apply(module, init(module, x), x)
    difference = np.asarray(y - bicubic_upsample(x, factor))
    assert np.sqrt(np.mean(difference**2)) < 0.01


def test_wdsr_skip_is_bicubic():
    """With the body silenced, a fresh WDSR is bicubic to float rounding."""
    module = small('wdsr', bicubic_start=True)
    x = pictures()
    params = init(module, x)['params']
    params['tail'] = jax.tree.map(jnp.zeros_like, params['tail'])
    y = module.apply({'params': params}, x)
    np.testing.assert_allclose(y, bicubic_upsample(x, 4), atol=2e-6)


@pytest.mark.parametrize('factor', [1, 2])
def test_wdsr_of_one_channel_with_conditions(factor):
    """The skip sees the picture's channel alone; factor 1 gives the picture back; other channels are refused."""
    module = small('wdsr', factor=factor, channels=1, conditions=2, bicubic_start=True)
    x = pictures()
    params = init(module, x)['params']
    params['tail'] = jax.tree.map(jnp.zeros_like, params['tail'])
    y = module.apply({'params': params}, x)
    expected = x[..., :1] if factor == 1 else bicubic_upsample(x[..., :1], factor)
    np.testing.assert_allclose(y, expected, atol=2e-6)
    with pytest.raises(ValueError, match='1 channels and 2 conditions, not 2'):
        init(module, x[..., :2])


def test_wdsr_starting_gains():
    """Gains start at 1, 2 (expansion), 1/sqrt(blocks) (projection), biases at 0."""
    module = make_generator('wdsr', features=8, blocks=4, variant='b')
    params = init(module, pictures())['params']
    gains = {'head': 1, 'tail': 1, 'skip': 1, 'block0_expand': 2, 'block3_project': 0.5}
    for name, gain in gains.items():
        np.testing.assert_array_equal(params[name]['scale'], gain)
        np.testing.assert_array_equal(params[name]['bias'], 0)


def test_zero_filter():
    """A filter of zeros under weight norm gives zeros and finite gradients, not NaN."""
    module = WeightNormConv(4)
    variables = init(module, pictures())
    variables['params']['kernel'] = jnp.zeros_like(variables['params']['kernel'])

    def loss(variables):
        return jnp.sum(jnp.square(module.apply(variables, pictures()) - 1))

    value, gradient = jax.value_and_grad(loss)(variables)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize('name', NAMES)
def test_bfloat16(name):
    """bfloat16 leaves parameters, statistics and output float32, and the picture close."""
    x = pictures(2)
    reference = small(name, bicubic_start=True)
    module = small(name, bicubic_start=True, dtype=jnp.bfloat16)
    variables = init(module, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    y, updates = apply(module, variables, x, train=True, mutable=['batch_stats'])
    assert {leaf.dtype for leaf in jax.tree.leaves((y, updates))} == {jnp.dtype('float32')}
    expected, _ = apply(reference, variables, x, train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(y, expected, atol=2e-3)


@pytest.mark.parametrize('bicubic_start', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_export_with_free_sizes(name, bicubic_start):
    """Generators export with batch, height and width free, and the artefact computes the same."""
    module = small(name, bicubic_start=bicubic_start)
    variables = init(module, pictures())
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape('n, h, w, 3'), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: apply(module, variables, x)), platforms=['cpu'])(shape)
    x = pictures(2, 7, 9)
    np.testing.assert_allclose(exported.call(x), apply(module, variables, x), atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_pmap_step(name):
    """Gradients flow through every parameter under pmap, with the state unreplicated."""
    x = pictures(2)[None]
    fields = {'axis_name': 'batch'} if name == 'srresnet' else {}
    module = small(name, factor=2, **fields)
    # Without the axis: outside pmap there is none.
    variables = init(small(name, factor=2), x[0])

    def step(variables, x):
        def loss(params):
            y, _ = apply(module, {**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
            return jnp.mean(jnp.abs(y))

        return jax.lax.pmean(jax.grad(loss)(variables['params']), 'batch')

    gradient = jax.pmap(step, 'batch', in_axes=(None, 0), out_axes=None)(variables, x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        if 'norm' not in str(path[0]) and path[-1].key == 'kernel':
            assert np.abs(leaf).max() > 0, path
