"""Noise, cosmic rays, saturation by value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.simulation import detector


def lag(noise, dy, dx):
    noise = np.asarray(noise)
    return float((noise * np.roll(noise, (dy, dx), (0, 1))).mean() / np.square(noise).mean())


def exposed(clean, **settings):
    plain = {'gain': 50.0, 'hits': 0, 'correlation': 0.0, 'level': np.inf}
    return np.asarray(
        detector.expose(jax.random.key(1), clean, **{k: jnp.asarray(v) for k, v in (plain | settings).items()})
    )


@pytest.mark.parametrize('correlation', [0.0, 0.3, 0.6])
def test_correlated_noise(correlation):
    """Variance 1 and the autocorrelation asked for: at lag 1 on both axes, on the diagonal its square."""
    noise = detector.correlate(jax.random.normal(jax.random.key(0), (512, 512)), jnp.asarray(correlation))
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert lag(noise, 0, 1) == pytest.approx(correlation, abs=0.01)
    assert lag(noise, 1, 0) == pytest.approx(correlation, abs=0.01)
    assert lag(noise, 1, 1) == pytest.approx(correlation**2, abs=0.01)


def test_grain():
    """Variance 1, and the autocorrelation of a Gaussian filter, exp(-d^2 / 4 s^2)."""
    noise = detector.grain(jax.random.normal(jax.random.key(0), (512, 512)), jnp.asarray(1.5))
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert lag(noise, 0, 2) == pytest.approx(np.exp(-4 / 9), abs=0.02)


def test_light_has_more_noise():
    """Mean kept, variance 1 + light / gain."""
    frame = exposed(jnp.full((400, 400), 200.0))
    assert frame.mean() == pytest.approx(200, abs=0.02)
    assert frame.var() == pytest.approx(1 + 200 / 50, rel=0.02)


def test_cosmic_rays_are_few_and_bright():
    """None of none; three are three tracks and three hot pixels, all above the noise."""
    assert not np.asarray(detector.cosmic_rays(jax.random.key(0), (64, 64), jnp.asarray(0))).any()
    from scipy.ndimage import label

    hits = np.asarray(detector.cosmic_rays(jax.random.key(0), (64, 64), jnp.asarray(3)))
    assert 3 <= label(hits > 1)[1] <= 6
    assert (hits >= 0).all()


def test_saturation_bleeds_and_keeps_the_charge():
    """What a pixel cannot hold goes up and down its column by equal parts, and none is lost."""
    light = jnp.zeros((41, 5)).at[20, 2].set(100.0)
    held = np.asarray(detector.saturate(light, jnp.asarray(10.0)))
    assert held.max() == 10
    assert held.sum() == pytest.approx(100)
    np.testing.assert_allclose(held[:, 2], held[::-1, 2], atol=1e-5)
    assert held[:, [0, 1, 3, 4]].sum() == 0
    np.testing.assert_array_equal(detector.saturate(light, jnp.asarray(np.inf)), light)
    assert exposed(light, level=10.0).max() == pytest.approx(10, abs=5)
