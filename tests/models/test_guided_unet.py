"""The guided U-Net: starts from the first guess, keeps its encoder, takes any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.guides import PLANES
from astro_gan.models import make_generator


@pytest.fixture(scope='module')
def net():
    module = make_generator('guided_unet', features=4, stages=1)
    x = jnp.asarray(np.random.default_rng(0).random((2, 66, 70, 1 + PLANES)), jnp.float32)
    return module, module.init(jax.random.key(0), x, train=False), x


def test_the_fresh_network_gives_the_first_guess(net):
    """Before training the output is nearly the guides' own colours, in the input's size."""
    module, variables, x = net
    y = module.apply(variables, x, train=False)
    assert y.shape == (2, 66, 70, 2)
    assert float(jnp.abs(y - x[..., 1:3]).max()) < 0.1


def test_the_encoder_is_not_trained(net):
    """Gradients reach the decoder alone, and batch statistics of the encoder stay."""
    module, variables, x = net

    def loss(params):
        y, new = module.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
        return jnp.square(y).sum(), new['batch_stats']

    grads, stats = jax.grad(loss, has_aux=True)(variables['params'])
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads['encoder']))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads['tail']))
    jax.tree.map(np.testing.assert_array_equal, stats['encoder'], variables['batch_stats']['encoder'])


@pytest.mark.parametrize(('shape', 'words'), [((1, 64, 64, 1), 'H, W, 7'), ((1, 48, 64, 1 + PLANES), 'at least 64')])
def test_wrong_inputs_are_refused(net, shape, words):
    """Too few channels, and pictures that are too small."""
    module, variables, _ = net
    with pytest.raises(ValueError, match=words):
        module.apply(variables, jnp.zeros(shape), train=False)
