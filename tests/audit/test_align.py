"""An input and an output are laid on one another, by sizes or coordinates, or refused in one line."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan.audit.align import open_pair, pair_of
from astro_gan.audit.reobserve import larger, smaller
from astro_gan.errors import UserError
from astro_gan.fidelity import consistency


def sky(size=80, seed=0):
    return np.random.default_rng(seed).normal(100, 2, (size, size)).astype(np.float32)


def header(scale=1.0, shift=(0.0, 0.0), *, turn=0.0):
    """Coordinates of an image that is `scale` times finer and begins `shift` (x, y) pixels of its own later."""
    cards = fits.Header({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 150.0, 'CRVAL2': 2.0})
    cards['CRPIX1'], cards['CRPIX2'] = (scale * (40.5 - 0.5) + 0.5 - by for by in shift)
    step = 1e-5 / scale
    cos, sin = np.cos(turn), np.sin(turn)
    cards['CD1_1'], cards['CD1_2'], cards['CD2_1'], cards['CD2_2'] = -step * cos, step * sin, step * sin, step * cos
    return cards


def test_by_size():
    """Without coordinates the factor is that of the sizes; places go there and back."""
    pair = pair_of(sky(), np.zeros((240, 240), np.float32))
    assert pair.alignment.scale == (3, 3)
    assert pair.alignment.by == 'size'
    np.testing.assert_allclose(pair.alignment.to_output(np.array([[0.0, 10.0]])), [[1.0, 31.0]])
    np.testing.assert_allclose(pair.alignment.to_input(np.array([[1.0, 31.0]])), [[0.0, 10.0]])


def test_by_coordinates():
    """An output of a part of the sky, twice finer, is laid where its coordinates have it; the pixels agree."""
    whole = sky()
    fine = whole.repeat(2, 0).repeat(2, 1)
    part = fine[40:140, 20:150]
    pair = pair_of(whole, part, headers=(header(), header(2, (20, 40))))
    assert pair.alignment.by == 'WCS'
    assert pair.corner == (20, 10)
    np.testing.assert_allclose(pair.alignment.scale, 2, atol=1e-3)
    np.testing.assert_array_equal(pair.input, whole[20:70, 10:75])
    again = smaller(pair, 0, 50, 0.01)  # the mean of every block
    np.testing.assert_allclose(again, whole[20:70, 10:75], atol=0.05)


def test_agreeing_coordinates_are_sizes():
    """Where coordinates say what the sizes say, nothing is interpolated: the factor is exact."""
    pair = pair_of(sky(), np.zeros((160, 160), np.float32), headers=(header(), header(2)))
    assert (pair.alignment.scale, pair.alignment.by) == ((2, 2), 'size')


def test_what_does_not_fit_is_one_line():
    """Sizes of no one factor, a turned output, and one of another place."""
    with pytest.raises(UserError, match='160x100 and 80x80 pixels: no one factor'):
        pair_of(sky(), np.zeros((100, 160), np.float32))
    with pytest.raises(UserError, match='turned or mirrored'):
        pair_of(sky(), np.zeros((160, 160), np.float32), headers=(header(), header(2, turn=0.1)))
    with pytest.raises(UserError, match='pixels in common'):
        pair_of(sky(), np.zeros((160, 160), np.float32), headers=(header(), header(2, (150, 0))))


def test_smaller_is_the_projects_kernel():
    """Bicubic reduction is that of every other measure here, and in parts it is what it is as a whole."""
    rng = np.random.default_rng(0)
    output = rng.random((120, 120)).astype(np.float32) * 255
    low = rng.random((40, 40)).astype(np.float32) * 255
    pair = pair_of(low, output, levels=256)
    whole = smaller(pair, 0, 40, None)
    expected = consistency(output[..., None] / 255, low[..., None] / 255)
    assert np.abs(whole - low).mean() == pytest.approx(expected, rel=1e-3)
    parts = np.concatenate([smaller(pair, top, 10, None) for top in range(0, 40, 10)])
    np.testing.assert_allclose(parts, whole, atol=1e-3)
    enlarged = larger(low, pair, 0, 0, 120)
    np.testing.assert_allclose(
        enlarged, np.asarray(Image.fromarray(low).resize((120, 120), Image.Resampling.BICUBIC)), atol=1e-3
    )


def test_through_the_psf():
    """A star through the Gaussian between two PSFs, summed to pixels, has the width that squares add up to."""
    y, x = np.mgrid[:160, :160]
    narrow = np.exp(-((y - 79.5) ** 2 + (x - 79.5) ** 2) / (2 * 2.0**2)).astype(np.float32)
    again = smaller(pair_of(np.zeros((80, 80), np.float32), narrow), 0, 80, 3.0)
    variance = (again * (np.mgrid[:80, :80][0] - 39.5) ** 2).sum() / again.sum()
    assert variance == pytest.approx((2.0**2 + 3.0**2) / 4 + (1 - 1 / 4) / 12, rel=0.002)


def test_missing_pixels_stay_missing():
    """A gap in the output is a gap in what is made smaller of it, no wider than its pixels."""
    output = np.ones((80, 80), np.float32)
    output[20:24, 30:34] = np.nan
    again = smaller(pair_of(np.ones((40, 40), np.float32), output), 0, 40, None)
    assert np.isnan(again[10:12, 15:17]).all()
    assert np.isnan(again).sum() == 4
    np.testing.assert_allclose(again[~np.isnan(again)], 1, atol=1e-6)


def write(path, data, **cards):
    fits.PrimaryHDU(data, fits.Header(cards)).writeto(path)
    return path


def test_files(tmp_path):
    """FITS with FITS: flux outputs count as brightness, an upside-down one is turned; a picture is refused."""
    data = sky(64)
    one = write(tmp_path / 'in.fits', data)
    flux = write(tmp_path / 'flux.fits', data.repeat(2, 0).repeat(2, 1) / 4, AGCONSRV='flux')
    np.testing.assert_allclose(open_pair(one, flux).after.rows(0, 128), data.repeat(2, 0).repeat(2, 1), rtol=1e-6)
    turned = write(tmp_path / 'turned.fits', data[::-1].repeat(2, 0).repeat(2, 1), ROWORDER='TOP-DOWN')
    np.testing.assert_array_equal(open_pair(one, turned).input, data[::-1])
    picture = tmp_path / 'out.png'
    Image.fromarray(np.zeros((128, 128), np.uint8)).save(picture)
    with pytest.raises(UserError, match=r'nothing says how it was\s+stretched'):
        open_pair(one, picture)
    with pytest.raises(UserError, match='a frame cannot come from the picture'):
        open_pair(picture, one)


def test_lightness_of_colours(tmp_path):
    """A gray picture and its colours are compared by lightness: a saturated red as light as the gray is no change."""
    from astro_gan.color import gray_of

    colour = np.zeros((64, 64, 3), np.uint8)
    colour[..., 0] = 200
    gray = round(255 * float(np.asarray(gray_of(colour[:1, :1] / np.float32(255)))[0, 0, 0]))
    Image.fromarray(np.full((64, 64), gray, np.uint8)).save(tmp_path / 'gray.png')
    Image.fromarray(colour).save(tmp_path / 'red.png')
    pair = open_pair(tmp_path / 'gray.png', tmp_path / 'red.png')
    assert np.abs(pair.after.rows(0, 64) - pair.input).max() < 0.6
    luma = open_pair(tmp_path / 'red.png', tmp_path / 'red.png').input
    assert np.abs(luma - 0.299 * 200).max() < 1e-3
