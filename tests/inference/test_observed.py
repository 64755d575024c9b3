"""Frames through a network for frames: units, sky, gaps, blends, residual, and what is refused."""

import json

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astro_gan.files.fits import Frame, Stretch
from astro_gan.inference import choose, observed
from astro_gan.inference.blend import _between
from astro_gan.inference.frames import FrameSource
from tests.inference import skies
from tests.small_models import framer


def enlarge(data, **settings):
    return observed.enlarge(framer().networks[0], np.asarray(data, np.float32), **settings)


def bicubic(data):
    height, width = data.shape
    return np.asarray(
        Image.fromarray(data.astype(np.float32)).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
    )


@pytest.fixture(scope='module')
def field():
    """A star field [128, 128] on a sky of 100 with a slope, noise 2; no star near the border."""
    data, _, _ = skies.field(1, size=128, count=40, fwhm=2.5, slope=1.5)
    return (data + 0.05 * np.arange(128)).astype(np.float32)


@pytest.fixture
def frame(field, tmp_path):
    """The field as a file, with a hole."""
    data = field.copy()
    data[10:13, 20:30] = np.nan
    path = tmp_path / 'in' / 'm101.fits'
    path.parent.mkdir()
    fits.PrimaryHDU(data).writeto(path)
    return path


def test_values_and_units_come_back(field):
    """A fresh network is bicubic: the sky keeps its level and slope, in any unit, whatever zero point."""
    dark = bicubic(field) < 110
    output = enlarge(field, refit=False)  # of noise there is nothing to fit
    assert output.shape == (256, 256)
    assert np.abs(output - bicubic(field))[dark].mean() < 0.3
    np.testing.assert_allclose(enlarge(1e-12 * field - 5e-10, refit=False), 1e-12 * output - 5e-10, atol=2e-14)


def test_a_model_is_called_on_a_frame(field):
    """`load_model(...)(frame)` does what the command does; no picture is a frame."""
    np.testing.assert_array_equal(framer()(field.astype('>f4')), enlarge(field))
    with pytest.raises(ValueError, match='one plane of numbers'):
        framer()(np.zeros((64, 64, 3), np.float32))


def test_tiles_agree(field):
    """Tiles of any size give the same, blended or not: the halo holds the blur too."""
    for settings in ({}, {'sharpen': 0.3, 'denoise': 0.4}):
        one, two = (enlarge(field, tile=tile, **settings) for tile in (40, 128))
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4)


def test_blends(field):
    """Neither sharpened nor denoised is bicubic, to rounding; half of both is half way; denoised alone is smoother."""
    plain, full = enlarge(field, sharpen=0, denoise=0), enlarge(field, refit=False)
    inner = (slice(8, -8),) * 2  # borders are repeated here, and left out there
    np.testing.assert_allclose(plain[inner], bicubic(field)[inner], rtol=1e-4, atol=2e-3)
    half = enlarge(field, sharpen=0.5, denoise=0.5, refit=False)
    np.testing.assert_allclose(half, (plain + full) / 2, rtol=1e-4, atol=5e-3)
    assert np.std(enlarge(field, sharpen=0)[:40, :40]) < 0.8 * np.std(plain[:40, :40])


def test_the_blur_between_the_psfs():
    """The output's PSF, blurred and summed over input pixels, has the width of the input's."""
    narrow, sigma = 0.6 * 3.0, float(_between(np.float32(3.0), 2, {'ratio': 0.6, 'least_fwhm_in_output_pixels': 2.0}))
    scale = np.sqrt(8 * np.log(2))
    total = (narrow / scale) ** 2 + (sigma / 2) ** 2 + (1 - 1 / 4) / 12  # two output pixels are one of the input
    assert scale * np.sqrt(total) == pytest.approx(3.0, rel=1e-4)


