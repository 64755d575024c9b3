"""Bands of the same sky as colours: aligned by coordinates, balanced, missing where one is missing."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astro_gan.errors import UserError
from astro_gan.inference.bands import read_bands
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
