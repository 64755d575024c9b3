"""Bands of the same sky as colours: aligned by coordinates, balanced, missing where one is missing."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from skimage.color import rgb2lab

from astro_gan.errors import UserError
from astro_gan.guides import lightness_of
from astro_gan.inference.bands import composite, read_bands
from astro_gan.inference.frames import open_frame


def sky_frame(path, colour, *, shift=0.0, scale=1.0, shape=(70, 80), nan=None):
    """A frame of two blobs with brightnesses `colour`, on pixels that are shifted and scaled; noise of 1."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ['RA---TAN', 'DEC--TAN'], [10.0, 20.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [40.5 / scale + shift, 35.5 / scale + shift], [-1e-5 * scale, 1e-5 * scale]
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = scale * (y + 1 - shift) - 1, scale * (x + 1 - shift) - 1
    data = np.random.default_rng(int(100 * shift)).normal(10, 1, shape)
    for (row, column), brightness in zip(((20, 20), (50, 60)), colour, strict=True):
        data += brightness * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 50)
    if nan is not None:
        data[nan] = np.nan
    fits.PrimaryHDU(data.astype(np.float32), wcs.to_header()).writeto(path)
    return str(path)


def opened(path, upright=False):
    return open_frame(path, hdu=None, stretch='asinh', upright=upright, maximum_pixels=10**9)


def test_two_bands_are_aligned_and_colour_what_they_see(tmp_path):
    """A red and a blue blob, in bands with other pixels than the frame's: each has its colour, the sky has none."""
    pytest.importorskip('reproject')
    frame = opened(sky_frame(tmp_path / 'v.fits', (500, 500)))
    red = sky_frame(tmp_path / 'r.fits', (1000, 200), shift=3.5)
    blue = sky_frame(tmp_path / 'b.fits', (100, 500), scale=0.8, shape=(90, 100))
    ab = read_bands([red, blue], frame)
    assert ab.shape == (70, 80, 2)
    assert ab[20, 20, 0] > 10
    assert ab[50, 60, 1] < -10
    assert np.nanmedian(np.abs(ab[:10, 60:])) < 8  # sky
    upright = read_bands([red, blue], opened(tmp_path / 'v.fits', upright=True))
    np.testing.assert_array_equal(upright[::-1], ab)


def test_missing_pixels_stay_open(tmp_path):
    """Where one band has no value the colour is left to the network."""
    frame = opened(sky_frame(tmp_path / 'v.fits', (500, 500)))
    hole = (slice(40, 50), slice(0, 30))
    bands = [sky_frame(tmp_path / f'{n}.fits', (500, 300), nan=hole if n == 'g' else None) for n in 'rgb']
    missing = np.isnan(read_bands(bands, frame)).all(-1)
    assert missing[hole].all()
    assert missing.sum() == 300


def test_other_skies_and_mixed_kinds_are_refused(tmp_path, gray_picture):
    """Frames of another place, and pictures beside frames, are named in one line."""
    pytest.importorskip('reproject')
    frame = opened(sky_frame(tmp_path / 'v.fits', (500, 500)))
    here = sky_frame(tmp_path / 'r.fits', (500, 500))
    far = sky_frame(tmp_path / 'f.fits', (500, 500), shift=500)
    with pytest.raises(UserError, match=r'f\.fits: shows another part of the sky'):
        read_bands([here, far], frame)
    with pytest.raises(UserError, match='not mixed'):
        read_bands([here, str(gray_picture)], frame)
    bare = dataclasses.replace(frame, frame=dataclasses.replace(frame.frame, header=fits.Header()))
    small = sky_frame(tmp_path / 's.fits', (1, 1), shape=(64, 64))
    with pytest.raises(UserError, match=r's\.fits: 64x64 pixels, the image has 80x70, and no coordinates'):
        read_bands([here, small], bare)


