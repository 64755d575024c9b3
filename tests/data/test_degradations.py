"""Reduction and colours agree with JAX's; crops and flips are what they say."""

import numpy as np
import pytest
import tensorflow as tf

from astro_gan import color, images
from astro_gan.data import degradations, hubble_deep_field


@pytest.fixture(scope='module')
def photograph() -> np.ndarray:
    return hubble_deep_field.photograph()


@pytest.mark.parametrize('factor', [2, 3, 4, 6, 8, 12])
def test_tensorflow_and_jax_reduce_alike(photograph, factor):
    """Training inputs (TensorFlow) and everything later (JAX) use the same kernel."""
    for y, x in ((0, 0), (301, 417), (700, 850)):
        crop = photograph[y : y + 144, x : x + 96].astype(np.float32) / 255
        size = (144 // factor, 96 // factor)
        ours = tf.image.resize(crop, size, method='bicubic', antialias=True).numpy()
        theirs = np.asarray(images.downsample(crop[None], factor)[0])
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        rounded = degradations.downsample(crop, factor).numpy()
        assert np.abs(rounded - np.clip(theirs, 0, 1)).max() <= 0.5 / 255 + 1e-5


def test_downsample_is_what_an_8_bit_file_holds(photograph):
    """Values are whole 255ths in [0, 1], and uint8 and float inputs give the same."""
    crop = photograph[:96, :96]
    small = degradations.downsample(crop, 4).numpy()
    assert small.shape == (24, 24, 3)
    assert small.dtype == np.float32
    assert small.min() >= 0
    assert small.max() <= 1
    np.testing.assert_allclose(small * 255, np.rint(small * 255), atol=1e-4)
    np.testing.assert_array_equal(small, degradations.downsample(crop.astype(np.float32) / 255, 4))


def test_downsample_refuses_what_does_not_divide(photograph):
    """No silent shift by a fraction of a pixel; no guess at the range of other integers."""
    with pytest.raises(ValueError, match='98x96 does not divide by the factor 4'):
        degradations.downsample(photograph[:98, :96], 4)
    with pytest.raises(TypeError, match='uint16'):
        degradations.downsample(photograph[:96, :96].astype(np.uint16), 4)


def test_dihedral_reaches_all_eight_and_nothing_else():
    """Flips and quarter turns only, each about as often."""
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    eight = {np.rot90(a, k).tobytes() for a in (image, image[:, ::-1]) for k in range(4)}
    seen = [degradations.random_dihedral(image, [5, k]).numpy().tobytes() for k in range(400)]
    assert set(seen) == eight
    assert min(seen.count(one) for one in eight) > 25


def test_crop_covers_the_whole_image_and_repeats():
    """Every place is reachable, the edges too; one seed always gives one place."""
    image = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
    corners = {int(degradations.random_crop(image, [1, k], 3)[0, 0, 0]) for k in range(200)}
    assert corners == {0, 1, 2, 5, 6, 7}
    for seed in (np.int32([3, 4]), np.int64([3, 4])):
        crop = degradations.random_crop(image, seed, 3).numpy()
        np.testing.assert_array_equal(crop, degradations.random_crop(image, seed, 3))


def test_tensorflow_and_jax_see_the_same_colours(photograph):
    """L*a*b* targets made in the pipeline and L* made at inference are the same to 1e-3: bright, dark, saturated."""
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255]), np.uint8).T.reshape(-1, 3)
    random = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    pixels = np.concatenate([photograph[::40, ::40].reshape(-1, 3), corners, random, random // 20]) / np.float32(255)
    lab = degradations.rgb_to_lab(pixels).numpy()
    assert lab.dtype == np.float32
    np.testing.assert_allclose(lab, color.rgb_to_lab(pixels), atol=1e-3)
    light = np.linspace(0, 100, 1001, dtype=np.float32)[:, None]
    gray = degradations.lightness_to_gray(light)
    np.testing.assert_allclose(gray, color.lightness_to_gray(light), atol=1e-5)
    np.testing.assert_allclose(color.lightness(gray.numpy()), light, atol=1e-3)
