"""What is measured of a frame is what it was made with: sky, noise, width of the stars, correlation of the noise."""

import numpy as np
import pytest
from scipy import ndimage

from astro_gan.files.fits import read_frame
from astro_gan.inference import stars
from astro_gan.inference.measure import Mesh, measure
from tests.inference import skies


@pytest.mark.parametrize(
    ('fwhm', 'correlation', 'count'), [(1.4, 0.0, 200), (2.5, 0.0, 60), (2.5, 0.5, 60), (5.0, 0.25, 60)]
)
def test_star_fields(fwhm, correlation, count):
    """Noise to 5%, FWHM as the pixels show it to 10%, correlation to 0.05, sky to a third of the noise."""
    data, _, _ = skies.field(1, fwhm=fwhm, correlation=correlation, count=count)
    found = measure(data.astype(np.float32))
    shown = np.sqrt(fwhm**2 + 8 * np.log(2) / 12)  # a pixel adds its own variance
    assert found.noise_level.value == pytest.approx(2.0, rel=0.05)
    assert found.fwhm.value == pytest.approx(shown, rel=0.1)
    assert 'stars' in found.fwhm.source
    assert found.correlation.value == pytest.approx(correlation, abs=0.05)
    assert found.sky_level.value == pytest.approx(100.0, abs=0.7)
    assert found.saturation is None
    assert found.linear
    assert not found.grain


def test_concentration_is_that_of_the_psf():
    """A Gaussian's 0.938 and a Moffat profile's 0.767 (beta 3) within 0.03; 0.75 where nothing tells."""
    data, places, fluxes = skies.field(3, fwhm=3.0, count=40)
    assert measure(data).concentration.value == pytest.approx(0.9375, abs=0.03)
    rng = np.random.default_rng(0)
    y, x = np.indices(data.shape)
    core = 3.0 / (2 * np.sqrt(2 ** (1 / 3) - 1))
    moffat = 100 + 2 * rng.normal(size=data.shape)
    for (row, column), flux in zip(places[:25], fluxes[:25], strict=True):
        square = ((y - row) ** 2 + (x - column) ** 2) / core**2
        moffat += 2 * flux * 2 / (np.pi * core**2) * (1 + square) ** -3
    found = measure(moffat).concentration
    within = [1 - (1 + (radius * 3.0 / core) ** 2) ** -2 for radius in (1, 3)]
    assert found.value == pytest.approx(within[0] / within[1], abs=0.03)
    assert found.error < 0.05
    assert 'stars' in found.source
    empty = measure(rng.normal(size=(128, 128))).concentration
    assert (empty.value, empty.source.split(':')[0]) == (0.75, 'assumed')


def test_crowding_is_no_noise():
    """Three stars in ten pixels' width everywhere: their light does not count as noise, nor as its correlation."""
    data, _, _ = skies.field(2, count=2600, faintest=4.0)
    found = measure(data)
    assert np.std(data) > 20
    assert found.noise_level.value == pytest.approx(2.0, rel=0.08)
    assert found.correlation.value == pytest.approx(0.0, abs=0.06)


def test_a_nebula_is_no_noise():
    """Structure a hundred times the noise, smooth over the PSF, in half of the frame; the noise is the other half's."""
    rng = np.random.default_rng(3)
    cloud = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 4)
    cloud = 100 * np.exp(cloud / cloud.std()) * (np.arange(256) > 128)
    found = measure(50 + 2 * (skies.grain(rng, 256) + ndimage.gaussian_filter(cloud, 2)))
    assert found.noise_level.value == pytest.approx(2.0, rel=0.1)
    assert abs(found.correlation.value) < 0.08


