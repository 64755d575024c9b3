"""Batches from (seed, step), and simulated files."""

import jax
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_gan.cli import main
from astro_gan.noise_units import from_network
from astro_gan.simulation import fields


def training(seed, step):
    batch = jax.device_get(next(fields.Fields(count=4, size=24, factor=2).training(seed, step)))
    return {name: values.reshape(4, *values.shape[2:]) for name, values in batch.items()}


@pytest.fixture(scope='module')
def batch():
    return training(5, 7)


def test_seed_and_step_make_the_batch(batch):
    """The same again for the same seed and step, also when a run goes on there; another for another step."""
    np.testing.assert_array_equal(batch['input'], training(5, 7)['input'])
    iterator = fields.Fields(count=4, size=24, factor=2).training(5, 6)
    next(iterator)
    np.testing.assert_array_equal(np.ravel(next(iterator)['input']), np.ravel(batch['input']))
    assert np.abs(training(5, 8)['input'] - batch['input']).max() > 0.1


def test_batches_are_finite_and_aligned(batch):
    """Shapes, and the truth binned to the input's pixels has the input's light."""
    assert batch['input'].shape == (4, 24, 24, 4)
    assert batch['target'].shape == (4, 48, 48, 1)
    assert all(np.isfinite(values).all() for values in batch.values())
    assert (batch['input'][..., 1:] == batch['input'][:, :1, :1, 1:]).all()
    truth = from_network(batch['target'][..., 0]).reshape(4, 24, 2, 24, 2).mean((2, 4))
    frame = from_network(batch['input'][..., 0])
    for one, other, shared in zip(truth, frame, batch['input'][:, 0, 0, 2], strict=True):
        # Noise that pixels share is larger in the mean.
        noise = 0.2 + 0.6 * float(shared)
        assert abs(one.mean() - other.mean()) < noise + 0.1 * abs(one.mean())


def test_random_fields_have_what_they_are_said_to_have():
    """Noise 1 on fields without light, widths and correlations within the ranges, stars inside."""
    draw = jax.jit(jax.vmap(lambda key: fields.random_field(key, size=24, factor=2)))
    found = jax.device_get(draw(jax.random.split(jax.random.key(0), 24)))
    assert (found['fwhm'] > 0.9 * fields.FWHM[0]).all()
    assert (found['fwhm'] < 1.05 * fields.FWHM[1]).all()
    assert (found['correlation'] <= fields.MOST_CORRELATION).all()
    assert found['flux'].min() >= 0
    assert (found['x'] >= -0.5).all()
    assert (found['x'] < 23.5).all()
    noise = (found['input'] - found['clean'])[np.abs(found['clean']).max((1, 2)) < 3]
    assert len(noise) > 2
    assert np.median(np.abs(noise)) == pytest.approx(0.6745, rel=0.1)


def test_held_out_fields_are_no_training_fields(batch):
    """Two splits, each the same at every pass; the last batch is filled up, and its mask says so."""
    source = fields.Fields(count=4, size=24, factor=2)
    first, second = source.held_out(1, 6)
    np.testing.assert_array_equal(next(source.held_out(1, 6))['input'], first['input'])
    assert np.ravel(second['mask']).tolist() == [1, 1, 0, 0]
    assert np.ravel(second['index']).tolist() == [4, 5, 6, 7]
    for other in (next(source.held_out(2, 4)), second, next(source.training(0, 0))):
        assert np.abs(other['input'] - first['input']).max() > 0.1


