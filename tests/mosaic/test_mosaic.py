"""`astro-gan mosaic`: what is co-added, with values."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from astro_gan import cli
from astro_gan.mosaic import files, tiles
from tests.mosaic.conftest import STARS, sky_wcs
from tests.small_models import framer, saved

pytest.importorskip('reproject')


@pytest.fixture
def mosaic(tmp_path, capsys):
    """`mosaic(*arguments)`: data and header of the mosaic."""

    def run(*arguments, name='out.fits'):
        status = cli.main(['mosaic', *map(str, arguments), '-o', str(tmp_path / name)])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        with fits.open(tmp_path / name, checksum=True) as hdus:
            return hdus[0].data.astype(float), hdus[0].header

    return run


@pytest.fixture
def refused(tmp_path, capsys):
    """`refused(*arguments)`: the one line on standard error."""

    def run(*arguments, name='out.fits'):
        assert cli.main(['mosaic', *map(str, arguments), '-o', str(tmp_path / name)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def cut(data, header, path, rows, columns):
    """A tile of a frame, with its coordinates."""
    header = header.copy()
    header['CRPIX1'] -= columns.start
    header['CRPIX2'] -= rows.start
    fits.PrimaryHDU(data[rows, columns], header).writeto(path)
    return path


def flux(data, wcs, star, radius=7):
    """Sum around a star of the first grid, and its centre (x, y) in pixels of `wcs`."""
    x, y = (float(at) for at in wcs.all_world2pix(*sky_wcs().all_pix2world(*star, 0), 0))
    rows, columns = np.mgrid[: data.shape[0], : data.shape[1]]
    near = np.where(np.hypot(rows - y, columns - x) < radius, data, 0.0)
    return near.sum(), (columns * near).sum() / near.sum() - x, (rows * near).sum() / near.sum() - y


def test_tiles_of_one_frame_are_that_frame_again(write, mosaic, tmp_path, monkeypatch):
    """Nothing is interpolated on a shared grid: every pixel and the coordinates are the frame's, in any bands."""
    path = write('whole.fits', shape=(128, 130), sky=5.0, noise=1.0)
    whole, header = fits.getdata(path, header=True)
    sides = [slice(0, 70), slice(50, 128)], [slice(0, 60), slice(40, 130)]
    cuts = [
        cut(whole, header, tmp_path / f't{i}{j}.fits', rows, columns)
        for i, rows in enumerate(sides[0])
        for j, columns in enumerate(sides[1])
    ]
    monkeypatch.setattr(files, 'BAND_VALUES', 130 * 9)
    data, made = mosaic(*cuts)
    np.testing.assert_array_equal(data, whole)
    wcs, own = WCS(made), WCS(header)
    np.testing.assert_allclose(wcs.all_pix2world([[3, 4], [120, 90]], 0), own.all_pix2world([[3, 4], [120, 90]], 0))
    assert made['BUNIT'] == 'electron/s'
    assert 'AGNOTICE' not in made  # nothing was enhanced
    assert any('t01.fits' in str(line) for line in made['HISTORY'])
    without, _ = mosaic(cuts[0], cuts[3], name='two.fits')
    assert np.isnan(without[:50, 70:]).all()
    assert np.isfinite(without[:70, :60]).all()


def test_tiles_enhanced_apart_are_the_frame_enhanced_whole(write, mosaic, tmp_path, capsys):
    """With the same sky, noise, FWHM and correlation told, there are no seams."""
    path = write('whole.fits', shape=(360, 80), sky=50.0, noise=1.0)
    whole, header = fits.getdata(path, header=True)
    cuts = [
        cut(whole, header, tmp_path / f't{i}.fits', slice(*rows), slice(0, 80))
        for i, rows in enumerate(((0, 270), (90, 360)))
    ]
    model = saved(framer(), tmp_path / 'model')
    told = ['--sky', '50', '--noise', '1', '--fwhm', '3.5', '--correlation', '0', '--concentration', '0.9']
    line = ['upscale', path, *map(str, cuts), '-o', str(tmp_path / 'x2'), '--model', str(model), *told]
    assert cli.main(line) == 0, capsys.readouterr().err
    capsys.readouterr()
    expected = fits.getdata(tmp_path / 'x2' / 'whole.fits').astype(float)
    data, made = mosaic(*(tmp_path / 'x2' / tile.name for tile in cuts))
    assert data.shape == (720, 160)
    np.testing.assert_allclose(data, expected, rtol=0, atol=2e-5)
    assert made['AGNOTICE'].startswith('generated detail')
    assert made['AGMODEL'] == 'tiny_frames'
    said = json.loads((tmp_path / 'out.fits.json').read_text())
    assert [entry['rim'] for entry in said['inputs']] == [168, 168]
    assert said['output']['bytes'] == (tmp_path / 'out.fits').stat().st_size