def test_command(run, models, frame, tmp_path):
    """Sky, noise and width are printed and stand in header and description; holes stay; flux is a sum over an area."""
    status, _, err = run('upscale', frame, '--conserve', 'flux', model=models['frames'])
    assert status == 0
    assert 'noise 2.' in err
    assert 'differences of neighbouring pixels' in err
    output, cards = fits.getdata(tmp_path / 'out/m101.fits', header=True)
    data = fits.getdata(frame)
    np.testing.assert_array_equal(np.isnan(output), np.isnan(data).repeat(2, axis=0).repeat(2, axis=1))
    assert np.nansum(output) == pytest.approx(np.nansum(data), rel=0.01)
    assert cards['AGNOISE'] == pytest.approx(2, rel=0.06)
    assert cards['AGFWHM'] == pytest.approx(2.6, rel=0.1)
    assert 'AGSTRCH' not in cards
    made = json.loads((tmp_path / 'out/m101.fits.json').read_text())
    assert made['measured'][0]['noise_level']['value'] == cards['AGNOISE']
    assert made['unlike_training'] == []


def test_settings_are_taken(run, models, frame, tmp_path):
    """What is given replaces what is measured, and makes another output than the one that is there."""
    given = ('--sky', 100, '--noise', 3, '--fwhm', 2.2)
    status, _, err = run('upscale', frame, *given, model=models['frames'])
    assert status == 0
    assert err.count('as given') == 3
    cards = fits.getheader(tmp_path / 'out/m101.fits')
    assert [cards[name] for name in ('AGSKY', 'AGNOISE', 'AGFWHM')] == [100, 3, 2.2]
    status, _, err = run('upscale', frame, '--resume', model=models['frames'])
    assert status == 1
    assert 'made otherwise' in err


def test_residual(run, models, frame, tmp_path):
    """The residual is the input less the binned and blurred output; its chi-square stands in the description."""
    assert run('upscale', frame, '--residual', '--denoise', 0.5, model=models['frames'])[0] == 0
    residual = fits.getdata(tmp_path / 'out/m101.residual.fits')
    data = fits.getdata(frame)
    np.testing.assert_array_equal(np.isnan(residual), np.isnan(data))
    facts = json.loads((tmp_path / 'out/m101.fits.json').read_text())['residual']
    chi = facts['chi_square']
    # A fresh network leaves the noise; through the blur less of it is left.
    dark = np.isfinite(data) & (np.abs(data - np.nanmedian(data)) < 12)
    assert chi == pytest.approx(np.square(residual[dark] / 2).mean(), rel=0.15)
    assert 0.3 < chi < 1.1
    assert facts['beyond'] < 0.01
    status, _, err = run('upscale', frame, '--residual', '--denoise', 0.5, out=tmp_path / 'out', model=models['frames'])
    assert status == 1
    assert 'exists already' in err


def test_pictures_and_colour_of_frames(run, models, tmp_path):
    """A cube of three planes is measured plane by plane; as a picture it is upright and shown by the stretch."""
    planes = np.stack([skies.field(seed, size=128, sky=50.0 * seed, noise=seed)[0] for seed in (1, 2, 3)])
    fits.PrimaryHDU(planes.astype(np.float32)).writeto(tmp_path / 'rgb.fits')
    assert run('upscale', tmp_path / 'rgb.fits', model=models['frames'])[0] == 0
    output = fits.getdata(tmp_path / 'out/rgb.fits')
    np.testing.assert_allclose(np.median(output, axis=(1, 2)), np.median(planes, axis=(1, 2)), rtol=0.02)
    made = json.loads((tmp_path / 'out/rgb.fits.json').read_text())
    noises = [one['noise_level']['value'] for one in made['measured']]
    np.testing.assert_allclose(noises, [1, 2, 3], rtol=0.06)
    assert run('upscale', tmp_path / 'rgb.fits', '--format', 'png', model=models['frames'])[0] == 0
    shown = np.asarray(Image.open(tmp_path / 'out/rgb.png')).astype(float)[::-1]
    assert shown.shape == (256, 256, 3)
    expected = np.clip(Stretch(**made['stretch']).apply(np.moveaxis(output, 0, -1)), 0, 1)
    # Pillow reads 8 of the 16 bits; a network sees the frame upside down, and does not quite give the same.
    assert np.abs(shown / 255 - expected).mean() < 3e-3
    assert np.abs(shown / 255 - expected).max() < 0.05