def test_simulate_writes_what_stands_in_the_catalogue(tmp_path, capsys):
    """Frame, truth and catalogue agree: sky, noise, positions of pixel centres from 0, fluxes; the seed decides."""
    options = ['simulate', '-o', str(tmp_path), '--size', '96', '--stars', '1', '--faintest', '5000', '--seed', '3']
    options += ['--sky', '50', '--noise', '2', '--dead-columns', '1', '--brightest', '9000', '--fwhm', '2']
    assert main(options) == 0
    assert '1 stars' in capsys.readouterr().out
    frame, header = fits.getdata(tmp_path / 'field_000.fits'), fits.getheader(tmp_path / 'field_000.fits')
    truth = fits.getdata(tmp_path / 'field_000_truth.fits') - 50
    star = Table.read(tmp_path / 'field_000_stars.csv')[0]
    assert np.isnan(frame).any(0).sum() == 1
    assert np.nanmedian(frame) == pytest.approx(50, abs=1)
    assert truth.sum() / 4 == pytest.approx(star['flux'], rel=1e-3)
    y, x = np.indices(truth.shape)
    near = np.hypot(x - 2 * star['x'] - 0.5, y - 2 * star['y'] - 0.5) < 12
    assert (truth * x)[near].sum() / truth[near].sum() == pytest.approx(2 * star['x'] + 0.5, abs=0.02)
    assert (truth * y)[near].sum() / truth[near].sum() == pytest.approx(2 * star['y'] + 0.5, abs=0.02)
    assert star['flux'] == pytest.approx(star['sigma'] * 2 * 1.505 * header['FWHM'], rel=1e-3)
    again = tmp_path / 'again'
    options[2] = str(again)
    assert main(options) == 0
    assert (again / 'field_000.fits').read_bytes() == (tmp_path / 'field_000.fits').read_bytes()


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('--size', '20', 'at least 64'),
        ('--fwhm', '9', 'from 0.75 to 6'),
        ('--brightest', '1', 'above --faintest 3'),
        ('--correlation', '0.9', 'from 0 to 0.7'),
        ('--noise', '0', 'at least 1e-30'),
    ],
)
def test_wrong_settings_of_simulate(tmp_path, capsys, option, value, message):
    """One line that names the setting and what would be right."""
    assert main(['simulate', '-o', str(tmp_path), option, value]) == 1
    assert message in capsys.readouterr().err


def test_a_psf_of_the_user_and_grain(tmp_path):
    """A Gaussian's image, off its middle and sampled otherwise, gives the built-in one's stars; grain's noise."""
    y, x = np.indices((61, 67))
    variance = (2.5 * 3 / 2.3548) ** 2
    picture = 7 * np.exp(-((x - 31.3) ** 2 + (y - 30.6) ** 2) / (2 * variance))
    fits.PrimaryHDU(picture.astype(np.float32)).writeto(tmp_path / 'psf.fits')
    options = ['--stars', '40', '--size', '64', '--seed', '3']
    for name, psf in (('own', [str(tmp_path / 'psf.fits'), '--sampling', '3']), ('ours', ['gaussian'])):
        assert main(['simulate', '-o', str(tmp_path / name), *options, '--psf', *psf]) == 0
    own, ours = (fits.getdata(tmp_path / name / 'field_000_truth.fits') for name in ('own', 'ours'))
    np.testing.assert_allclose(own, ours, atol=0.02 * ours.max())
    own, ours = (fits.getdata(tmp_path / name / 'field_000.fits') for name in ('own', 'ours'))
    np.testing.assert_allclose(own, ours, atol=0.02 * ours.max())
    assert main(['simulate', '-o', str(tmp_path / 'plate'), '--stars', '0', '--size', '128', '--grain', '1.2']) == 0
    plate = fits.getdata(tmp_path / 'plate' / 'field_000.fits')
    neighbours = np.corrcoef(plate[:, 1:].ravel(), plate[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 1.2**2)), abs=0.03)
    assert main(['simulate', '-o', str(tmp_path / 'no'), '--psf', 'none.fits']) == 1
    fits.PrimaryHDU(np.ones((9, 9), np.float32)).writeto(tmp_path / 'flat.fits')
    assert main(['simulate', '-o', str(tmp_path / 'no'), '--psf', str(tmp_path / 'flat.fits')]) == 1
