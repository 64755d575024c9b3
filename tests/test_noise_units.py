"""The compression of frames in noise units, and the maps that go with them."""

import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan import noise_units


@pytest.mark.parametrize('xp', [np, jnp])
def test_compression_is_inverted(xp):
    """From -1000 to 1e7 noise units to seven digits; the sky stays 0, the noise becomes 1/12."""
    z = xp.asarray([-1e3, -3.0, 0.0, 0.5, 1e2, 1e5, 1e7], xp.float32)
    x = noise_units.to_network(z)
    assert type(x) is type(z)
    np.testing.assert_allclose(noise_units.from_network(x), z, rtol=3e-6)
    assert float(x[2]) == 0.0
    np.testing.assert_allclose(noise_units.to_network(1e-3), 1e-3 / 12, rtol=1e-6)
    np.testing.assert_allclose(noise_units.to_network(3e5), np.log(2e5) / 4, rtol=1e-6)


def test_conditions_are_constant_maps():
    """The width in units of 4 pixels, the correlation as it is, the concentration around 0.75; a frame and a batch."""
    maps = noise_units.conditions([2.0, 0.3], (3, 5))
    assert maps.shape == (3, 5, 2)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps[1, 2], [0.5, 0.3])
    maps = noise_units.conditions([jnp.asarray([2.0, 4.0]), jnp.asarray([0.0, 0.5]), 0.8], (3, 5))
    assert maps.shape == (2, 3, 5, 3)
    np.testing.assert_allclose(maps[1, 2, 4], [1.0, 0.5, 0.2], rtol=1e-5)


def test_conditions_can_be_read_back():
    """By name, of all three or the first two."""
    x = noise_units.network_input(np.zeros((4, 4), np.float32), 2.6, 0.3, 0.8)
    found = noise_units.condition_values(x)
    assert found == {
        name: pytest.approx(value) for name, value in zip(noise_units.CONDITIONS, (2.6, 0.3, 0.8), strict=True)
    }
    assert list(noise_units.condition_values(x[..., :3])) == ['fwhm', 'correlation']


def test_network_input_joins_them():
    """The frame first, then the maps, for a batch and for one frame."""
    z = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    batch = noise_units.network_input(z, np.asarray([2.0, 4.0]), np.asarray([0.0, 0.5]))
    assert batch.shape == (2, 4, 6, 3)
    np.testing.assert_allclose(noise_units.from_network(batch[..., 0]), z, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch[1], noise_units.network_input(z[1], 4.0, 0.5))
