"""Convolutions as matrix products: the same numbers as the plain convolution, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models.layers import Conv
from astro_gan.models.products import ProductConv, UpConv
from tests.networks import init, pictures, shapes, upsample


def assert_same(actual, expected, variables, x):
    """Two functions have the same output and the same gradients for input and parameters."""

    def results(function):
        gradient = jax.grad(lambda *args: jnp.tanh(function(*args)).mean(), (0, 1))(variables, x)
        return function(variables, x), gradient

    a, b = (jax.jit(results, static_argnums=0)(function) for function in (actual, expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max()), a, b)


# (height, width, kernel size, stride, padding, features): patches, taps, neither.
@pytest.mark.parametrize(
    'case',
    [(1, 2, 3, 1, None, 5), (7, 6, 4, 2, 1, 5), (5, 4, 3, 2, None, 5), (9, 8, 4, 1, 1, 1), (9, 8, 4, 2, 1, 6)],
)
def test_product_conv_equals_conv(case):
    """Whatever path is taken, values and gradients are the plain convolution's."""
    height, width, *fields = case
    size, stride, padding, features = fields
    x = pictures(2, height, width, 6)
    modules = [kind(features, size, stride, padding) for kind in (Conv, ProductConv)]
    assert_same(modules[1].apply, modules[0].apply, init(modules[0], x), x)


def test_up_conv_is_nearest_then_conv():
    """Taken before the upsampling, the products give what a 3x3 convolution gives after it."""
    x = pictures(2, 5, 4, 6)
    assert_same(UpConv(3).apply, lambda variables, x: Conv(3).apply(variables, upsample(x)), init(UpConv(3), x), x)


@pytest.mark.parametrize('module', [ProductConv(5, dtype=jnp.bfloat16), UpConv(2, dtype=jnp.bfloat16)])
def test_bfloat16(module):
    """The result has the asked dtype, the parameters stay float32."""
    y, variables = shapes(module, (1, 3, 3, 4))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