def test_colour_and_display_values_are_pictures(monkeypatch, tmp_path):
    """By itself the model for frames leaves a colour cube, and TIFF values in [0, 1], to those for pictures."""
    from astro_gan import cli

    sky = np.stack([skies.field(seed, size=64)[0] for seed in (1, 2, 3)]).astype(np.float32)
    fits.PrimaryHDU(sky).writeto(tmp_path / 'rgb.fits')
    tifffile.imwrite(tmp_path / 'shown.tif', sky[0] / sky[0].max())
    monkeypatch.setattr(choose, 'choose_frame_model', lambda command, names, factor: framer())
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')
    inputs = [str(tmp_path / name) for name in ('rgb.fits', 'shown.tif')]
    assert cli.main(['upscale', *inputs, '--factor', '2', '-o', str(tmp_path / 'out')]) == 0
    for name in ('rgb.fits', 'shown.tif'):
        assert json.loads((tmp_path / f'out/{name}.json').read_text())['model'] == 'wdsr_x2'
    output = fits.getdata(tmp_path / 'out/rgb.fits')
    # One stretch for all three planes, and means that stay: of the planes, and so of the colours.
    np.testing.assert_allclose(output.mean((1, 2)), sky.mean((1, 2)), rtol=1e-3)


def test_four_times(run, models, frame, monkeypatch, tmp_path):
    """Factor 4 of frames is the model's 2, interpolated: stars keep their flux to a percent, coordinates follow."""
    monkeypatch.setattr(choose, 'FRAMES', 'tiny_frames')
    monkeypatch.setattr(choose, 'shipped_models', lambda: {'tiny_frames': {}})
    monkeypatch.setattr(choose, 'load_model', lambda name: framer())
    model = choose.choose_frame_model('upscale', [], 4)
    assert (model.name, model.factor) == ('tiny_frames+bicubic_x2', 4)
    assert choose.choose_frame_model('upscale', [], 3) is None
    assert choose.choose_frame_model('enhance', [], 4) is None
    data = 100 + 2 * skies.stars(96, [(40.3, 50.1)], [3e4], 2.5) + np.random.default_rng(0).normal(0, 2, (96, 96))
    two, four = framer()(data.astype(np.float32)), model(data.astype(np.float32))
    assert four.shape == (384, 384)
    star = (slice(64, 100), slice(84, 120))
    flux = (two[star] - 100).sum() / 4
    larger = (four[128:200, 168:240] - 100).sum() / 16
    assert larger == pytest.approx(flux, rel=0.01)


def source(data, bad=None):
    return FrameSource('a.fits', Frame(data, bad, fits.Header(), '0'), Stretch('linear', 0.0, 1.0))


@pytest.mark.parametrize('kind', ['grain', 'wide', 'full', 'screen'])
def test_unlike_frames_are_told(kind):
    """Grain, stars too wide, mostly saturated, stretched for a screen: each has its reason; a normal frame has none."""
    rng = np.random.default_rng(3)
    data, _, _ = skies.field(5, size=192, correlation=0.8 / np.sqrt(2) if kind == 'grain' else 0.0, count=40)
    if kind == 'grain':
        data = skies.field(5, size=192, noise=0)[0] + 2 * observed_grain(rng, 192)
    elif kind == 'wide':
        data, _, _ = skies.field(5, size=192, fwhm=8.0, count=25, faintest=6000.0)
    elif kind == 'full':
        data[:60] = 5000
        data = np.minimum(data, 5000)
    elif kind == 'screen':
        data = np.clip(np.round(data - 80), 0, 255)
    found = observed.unlike(observed.observe(framer().networks[0], source(data)))
    words = {'grain': 'grain', 'wide': 'pixels wide', 'full': 'saturated', 'screen': '256 levels'}
    assert len(found) == 1
    assert words[kind] in found[0]
    normal = observed.observe(framer().networks[0], source(skies.field(5, size=192)[0]))
    assert observed.unlike(normal) == []


