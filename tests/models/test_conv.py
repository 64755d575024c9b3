"""The shared convolution against lax.conv: values, first and second gradients, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models.conv import conv

# (kernel size, stride, padding, channels in, channels out): products, few, some and many
# channels out, explicit padding, strides, even kernels.
CASES = [
    (1, 1, None, 5, 7),
    (1, 2, None, 5, 7),
    (3, 1, None, 4, 6),
    (3, 1, 0, 20, 6),
    (3, 1, 3, 20, 6),
    (5, 1, None, 3, 70),
    (3, 2, None, 4, 70),
    (4, 1, 1, 16, 2),
    (4, 2, 1, 4, 6),
]


def reference(x, kernel, stride, padding):
    pad = kernel.shape[0] // 2 if padding is None else padding
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


def arrays(size, channels, out):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 8, channels)).astype(np.float32)
    return x, rng.normal(size=(size, size, channels, out)).astype(np.float32)


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * np.abs(b).max()),
        actual,
        expected,
    )


@pytest.mark.parametrize(('size', 'stride', 'padding', 'channels', 'out'), CASES)
def test_equals_lax(size, stride, padding, channels, out):
    """Values, gradients, and gradients of gradient norms are lax.conv's on every path."""
    x, kernel = arrays(size, channels, out)

    def results(function):
        def loss(x, kernel):
            return jnp.mean(jnp.tanh(function(x, kernel)) ** 2)

        def penalty(x, kernel):  # depends on the second derivatives of both arguments
            first = jax.grad(loss, (0, 1))(x, kernel)
            return sum(jnp.sum(jnp.sin(1e3 * g)) for g in first)

        second = jax.grad(penalty, (0, 1))(x, kernel)
        return function(x, kernel), jax.grad(loss, (0, 1))(x, kernel), second

    ours = jax.jit(lambda: results(lambda x, k: conv(x, k, stride=stride, padding=padding)))()
    assert_close(ours, jax.jit(lambda: results(lambda x, k: reference(x, k, stride, padding)))())


def test_bfloat16_gradients():
    """Gradients have the dtypes of what they are gradients of."""
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in arrays(3, 20, 3))
    gradients = jax.grad(lambda x, k: conv(x, k).astype(jnp.float32).sum(), (0, 1))(x, kernel)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.bfloat16]


@pytest.mark.parametrize('platforms', [['cpu'], ['cuda'], ['cpu', 'cuda']])
def test_gradients_lower_everywhere(platforms):
    """A training step lowers for CPU and GPU from any machine; a GPU gets XLA's one convolution."""
    x, kernel = arrays(3, 8, 130)
    gradient = jax.jit(jax.grad(lambda kernel: conv(x, kernel).sum()))
    text = jax.export.export(gradient, platforms=platforms)(kernel).mlir_module()
    count = text.count('stablehlo.convolution')
    assert count == {'cpu': 3, 'cuda': 1}[platforms[0]] if len(platforms) == 1 else count >= 4


def test_second_derivatives_of_few_channels():
    """A gradient penalty through a last layer of 3 channels, which is made of tap products: XLA's, to rounding."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 11, 20)).astype(np.float32)
    kernel = (random.normal(size=(3, 3, 20, 3)) / 13).astype(np.float32)

    def xla(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    def penalty_gradients(convolve):
        def penalty(x, kernel):
            return jnp.square(jax.grad(lambda x: jnp.sin(convolve(x, kernel)).sum())(x)).sum()

        return jax.jit(jax.grad(penalty, argnums=(0, 1)))(x, kernel)

    for ours, expected in zip(
        penalty_gradients(lambda x, k: conv(x, k, padding=0)), penalty_gradients(xla), strict=True
    ):
        assert np.abs(ours - expected).max() < 5e-6 * np.abs(expected).max()
