"""FITS frames through the commands: values, sky positions, gaps and orientation come out as they went in."""

import bz2
import gzip
import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from astro_gan.files.stretch import Stretch, choose_stretch
from astro_gan.inference.frames import open_frame, output_header
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


def test_rows_from_the_top(run, tmp_path):
    """ROWORDER decides what is up in a picture; as FITS the order and the card stay."""
    data = np.nan_to_num(sky(), nan=10)
    data[:10, :10] += 300  # in the first row's corner
    for order in ('TOP-DOWN', 'BOTTOM-UP'):
        path = tmp_path / f'{order}.fits'
        fits.writeto(path, data, fits.Header([('ROWORDER', order)]))
        assert run('upscale', path)[0] == run('colorize', path, '--format', 'png')[0] == 0
        with Image.open(tmp_path / f'out/{order}.png') as picture:
            levels = np.asarray(picture.convert('L')).astype(float)
        rows = slice(9) if order == 'TOP-DOWN' else slice(-9, None)
        assert levels[rows, :9].mean() > 1.5 * levels[rows, 20:].mean()
        with fits.open(tmp_path / f'out/{order}.fits') as hdus:
            assert hdus[0].header['ROWORDER'] == order
            np.testing.assert_allclose(hdus[0].data.reshape(70, 2, 81, 2).mean((1, 3)), data, rtol=1e-4, atol=0.01)


def test_a_mosaic_is_no_gray_picture(run, one_line, tmp_path):
    """Pixels behind colour filters are refused, or taken as gray when asked; the result claims no pattern."""
    for number, (cards, pattern) in enumerate((
        ({'BAYERPAT': 'RGGB', 'XBAYROFF': 0}, 'a RGGB mosaic'),
        ({'COLORTYP': 'GBRG'}, 'a GBRG mosaic'),
        ({'XBAYROFF': 1, 'YBAYROFF': 0}, 'a colour filter mosaic'),
        ({'BAYERPAT': 'NONE', 'XBAYROFF': 0}, None),
        ({'COLORTYP': 0, 'XBAYROFF': 0}, None),
    )):  # fmt: skip
        path = tmp_path / f'{number}.fits'
        fits.writeto(path, sky(), fits.Header(cards))
        if pattern:
            one_line('upscale', path, words=[f'{number}.fits', pattern, '--allow-mosaic'])
        status, _, err = run('upscale', path, *(['--allow-mosaic'] if pattern else []))
        assert status == 0
        assert not pattern or f'{pattern}, taken as gray' in err
        assert not set(cards) & set(fits.getheader(tmp_path / f'out/{number}.fits'))


def test_colour_frames(run, one_line, models, tmp_path):
    """Three planes go through one stretch and come back as three, each with its own values and gaps."""
    planes = np.stack([sky(), 2 * sky(seed=1), np.nan_to_num(sky(seed=2), nan=7)])
    fits.writeto(tmp_path / 'rgb.fits', planes, header())
    fits.writeto(tmp_path / 'last.fits', np.ascontiguousarray(np.moveaxis(planes, 0, -1)), header())
    for name in ('rgb', 'last'):
        assert run('upscale', tmp_path / f'{name}.fits')[0] == 0
        with fits.open(tmp_path / f'out/{name}.fits') as hdus:
            data, cards = hdus[0].data.astype(np.float32), hdus[0].header
        assert data.shape == (3, 140, 162)
        blocks = data.reshape(3, 70, 2, 81, 2).astype(np.float64)
        rounding = 1e-6 * np.nanmax(np.abs(blocks))  # of what random weights make
        np.testing.assert_allclose(blocks.mean((2, 4)), planes, rtol=1e-4, atol=rounding)
        assert Stretch.from_cards(cards) == choose_stretch(planes)
        assert cards['AGPLANES'] == 'red, green, blue'
        before, after = WCS(header()).wcs_pix2world(corners((70, 81)), 0), WCS(cards, naxis=2)
        assert np.abs(after.wcs_pix2world(corners((140, 162)), 0) - before).max() * 3600 < 1e-6
    one_line('colorize', tmp_path / 'rgb.fits', words=['rgb.fits: is in colour', '--allow-color'])
    assert run('colorize', tmp_path / 'rgb.fits', '--allow-color', out=tmp_path / 'color')[0] == 0
    # What this program wrote it reads again, as colour.
    one_line('colorize', tmp_path / 'color/rgb.fits', words=['is in colour'])
    assert run('upscale', tmp_path / 'color/rgb.fits', out=tmp_path / 'both')[0] == 0
    assert fits.getdata(tmp_path / 'both/rgb.fits').shape == (3, 140, 162)