def test_turned_and_shifted_frames_keep_stars_where_and_as_bright_as_they_are(write, mosaic):
    """Interpolation onto a new grid: flux to 0.5%, places to 0.02 pixels."""
    paths = [write('a.fits', shape=(130, 130)), write('b.fits', shape=(120, 120), x=4.37, y=-3.21, angle=17.0)]
    data, header = mosaic(*paths)
    wcs = WCS(header)
    for star in STARS[1:4]:
        total, dx, dy = flux(np.nan_to_num(data), wcs, star)
        assert total == pytest.approx(1000, rel=5e-3)
        assert abs(dx) < 0.02
        assert abs(dy) < 0.02
    assert np.isnan(data).any()
    assert header['CTYPE1'] == 'RA---TAN'


def test_backgrounds_are_matched(write, mosaic):
    """Offsets by least squares over the overlaps: three frames of skies 10, 25 and -5 lie at their mean."""
    paths = [write(f'{i}.fits', x=30 * i, sky=sky, noise=0.5, seed=i) for i, sky in enumerate((10.0, 25.0, -5.0))]
    data, header = mosaic(*paths, '--rim', '4')
    for columns in (slice(0, 25), slice(50, 60), slice(135, 160)):
        assert np.nanmedian(data[:, columns]) == pytest.approx(10.0, abs=0.1)
    apart, _ = mosaic(*paths, '--rim', '4', '--no-match', name='apart.fits')
    assert np.nanmedian(apart[:, :25]) == pytest.approx(10.0, abs=0.1)
    assert np.nanmedian(apart[:, 135:]) == pytest.approx(-5.0, abs=0.1)
    assert 'offset' in str(header['HISTORY'])


def test_frames_are_weighted_by_their_noise_or_a_map(write, mosaic, tmp_path):
    """Inverse variances: noises 1 and 2 leave 2 / sqrt(5); a map of 1 and 3 gives the mean with these weights."""
    paths = [write('a.fits', shape=(256, 256), noise=1.0, seed=1), write('b.fits', shape=(256, 256), noise=2.0, seed=2)]
    data, _ = mosaic(*paths, '--no-match')
    assert data[130:, 130:].std() == pytest.approx(2 / np.sqrt(5), rel=0.02)
    maps = [write(f'w{w}.fits', data=np.full((64, 64), w)) for w in (1.0, 3.0)]
    data, _ = mosaic(*paths, '--no-match', '--weights', *maps, name='maps.fits')
    one, two = (fits.getdata(path).astype(float) for path in paths)
    np.testing.assert_allclose(data, (one + 3 * two) / 4, rtol=1e-5, atol=1e-6)
    maps[1] = write('none.fits', data=np.zeros((256, 256)))
    data, _ = mosaic(*paths, '--no-match', '--weights', *maps, name='none_out.fits')
    np.testing.assert_array_equal(data, one)


@pytest.mark.parametrize(('angle', 'left', 'error', 'most'), [(0.0, 0.01, 5e-3, 400), (17.0, 0.06, 0.02, 4000)])
def test_cosmic_rays_are_left_out(write, mosaic, tmp_path, angle, left, error, most):
    """400 rays in four frames, on stars too: stars keep their flux, pixels their values; without rays all values stay.

    Frames that are interpolated have rings around rays: there more values go, and some of the rays' light stays.
    """
    rng = np.random.default_rng(5)
    places = [{'x': 3.0 * i, 'y': 2.0 * i, 'angle': angle * (i == 1)} for i in range(4)]
    clean = [write(f'{i}.fits', shape=(130, 130), noise=0.5, seed=i, **at) for i, at in enumerate(places)]
    hit = []
    for path, at in zip(clean, places, strict=True):
        data = fits.getdata(path).astype(float)
        rows, columns = rng.integers(0, 130, (2, 100))
        data[rows, columns] += rng.uniform(20, 2000, 100)
        hit.append(write(f'hit{path[-6:]}', data=data, **at))
    options = ('--no-match', '--rim', '0')
    truth, header = mosaic(*clean, *options, name='clean.fits')
    found, _ = mosaic(*hit, *options, '--cosmic-rays', name='hit.fits')
    plain, _ = mosaic(*hit, *options, name='plain.fits')
    wcs = WCS(header)
    y, x = np.indices(truth.shape)
    sky = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    inside = [np.abs(np.stack(sky_wcs(**at).all_world2pix(*sky, 0)) - 64.5).max(0) < 62 for at in places]
    where = (np.sum(inside, axis=0).reshape(truth.shape) >= 3) & (np.abs(plain - truth) > 3)
    assert where.sum() > 250
    assert np.mean(np.abs(found - truth)[where] > 3) < left
    for star in STARS[1:4]:
        assert flux(found, wcs, star)[0] == pytest.approx(flux(truth, wcs, star)[0], rel=error)
        assert flux(plain, wcs, star)[0] > 1.5 * flux(truth, wcs, star)[0]
    made = json.loads((tmp_path / 'hit.fits.json').read_text())
    assert 350 < made['cosmic_rays'] < most
    kept, _ = mosaic(*clean, *options, '--cosmic-rays', name='kept.fits')
    np.testing.assert_array_equal(kept, truth)


