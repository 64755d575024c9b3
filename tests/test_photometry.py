"""Measures of frames are right where the answer is known: a perfect output, a lost star, a flux, a width."""

import numpy as np
import pytest

from astro_gan import photometry
from tests.inference import skies

FWHM = 3.0
SIGMA = np.sqrt(4 * np.pi / (8 * np.log(2))) * FWHM  # flux of a star of one sigma


@pytest.fixture(scope='module')
def scene():
    """Truth [256, 256] at factor 2 with PSF 1.8 input pixels; places, sigmas: a grid of stars, and close pairs."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(12, 112, 15), np.arange(12, 112, 15)), -1).reshape(-1, 2) + rng.uniform(
        -1, 1, (49, 2)
    )
    sigmas = np.geomspace(4, 300, 49)
    places = np.concatenate([grid, grid[45:] + (0.0, 1.2 * FWHM)])
    sigmas = np.concatenate([sigmas, sigmas[45:]])
    truth = skies.stars(256, photometry.to_output(places, 2), 4 * sigmas * SIGMA, 2 * 1.8)
    return truth, places, sigmas


def record(output, scene, seed=1):
    noise = np.random.default_rng(seed).normal(0, 0.3, output.shape)
    return photometry.detections(output + noise, scene[1], scene[2], factor=2, fwhm=FWHM, seen=3.6)


def test_all_is_found_in_a_perfect_output(scene):
    """All stars, all pairs, at the right places; nothing by chance beyond the share of area."""
    records = [record(scene[0], scene)]
    found = photometry.completeness(records)
    np.testing.assert_allclose(found[1:], 1.0)
    assert photometry.chance(records) < 0.2
    assert photometry.offset(records)[3] < 0.05
    assert 0 < photometry.threshold(records) < 10


def test_lost_and_blended_stars(scene):
    """Without its faint stars an output has lost that bin; a blurred one splits no pairs; nothing at all is 0."""
    truth, places, sigmas = scene
    faint = (sigmas > 10) & (sigmas < 30)
    without = truth - skies.stars(256, photometry.to_output(places[faint], 2), 4 * sigmas[faint] * SIGMA, 3.6)
    found = photometry.completeness([record(without, scene)])
    assert found[2] == 0
    assert found[3] == 1
    blurred = skies.stars(256, photometry.to_output(places, 2), 4 * sigmas * SIGMA, 2 * 6.0)
    assert photometry.completeness([record(blurred, scene)])[4] == 0
    assert photometry.completeness([record(0 * truth, scene)])[3] == 0


def test_invented_stars_raise_the_threshold(scene):
    """False stars as bright as 20 sigma push the threshold above them: what is fainter counts as lost."""
    truth, _, _ = scene
    places = np.random.default_rng(5).uniform(5, 120, (40, 2))
    invented = truth + skies.stars(256, photometry.to_output(places, 2), np.full(40, 4 * 20 * SIGMA), 3.6)
    plain, worse = (photometry.completeness([record(x, scene)]) for x in (truth, invented))
    assert worse[1] < 0.2 < plain[1]


def test_flux_width_and_shape(scene):
    """Five percent of flux lost are found as such; widths and ellipticities are those of the Gaussians."""
    truth, places, sigmas = scene
    errors = photometry.fluxes(0.95 * truth, truth, places, sigmas, factor=2, fwhm=FWHM)
    mean, scatter = photometry.flux_error([errors], 5)
    assert mean == pytest.approx(-0.05, abs=0.002)
    assert scatter < 0.005
    found = photometry.widths(truth, places, sigmas, factor=2, fwhm=FWHM)
    shown = np.sqrt(1.8**2 + 8 * np.log(2) / 12 / 4)
    np.testing.assert_allclose(found, shown, rtol=0.02)
    y, x = np.mgrid[:64, :64] - 32
    galaxy = np.exp(-0.5 * ((x / 6) ** 2 + (y / 3) ** 2))
    window = 4.0 * 2
    e1, e2 = photometry.ellipticity(galaxy, np.array([(15.75, 15.75)]), factor=2, radius=4.0)[0]
    xx, yy = (1 / (1 / a**2 + 1 / window**2) for a in (6, 3))
    assert e1 == pytest.approx((xx - yy) / (xx + yy), abs=0.02)
    assert e2 == pytest.approx(0, abs=0.01)
