"""Convolutions as matrix products: the same numbers as XLA's convolution, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.models import conv
from astro_gan.models.layers import Conv, UpConv
from tests.networks import init, pictures, shapes, upsample


def assert_same(actual, expected, variables, x):
    """Two functions have the same output and the same gradients for input and parameters."""

    def results(function):
        gradient = jax.grad(lambda *args: jnp.tanh(function(*args)).mean(), (0, 1))(variables, x)
        return function(variables, x), gradient

    a, b = (jax.jit(results, static_argnums=0)(function) for function in (actual, expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max()), a, b)


# (height, width, kernel size, stride, padding, features), and the path: patches, taps, neither.
@pytest.mark.parametrize(
    ('case', 'path'),
    [
        ((1, 2, 3, 1, None, 5), 'patch_product'),
        ((7, 6, 4, 2, 1, 5), 'patch_product'),
        ((5, 4, 3, 2, None, 5), 'patch_product'),
        ((9, 8, 4, 1, 1, 1), 'tap_products'),
        ((9, 8, 3, 1, None, 3), 'tap_products'),
        ((9, 8, 9, 1, None, 3), '_conv'),  # SRResNet's last layer: 243 maps would not pay
        ((9, 8, 4, 2, 1, 6), '_conv'),
    ],
)
def test_every_path_is_xlas_convolution(case, path, monkeypatch):
    """Whatever path is taken, values and gradients are those of lax.conv."""
    height, width, *fields = case
    size, stride, padding, features = fields
    x, module = pictures(2, height, width, 6), Conv(features, size, stride, padding)
    variables = init(module, x)
    pad = size // 2 if padding is None else padding

    def plain(variables, x):
        kernel, bias = (variables['params'][name] for name in ('kernel', 'bias'))
        return conv._xla_conv(x, kernel, stride, pad, None) + bias.reshape(1, 1, 1, -1)

    taken = []
    for name in ('patch_product', 'tap_products', '_conv'):
        function = getattr(conv, name)
        monkeypatch.setattr(conv, name, lambda *args, f=function, name=name: taken.append(name) or f(*args))
    assert_same(module.apply, plain, variables, x)
    assert set(taken) == {path}


def test_up_conv_is_nearest_then_conv():
    """Taken before the upsampling, the products give what a 3x3 convolution gives after it."""
    x = pictures(2, 5, 4, 6)
    assert_same(UpConv(3).apply, lambda variables, x: Conv(3).apply(variables, upsample(x)), init(UpConv(3), x), x)


@pytest.mark.parametrize('module', [Conv(5, dtype=jnp.bfloat16), UpConv(2, dtype=jnp.bfloat16)])
def test_bfloat16(module):
    """The result has the asked dtype, the parameters stay float32."""
    y, variables = shapes(module, (1, 3, 3, 4))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
