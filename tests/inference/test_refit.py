"""The second fit of fluxes: what a star lacks is found in the frame, and put where the output has the star."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from astro_gan.inference import fluxes, refit
from astro_gan.inference.refit import Psf

PSF = Psf(fwhm=2.6, concentration=0.78, narrow=1.56, factor=2)
PLACES = np.array([[12.3, 15.8], [30.1, 14.4], [31.6, 40.2], [50.2, 50.7], [50.4, 54.1]])
FLUX = np.array([40.0, 60.0, 400.0, 90.0, 120.0])
SHAPE = (64, 66)


def seen(places=PLACES, flux=FLUX, psf=PSF):
    """The frame without noise, `[h, w]`."""
    y, x = np.indices(SHAPE)
    return sum(f * psf.seen((y - a) ** 2 + (x - b) ** 2) for (a, b), f in zip(places, flux, strict=True))


def shown(flux, places=PLACES, psf=PSF):
    return refit.stars(places, flux, tuple(2 * side for side in SHAPE), psf, narrow=True)


def test_the_psf_has_the_concentration_it_is_said_to_have():
    """Sums over fine pixels: so much of the light within 3 FWHM is within 1 FWHM; some of it is beyond."""
    y, x = (np.indices((801, 801)) - 400) / 20
    square = y**2 + x**2
    light = PSF.seen(square) / 400
    inner, outer = (light[np.sqrt(square) < radius * PSF.fwhm].sum() for radius in (1, 3))
    assert inner / outer == pytest.approx(0.78, abs=0.003)
    assert light.sum() == pytest.approx(sum(PSF.shares), abs=0.01)
    assert light[np.sqrt(square) < 3 * PSF.fwhm].sum() == pytest.approx(0.674 + 0.347 * 0.78, abs=0.003)
    assert Psf(2.6, 0.99, 1.56, 2).shares == (1, 0)


def test_what_is_seen_again_keeps_the_light_and_has_the_width():
    """Stars of the output are in the input what the PSF makes of them, pixel by pixel."""
    again = refit.seen_again(shown(FLUX), PSF)
    assert again.sum() == pytest.approx(FLUX.sum() * sum(PSF.shares), rel=0.01)
    # A pixel's light is at its centre in `seen`, spread over it in the output; 1.5% of the highest pixel.
    np.testing.assert_allclose(again, seen(), atol=0.02 * seen().max())


def test_fluxes_that_a_network_lost_come_back():
    """An output with two thirds of every star's light gets the rest within a few percent, close pair and all."""
    output = shown(2 / 3 * FLUX)
    places, missing, residual = refit.refit(seen(), np.ones(SHAPE, bool), output, PSF)
    order = [int(np.argmin(np.hypot(*(places - place).T))) for place in PLACES]
    assert len(set(order)) == len(places) == 5
    np.testing.assert_allclose(places[order], PLACES, atol=0.2)
    np.testing.assert_allclose(missing[order], FLUX / 3, rtol=0.12)
    whole = output + shown(missing, places)
    assert whole.sum() / 4 == pytest.approx(FLUX.sum(), rel=0.04)
    assert np.abs(residual).max() < 0.15 * np.abs(seen() - refit.seen_again(output, PSF)).max()


def test_faint_stars_are_right_on_average():
    """200 stars of 8 sigma in noise, of which the output shows half the light: within 3% together."""
    rng = np.random.default_rng(0)
    flux = 8 * 1.505 * PSF.fwhm
    cells = np.stack(np.meshgrid(np.arange(12, 52, 13), np.arange(12, 56, 13), indexing='ij'), -1).reshape(-1, 2)
    total = []
    for _ in range(16):
        places = cells + rng.uniform(-0.5, 0.5, cells.shape)
        frame = seen(places, np.full(len(places), flux)) + rng.normal(size=SHAPE)
        output = shown(np.full(len(places), 0.5 * flux), places)
        found, missing, _ = refit.refit(frame, np.ones(SHAPE, bool), output, PSF)
        assert len(found) == len(places)
        total.append((missing / flux + 0.5).mean())
    assert np.mean(total) == pytest.approx(1, abs=0.03)


def test_empty_sky_and_unusable_pixels_stay():
    """No source, no change; nor where a star's core holds no measurement; nor does a star become a hole."""
    empty = np.zeros((2 * SHAPE[0], 2 * SHAPE[1]), np.float32)
    places, missing, residual = refit.refit(seen(), np.ones(SHAPE, bool), empty, PSF)
    assert len(places) == len(missing) == 0
    np.testing.assert_allclose(residual, seen())
    usable = np.ones(SHAPE, bool)
    usable[28:35, 37:43] = False
    places, missing, _ = refit.refit(0 * seen(), usable, shown(FLUX), PSF)
    spoiled = np.hypot(*(places - PLACES[2]).T) < 1
    assert spoiled.sum() == 1
    assert missing[spoiled] == 0
    assert (missing[~spoiled] < 0).all()
    assert (shown(FLUX) + shown(missing, places)).min() > -0.1


def test_bands_do_not_show(monkeypatch):
    """However the rows come and whatever the bands: the same as the whole at once."""
    rng = np.random.default_rng(1)
    frame = (ndimage.zoom(seen(), 1, order=1) + rng.normal(size=SHAPE)).astype(np.float32)
    output = shown(0.5 * FLUX).astype(np.float32)

    def rows(top, count):
        return frame[None, top : top + count], np.ones((1, count, SHAPE[1]), bool)

    def run(sizes, **blend):
        edges = np.cumsum([0, *sizes])
        strips = (output[a:b, :, None, None] for a, b in itertools.pairwise(edges))
        parts = list(fluxes.corrected(strips, rows, SHAPE[0], [PSF], **blend))
        return np.concatenate([part for part, _ in parts]), np.concatenate([part for _, part in parts], axis=1)

    places, missing, residual = refit.refit(frame, np.ones(SHAPE, bool), output, PSF)
    whole = output + shown(missing, places)
    for band, block, sizes in ((256, 99, (128,)), (256, 30, (30, 2, 96)), (20, 99, (64, 64)), (20, 7, (8,) * 16)):
        monkeypatch.setattr(fluxes, 'BAND', band)
        monkeypatch.setattr(fluxes, 'BLOCK', block)
        made, left = run(sizes)
        np.testing.assert_allclose(made[..., 0, 0], whole, atol=2e-3)
        np.testing.assert_allclose(left[0], residual, atol=2e-3)
    wide = refit.stars(places, missing, output.shape, PSF, narrow=False)
    np.testing.assert_allclose(run((128,), sharpen=0.0)[0][..., 0, 0], output + wide, atol=2e-3)
