"""Around the colorizer: lightness is the input's, whatever the network says."""

import functools

import jax
import numpy as np
import pytest
from skimage import color as reference

from astro_gan import colorization

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random((2, 16, 16, 3)).astype(np.float32) ** 2
TRUTH[0, 0, :8] = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).T.reshape(8, 3)  # black, white, the primaries
GRAY = np.sqrt(RANDOM.random((2, 16, 16, 1))).astype(np.float32)
GRAY[0, 0, :4, 0] = [0, 1, 1 / 255, 254 / 255]
both_spaces = pytest.mark.parametrize('space', ['rgb', 'lab'])
all_spaces = pytest.mark.parametrize('space', ['rgb', 'lab', 'classes'])


@functools.lru_cache
def jitted(name, space):
    return jax.jit(functools.partial(getattr(colorization, name), space=space))


def lab_of(rgb):
    return reference.rgb2lab(np.asarray(rgb, np.float64))


@all_spaces
@pytest.mark.parametrize('size', [0.3, 3.0, 1e4])
def test_lightness_is_the_inputs(space, size):
    """Any prediction, from plausible to absurd, gives a picture in [0, 1] with exactly the input's L*."""
    prediction = RANDOM.normal(0, size, (2, 16, 16, colorization.CHANNELS[space])).astype(np.float32)
    plane = jitted('network_input', space)(GRAY)
    rgb = np.asarray(jitted('to_rgb', space)(plane, prediction))
    assert rgb.shape == (2, 16, 16, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    expected = lab_of(np.repeat(GRAY, 3, axis=-1))[..., 0]
    np.testing.assert_allclose(lab_of(rgb)[..., 0], expected, atol=0.02)
    assert np.hypot(*lab_of(rgb)[..., 1:].T).mean() > 5


@all_spaces
def test_the_true_prediction_gives_the_truth_back(space):
    """A perfect network scores perfectly: its picture is the truth, its chromaticity the truth's a*b*."""
    lab = lab_of(TRUTH).astype(np.float32)
    gray = reference.lab2rgb(lab * [1, 0, 0])[..., :1].astype(np.float32)
    plane = jitted('network_input', space)(gray)
    np.testing.assert_allclose(plane, gray if space == 'rgb' else lab[..., :1] / 100, atol=1e-4)
    prediction = TRUTH if space == 'rgb' else lab[..., 1:] / 110
    np.testing.assert_allclose(jitted('to_rgb', space)(plane, prediction), TRUTH, atol=1e-3)
    np.testing.assert_allclose(jitted('compose', space)(plane, prediction), TRUTH, atol=1e-3)
    np.testing.assert_allclose(jitted('chromaticity', space)(plane, prediction), lab[..., 1:], atol=1e-3)
    np.testing.assert_allclose(jitted('gray_picture', space)(plane), np.repeat(gray, 3, axis=-1), atol=1e-4)


@both_spaces
def test_losses_see_and_pull_back_what_is_out_of_range(space):
    """Colours outside sRGB are not clipped on their way to the losses, and their gradients are finite and not zero."""
    plane = np.full((1, 1, 1, 1), 0.5, np.float32)
    wild = np.full(
        (1, 1, 1, colorization.CHANNELS[space]), [-1.5, 1.5, 2.0][: colorization.CHANNELS[space]], np.float32
    )
    assert np.ptp(colorization.compose(plane, wild, space)) > 1.05
    for name in ('compose', 'chromaticity'):
        slope = jax.grad(lambda x, name=name: (jitted(name, space)(plane, x) ** 2).sum())(wild)
        assert np.isfinite(slope).all()
        assert np.abs(slope).min() > 0


def test_unknown_spaces_and_wrong_channels_are_refused():
    """A misspelt space is answered with the valid ones; RGB where a*b* is meant is not cut to fit."""
    for call in (
        lambda: colorization.network_input(GRAY, 'hsv'),
        lambda: colorization.to_rgb(GRAY, TRUTH, 'hsv'),
        lambda: colorization.gray_picture(GRAY, 'hsv'),
    ):
        with pytest.raises(ValueError, match=r"colour space 'hsv' is unknown; valid are rgb, lab, classes"):
            call()
    with pytest.raises(ValueError, match=r'in lab: the prediction has shape \[N, H, W, 2\], not \(2, 16, 16, 3\)'):
        colorization.to_rgb(GRAY, TRUTH, 'lab')
    with pytest.raises(ValueError, match=r'in rgb: the gray picture has shape \[N, H, W, 1\]'):
        colorization.network_input(TRUTH, 'rgb')
