"""Stars, galaxies and PSFs by value, some against GalSim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan.simulation import fields, psf, scenes

SIZE = 192  # fine pixels


def blurred(light, transfer):
    return np.asarray(jnp.fft.irfft2(jnp.fft.rfft2(light) * transfer, light.shape))


def centroid(picture):
    y, x = np.indices(picture.shape)
    return (picture * x).sum() / picture.sum(), (picture * y).sum() / picture.sum()


def all_psfs(width=12.0):
    return {
        'gaussian': psf.gaussian(jnp.asarray(width), SIZE, ratio=0.8, angle=0.5),
        'moffat': psf.moffat(jnp.asarray(width), jnp.asarray(3.0), SIZE, ratio=0.9),
        'telescope': psf.telescope(jnp.asarray(width), SIZE, angle=0.3, aberrations=jnp.full(5, 0.03)),
        'jwst': psf.telescope(jnp.asarray(width), SIZE, hexagons=True),
    }


def test_stars_keep_flux_and_place():
    """The sum over all pixels is the flux, and the centroid of a blurred star its position, between pixels too."""
    x, y, flux = jnp.array([80.3]), jnp.array([101.75]), jnp.array([1000.0])
    picture = blurred(scenes.points(x, y, flux, SIZE), psf.gaussian(jnp.asarray(8.0), SIZE))
    assert picture.sum() == pytest.approx(1000, rel=1e-5)
    assert centroid(picture) == pytest.approx((80.3, 101.75), abs=1e-3)
    peak = 1000 / (2 * np.pi * (8 * psf.SIGMA) ** 2)  # of a Gaussian, by its definition
    rows, columns = np.indices(picture.shape)
    expected = peak * np.exp(-((columns - 80.3) ** 2 + (rows - 101.75) ** 2) / (2 * (8 * psf.SIGMA) ** 2))
    np.testing.assert_allclose(picture, expected, atol=1e-4 * peak)


@pytest.mark.parametrize('name', ['gaussian', 'moffat', 'telescope', 'jwst'])
def test_psfs_keep_flux_and_place(name):
    """Sum 1, no part below 0 beyond rounding, centred to a hundredth of a pixel, and of the width asked for."""
    transfer = all_psfs()[name]
    picture = np.fft.fftshift(blurred(jnp.zeros((SIZE, SIZE)).at[0, 0].set(1.0), transfer))
    assert picture.sum() == pytest.approx(1, abs=1e-5)
    assert picture.min() > -1e-6
    # Of what is near: the wings of diffraction end with the grid, which is not symmetric about its centre pixel.
    near = picture[SIZE // 2 - 40 : SIZE // 2 + 41, SIZE // 2 - 40 : SIZE // 2 + 41]
    assert centroid(near) == pytest.approx((40, 40), abs=0.05)
    width = float(psf.measured_fwhm(transfer, SIZE))
    wanted = {'gaussian': (12, 0.1), 'moffat': (12, 0.1), 'telescope': (11.6, 0.6), 'jwst': (11.6, 1.5)}[name]
    assert width == pytest.approx(wanted[0], abs=wanted[1])


def test_a_psf_is_the_same_on_a_larger_grid():
    """`enlarged` keeps width and flux."""
    large = psf.enlarged(psf.gaussian(jnp.asarray(9.0), 128), 128, SIZE)
    np.testing.assert_allclose(np.abs(large - psf.gaussian(jnp.asarray(9.0), SIZE)), 0, atol=1e-4)


def test_spikes_lie_where_the_vanes_say():
    """Four vanes along the axes: more light on the axes than between them, far from the core; without vanes no more."""
    point = jnp.zeros((SIZE, SIZE)).at[0, 0].set(1.0)
    y, x = np.indices((SIZE, SIZE))
    x, y = (x + SIZE // 2) % SIZE - SIZE // 2, (y + SIZE // 2) % SIZE - SIZE // 2
    ring = (np.hypot(x, y) > 30) & (np.hypot(x, y) < 60)
    angle = np.abs((np.degrees(np.arctan2(y, x)) + 45) % 90 - 45)
    pictures = [blurred(point, psf.telescope(jnp.asarray(8.0), SIZE, vanes=vanes, width=0.04)) for vanes in (4, 0)]
    spiked, round_ = (picture[ring & (angle < 4)].mean() / picture[ring & (angle > 30)].mean() for picture in pictures)
    assert spiked > 2.5
    assert round_ == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(('index', 'tolerance'), [(1.0, 0.01), (2.5, 0.03)])
def test_sersic_is_that_of_galsim(index, tolerance):
    """Flux, half-light radius and profile of an inclined galaxy behind a PSF, drawn by GalSim."""
    galsim = pytest.importorskip('galsim')
    ours = scenes.sersic(95.5, 95.5, 100.0, 12.0, index, 0.5, 0.6, SIZE)
    ours = blurred(ours, psf.gaussian(jnp.asarray(8.0), SIZE))
    # GalSim's half-light radius is of the circular profile before shearing, sqrt(ab).
    galaxy = galsim.Sersic(index, half_light_radius=12 * np.sqrt(0.5), flux=100).shear(q=0.5, beta=0.6 * galsim.radians)
    drawn = galsim.Convolve(galaxy, galsim.Gaussian(fwhm=8)).drawImage(nx=SIZE, ny=SIZE, scale=1, method='no_pixel')
    assert ours.sum() == pytest.approx(100, rel=1e-4)
    assert np.abs(ours - drawn.array).max() < tolerance * drawn.array.max()


def test_airy_disk_is_that_of_galsim():
    """A telescope without vanes: GalSim's Airy pattern of the same band and obstruction."""
    galsim = pytest.importorskip('galsim')
    width = 10.0
    ours = np.fft.fftshift(
        blurred(
            jnp.zeros((SIZE, SIZE)).at[0, 0].set(1.0), psf.telescope(jnp.asarray(width), SIZE, obstruction=0.3, vanes=0)
        )
    )
    drawn = sum(
        galsim.Airy(lam_over_diam=width / 1.03 * band, obscuration=0.3)
        .drawImage(nx=SIZE + 1, ny=SIZE + 1, scale=1, method='no_pixel')
        .array[:SIZE, :SIZE]
        for band in (0.9, 1.0, 1.1)
    )
    drawn /= drawn.sum()
    assert np.abs(ours - drawn).max() < 0.04 * drawn.max()