def test_missing_pixels_and_empty_borders(write, mosaic):
    """A hole is filled from the other frame; zeros around a footprint are nothing, and its rim yields to others."""
    data = np.full((100, 100), 7.0) + np.random.default_rng(0).normal(size=(100, 100)) * 0.1
    one = data.copy()
    one[40:44, 50:53] = np.nan
    framed = np.zeros((100, 100))
    framed[32:, :] = data[32:] + 0.5
    data_out, _ = mosaic(write('a.fits', data=one), write('b.fits', data=framed), '--no-match', '--rim', '8')
    np.testing.assert_allclose(data_out[40:44, 50:53], framed[40:44, 50:53], rtol=1e-6)
    np.testing.assert_array_equal(data_out[:32], one[:32].astype(np.float32))
    np.testing.assert_allclose(data_out[32:35, 20:40], one[32:35, 20:40], atol=1e-6)  # the rim of the second
    assert np.mean(data_out[60:80, 20:40] - data[60:80, 20:40]) == pytest.approx(0.25, abs=0.02)


def test_the_picture_beside_it(write, mosaic, tmp_path):
    """OUT.png shows the mosaic with its first row at the bottom, and says what it was made of."""
    mosaic(write('a.fits', shape=(60, 100), noise=0.1), name='m51.fits')
    with Image.open(tmp_path / 'm51.png') as picture:
        assert picture.size == (100, 60)
        assert json.loads(picture.text['Comment'])['task'] == 'mosaic'
        levels = np.asarray(picture)
    assert levels[59 - 22, 60] > 200 > levels[22, 60]  # the star at x 60.7, y 22.4


def test_frames_that_do_not_go_together_are_refused(write, refused, tmp_path):
    """One line that names the frame and what is wrong."""
    a = write('a.fits')
    bare = tmp_path / 'bare.fits'
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)).writeto(bare)
    assert 'bare.fits: has no coordinates on the sky (WCS)' in refused(a, bare)
    assert 'b.fits: is in adu, and' in refused(a, write('b.fits', unit='adu'))
    assert 'b.fits: has no unit (BUNIT)' in refused(a, write('b.fits', unit=''))
    colour = write('c.fits', data=np.random.default_rng(0).normal(size=(3, 80, 80)))
    assert 'gray and colour frames are not mixed' in refused(a, colour)
    assert 'has pixels of 0.4 arcsec' in refused(a, write('b.fits', scale=2.0))
    assert 'more than 1 megapixels' in refused(a, write('b.fits', x=20000.0), '--max-megapixels', '1')
    assert 'is one of the frames' in refused(a, name='a.fits')
    assert 'one for each' in refused(a, '--weights', a, a)
    assert '80x80 pixels; the weights of' in refused(a, '--weights', write('w.fits', data=np.ones((80, 80))))
    assert 'ends in .fits' in refused(a, name='out.png')
    assert not (tmp_path / 'out.fits').exists()
    assert cli.main(['mosaic', a, '-o', str(tmp_path / 'out.fits')]) == 0
    assert 'exists already; --overwrite' in refused(a)


def test_units_that_are_spelled_otherwise_are_the_same(write, mosaic):
    """ELECTRONS/S is electron / s."""
    mosaic(write('a.fits', unit='ELECTRON/S'), write('b.fits', unit='electron s-1'))


def test_parts_are_the_whole(write, mosaic, monkeypatch):
    """What is interpolated some rows and columns at a time has no seams: the same to a millionth of a star's peak."""
    paths = [write('a.fits', shape=(90, 90), sky=3.0), write('b.fits', shape=(90, 90), x=20, angle=40.0, sky=3.0)]
    whole, _ = mosaic(*paths)
    monkeypatch.setattr(files, 'BAND_VALUES', 1000)
    monkeypatch.setattr(tiles, '_PART', 24)
    parts, _ = mosaic(*paths, name='parts.fits')
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1000 / (2 * np.pi * 1.5**2) * 1e-6)
