"""FITS frames through the commands: values, sky positions, gaps and orientation come out as they went in."""

import bz2
import gzip
import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from astro_gan.files.stretch import Stretch, choose_stretch
from astro_gan.model import load_model


def sky(height=70, width=81, seed=0):
    """A frame with noise, a bright star far above the rest, and a corner without data; [H, W] float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    frame = rng.normal(10, 1, (height, width)) + 4000 * np.exp(-((y - 30) ** 2 + (x - 40) ** 2) / 8)
    frame[:9, :13] = np.nan
    return frame.astype(np.float32)


def header():
    cards = fits.Header()
    for axis, (kind, value, pixel) in enumerate((('RA---TAN', 210.8, 30.2), ('DEC--TAN', 54.35, 40.7)), 1):
        cards[f'CTYPE{axis}'], cards[f'CRVAL{axis}'], cards[f'CRPIX{axis}'] = kind, value, pixel
        cards[f'CD{axis}_{axis}'] = -1.4e-5 if axis == 1 else 1.4e-5
    cards['CD1_2'] = 3e-6
    cards['OBJECT'] = 'M 101'
    return cards


@pytest.fixture
def frame(tmp_path):
    """A FITS file whose image is in its first extension, as Hubble's are."""
    path = tmp_path / 'm101.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(sky(), header(), name='SCI')]).writeto(path)
    return path


def corners(shape):
    """Pixel corners of an image `[H, W]` in 0-based coordinates."""
    height, width = shape
    return np.array([(x - 0.5, y - 0.5) for x in (0, width) for y in (0, height)])


def test_upscaled_frame(run, models, frame, tmp_path):
    """The output is the network's on the stretched frame, unstretched: unclipped, gaps and sky positions kept."""
    assert run('upscale', frame)[0] == 0
    with fits.open(tmp_path / 'out' / 'm101.fits', checksum=True) as hdus:
        data, cards = hdus[0].data, hdus[0].header
        assert data.shape == (140, 162)
        stretch = Stretch.from_cards(cards)
        data = data.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(data), np.isnan(sky()).repeat(2, axis=0).repeat(2, axis=1))
    values = stretch.apply(sky())
    far = (slice(60, None), slice(60, None))  # where nothing that fills the gap is seen
    whole = load_model(models['upscale'])(np.nan_to_num(values))
    added = (data - stretch.invert(whole))[far].reshape(40, 2, 51, 2)
    assert np.ptp(added, axis=(1, 3)).max() < 1e-3  # nothing but what conserves the brightness
    assert np.nanmax(data) > stretch.white  # nothing is clipped
    before = WCS(header()).pixel_to_world(*corners((70, 81)).T)
    after = WCS(cards).pixel_to_world(*corners((140, 162)).T)
    assert before.separation(after).arcsec.max() < 1e-6
    assert cards['OBJECT'] == 'M 101'
    assert cards['AGNOTICE'] == 'generated detail: not for photometry'
    assert any('enlarged 2 times by tiny_x2' in line for line in cards['HISTORY'])
    made = json.loads((tmp_path / 'out' / 'm101.fits.json').read_text())
    assert made['stretch']['black'] == stretch.black