def test_equal_planes_are_gray(run, tmp_path):
    """A gray frame in three planes is gray: coloured as the one plane is, unasked."""
    fits.writeto(tmp_path / 'one.fits', sky())
    fits.writeto(tmp_path / 'three.fits', np.stack([sky()] * 3))
    for name in ('one', 'three'):
        assert run('colorize', tmp_path / f'{name}.fits')[0] == 0
    one, three = (fits.getdata(tmp_path / f'out/{name}.fits') for name in ('one', 'three'))
    np.testing.assert_array_equal(one, three)


def test_coloured_frames_with_distortion(run, tmp_path):
    """SIP is for two axes: the colours are three extensions that WCS(header) reads, and this program too."""
    cards = header()
    cards.update(CTYPE1='RA---TAN-SIP', CTYPE2='DEC--TAN-SIP', A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_0_2=-2e-4)
    fits.writeto(tmp_path / 'sip.fits', sky(), cards)
    assert run('enhance', tmp_path / 'sip.fits')[0] == 0
    with fits.open(tmp_path / 'out/sip.fits') as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'RED', 'GREEN', 'BLUE']
        before = WCS(cards).all_pix2world(corners((70, 81)), 0)
        for hdu in hdus[1:]:
            assert hdu.data.shape == (140, 162)
            after = WCS(hdu.header).all_pix2world(corners((140, 162)), 0)
            assert np.abs(after - before).max() * 3600 < 1e-6
    assert run('upscale', tmp_path / 'out/sip.fits', out=tmp_path / 'again')[0] == 0
    with fits.open(tmp_path / 'again/sip.fits') as hdus:
        assert hdus['BLUE'].data.shape == (280, 324)


def test_degenerate_axes_and_colours(run, tmp_path):
    """The planes of a coloured radio image are no frequencies."""
    cards = header()
    cards.update(CTYPE3='FREQ', CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, CTYPE4='STOKES', CRVAL4=1.0)
    fits.writeto(tmp_path / 'radio.fits', sky()[None, None], cards)
    assert run('colorize', tmp_path / 'radio.fits')[0] == 0
    read = fits.getheader(tmp_path / 'out/radio.fits')
    assert not [keyword for keyword in read if keyword[-1] in '34' and keyword != 'NAXIS3']
    assert 'Axis 3 left out: FREQ = 1400000000.0' in list(read['HISTORY'])


def test_no_number_in_the_result(run, tmp_path):
    """Pixels of 1e30 are NaN in the result, and all else is what it would be if they were NaN in the input."""
    data = sky()
    places = ([20, 21, 50, 60], [30, 30, 7, 70])
    data[places] = 1e30
    fits.writeto(tmp_path / 'fill.fits', data)
    data[places] = np.nan
    fits.writeto(tmp_path / 'nan.fits', data)
    status, _, err = run('upscale', tmp_path / 'fill.fits', tmp_path / 'nan.fits')
    assert status == 0
    assert 'fill.fits: 4 pixels of 1e+30, far beyond the rest' in err
    fill, nan = (fits.getdata(tmp_path / f'out/{name}.fits') for name in ('fill', 'nan'))
    np.testing.assert_array_equal(fill, nan)


def test_what_made_it_in_cards(run, models, frame, tmp_path):
    """All hashes of a chain, and names in any script, without stray quotes."""
    model = tmp_path / 'chain'
    shutil.copytree(models['enhance'], model)
    description = json.loads((model / 'model.json').read_text())
    (model / 'model.json').write_text(json.dumps(description | {'name': 'größer 星'}))
    assert run('enhance', frame, model=model)[0] == 0
    cards = fits.getheader(tmp_path / 'out/m101.fits')
    assert cards['AGMODEL'] == 'gr\\xf6\\xdfer \\u661f'
    assert cards['AGHASH'] == description['weights']['sha256']
    source = open_frame(frame, stretch='asinh', upright=False, maximum_pixels=10**6)
    made = {'model': 'a', 'weights_sha256': f'{"0" * 64}+{"1" * 64}', 'software': 's', 'notice': 'n', 'history': ()}
    cards = output_header(source, (70, 81), 1, made)
    assert (cards['AGHASH'], cards['AGHASH2']) == ('0' * 64, '1' * 64)


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