def turned_frame(path, brightness, *, angle=0.0, scale=1.0, hole=None):
    """A sky of nine smooth galaxies with these brightnesses, on turned pixels `scale` times as large; noise of 1."""
    size = int(150 / min(scale, 1.0))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ['RA---TAN', 'DEC--TAN'], [10.0, 20.0], [size / 2, size / 2]
    turn = np.deg2rad(angle)
    wcs.wcs.cd = 1e-5 * scale * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    y, x = np.mgrid[:size, :size]
    ra, dec = wcs.all_pix2world(x, y, 0)
    data = np.random.default_rng(int(180 + angle + 10 * scale)).normal(10, 1, (size, size))
    for number, flux in enumerate(brightness):
        east, north = (number % 3 - 1) * 30e-5, (number // 3 - 1) * 30e-5
        distance = np.hypot((ra - 10.0) * np.cos(np.deg2rad(20.0)) - east, dec - 20.0 - north)
        data += flux * np.exp(-0.5 * np.square(distance / 5e-5))
    if hole is not None:
        data[hole] = np.nan
    fits.PrimaryHDU(data.astype(np.float32), wcs.to_header()).writeto(path)
    return str(path), wcs


@pytest.mark.parametrize(('angle', 'scale'), [(0, 1.0), (33, 1.0), (120, 0.7), (-20, 1.4)])
def test_colours_are_the_ratios_of_fluxes_on_any_pixels(tmp_path, angle, scale):
    """Bands on turned, smaller or larger pixels: each galaxy has, within Delta E 2, the colour of its own fluxes."""
    pytest.importorskip('reproject')
    rng = np.random.default_rng(3)
    fluxes = {name: rng.uniform(700, 2000, 9) for name in 'rgb'}
    frame = opened(turned_frame(tmp_path / 'v.fits', sum(fluxes.values()))[0])
    bands = [turned_frame(tmp_path / f'{n}.fits', fluxes[n], angle=angle, scale=scale)[0] for n in 'rgb']
    ab = read_bands(bands, frame)
    light = lightness_of(np.clip(frame.read(0, 0, 150, 150)[..., 0], 0, 1))
    # As `balanced` does: ratios are 1 in the middle half of the pixels above 5 times the noise, whose number goes with
    # the logarithm of the brightness.
    pixels = (1000 * np.log(np.min(list(fluxes.values()), axis=0) / 5.0)).astype(int)
    logs = {n: np.sort(np.repeat(np.log(fluxes[n] / fluxes['r']), pixels)) for n in 'rgb'}
    balance = {n: np.exp(log[len(log) // 4 : -len(log) // 4].mean()) for n, log in logs.items()}
    for number in range(9):
        row, column = 74 + (number // 3 - 1) * 30, 74 - (number % 3 - 1) * 30
        rgb = np.array([fluxes[n][number] / balance[n] for n in 'rgb'])
        values = np.linspace(0, 1, 4001)[:, None] * rgb / rgb.max()
        lab = rgb2lab(values)
        wanted = lab[np.abs(lab[:, 0] - light[row, column]).argmin(), 1:]
        assert np.hypot(*(ab[row, column] - wanted)) < 2.0


def test_one_bright_red_star_does_not_tint_the_rest(tmp_path):
    """Bands are balanced by most pixels: gray galaxies stay gray beside a star that is red and brighter than all."""
    gray = np.full(9, 500.0)
    star = np.where(np.arange(9) == 4, 100.0, 1.0)
    bands = [
        fits.getdata(turned_frame(tmp_path / f'{n}.fits', gray * star**p)[0])
        for n, p in zip('rgb', (1, 0.3, 0.1), strict=True)
    ]
    light = np.full((150, 150), 60.0)
    ab = composite([band.astype(float) for band in bands], light)
    for number in (0, 2, 6, 8):
        row, column = 74 + (number // 3 - 1) * 30, 74 - (number % 3 - 1) * 30
        assert np.hypot(*ab[row, column]) < 3
    assert ab[74, 74, 0] > 30


def test_holes_of_the_image_have_their_neighbours_colours(tmp_path):
    """What image and bands lack is no guess: the neighbours' colour, gray far off; what the bands alone lack is one."""
    corner, inner = (slice(0, 5), slice(None)), (slice(74, 77), slice(74, 77))
    both = turned_frame(tmp_path / 'g.fits', np.full(9, 500.0), hole=corner)[0]
    red = turned_frame(tmp_path / 'r.fits', np.full(9, 900.0), hole=corner)[0]
    blue = turned_frame(tmp_path / 'b.fits', np.full(9, 200.0))[0]
    frame = opened(both)
    ab = read_bands([red, both, blue], frame)
    assert np.isfinite(ab).all()
    np.testing.assert_array_equal(ab[2:5], np.broadcast_to(ab[5], (3, 150, 2)))
    np.testing.assert_array_equal(ab[:2], 0)
    holed = turned_frame(tmp_path / 'h.fits', np.full(9, 900.0), hole=inner)[0]
    left = np.isnan(read_bands([holed, both, blue], frame)).any(-1)
    assert left[inner].all()
    assert left.sum() == 9
