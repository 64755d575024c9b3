"""configs/frames.py end to end, and what is special in its network and losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan import losses
from astro_gan.errors import UserError
from astro_gan.logbook import read_rows
from astro_gan.model import load_model
from astro_gan.models import FrameWDSR
from astro_gan.models.enlarging import bicubic_upsample
from astro_gan.models.frame_wdsr import gaussian
from astro_gan.noise_units import network_input, to_network
from experiments import initial
from tests import networks
from tests.runs import main_here


@pytest.fixture(scope='module')
def trained(smoke_run):
    """The workdir of the smoke run, exported."""
    _, workdir, _ = smoke_run('frames')
    status, _, err = main_here('--config=configs/frames.py:smoke', f'--workdir={workdir}', '--mode=export')
    assert status == 0, err
    return workdir


def test_frames_train_without_data(trained):
    """Both stages train on simulated fields, are measured beside bicubic, and leave finite numbers."""
    rows = read_rows(trained / 'evaluations.csv')
    assert [row['stage'] for row in rows] == ['supervised', 'supervised', 'adversarial', 'adversarial']
    assert all(np.isfinite(row['generator/flux']) for row in rows)
    systems = [row['system'] for row in read_rows(trained / 'test.csv')]
    assert systems == ['bicubic', 'frames supervised', 'frames adversarial']


def test_exported_frames_model_says_what_it_was_trained_for(trained):
    """Its ranges and the PSF of its output stand in model.json, and it gives two by two pixels for one."""
    model = load_model(trained / 'export' / 'supervised')
    description = model.description
    assert description['task'] == 'frames'
    assert description['input']['conditions'] == {
        'fwhm': [1.2, 6.0],
        'correlation': [0.0, 0.91],
        'concentration': [0.5, 0.95],
    }
    assert description['output']['psf'] == {'shape': 'gaussian', 'ratio': 0.6, 'least_fwhm_in_output_pixels': 2.0}
    frame = np.random.default_rng(0).normal(size=(1, 20, 24)).astype(np.float32)
    network = model.networks[0]
    output = network.forward(network.variables, network_input(frame, np.float32(2.5), np.float32(0.1), np.float32(0.8)))
    assert output.shape == (1, 40, 48, 1)


def test_a_fresh_network_is_nearly_bicubic():
    """It starts as the enlargement of the compressed frame, whatever the conditions say."""
    x = network_input(
        np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32), np.float32(2), np.float32(0)
    )
    module = FrameWDSR(features=8, blocks=2)
    output = networks.apply(module, networks.init(module, x), x)
    np.testing.assert_allclose(output, bicubic_upsample(x[..., :1], 2), atol=0.02)


def test_the_radius_of_a_frame_network_is_true():
    """A pixel changes the output as far as the radius says at most, and as far as the widest filter at least."""
    module = FrameWDSR(features=4, blocks=1, scales=(0.7, 1.4))
    x = networks.apply(module, networks.randomise(module, (1, 41, 41, 3)), jnp.zeros((1, 41, 41, 3)))
    variables = networks.randomise(module, (1, 41, 41, 3))
    changed = networks.apply(module, variables, jnp.zeros((1, 41, 41, 3)).at[0, 20, 20, 0].set(1.0))
    rows = np.nonzero(np.abs(changed - x).max((0, 2, 3)) > 0)[0]
    reach = max(20.5 - (rows.min() + 0.5) / 2, (rows.max() + 0.5) / 2 - 20.5)
    assert 4 <= reach <= module.radius + 0.5, reach


def test_filters_keep_white_noise():
    """Standard deviation 1 stays 1, and a star as wide as the filter gets what it is worth in sigma."""
    noise = jax.random.normal(jax.random.key(0), (1, 200, 200, 1))
    assert float(gaussian(noise, 1.4)[0, 10:-10, 10:-10].std()) == pytest.approx(1, abs=0.03)
    y, x = np.indices((41, 41)) - 20
    star = np.exp(-(x**2 + y**2) / (2 * 1.4**2)) / (2 * np.pi * 1.4**2)
    seen = float(gaussian(jnp.asarray(100 * star, jnp.float32)[None, ..., None], 1.4).max())
    assert seen == pytest.approx(100 / np.sqrt(4 * np.pi * 1.4**2), rel=0.02)


def test_noise_units_loss_is_the_mean_squared_error_of_small_errors():
    """Half the square of the error in noise units below the noise, three times the log of the ratio far above."""
    zero = jnp.zeros((1, 4, 4, 1))
    small = losses.noise_units(to_network(zero + 0.1), zero)
    assert float(small) == pytest.approx(0.1**2 / 2, rel=0.01)
    bright = losses.noise_units(to_network(zero + 2e4), to_network(zero + 1e4))
    assert float(bright) == pytest.approx(np.sqrt(1 + (3 * np.log(2)) ** 2) - 1, rel=1e-3)


def test_flux_loss_is_that_of_windows_in_units_of_their_noise():
    """A frame of 10 noise units has 10 k in a window of k x k, for the noise of k^2 pixels is k; and stripes of the
    same flux cost nothing.
    """
    ten, twelve = (to_network(jnp.full((1, 48, 48, 1), value)) for value in (10.0, 12.0))
    for side in (3, 6):
        error = 3 * (np.arcsinh(12 * side / 3) - np.arcsinh(10 * side / 3))
        found = losses.flux(twelve, ten, factor=2, sides=(side,))
        assert float(found) == pytest.approx(np.sqrt(1 + error**2) - 1, rel=1e-3)
    stripes = to_network(jnp.tile(jnp.asarray([5.0, 15.0]), 24)[None, None, :, None] * jnp.ones((1, 48, 1, 1)))
    assert float(losses.flux(stripes, ten, factor=2, sides=(6,))) < 1e-6


def test_flux_bias_is_that_of_the_group():
    """Errors of both signs cancel in the group; a tenth too low in one of six bins costs 0.01 / 6."""
    ten, nine = (to_network(jnp.full((1, 48, 48, 1), value)) for value in (10.0, 9.0))
    assert float(losses.flux_bias(nine, ten, factor=2)) == pytest.approx(0.01 / 6, rel=1e-3)
    stripes = to_network(jnp.where(jnp.arange(48) < 24, 9.0, 11.0)[None, None, :, None] * jnp.ones((1, 48, 1, 1)))
    assert float(losses.flux_bias(stripes, ten, factor=2)) < 1e-5
    assert float(losses.flux_bias(ten, to_network(jnp.zeros((1, 48, 48, 1))), factor=2)) == 0


def test_networks_that_are_told_less_start_no_training():
    """One line in place of a shape that does not fit."""
    ours = {'task': 'frames', 'generator': {}, 'input': {'conditions': {'fwhm': [1, 6], 'concentration': [0.5, 1]}}}
    theirs = {'task': 'frames', 'generator': {}, 'input': {'conditions': {'fwhm': [1, 6]}}}
    with pytest.raises(UserError, match=r'old is a network that is told fwhm, not fwhm, concentration$'):
        initial._check_generator(theirs, ours, 'old')
    initial._check_generator(ours, ours, 'new')


@pytest.mark.parametrize('sigma', [0, 0.0, -1.4, float('nan'), 1e9])
def test_filters_that_are_none(sigma):
    """A width of 0 would make every weight NaN without a word."""
    module = FrameWDSR(features=4, blocks=1, scales=(0.7, sigma))
    with pytest.raises(ValueError, match=r'a filter of .* pixels; above 0 and up to 100 are wanted'):
        module.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