def test_noise_and_sky_are_local():
    """A corner that was exposed longer has less noise, and the sky has a slope: the maps say where."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:384, :384]
    noise = np.where((y < 192) & (x < 192), 1.0, 3.0)
    found = measure(0.1 * x + noise * rng.normal(size=(384, 384)))
    assert found.noise.window(60, 60, 1, 1)[0, 0] == pytest.approx(1, rel=0.05)
    assert found.noise.window(300, 300, 1, 1)[0, 0] == pytest.approx(3, rel=0.05)
    np.testing.assert_allclose(found.sky.window(300, 0, 1, 384)[0, 40:340], 0.1 * x[0, 40:340], atol=3)  # one noise


def test_dark_rows_are_no_sky():
    """Rows and a column along the borders that fade to far below the sky, as cameras have: it stays where it is."""
    data = skies.field(1, fwhm=2.5, count=60)[0]
    data[:9] -= np.linspace(70, 2, 9)[:, None]
    data[:, :2] -= 30
    sky = measure(data).sky
    np.testing.assert_allclose(sky.values, 100, atol=1)  # half the noise


def test_maps_agree_over_windows():
    """A window of a map is that part of the whole: tiles see one sky."""
    mesh = Mesh(np.random.default_rng(5).normal(size=(4, 6)), (250, 391))
    whole = mesh.window(0, 0, 250, 391)
    np.testing.assert_allclose(mesh.window(31, 77, 100, 200), whole[31:131, 77:277], rtol=1e-5)
    assert whole.max() <= mesh.values.max() + 1e-6


def test_frames_without_stars():
    """An empty frame, and one of galaxies alone: the width is a guess and says so, with an error that covers it."""
    rng = np.random.default_rng(6)
    empty = measure(rng.normal(size=(256, 256)))
    assert empty.fwhm.value == stars.ASSUMED
    assert 'assumed' in empty.fwhm.source
    galaxies = sum(
        skies.stars(256, rng.uniform(9, 246, (1, 2)), [rng.uniform(3000, 20000)], width)
        for width in np.geomspace(3, 9, 25)
    )
    found = measure(galaxies + rng.normal(size=(256, 256)))
    assert 'narrowest' in found.fwhm.source
    assert abs(found.fwhm.value - 3.1) < 2 * found.fwhm.error
    assert found.noise_level.value == pytest.approx(1, rel=0.05)


def test_saturated_and_missing_pixels():
    """Full pixels are told by their plateau; holes, zeros outside a footprint and flagged pixels do not count."""
    data, _, _ = skies.field(7, count=150, slope=0.4, sky=0.1)
    data = np.minimum(data, 4000.0)
    data[:40], data[200:210, 30:60] = 0.0, np.nan
    bad = np.zeros(data.shape, bool)
    bad[100:140, 100:140] = True
    found = measure(np.where(bad, 1e6, data), bad)
    assert found.saturation == pytest.approx(4000, rel=0.03)
    assert 1e-4 < found.full < 0.1
    assert found.noise_level.value == pytest.approx(2.0, rel=0.05)
    assert found.fwhm.value == pytest.approx(2.6, rel=0.1)


def test_whole_numbers_and_dead_pixels():
    """Counts of which a noise holds few levels, with dead and hot pixels: still the noise."""
    rng = np.random.default_rng(8)
    data = np.round(rng.normal(300, 1.4, (256, 256)))
    data[rng.random(data.shape) < 0.01] = 0
    data[rng.random(data.shape) < 0.01] = 4000
    assert measure(data.astype(np.uint16)).noise_level.value == pytest.approx(np.hypot(1.4, 12**-0.5), rel=0.05)


def test_what_is_given_is_taken():
    """The user's numbers replace the measured ones, and the line says so."""
    found = measure(skies.field(9)[0], sky=90.0, noise=4.0, fwhm=3.3)
    assert (found.sky_level.value, found.noise_level.value, found.fwhm.value) == (90.0, 4.0, 3.3)
    assert found.noise.window(3, 5, 2, 2).tolist() == [[4, 4], [4, 4]]
    assert sum('as given' in line for line in found.lines()) == 3


@pytest.mark.parametrize('data', [np.full((64, 64), np.nan), np.ones((64, 64))])
def test_nothing_to_measure_is_one_line(data):
    """No valid pixel, or no noise: one line."""
    with pytest.raises(ValueError, match='no noise to measure'):
        measure(data)


@pytest.mark.parametrize(
    ('name', 'hdu', 'noise', 'correlation'),
    [
        ('hst_wfc3_snzwicky/flc2023_f475w_iebc17eiq.fits.gz', None, 5.35, 0.0),
        ('hst_wfc3_snzwicky/drz2023_f625w_iebc17020.fits.gz', None, 0.0222, 0.24),
        ('hst_wfc3ir_xdf/xdf_hst_wfc3ir_60mas_f105w_sci.fits.gz', None, 0.00047, 0.54),
        ('hst_acs_cosmos/cosmos_147246_f814w.fits.gz', None, 0.0026, 0.48),
    ],
)
def test_real_frames(real_data, name, hdu, noise, correlation):
    """Single and drizzled Hubble frames: the noise of their sky, and the correlation that drizzling leaves."""
    frame = read_frame(real_data / 'frames' / name, hdu=hdu)
    found = measure(frame.data, frame.bad)
    assert found.noise_level.value == pytest.approx(noise, rel=0.05)
    assert found.correlation.value == pytest.approx(correlation, abs=0.05)


def test_noise_that_32_bits_cannot_hold():
    """In a part of the frame its neighbours' is taken; in all of it, one line."""
    data = np.random.default_rng(0).normal(100, 5, (192, 128))
    data[:64] *= 1e-150
    found = measure(data)
    assert 4.5 < found.noise.values.min() < found.noise.values.max() < 5.5
    with pytest.raises(ValueError, match='no noise to measure'):
        measure(data * 1e-150)


def test_a_correlation_that_is_known_takes_the_place_of_the_measured():
    """The noise follows from it: of differences of neighbours, variance 1 - correlation."""
    data, _, _ = skies.field(3, correlation=0.4)
    found = measure(data, correlation=0.4)
    assert found.correlation.value == 0.4
    assert found.correlation.source == 'as given'
    assert not found.grain
    assert found.noise_level.value == pytest.approx(2.0, rel=0.05)
