"""Metrics against scikit-image and against published numbers."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import color as reference_color
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from astro_gan import images, metrics
from astro_gan.models import load_lpips, lpips


@pytest.fixture(scope='module')
def pair(hubble):
    """A truth and a worse prediction, `[2, 64, 64, 3]` in [0, 1]."""
    truth = np.stack([hubble[:64, :64], hubble[300:364, 500:564]]).astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    return np.clip(truth + noise, 0, 1).astype(np.float32), truth


@functools.partial(jax.jit, static_argnames='border')
def measured(prediction, truth, border=4):
    return metrics.image_metrics(prediction, truth, border=border, lpips_params=load_lpips())


def test_metrics_agree_with_scikit_image(pair):
    """Every distance, PSNR and SSIM equals scikit-image's or numpy's, image by image, inside the border."""
    prediction, truth = pair
    result = measured(prediction, truth)
    for i in range(2):
        p, t = prediction[i, 4:-4, 4:-4], truth[i, 4:-4, 4:-4]
        np.testing.assert_allclose(result['l1'][i], np.abs(p - t).mean(), rtol=1e-4)
        np.testing.assert_allclose(result['l2'][i], ((p - t) ** 2).mean(), rtol=1e-4)
        np.testing.assert_allclose(result['l1_g'][i], np.abs(p - t)[..., 1].mean(), rtol=1e-4)
        lab = np.abs(reference_color.rgb2lab(p) - reference_color.rgb2lab(t))
        np.testing.assert_allclose(result['l1_lab'][i], lab.mean(), rtol=1e-3)
        np.testing.assert_allclose(result['l1_bstar'][i], lab[..., 2].mean(), rtol=1e-3)
        np.testing.assert_allclose(result['psnr'][i], peak_signal_noise_ratio(t, p, data_range=1), rtol=1e-4)
        y_p, y_t = (reference_color.rgb2ycbcr(x)[..., 0] / 255 for x in (p, t))
        np.testing.assert_allclose(result['psnr_y'][i], peak_signal_noise_ratio(y_t, y_p, data_range=1), rtol=1e-4)
        options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False, 'data_range': 1.0}
        np.testing.assert_allclose(result['ssim_y'][i], structural_similarity(y_t, y_p, **options), rtol=1e-3)


def test_learned_metrics_see_the_whole_image(pair):
    """LPIPS inside the metrics is LPIPS, whatever the border; the vectors for a Fréchet distance tell images apart."""
    result = measured(*pair)
    np.testing.assert_allclose(result['lpips'], jax.jit(lpips)(load_lpips(), *pair), rtol=1e-5)
    assert result['features_prediction'].shape == result['features_truth'].shape == (2, 256)
    assert np.ptp(result['features_truth'], axis=0).max() > 0.1
    np.testing.assert_array_equal(result['features_truth'], measured(pair[1], pair[1])['features_prediction'])


def test_report_formulas_are_the_reports(pair):
    """What the 2021 report printed: signed means, errors on ab/110, and numpy's 8-bit arithmetic that wraps around."""
    result = jax.jit(metrics.report_formulas)(*pair)
    prediction8, truth8 = (np.round(x * 255).astype(np.uint8) for x in pair)
    difference = truth8 - prediction8
    ab = (reference_color.rgb2lab(pair[1]) - reference_color.rgb2lab(pair[0]))[..., 1:] / 110
    expected = {
        'report_signed_mean_': ('ab', ab),
        'report_mae_ab110_': ('ab', np.abs(ab)),
        'report_wrapped_l1_': ('rgb', difference),
        'report_wrapped_l2_': ('rgb', difference**2),
    }
    assert difference.max() > 200  # it did wrap
    assert len(result) == 10
    for name, (channels, values) in expected.items():
        for index, channel in enumerate(channels):
            np.testing.assert_allclose(result[name + channel], values[..., index].mean((1, 2)), rtol=1e-3, atol=1e-6)
    assert result.keys() <= measured(*pair).keys()


