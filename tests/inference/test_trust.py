"""Trust maps: half widths as the calibration says, the same in tiles, beside each output; and the promise itself."""

import json

import jax
import numpy as np
import pytest
import pyvips
from astropy.io import fits
from PIL import Image
from scipy import ndimage

from astro_gan.errors import UserError
from astro_gan.images import downsample, quantize
from astro_gan.inference import trust
from astro_gan.inference.choose import bicubic, interpolated
from astro_gan.inference.network import Network
from astro_gan.inference.render import ArraySource, render
from astro_gan.inference.settings import Settings
from astro_gan.model import Model, load_model, shipped_models
from astro_gan.noise_units import from_network, to_network
from benchmarks import trust as benchmark
from tests.inference.skies import field
from tests.networks import pictures
from tests.small_models import colorizer, framer, saved, upscaler

CALIBRATION = {
    'coverage': 0.9,
    'weights': [0.6, 0.3, -0.1],
    'levels': [0.1, 0.5],
    'scores': [[-5.0, -1.0], [-4.0, -2.0]],
    'half_widths': [[0.01, 0.1], [0.02, 0.3]],
    'measured': {'on': 'nothing'},
    'weights_sha256': '0' * 64,
}


def calibrated(model):
    network = model.networks[0]
    description = network.description | {'calibration': CALIBRATION}
    network = Network(description, network.generator, network.variables)
    return Model(model.description | {'calibration': CALIBRATION}, (network,))


def saved_calibrated(model, folder):
    """The model's directory, with a calibration of the weights as they are written."""
    path = saved(calibrated(model), folder) / 'model.json'
    description = json.loads(path.read_text())
    description['calibration']['weights_sha256'] = description['weights']['sha256']
    path.write_text(json.dumps(description))
    return folder


def test_half_widths_are_the_calibrated_ones():
    """Between the calibrated levels and scores the logarithm is interpolated, beyond them the last one holds."""
    features = np.zeros((3, 5, 1), np.float32)
    features[0, :, 0] = np.array([-5.0, -1.0, -3.0, -99.0, -2.0]) / 0.6
    level = np.array([0.1, 0.1, 0.0, 0.5, 0.3], np.float32)[:, None]
    half = np.asarray(trust.half_width(CALIBRATION, features, level))[:, 0]
    tables = zip(CALIBRATION['scores'], CALIBRATION['half_widths'], strict=True)
    middle = [np.interp(-2, scores, np.log(widths)) for scores, widths in tables]
    np.testing.assert_allclose(half, [0.01, 0.1, 0.01**0.5 * 0.1**0.5, 0.02, np.exp(np.mean(middle))], rtol=1e-4)


def test_features_are_spread_and_contrast():
    """Spread over eight views, contrasts as SciPy's filters give them, borders repeated, the level by bicubic."""
    model, image = upscaler(2), pictures(1, 30, 26, 3)
    network = model.networks[0]
    output, features, level = jax.jit(lambda x: trust.observe(network, network.variables, x))(image)
    np.testing.assert_allclose(np.asarray(output)[0], model(image[0]), atol=1e-5)
    np.testing.assert_allclose(np.asarray(level), np.asarray(bicubic(2)(image)), atol=1e-5)
    planes = np.moveaxis(image[0], -1, 0)
    kernel = np.outer([1, -2, 1], [1, -2, 1]) / 6.0
    fine = [ndimage.convolve(plane, kernel, mode='nearest') for plane in planes]
    next_finest = [plane - ndimage.uniform_filter(plane, 3, mode='nearest') for plane in planes]
    for found, expected in zip(np.asarray(features)[1:, 0], (fine, next_finest), strict=True):
        rms = np.stack([np.sqrt(ndimage.uniform_filter(x**2, 17, mode='nearest')) for x in expected], -1)
        np.testing.assert_allclose(found, np.log(rms + trust.FLOOR).repeat(2, 0).repeat(2, 1), atol=1e-3)


@pytest.mark.parametrize('channels', [1, 3])
def test_tiled_equals_untiled(channels):
    """The map is the same in tiles of any size, in gray as in colour."""
    network = trust.trusted(calibrated(upscaler(2)))
    image = pictures(40, 61, channels)
    whole = np.asarray(jax.jit(network.forward)(network.variables, np.broadcast_to(image, (1, 40, 61, 3))))[0]
    whole = whole.mean(-1, keepdims=True) if channels == 1 else whole
    tiled = np.concatenate(list(render([network], ArraySource(image), tile=13)))
    assert tiled.shape == (80, 122, channels)
    np.testing.assert_allclose(tiled, whole, rtol=1e-3)