def test_pixels_integrate():
    """Frame and truth of one star: flux kept, both centred on its position, both of the widths that are told."""
    at, fine = 23.2, 48 * fields.OVERSAMPLING
    light = scenes.points(*(jnp.array([v * fields.OVERSAMPLING + 1.5]) for v in (at, 20.6)), jnp.array([500.0]), fine)
    clean, truth, fwhm = jax.jit(lambda x: fields.observe(x, psf.gaussian(jnp.asarray(9.0), fine), factor=2))(light)
    clean, truth = np.asarray(clean), np.asarray(truth)
    assert clean.sum() == pytest.approx(500, rel=1e-4)
    assert truth.sum() / 4 == pytest.approx(500, rel=1e-4)  # surface brightness per pixel of the input
    assert centroid(clean) == pytest.approx((at, 20.6), abs=1e-2)
    x, y = centroid(truth)
    assert ((x - 0.5) / 2, (y - 0.5) / 2) == pytest.approx((at, 20.6), abs=1e-2)  # pixel centres of both grids
    # A Gaussian of 9 fine pixels and a pixel of 4: widths add in squares, nearly.
    assert float(fwhm) == pytest.approx(np.sqrt(9**2 + 15 / 12 / psf.SIGMA**2) / 4, rel=0.02)
    rows, columns = np.indices(truth.shape)
    moments = ((columns - x) ** 2 + (rows - y) ** 2) * truth / truth.sum()
    inside = np.hypot(columns - x, rows - y) < 12
    width = np.sqrt(moments[inside].sum() / 2) / psf.SIGMA / 2
    assert width == pytest.approx(0.6 * float(fwhm), rel=0.02)


def test_nebulae_have_the_mean_and_the_slope_asked_for():
    """Mean 1, nothing below 0, and a power that falls with frequency."""
    light = np.asarray(scenes.diffuse(jax.random.key(0), jnp.asarray(3.0), jnp.asarray(0.5), 128))
    assert light.mean() == pytest.approx(1, rel=1e-4)
    assert light.min() > 0
    power = np.abs(np.fft.rfft2(np.log(light))) ** 2
    low, high = power[4:8, 4:8].mean(), power[16:32, 16:32].mean()
    assert np.log2(low / high) / np.log2(24 / 5.9) == pytest.approx(3, abs=0.5)


def test_arcs_lie_on_their_ring():
    """1 on the ridge in the middle of the arc, a Gaussian across it, and fainter along it as said."""
    place = [jnp.asarray(value) for value in (96.0, 90.0)]
    numbers = [jnp.asarray(value) for value in (30.0, 3.0, 1.0, 0.0, 2.0)]
    picture = np.asarray(scenes.arc(*place, *numbers, SIZE))
    assert picture[90, 126] == pytest.approx(1)
    assert picture[90, 129] == pytest.approx(np.exp(-0.5))
    assert picture[120, 96] == pytest.approx(np.exp(-2), rel=1e-3)
    assert picture[90, 66] == pytest.approx(np.exp(-4), rel=1e-3)
    assert picture[90, 96] < 1e-6