def test_colour_metrics_agree_with_numpy(pair):
    """Errors of a*b*, colourfulness, chroma and tint equal scikit-image's and numpy's, for output and truth."""
    colour_metrics = jax.jit(metrics.colour_metrics)
    result, errors = colour_metrics(*pair), measured(*pair, border=0)
    labs = [reference_color.rgb2lab(x) for x in pair]
    for i in range(2):
        error = (labs[0] - labs[1])[i, ..., 1:]
        np.testing.assert_allclose(errors['l1_ab'][i], np.abs(error).mean(), rtol=1e-3)
        np.testing.assert_allclose(errors['l2_ab'][i], np.square(error).mean(), rtol=1e-3)
        for suffix, images_, lab in (('', pair[0], labs[0]), ('_truth', pair[1], labs[1])):
            r, g, b = 255 * images_[i].astype(np.float64).reshape(-1, 3).T
            rg, yb = r - g, (r + g) / 2 - b
            colourfulness = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
            np.testing.assert_allclose(result[f'colourfulness{suffix}'][i], colourfulness, rtol=1e-4)
            np.testing.assert_allclose(result[f'chroma{suffix}'][i], np.hypot(*lab[i, ..., 1:].T).mean(), rtol=1e-3)
            np.testing.assert_allclose(result[f'mean_a{suffix}'][i], lab[i, ..., 1].mean(), atol=1e-3)
            np.testing.assert_allclose(result[f'mean_b{suffix}'][i], lab[i, ..., 2].mean(), atol=1e-3)
    gray = np.full_like(pair[0], 0.4)
    np.testing.assert_allclose(colour_metrics(gray, gray)['colourfulness'], 0, atol=1e-3)


def test_equal_images_are_perfect(pair):
    """No distance between an image and itself; PSNR stays finite, so that averages do."""
    result = measured(pair[1], pair[1])
    for name in ('l1', 'l2', 'l1_lab', 'lpips'):
        np.testing.assert_allclose(result[name], 0, atol=1e-6)
    np.testing.assert_allclose(result['psnr'], 100)
    np.testing.assert_allclose(result['ssim_y'], 1, atol=1e-5)


def test_wrong_shapes_are_refused(pair):
    """Shapes that would broadcast silently, or leave nothing inside the border, are errors."""
    prediction, truth = pair
    with pytest.raises(ValueError, match='differ in shape'):
        measured(prediction[:1], truth)
    with pytest.raises(ValueError, match='nothing is left'):
        measured(prediction, truth, border=32)


@pytest.mark.parametrize(('name', 'published'), [('Set5', 28.43), ('Set14', 26.0)])
def test_bicubic_reaches_the_published_psnr(real_data, name, published):
    """Degradation, baseline and Y-PSNR together give the benchmarks' published bicubic x4 numbers (0.1 dB)."""

    @jax.jit
    def measure(truth):
        low_res = images.quantize(images.downsample(truth, 4))
        prediction = images.quantize(images.upsample(low_res, 4))
        return metrics.psnr(metrics.luma(prediction)[:, 4:-4, 4:-4], metrics.luma(truth)[:, 4:-4, 4:-4])[0]

    paths = sorted((real_data / 'benchmarks' / name).glob('*.png'))
    values = [measure(np.asarray(Image.open(path).convert('RGB'), np.float32)[None] / 255) for path in paths]
    assert abs(np.mean(values) - published) < 0.1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda p, t: (p[:, :9], t), 'differ in shape'),
        (lambda p, t: (p[..., :1], t[..., :1]), r'have shape \[N, H, W, 3\], not'),
        (lambda p, t: (p[0], t[0]), r'have shape \[N, H, W, 3\], not'),
        (lambda p, t: ((255 * p).astype(np.uint8), t), r'the prediction is uint8, and has to be floats in \[0, 1\]'),
        (lambda p, t: (255 * p, 255 * t), r'the prediction has values from 0 to 255, and has to be in \[0, 1\]'),
        (lambda p, t: (p, 2 * t - 1), r'the truth has values from -1 to 1, and has to be'),
    ],
)
@pytest.mark.parametrize('function', ['image_metrics', 'colour_metrics', 'report_formulas'])
def test_what_is_no_pair_of_pictures_is_refused(pair, function, change, message):
    """8-bit values, values of -1..1, other shapes: numbers that nobody would question come out otherwise."""
    options = {'border': 0, 'lpips_params': load_lpips()} if function == 'image_metrics' else {}
    extremes = np.zeros((1, 64, 64, 3), np.float32)
    extremes[:, :32] = 1
    with pytest.raises(ValueError, match=message):
        getattr(metrics, function)(*change(extremes, extremes), **options)
    prediction, truth = change(*pair)
    if prediction.dtype == np.uint8 or prediction.shape != pair[0].shape:  # within jit too, where values are not known
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda p, t: getattr(metrics, function)(p, t, **options), prediction, truth)


def test_nan_is_measured_as_nan(pair):
    """A network that diverges has no valid score, and is not refused."""
    prediction, truth = (array.copy() for array in pair)
    prediction[0, 0, 0, 0] = np.nan
    score = metrics.psnr(prediction, truth)
    assert np.isnan(score[0])
    assert np.isfinite(score[1])


def test_ssim_needs_its_window():
    """Pictures smaller than 11 pixels have no window; dm_pix would fail with shapes."""
    small = np.zeros((1, 10, 40, 1), np.float32)
    with pytest.raises(ValueError, match='SSIM needs 11 x 11'):
        metrics.ssim(small, small)