def test_a_map_beside_a_picture(run, tmp_path):
    """A PNG of 16 bits, white the whole range; the description says what it promises, the output is as without."""
    model = calibrated(upscaler(2))
    folder = saved_calibrated(model, tmp_path / 'model')
    pixels = np.random.default_rng(0).integers(0, 256, (66, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    assert run('upscale', tmp_path / 'a.png', '--trust', model=folder)[0] == 0
    found = pyvips.Image.new_from_file(str(tmp_path / 'out/a.trust.png')).numpy()
    source = ArraySource(pixels)
    expected = np.concatenate(list(render([trust.trusted(model)], source)))
    np.testing.assert_allclose(found, 65535 * expected, atol=0.51)
    described = json.loads((tmp_path / 'out/a.png.json').read_text())['trust']
    assert (described['file'], described['coverage']) == ('a.trust.png', 0.9)
    assert run('upscale', tmp_path / 'a.png', model=folder, out=tmp_path / 'plain')[0] == 0
    assert (tmp_path / 'plain/a.png').read_bytes()[-2000:] == (tmp_path / 'out/a.png').read_bytes()[-2000:]
    (tmp_path / 'out/a.png').unlink()
    (tmp_path / 'out/a.png.json').unlink()
    status, _, err = run('upscale', tmp_path / 'a.png', '--trust', model=folder)
    assert status == 1
    assert 'a.trust.png: exists already; --overwrite replaces it' in err


def test_a_map_beside_an_enhanced_picture(run, models, gray_picture, tmp_path):
    """It is that of the gray picture enlarged: one channel, as `upscale` writes it for the same picture."""
    folder = saved_calibrated(upscaler(2), tmp_path / 'model')
    out = tmp_path / 'enhanced'
    options = ('--trust', '--model', models['colorize'])
    assert run('enhance', gray_picture, *options, model=folder, out=out)[0] == 0
    assert run('upscale', gray_picture, '--trust', model=folder)[0] == 0
    maps = [pyvips.Image.new_from_file(str(path / 'm51.trust.png')).numpy() for path in (out, tmp_path / 'out')]
    assert maps[0].shape == (132, 140)
    np.testing.assert_array_equal(*maps)
    described = json.loads((out / 'm51.png.json').read_text())['trust']
    assert described['meaning'] == 'half width of the interval around enlarged gray values that holds 90% of the true'


def test_a_map_beside_a_frame(run, tmp_path):
    """A FITS plane: half of what the interval of compressed values is in data values, by the local noise."""
    model = calibrated(framer())
    folder = saved_calibrated(model, tmp_path / 'model')
    data = field(0, size=72, count=12)[0].astype(np.float32)
    fits.PrimaryHDU(data).writeto(tmp_path / 'a.fits')
    options = ('--sky', 100, '--noise', 2, '--fwhm', 2.5)
    assert run('upscale', tmp_path / 'a.fits', '--trust', *options, model=folder)[0] == 0
    found = fits.getdata(tmp_path / 'out/a.trust.fits')
    output = fits.getdata(tmp_path / 'out/a.fits')
    assert found.shape == output.shape == (144, 144)
    compressed = to_network((output - 100) / 2)
    limits = [CALIBRATION['half_widths'][0][0], CALIBRATION['half_widths'][1][1]]
    low, high = (2 * (from_network(compressed + t) - from_network(compressed - t)) / 2 for t in limits)
    assert (found >= 0.999 * low).all()
    assert (found <= 1.001 * high).all()
    bright = data.repeat(2, 0).repeat(2, 1) > np.quantile(data, 0.99)
    assert found[bright].mean() > 2 * np.median(found)


def test_where_nothing_was_measured(tmp_path):
    """Bicubic, blended weights, several networks, pictures' models on frames: refused in one line."""
    model = calibrated(upscaler(2))
    other = calibrated(upscaler(2, features=5))
    other.networks[0].description['weights'] = {'sha256': '1' * 64}
    with pytest.raises(UserError, match='--trust: errors of tiny_x2 were measured with other weights'):
        trust.trusted(other)
    with pytest.raises(UserError, match='--trust: no errors of bicubic were measured'):
        trust.trusted(bicubic(2))
    with pytest.raises(UserError, match='--trust: no errors of'):
        trust.trusted(interpolated(model, model, 0.5))
    with pytest.raises(UserError, match='--trust: tiny_x2 is a chain of 2 networks; errors of single ones'):
        trust.trusted(Model(model.description, model.networks * 2))
    with pytest.raises(UserError, match='makes colours, which are guesses'):
        trust.trusted(colorizer())
    frame = type('Frame', (), {'path': 'a.fits', 'frame': None})()
    with pytest.raises(UserError, match=r'a\.fits: --trust: errors of tiny_x2 were measured on pictures, not on'):
        trust.promise(model, frame, tmp_path / 'a.fits', Settings())


def test_less_of_a_network_was_not_measured(one_line, tmp_path):
    """With a share of the denoising the output is another: refused."""
    folder = saved_calibrated(framer(), tmp_path / 'model')
    fits.PrimaryHDU(field(0, size=72, count=12)[0].astype(np.float32)).writeto(tmp_path / 'a.fits')
    words = ('--trust', 'leave --sharpen, --denoise out')
    one_line('upscale', tmp_path / 'a.fits', '--trust', '--denoise', 0.5, words=words, model=folder)


def test_names_of_maps_do_not_meet(tmp_path):
    """`a.png` and `a.jpg` in one folder have maps of their own."""
    names = [trust.trust_path(tmp_path / name, frame=False).name for name in ('a.png', 'a.jpg')]
    assert names == ['a.trust.png', 'a.jpg.trust.png']
    assert trust.trust_path(tmp_path / 'a.fits', frame=True).name == 'a.trust.fits'


def records(seed, scale, count=6, size=4000):
    """Errors whose spread the features tell exactly, as `benchmarks.trust.measure` gives them."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        features = rng.normal(-3, 1, (3, size, 1)).astype(np.float32)
        error = scale * np.exp(features[0] + 0.5 * features[1]) * np.abs(rng.standard_normal((size, 1)))
        found.append({'error': error, 'features': features, 'level': rng.random((size, 1)).astype(np.float32)})
    return found


def test_a_calibration_covers_what_it_says():
    """Errors of the same kind are covered to 90%; where all are half as large again the factor makes up for it."""
    calibration = benchmark.fit(records(0, 0.1))
    other = records(1, 0.1)
    covered = [e['error'] <= half for e, half in zip(other, benchmark.half_widths(calibration, other), strict=True)]
    assert abs(benchmark.summary(covered)['all'] - 0.9) < 0.01
    for share in benchmark.conditional(covered, other, benchmark.half_widths(calibration, other)).values():
        assert abs(share - 0.9) < 0.03
    larger = records(2, 0.15)
    ratios = [e['error'] / half for e, half in zip(larger, benchmark.half_widths(calibration, larger), strict=True)]
    assert benchmark.factor_for([ratios]) == pytest.approx(1.5, rel=0.03)


def test_sides_and_pictures_weigh_the_same():
    """A side with many pictures, or a picture with many pixels, counts no more than another."""
    many, few = [np.full(100, 1.0)] * 9, [np.full(10, 3.0)]
    assert benchmark.factor_for([many, few]) == 3.0
    assert benchmark.factor_for([many * 9 + few]) == 1.0


@pytest.mark.parametrize('name', ['wdsr_x2', 'wdsr_x3', 'wdsr_x4', 'wdsr_gan_x4', 'frames_x2'])
def test_what_ships_keeps_its_promise(name):
    """Nominal 90% covers 88 to 92% of the validation data, as measured when the model was calibrated."""
    calibration = shipped_models()[name]['calibration']
    assert calibration['coverage'] == 0.9
    assert 0.88 <= calibration['measured']['validation']['all'] <= 0.92


def test_intervals_hold_the_truth_of_real_pictures(real_data):
    """What ships covers about 90% of three validation pictures, which differ; far less with intervals half as wide."""
    model = load_model('wdsr_x4')
    network = trust.trusted(model)
    shares = []
    for name in ('heic1007f', 'heic1901c', 'potw1130a'):
        with Image.open(real_data / f'hubble/val/{name}.jpg') as picture:
            truth = np.asarray(picture, np.float32)[200:392, 200:392] / 255
        low_res = np.asarray(quantize(downsample(truth[None], 4)))[0]
        error = np.abs(model(low_res) - truth)
        half = np.concatenate(list(render([network], ArraySource(low_res))))
        shares.append([(error <= half).mean(), (error <= half / 2).mean()])
    covered, narrower = np.mean(shares, 0)
    assert 0.8 < covered < 0.97
    assert narrower < covered - 0.1
