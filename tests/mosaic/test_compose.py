"""`astro-gan compose`: bands to a picture, with values."""

import json

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astro_gan import cli
from astro_gan.files.stretch import lupton
from astro_gan.inference.bands import balanced
from tests.mosaic.conftest import STARS


@pytest.fixture
def bands(write):
    """Red, green and blue of the same stars, 4, 2 and 1 times as bright, noise 1, skies of their own."""
    paths = []
    for index, (name, scale) in enumerate((('r', 4.0), ('g', 2.0), ('b', 1.0))):
        data = fits.getdata(write('stars.fits', shape=(120, 128)))
        noise = np.random.default_rng(index).normal(size=data.shape)
        paths.append(write(f'{name}.fits', data=10 * scale * data + noise + 30 * index))
    return paths


def compose(*arguments):
    return cli.main(['compose', *map(str, arguments)])


def test_the_picture_is_luptons_of_the_bands(bands, tmp_path):
    """On one grid nothing is interpolated: 16-bit levels are those of the formula, rows from the top; same in FITS."""
    given = ['--scales', '1', '2', '4', '--stretch', '30', '--softening', '6']
    for name in ('m51.tif', 'm51.png', 'm51.fits'):
        assert compose(*bands, '-o', tmp_path / name, *given) == 0
    planes = [fits.getdata(path).astype(float) for path in bands]
    expected = lupton(*planes, scales=(1.0, 2.0, 4.0), stretch=30.0, softening=6.0)
    levels = tifffile.imread(tmp_path / 'm51.tif')
    assert levels.dtype == np.uint16
    np.testing.assert_array_equal(levels, np.round(expected[::-1] * 65535))
    cube, header = fits.getdata(tmp_path / 'm51.fits', header=True)
    np.testing.assert_array_equal(cube, np.moveaxis(expected, -1, 0))
    assert header['CRVAL1'] == 150.0
    assert 'BUNIT' not in header
    with Image.open(tmp_path / 'm51.png') as picture:
        made = json.loads(picture.text['Comment'])
    assert [entry['file'] for entry in made['inputs']] == ['r.fits', 'g.fits', 'b.fits']


def test_of_two_bands_the_green_is_the_mean(bands, tmp_path):
    """Balanced or by given factors: red and blue as given, green half of each, in the formula of three."""
    red, _, blue = (fits.getdata(path).astype(float) for path in bands)
    for given, planes in (((), balanced([red, blue])), (('--scales', 1, 4), [red, 4 * blue])):
        assert compose(bands[0], bands[2], '-o', tmp_path / 'two.fits', '--overwrite', *given) == 0
        expected = lupton(planes[0], (planes[0] + planes[1]) / 2, planes[1])
        np.testing.assert_array_equal(fits.getdata(tmp_path / 'two.fits'), np.moveaxis(expected, -1, 0))


def test_bands_are_balanced(bands, tmp_path):
    """Without factors the stars come out white: their three colours within 3% of each other."""
    assert compose(*bands, '-o', tmp_path / 'm51.fits') == 0
    cube = fits.getdata(tmp_path / 'm51.fits')
    for x, y in np.round(STARS).astype(int):
        star = cube[:, y - 2 : y + 3, x - 2 : x + 3].mean((1, 2))
        assert star.min() > 0.3
        assert star.max() / star.min() < 1.03


def test_bands_are_aligned_by_their_coordinates(bands, write, tmp_path):
    """A turned green and a shifted blue band: stars are white, and what a band lacks is black."""
    pytest.importorskip('reproject')
    noise = np.random.default_rng(9).normal(size=(140, 140)) * 0.02
    green = fits.getdata(write('g.fits', shape=(140, 140), x=10, y=-20, angle=20.0))
    moved = [write('g.fits', x=10, y=-20, angle=20.0, data=green + noise), write('b.fits', x=6, noise=0.02, seed=3)]
    assert compose(bands[0], *moved, '-o', tmp_path / 'm51.fits') == 0
    cube = fits.getdata(tmp_path / 'm51.fits')
    assert cube.shape == (3, 120, 128)
    for x, y in np.round(STARS[1:3]).astype(int):
        star = cube[:, y - 1 : y + 2, x - 1 : x + 2].mean((1, 2))
        assert star.max() / star.min() < 1.05
    assert not cube[:, :, :6].any()  # blue begins at 6


def test_what_is_no_band_is_refused(bands, write, tmp_path, capsys):
    """One line that names the file."""

    def refused(*arguments):
        assert compose(*arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    out = ('-o', tmp_path / 'out.png')
    far = write('far.fits', x=5000.0, noise=1.0)
    assert 'far.fits: shows another part of the sky' in refused(*bands[:2], far, *out)
    cube = write('cube.fits', data=np.random.default_rng(0).normal(size=(3, 80, 80)))
    assert 'cube.fits: holds 3 planes; a band is one' in refused(*bands[:2], cube, *out)
    Image.new('L', (80, 80)).save(tmp_path / 'a.png')
    assert 'a.png: is no FITS frame' in refused(*bands[:2], tmp_path / 'a.png', *out)
    assert 'compose: 1 band; two or three, red first' in refused(bands[0], *out)
    assert '--scales: 3 for 2 bands; one for each' in refused(*bands[:2], *out, '--scales', 1, 2, 3)
    assert 'a picture ends in' in refused(*bands, '-o', tmp_path / 'out.gif')
    assert compose(*bands, *out) == 0
    capsys.readouterr()
    assert 'exists already; --overwrite' in refused(*bands, *out)
