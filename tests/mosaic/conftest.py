"""Frames of one simulated sky, on any pixels."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

STARS = ((12.3, 40.1), (60.7, 22.4), (75.2, 88.6), (110.9, 60.3), (30.5, 101.7))  # x, y of the first grid, from 0


def sky_wcs(*, x=0.0, y=0.0, angle=0.0, scale=1.0):
    """0.2 arcsec pixels; the grid's corner lies at x, y of the first grid, turned by `angle` degrees around that."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ['RA---TAN', 'DEC--TAN'], [150.0, 2.0]
    side, turn = 0.2 / 3600 * scale, np.radians(angle)
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = np.array([[cosine, -sine], [sine, cosine]])
    wcs.wcs.cd = np.array([[-side, 0], [0, side]]) @ turned
    wcs.wcs.crpix = np.linalg.solve(turned, np.array([64.0 - x, 64.0 - y])) / scale + 1
    return wcs


@pytest.fixture
def write(tmp_path):
    """`write('a.fits', x=..., y=..., angle=...)`: a frame of the stars (flux 1000 each, FWHM 3.5), its path."""

    def write(name, *, shape=(100, 100), sky=0.0, noise=0.0, seed=0, unit='electron/s', cards=None, data=None, **place):
        wcs = sky_wcs(**place)
        if data is None:
            y, x = np.mgrid[: shape[0], : shape[1]]
            first = sky_wcs()
            here = np.stack(first.all_world2pix(*wcs.all_pix2world(x.ravel(), y.ravel(), 0), 0), -1)
            data = np.zeros(shape) + sky
            for star in STARS:
                distance = np.square(here - star).sum(-1).reshape(shape)
                data += 1000 / (2 * np.pi * 1.5**2) * np.exp(-distance / 2 / 1.5**2)
            data += noise * np.random.default_rng(seed).normal(size=shape)
        header = wcs.to_header()
        if unit:
            header['BUNIT'] = unit
        header.update(cards or {})
        path = tmp_path / name
        fits.PrimaryHDU(np.asarray(data, np.float32), header).writeto(path, overwrite=True)
        return str(path)

    return write
