"""Resampling and picture grids."""

import jax
import numpy as np
import pytest
from PIL import Image

from astro_gan import images


def test_downsample_is_antialiased_bicubic(hubble):
    """The reduction equals Pillow's antialiased bicubic (an independent Keys a = -0.5) inside the border."""
    crop = hubble[:96, :96, 0].astype(np.float32)
    expected = np.asarray(Image.fromarray(crop).resize((24, 24), Image.Resampling.BICUBIC))
    ours = images.downsample(crop[None, ..., None], 4)[0, ..., 0]
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_upsample_is_bicubic(hubble):
    """The baseline of the tables equals Pillow's bicubic enlargement inside the border."""
    crop = hubble[:24, :24, 0].astype(np.float32)
    expected = np.asarray(Image.fromarray(crop).resize((96, 96), Image.Resampling.BICUBIC))
    ours = images.upsample(crop[None, ..., None], 4)[0, ..., 0]
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_downsample_refuses_what_does_not_divide():
    """A size that the factor does not divide is an error, not a silent shift of half a pixel."""
    with pytest.raises(ValueError, match='does not divide'):
        images.downsample(np.zeros((1, 10, 12, 3)), 4)


def test_quantize_and_uint8_agree():
    """Both clip, and round to the nearest of 256 levels."""
    values = np.array([-1.0, 0.0, 0.5019, 0.9999, 2.0], np.float32)
    np.testing.assert_array_equal(images.to_uint8(values), [0, 0, 128, 255, 255])
    np.testing.assert_allclose(images.quantize(values) * 255, [0, 0, 128, 255, 255], rtol=1e-6)


def test_comparison_grid_places_columns_and_enlarges_the_input():
    """Rows are samples, columns are systems, and a low-resolution input is enlarged by whole pixels."""
    low, high = np.zeros((2, 2, 2, 3)), np.ones((2, 8, 8, 3))
    low[1, 0, 0] = 0.5
    grid = images.comparison_grid([low, high], gap=4)
    assert grid.shape == (2 * 8 + 4, 2 * 8 + 4, 3)
    assert (grid[12:16, 0:4] == 128).all()
    assert (grid[:8, 12:] == 255).all()
    assert (grid[:8, :8] == 0).all()


def test_flips_and_turns_reach_all_eight_and_nothing_else():
    """Flips and quarter turns only, each about as often, each image by its own key."""
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    eight = {np.rot90(a, k).tobytes() for a in (image, image[:, ::-1]) for k in range(4)}
    keys = jax.random.split(jax.random.key(5), 400)
    turned = np.asarray(images.random_dihedral(keys, np.repeat(image[None], 400, 0)))
    seen = [one.tobytes() for one in turned]
    assert set(seen) == eight
    assert min(seen.count(one) for one in eight) > 25
    np.testing.assert_array_equal(images.random_dihedral(keys[7:8], image[None])[0], turned[7])


def test_to_float_knows_the_range():
    """uint8 comes out in [0, 1]; of another type white is not known."""
    np.testing.assert_allclose(images.to_float(np.uint8([0, 51, 255])), [0, 0.2, 1], rtol=1e-6)
    with pytest.raises(TypeError, match='uint16'):
        images.to_float(np.zeros(3, np.uint16))