def test_brightness_or_flux(run, frame, tmp_path):
    """By choice a pixel keeps its mean, or its sum: exactly, in every block that was one pixel."""
    results = {}
    for choice in ('surface_brightness', 'flux'):
        assert run('upscale', frame, '--conserve', choice, out=tmp_path / choice)[0] == 0
        with fits.open(tmp_path / choice / 'm101.fits') as hdus:
            results[choice] = hdus[0].data.astype(np.float32)
            assert hdus[0].header['AGCONSRV'] == choice
    means = results['surface_brightness'].reshape(70, 2, 81, 2).mean((1, 3))
    sums = results['flux'].reshape(70, 2, 81, 2).sum((1, 3))
    np.testing.assert_allclose(means, sky(), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(sums, sky(), rtol=1e-4, atol=1e-3)


def test_colored_frame(run, frame, tmp_path):
    """Colour makes three planes; a star above white keeps its value in all, gaps stay, shape and sky too."""
    assert run('colorize', frame, '--stretch', 'linear')[0] == 0
    with fits.open(tmp_path / 'out' / 'm101.fits') as hdus:
        data, cards = hdus[0].data.astype(np.float32), hdus[0].header
    assert data.shape == (3, 70, 81)
    assert cards['AGPLANES'] == 'red, green, blue'
    above = sky() > cards['AGWHITE']
    assert above.sum() > 5
    np.testing.assert_allclose(data[:, above], np.broadcast_to(sky()[above], (3, above.sum())), rtol=1e-4)
    assert (np.isnan(data) == np.isnan(sky())).all()
    assert WCS(cards, naxis=2, fix=False).wcs.crpix.tolist() == [30.2, 40.7]


@pytest.mark.parametrize('pack', [gzip, bz2])
def test_packed_frames(run, frame, tmp_path, pack):
    """gz and bz2 are read; the result is plain FITS and the same."""
    suffix = {gzip: 'gz', bz2: 'bz2'}[pack]
    packed = tmp_path / 'packed' / f'm101.fits.{suffix}'
    packed.parent.mkdir()
    packed.write_bytes(pack.compress(frame.read_bytes()))
    for path, out in ((frame, 'plain'), (packed, 'unpacked')):
        assert run('upscale', path, out=tmp_path / out)[0] == 0
    with fits.open(tmp_path / 'plain/m101.fits') as one, fits.open(tmp_path / 'unpacked/m101.fits') as two:
        np.testing.assert_array_equal(one[0].data, two[0].data)


def test_frame_to_picture(run, models, frame, tmp_path):
    """As a picture the frame is upright: the first row of FITS is the bottom. 16 bits, unless JPEG."""
    for suffix in ('png', 'jpg'):
        assert run('upscale', frame, '--format', suffix)[0] == 0
    values = choose_stretch(sky()).apply(sky())[::-1]
    expected = load_model(models['upscale'])(np.ascontiguousarray(np.nan_to_num(values)))
    with Image.open(tmp_path / 'out/m101.png') as picture:
        levels = np.asarray(picture).astype(float) / 65535
    far = (slice(None, 80), slice(60, None))  # where nothing that fills the gap is seen
    np.testing.assert_allclose(levels[far], np.clip(expected[far], 0, 1), atol=2e-5)
    with Image.open(tmp_path / 'out/m101.jpg') as picture:
        assert picture.mode == 'L'


def test_tiles_agree_over_gaps(run, frame, tmp_path):
    """What fills a gap does not depend on the tile that sees it."""
    for tile in (16, 100):
        assert run('upscale', frame, '--tile', tile, out=tmp_path / str(tile))[0] == 0
    with fits.open(tmp_path / '16/m101.fits') as small, fits.open(tmp_path / '100/m101.fits') as large:
        np.testing.assert_allclose(small[0].data, large[0].data, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('nan', 'no valid pixel'),
        ('constant', 'nothing to see'),
        ('small', '40x40 pixels; at least 64x64'),
        ('table', 'no image'),
        ('truncated', 'trunc'),
    ],
)
def test_bad_frames_are_one_line(one_line, tmp_path, name, words):
    """Frames without a picture in them give one line that names the file, and nothing is written."""
    path = tmp_path / f'{name}.fits'
    data = {'nan': np.full((70, 70), np.nan), 'constant': np.ones((70, 70)), 'small': sky(40, 40)}.get(name, sky())
    hdu = fits.BinTableHDU.from_columns([fits.Column('x', 'E', array=[1.0])]) if name == 'table' else None
    fits.HDUList([fits.PrimaryHDU(None if hdu else data.astype(np.float32)), *([hdu] if hdu else [])]).writeto(path)
    if name == 'truncated':
        path.write_bytes(path.read_bytes()[:9000])
    one_line('upscale', path, words=[f'{name}.fits', words])
    assert not list((tmp_path / 'out').glob('*'))


def test_wrong_extension_is_one_line(one_line, frame):
    """--hdu names what is not there; the line says what is."""
    one_line('upscale', frame, '--hdu', 'ERR', words=['m101.fits', 'ERR', 'SCI'])


def test_real_frame(run, real_data, tmp_path):
    """A real Hubble ACS frame with SIP distortion: corners on the same sky to 1e-6 arc seconds, orientation kept."""
    path = real_data / 'fits' / 'j8bt06nyq_flt.fits.gz'
    assert run('upscale', path)[0] == 0
    with fits.open(path) as hdus:
        before, old = WCS(hdus['SCI'].header, hdus, fix=False), hdus['SCI'].data.astype(np.float32)
        before.cpdis1 = before.cpdis2 = before.det2im1 = before.det2im2 = None  # tables that one image cannot hold
    with fits.open(tmp_path / 'out' / 'j8bt06nyq_flt.fits') as hdus:
        after, new = WCS(hdus[0].header, fix=False), hdus[0].data.astype(np.float32)
    one, two = before.all_pix2world(corners(old.shape), 0), after.all_pix2world(corners(new.shape), 0)
    assert np.abs(one - two).max() * 3600 < 1e-6
    # The tiny network has random weights: what it leaves of the frame is enough to see that nothing is turned.
    small = new.reshape(1024, 2, 1024, 2).mean((1, 3))
    ranks = [np.argsort(np.argsort(x[100:900, 100:900].ravel())) for x in (old, small, small[::-1], small[:, ::-1])]
    kept, *turned = [np.corrcoef(ranks[0], rank)[0, 1] for rank in ranks[1:]]
    assert abs(kept) > max(0.1, 2 * max(map(abs, turned)))
