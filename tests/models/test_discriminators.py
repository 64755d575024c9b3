"""SRGAN's discriminator and the selection of models by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models import make_discriminator, make_generator
from tests.networks import apply, init


def small(**fields):
    return make_discriminator('srgan', features=4, hidden=8, **fields)


def pictures(n=2, size=16):
    return np.random.default_rng(0).random((n, size, size, 3), np.float32)


def test_paper_size():
    """256 px give one logit through a 16 x 16 x 512 map; no bias before batch norm."""
    module = make_discriminator('srgan')
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((3, 256, 256, 3))))
    assert out.shape == (3, 1)
    params = variables['params']
    assert params['hidden']['kernel'].shape == (16 * 16 * 512, 1024)
    assert params['conv7']['kernel'].shape == (3, 3, 512, 512)
    assert 'norm0' not in params
    assert 'bias' in params['conv0']
    assert 'bias' not in params['conv1']


@pytest.mark.parametrize('norm', ['batch', 'none', 'spectral'])
def test_global_pool_takes_any_size(norm):
    """With global pooling one set of parameters serves every crop size."""
    module = small(norm=norm, global_pool=True)
    variables = init(module, pictures(size=24))
    for size in (8, 17, 33):
        out = jax.eval_shape(functools.partial(module.apply, variables), pictures(size=size))
        assert out.shape == (2, 1)


def test_too_small():
    """Without pooling a picture below 16 px is refused in words."""
    with pytest.raises(ValueError, match='at least 16 x 16 pixels, got 15 x 15'):
        init(small(), pictures(size=15))


def test_unknown_norm():
    """A misspelt norm is refused with the valid ones."""
    with pytest.raises(ValueError, match="batch, none, spectral, not 'layer'"):
        init(small(norm='layer'), pictures())


def test_spectral_norm_bounds_every_layer():
    """Power iteration finds every layer's norm; evaluation leaves its vectors alone."""
    module = small(norm='spectral')
    x = pictures()
    variables = init(module, x)
    assert not any('norm' in name for name in variables['params'])
    before = variables['batch_stats']
    _, after = apply(module, variables, x, train=False, mutable=['batch_stats'])
    jax.tree.map(np.testing.assert_array_equal, before, after['batch_stats'])
    step = jax.jit(lambda variables: module.apply(variables, x, train=True, mutable=['batch_stats']))
    for _ in range(60):
        _, updates = step(variables)
        variables = {**variables, **updates}
    for name, params in variables['params'].items():
        matrix = np.asarray(params['kernel']).reshape(-1, params['kernel'].shape[-1])
        sigma = variables['batch_stats'][f'{name}_spectral'][f'{name}/kernel/sigma']
        np.testing.assert_allclose(sigma, np.linalg.norm(matrix, 2), rtol=2e-2)


@pytest.mark.parametrize('norm', ['none', 'spectral'])
def test_gradient_penalty(norm):
    """The input gradient's norm has parameter gradients: WGAN-GP can train this network."""
    module = small(norm=norm, global_pool=True)
    x = pictures()
    variables = init(module, x)

    def penalty(params):
        def score(x):
            return module.apply({**variables, 'params': params}, x).sum()

        gradient = jax.grad(score)(x)
        return jnp.mean((jnp.sqrt(jnp.sum(gradient**2, (1, 2, 3)) + 1e-12) - 1) ** 2)

    gradient = jax.jit(jax.grad(penalty))(variables['params'])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        if path[-1].key == 'kernel':
            assert np.abs(leaf).max() > 0, path


def test_bfloat16():
    """bfloat16 arithmetic leaves parameters, statistics and logits float32."""
    module = small(dtype=jnp.bfloat16)
    out, variables = module.init_with_output(jax.random.key(0), pictures())
    assert out.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    np.testing.assert_allclose(out, apply(small(), variables, pictures()), atol=0.05)


def test_unknown_names_and_fields():
    """A wrong name or field is answered with the valid ones, on one line."""
    with pytest.raises(ValueError, match=r"^unknown generator 'esdr': one of edsr, .*, wdsr$"):
        make_generator('esdr')
    with pytest.raises(ValueError, match=r"^unknown discriminator 'patches': one of patch, .*srgan$"):
        make_discriminator('patches')
    with pytest.raises(ValueError, match=r"^generator 'edsr' has no field depth: .*blocks, dtype"):
        make_generator('edsr', depth=3)
