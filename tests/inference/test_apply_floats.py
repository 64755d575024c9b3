"""Floating-point TIFF and XISF through the commands: values as they are, or stretched and taken back."""

import json

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astro_gan.files.stretch import choose_stretch
from astro_gan.model import load_model
from tests.files.test_xisf import image, write


def picture(scale=1.0) -> np.ndarray:
    """70 x 81 float32 in [0, scale], a star above, one pixel without a number."""
    y, x = np.mgrid[:70, :81]
    data = np.random.default_rng(0).uniform(0.1, 0.2, (70, 81)) + 0.7 * np.exp(-((y - 20) ** 2 + (x - 60) ** 2) / 8)
    data[60, 5] = np.nan
    return (scale * data).astype(np.float32)


def blocks(data) -> np.ndarray:
    """Means over what were single pixels."""
    height, width, *more = data.shape
    return data.astype(np.float64).reshape(height // 2, 2, width // 2, 2, *more).mean((1, 3))


def test_floats_that_a_screen_shows(run, models, tmp_path):
    """Values in [0, 1] go to the network as they are, and come out as floats, upright, NaN where there was none."""
    tifffile.imwrite(tmp_path / 'm51.tif', picture())
    status, _, err = run('upscale', tmp_path / 'm51.tif')
    assert status == 0
    assert 'm51.tif: values in [0, 1], taken as they are' in err
    result = tifffile.imread(tmp_path / 'out/m51.tif')
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(result), np.isnan(picture()).repeat(2, 0).repeat(2, 1))
    np.testing.assert_allclose(blocks(result), picture(), rtol=1e-5)
    expected = load_model(models['upscale'])(np.nan_to_num(picture()))
    far = (slice(0, 80), slice(60, None))  # where nothing that fills the gap is seen
    added = (result - expected)[far].reshape(40, 2, 51, 2)
    assert np.ptp(added, axis=(1, 3)).max() < 1e-5  # nothing but what conserves the brightness
    made = json.loads((tmp_path / 'out/m51.tif.json').read_text())
    assert made['stretch'] == {'name': 'linear', 'black': 0.0, 'white': 1.0, 'softening': 1.0}
    with tifffile.TiffFile(tmp_path / 'out/m51.tif') as file:
        notice, description = file.pages[0].description.split('\n')
        assert notice == 'generated detail: not for photometry'
        assert json.loads(description)['weights_sha256'] == made['weights_sha256']


def test_floats_that_no_screen_shows(run, tmp_path):
    """Counts are stretched and taken back, to a TIFF, or to FITS with the first row at the bottom."""
    tifffile.imwrite(tmp_path / 'counts.tif', picture(5000))
    status, _, err = run('upscale', tmp_path / 'counts.tif')
    assert status == run('upscale', tmp_path / 'counts.tif', '--format', 'fits')[0] == 0
    assert 'counts.tif: values beyond [0, 1], stretched and taken back' in err
    np.testing.assert_allclose(blocks(tifffile.imread(tmp_path / 'out/counts.tif')), picture(5000), rtol=1e-3)
    with fits.open(tmp_path / 'out/counts.fits') as hdus:
        np.testing.assert_allclose(blocks(hdus[0].data)[::-1], picture(5000), rtol=1e-3)
        assert hdus[0].header['AGWHITE'] == choose_stretch(picture(5000)[::-1]).white


def test_counts_and_a_model_for_frames(run, models, tmp_path):
    """Counts in a TIFF go to the model for frames as those of a FITS frame do, and come back as a TIFF: sums agree."""
    counts = np.nan_to_num(picture(5000), nan=700.0)
    tifffile.imwrite(tmp_path / 'counts.tif', counts)
    fits.writeto(tmp_path / 'same.fits', counts[::-1])
    for name in ('counts.tif', 'same.fits'):
        status, _, err = run('upscale', tmp_path / name, model=models['frames'])
        assert status == 0, err
    result = tifffile.imread(tmp_path / 'out/counts.tif')
    same = fits.getdata(tmp_path / 'out/same.fits')[::-1]  # of which the network saw the last row first
    assert result.shape == same.shape == (140, 162)
    assert np.median(np.abs(result - same)) < 0.01 * np.ptp(counts)
    assert np.median(np.abs(blocks(result) - counts)) < 0.02 * np.ptp(counts)


def test_colours(run, one_line, tmp_path):
    """Three channels stay three, gray becomes three, and colours are made gray only when asked."""
    colors = np.stack([picture(), picture() / 2, picture() / 3], -1).astype(np.float16)
    tifffile.imwrite(tmp_path / 'rgb.tif', colors, photometric='rgb')
    assert run('upscale', tmp_path / 'rgb.tif')[0] == 0
    np.testing.assert_allclose(blocks(tifffile.imread(tmp_path / 'out/rgb.tif')), colors, rtol=1e-4)
    one_line('colorize', tmp_path / 'rgb.tif', words=['rgb.tif: is in colour', '--allow-color'])
    assert run('colorize', tmp_path / 'rgb.tif', '--allow-color', out=tmp_path / 'color')[0] == 0
    assert tifffile.imread(tmp_path / 'color/rgb.tif').shape == (70, 81, 3)


@pytest.mark.parametrize('format', [None, 'png'])
def test_xisf(run, one_line, tmp_path, format):
    """XISF becomes FITS, the last row first and with its keywords, or an upright picture; a mosaic is refused."""
    keyword = '<FITSKeyword name="OBJECT" value="\'M 31\'" comment=""/>'
    data = np.nan_to_num(picture(), nan=0.5)
    write(tmp_path / 'pi.xisf', image(data[None], data.tobytes(), keyword))
    assert run('colorize', tmp_path / 'pi.xisf', *(['--format', format] if format else []))[0] == 0
    if format:
        with Image.open(tmp_path / 'out/pi.png') as result:
            shown = np.asarray(result.convert('L')) / 255
        np.testing.assert_allclose(shown, data, atol=0.05)
    else:
        with fits.open(tmp_path / 'out/pi.fits') as hdus:
            result, header = hdus[0].data, hdus[0].header
        luminance = np.tensordot((0.2126, 0.7152, 0.0722), result, 1)[::-1]
        np.testing.assert_allclose(luminance, data, atol=0.05)
        assert header['OBJECT'] == 'M 31'
    mosaic = f'{keyword}<ColorFilterArray pattern="GBRG"/>'
    write(tmp_path / 'raw.xisf', image(data[None], data.tobytes(), mosaic))
    one_line('upscale', tmp_path / 'raw.xisf', words=['raw.xisf: a GBRG mosaic', '--allow-mosaic'])
