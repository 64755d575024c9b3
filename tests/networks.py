"""What tests of networks share: running a module, random weights, and layers in plain numpy."""

import functools

import jax
import numpy as np


def init(module, x):
    """Jitted: run eagerly, every operation is compiled on its own."""
    return jax.jit(module.init)(jax.random.key(0), x)


def apply(module, variables, x, train=False, mutable=False):
    return _apply(module, variables, x, train, tuple(mutable) if mutable else False)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))  # here, not in the test: the same module is compiled once
def _apply(module, variables, x, train, mutable):
    return module.apply(variables, x, train=train, mutable=mutable)


def shapes(module, x):
    """(output, variables) without computing them; `x` may be a shape."""
    x = jax.ShapeDtypeStruct(x, np.float32) if isinstance(x, tuple) else x
    return jax.eval_shape(module.init_with_output, jax.random.key(0), x)


def randomise(module, x):
    """Random parameters and batch statistics at a scale that keeps signals of order one."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == 'kernel':
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        if name == 'growth':
            return np.full(leaf.shape, 10, np.float32)  # every level of a network that grows is in
        if name in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, 0.2, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes(module, x)[1])


def conv(x, kernel, bias=0, *, stride=1, padding=None):
    """`[N, H, W, in]`, `[k, k, in, out]`, zero padding; None means `k // 2`."""
    size = kernel.shape[0]
    pad = size // 2 if padding is None else padding
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(windows, kernel, ((4, 5, 3), (0, 1, 2))) + bias


def norm(x, params, stats):
    """Batch normalisation with running statistics."""
    return (x - stats['mean']) / np.sqrt(stats['var'] + 1e-5) * params['scale'] + params['bias']


def relu(x, slope=0.0):
    return np.where(x > 0, x, slope * x)


def max_pool(x):
    """3x3, stride 2, padding 1."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-1, -2))


def upsample(x):
    """Nearest neighbour, factor 2."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def assert_close(actual, expected, tolerance=2e-5):
    """To float32 rounding, relative to the largest value."""
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


@functools.partial(jax.jit, static_argnums=0)
def training_pass(module, variables, x, rngs=None):
    """(output, new batch statistics, gradient of the output's mean square) in training mode."""

    def loss(params):
        y, updates = module.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'], rngs=rngs)
        return (y**2).mean(), (y, updates.get('batch_stats', {}))

    (_, results), gradient = jax.value_and_grad(loss, has_aux=True)(variables['params'])
    return *results, gradient


def assert_alive(gradient):
    """Every gradient is finite, every kernel's nonzero."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        if path[-1].key == 'kernel':
            assert np.abs(leaf).max() > 0, path