def observed_grain(rng, size):
    """Grain of a plate: smooth over more than a pixel, standard deviation 1."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.2, mode='wrap')
    return values / values.std()


def test_unlike_frames_are_enlarged_plainly(run, models, monkeypatch, tmp_path):
    """By itself the model for frames leaves an unlike frame to bicubic, with a line; asked for, it obeys."""
    data = skies.field(5, size=128, noise=0)[0] + 2 * observed_grain(np.random.default_rng(3), 128)
    fits.PrimaryHDU(data.astype(np.float32)).writeto(tmp_path / 'plate.fits')
    monkeypatch.setattr(choose, 'choose_frame_model', lambda command, names, factor: None if names else framer())
    from astro_gan import cli

    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')
    assert cli.main(['upscale', str(tmp_path / 'plate.fits'), '-o', str(tmp_path / 'by_itself')]) == 0
    output, cards = fits.getdata(tmp_path / 'by_itself/plate.fits', header=True)
    assert cards['AGMODEL'] == 'bicubic'
    means = output.reshape(128, 2, 128, 2).mean((1, 3))
    np.testing.assert_allclose(means, data, rtol=1e-4)
    assert json.loads((tmp_path / 'by_itself/plate.fits.json').read_text())['unlike_training']
    status, _, err = run('upscale', tmp_path / 'plate.fits', model=models['frames'])
    assert status == 0
    assert 'unlike what tiny_frames learned from' in err
    assert fits.getheader(tmp_path / 'out/plate.fits')['AGMODEL'] == 'tiny_frames'


def test_wrong_uses_are_one_line(one_line, models, gray_picture, tmp_path):
    """A picture, a frame without noise, a residual beside a picture."""
    one_line('upscale', gray_picture, model=models['frames'], words=['m51.png', 'is a picture'])
    fits.PrimaryHDU(np.arange(10000, dtype=np.float32).reshape(100, 100) // 5000).writeto(tmp_path / 'flat.fits')
    one_line('upscale', tmp_path / 'flat.fits', model=models['frames'], words=['flat.fits', 'no noise to measure'])
    fits.PrimaryHDU(skies.field(1, size=70)[0]).writeto(tmp_path / 'a.fits')
    words = ['a.fits', '--residual', '--format']
    one_line('upscale', tmp_path / 'a.fits', '--format', 'png', '--residual', model=models['frames'], words=words)


def test_values_at_the_end_of_float32_spoil_nothing_around_them(field):
    """Pixels that no instrument could have measured are filled from around them, as gaps are."""
    data = field.copy()
    data[64, 64], data[65, 65] = 3e38, -3e38
    source, spoiled = (
        FrameSource('a.fits', Frame(pixels, None, fits.Header(), '0'), Stretch('linear', 0, 1))
        for pixels in (np.where(data == field, field, np.nan), data)
    )
    given = {'sky': 100.0, 'noise': 2.0, 'fwhm': 2.5, 'correlation': 0.0, 'concentration': 0.75}
    plain, other = (observed.observe(framer().networks[0], each, **given) for each in (source, spoiled))
    z, usable = other.noise_units(0, 128)
    assert (~usable).sum() == 2
    assert z[0, 64, 64] == z[0, 65, 65] == 0
    assert np.abs(z).max() < 1e4
    first, second = (np.concatenate(list(each.strips(tile=64, log=print))) for each in (plain, other))
    np.testing.assert_array_equal(second, first)
    assert np.abs(second).max() < 1e4
