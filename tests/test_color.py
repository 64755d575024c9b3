"""Colour conversions against scikit-image."""

import jax
import numpy as np
import pytest
from skimage import color as reference

from astro_gan import color

LEVELS = np.concatenate([np.linspace(0, 0.06, 6), np.linspace(0.1, 1, 14)]).astype(np.float32)  # dark ones closer
GRID = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1)  # black, white, all primaries and the gamut's surface
GRAYS = np.linspace(0, 1, 256, dtype=np.float32)[:, None]


def test_lab_agrees_with_scikit_image_both_ways():
    """RGB -> L*a*b* -> RGB equals scikit-image to 1e-3 in every channel: bright, dark, saturated."""
    lab = reference.rgb2lab(GRID.astype(np.float64))
    np.testing.assert_allclose(jax.jit(color.rgb_to_lab)(GRID), lab, atol=1e-3)
    back = np.asarray(jax.jit(color.lab_to_rgb)(lab.astype(np.float32)))
    np.testing.assert_allclose(back, GRID, atol=1e-4)
    np.testing.assert_allclose(reference.rgb2lab(back.astype(np.float64)), lab, atol=1e-3)


def test_without_clipping_colours_leave_the_gamut_smoothly():
    """What sRGB cannot show is below 0 or above 1, with a slope that a loss can follow; inside nothing changes."""
    unclipped = jax.jit(lambda lab: color.lab_to_rgb(lab, clip=False))
    wild = np.array([[50.0, 120.0, 90.0], [0.0, -80.0, 60.0], [100.0, 0.0, 110.0], [150.0, 40.0, -300.0]], np.float32)
    rgb = unclipped(wild)
    assert rgb.min() < -0.5
    assert rgb.max() > 1.2
    np.testing.assert_allclose(jax.jit(color.lab_to_rgb)(wild), np.clip(rgb, 0, 1), atol=1e-6)
    for channel in range(3):
        slope = jax.jit(jax.grad(lambda lab, channel=channel: unclipped(lab)[:, channel].sum()))(wild)
        assert np.isfinite(slope).all()
        assert (np.abs(slope).max(1) > 1e-4).all()


def test_gradients_are_finite_at_the_corners():
    """Black, white, saturated pixels and some outside have finite gradients through every conversion."""
    rgb = np.float32([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-0.2, 0.5, 1.3]])
    lab = np.asarray(color.rgb_to_lab(rgb))
    for function, x in (
        (color.rgb_to_lab, rgb),
        (lambda lab: color.lab_to_rgb(lab, clip=False), lab),
        (color.lab_to_rgb, lab),
        (color.lightness, rgb),
        (color.lightness_to_gray, lab[:, :1]),
        (color.fit_gamut, lab),
    ):
        assert np.isfinite(jax.jit(jax.grad(lambda x, function=function: function(x).sum()))(x)).all()


def test_lightness_is_that_of_the_colour():
    """L* of colours and of grays is scikit-image's, and grays are recovered from it; a gray value is no lightness."""
    np.testing.assert_allclose(jax.jit(color.lightness)(GRID)[..., 0], reference.rgb2lab(GRID)[..., 0], atol=1e-3)
    to_gray = jax.jit(color.lightness_to_gray)
    light = jax.jit(color.lightness)(GRAYS)
    np.testing.assert_allclose(light[:, 0], reference.rgb2lab(np.repeat(GRAYS, 3, axis=1))[:, 0], atol=1e-3)
    np.testing.assert_allclose(to_gray(light), GRAYS, atol=1e-5)
    np.testing.assert_array_equal(to_gray(np.float32([[-20], [130]])), [[0], [1]])
    with pytest.raises(ValueError, match='1 or 3 channels, not 2'):
        color.lightness(np.zeros((1, 4, 4, 2)))


def test_fit_gamut_loses_chroma_and_nothing_else():
    """Any colour comes inside sRGB with its lightness and hue, as saturated as sRGB can show it."""
    fit = jax.jit(color.fit_gamut)
    show = jax.jit(lambda lab: color.lab_to_rgb(lab, clip=False))
    random = np.random.default_rng(0)
    light = np.concatenate([random.uniform(0, 100, 2800), np.repeat([0, 0.01, 0.5, 99.5, 99.99, 100], 200)])
    ab = random.normal(size=(4000, 2)) * 10 ** random.uniform(-1, 4, (4000, 1))
    lab = np.column_stack([light, ab]).astype(np.float32)
    fitted = np.asarray(fit(lab))
    rgb = np.asarray(show(fitted))
    assert rgb.min() > -2e-4
    assert rgb.max() < 1 + 2e-4
    np.testing.assert_allclose(reference.rgb2lab(np.clip(rgb, 0, 1).astype(np.float64))[:, 0], light, atol=0.02)
    chroma, before = np.hypot(*fitted[:, 1:].T)[:, None], np.hypot(*lab[:, 1:].T)[:, None]
    np.testing.assert_allclose(fitted[:, 1:], chroma * (lab[:, 1:] / before), atol=1e-4)
    assert (chroma <= before).all()
    more = fitted + [0, 1, 1] * (lab / before) * 0.1
    excess = np.asarray(show(more.astype(np.float32)))
    assert ((excess.min(1) < 0) | (excess.max(1) > 1) | (chroma == before)[:, 0]).all()

    inside = np.array(color.rgb_to_lab(GRID)).reshape(-1, 3)[::2]
    inside[:, 0] = np.clip(inside[:, 0], 0, 100)
    np.testing.assert_array_equal(fit(inside), inside)
    broken = np.array(inside)
    broken[:2, :2] = [[50, np.nan], [np.nan, 0]]
    np.testing.assert_array_equal(np.isnan(fit(broken)).any(1).nonzero(), [[0, 1]])


def test_luma_agrees_with_scikit_image():
    """Y is BT.601 in 16/255 .. 235/255, as the super-resolution papers measure it."""
    np.testing.assert_allclose(color.luma(GRID) * 255, reference.rgb2ycbcr(GRID)[..., 0], rtol=1e-5)


def test_the_gray_of_a_colour_is_as_light():
    """The gray value has the colour's L*, by scikit-image's numbers; of a gray it is the gray itself."""
    pixels = np.random.default_rng(0).random((200, 3), np.float32)
    gray = np.asarray(color.gray_of(pixels))
    light = reference.rgb2lab(np.repeat(gray, 3, -1).astype(np.float64))[..., 0]
    np.testing.assert_allclose(light, reference.rgb2lab(pixels.astype(np.float64))[..., 0], atol=2e-3)
    np.testing.assert_allclose(color.gray_of(np.repeat(gray, 3, -1)), gray, atol=1e-5)
