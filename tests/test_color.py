"""Colour conversions against scikit-image."""

import jax
import numpy as np
import pytest
from skimage import color as reference

from astro_gan import color

PIXELS = np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)
CORNERS = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).T.reshape(1, 1, 8, 3).astype(np.float32)


@pytest.mark.parametrize('rgb', [PIXELS, CORNERS, PIXELS * 0.03])
def test_lab_agrees_with_scikit_image_both_ways(rgb):
    """RGB -> L*a*b* -> RGB equals scikit-image to 1e-3 in every channel: bright, dark, saturated."""
    lab = jax.jit(color.rgb_to_lab)(rgb)
    np.testing.assert_allclose(lab, reference.rgb2lab(rgb), atol=1e-3)
    np.testing.assert_allclose(jax.jit(color.lab_to_rgb)(lab), rgb, atol=1e-4)


@pytest.mark.parametrize('value', [0.0, 1.0, [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
def test_gradients_are_finite_at_the_corners(value):
    """Black, white and saturated pixels have finite gradients through both conversions."""
    rgb = np.broadcast_to(np.asarray(value, np.float32), (1, 2, 2, 3))
    there = jax.grad(lambda x: color.rgb_to_lab(x).sum())(rgb)
    back = jax.grad(lambda x: color.lab_to_rgb(x).sum())(color.rgb_to_lab(rgb))
    assert np.isfinite(there).all()
    assert np.isfinite(back).all()


def test_luma_agrees_with_scikit_image():
    """Y is BT.601 in 16/255 .. 235/255, as the super-resolution papers measure it."""
    np.testing.assert_allclose(color.luma(PIXELS) * 255, reference.rgb2ycbcr(PIXELS)[..., 0], rtol=1e-5)
