"""Colours keep the lightness, bit depth and values of what is coloured; images of every kind go through a model."""

import jax
import numpy as np
import pytest
from PIL import Image

from astro_gan.color import lightness, rgb_to_lab
from astro_gan.images import resize_bicubic
from astro_gan.inference.render import ArraySource, chroma_map, enlarged_window, reduced, render, working_size
from tests.networks import pictures
from tests.small_models import colorizer, enhancer, upscaler


def smooth(height, width, seed=0):
    """A gray image `[H, W, 1]` in [0, 1] with structure at many scales, black and white included."""
    small = np.random.default_rng(seed).random((height // 8 + 1, width // 8 + 1)).astype(np.float32)
    image = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(1.4 * image - 0.2, 0, 1)[..., None]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_colour_keeps_lightness_and_depth(dtype):
    """L* of the result is the input's, to a level of its own depth, whatever a network with random weights paints."""
    white = np.iinfo(dtype).max
    gray = np.round(smooth(80, 70) * white).astype(dtype)
    colored = colorizer()(gray[..., 0])
    assert (colored.shape, colored.dtype) == ((80, 70, 3), dtype)
    assert np.ptp(colored.astype(float) / white, axis=-1).max() > 0.1
    before, after = (np.asarray(jax.jit(lightness)(x.astype(np.float32) / white)) for x in (gray, colored))
    # The gamut's tolerance is 0.01; one level of 8 bits is up to 0.3 of L* in each channel.
    assert np.abs(before - after).max() < (0.35 if dtype == np.uint8 else 0.02)


def test_colours_come_from_the_working_scale():
    """With a reduction of 2 the network sees a copy of half the size, and its a*b* are enlarged smoothly."""
    model, gray = colorizer(), smooth(140, 160)
    network, source = model.networks[0], ArraySource(gray)
    small = reduced(source, 70, 80)
    expected = np.asarray(resize_bicubic(gray[None], 70, 80))[0]
    np.testing.assert_allclose(small, np.clip(expected, 0, 1), atol=1e-5)
    chroma = chroma_map(network, source, 2)
    np.testing.assert_allclose(
        chroma, np.asarray(jax.jit(network.chroma)(network.variables, small[None]))[0], atol=1e-3
    )
    colored = np.concatenate(list(render(model.networks, source, reduction=2, tile=33)))
    ab = np.asarray(jax.jit(rgb_to_lab)(colored))[..., 1:]
    enlarged = np.asarray(resize_bicubic(chroma[None], 140, 160))[0]
    # Where the colour fits into sRGB it is the enlarged one.
    close = np.abs(ab - enlarged).max(-1) < 0.1
    assert close.mean() > 0.3
    assert (np.hypot(*np.moveaxis(ab, -1, 0)) <= np.hypot(*np.moveaxis(enlarged, -1, 0)) + 0.1).all()


def test_saturation_multiplies_the_colours():
    """Hue and lightness stay; 0 leaves the image gray, and within the gamut twice the saturation is twice a*b*."""
    model, source = colorizer(), ArraySource(smooth(64, 70))
    none, weak, twice = (
        np.asarray(rgb_to_lab(np.concatenate(list(render(model.networks, source, saturation=value)))))
        for value in (0.0, 0.05, 0.1)
    )
    assert np.abs(none[..., 1:]).max() < 0.05
    assert np.abs(weak[..., 1:]).max() > 0.5
    inside = (np.hypot(weak[..., 1], weak[..., 2]) < 3) & (np.abs(none[..., 0] - 50) < 25)  # sRGB can show them
    assert inside.mean() > 0.1
    np.testing.assert_allclose(twice[inside][:, 1:], 2 * weak[inside][:, 1:], atol=0.1)
    np.testing.assert_allclose(twice[..., 0], none[..., 0], atol=0.1)


def test_working_size_stays_large_enough():
    """The reduction is what the training had, unless the copy would be too small for the network."""
    assert working_size(1024, 768, 4, 64) == (256, 192)
    assert working_size(100, 300, 4, 64) == (100, 300)
    assert working_size(200, 300, 4, 64) == (67, 100)
    assert working_size(64, 64, 4, 64) == (64, 64)


def test_enlarging_by_windows_is_enlarging():
    """Windows of an enlarged plane equal the enlarged plane of jax.image, borders and odd ratios included."""
    planes = pictures(13, 17, 2)
    whole = np.asarray(resize_bicubic(planes[None], 50, 61))[0]

    def read(top, left, height, width):
        return planes[top : top + height, left : left + width]

    for top, left, height, width in ((0, 0, 50, 61), (0, 30, 7, 31), (23, 11, 27, 20), (49, 60, 1, 1)):
        window = enlarged_window(read, (13, 17), (50, 61), top, left, height, width)
        np.testing.assert_allclose(window, whole[top : top + height, left : left + width], atol=1e-5)


def test_values_outside_the_range_stay():
    """What a FITS frame has above white and below black keeps its value, without colour."""
    gray = smooth(64, 64)
    gray[3, 4], gray[5, 6] = 7.5, -0.25
    colored = np.concatenate(list(render(colorizer().networks, ArraySource(gray))))
    assert (colored[3, 4] == 7.5).all()
    assert (colored[5, 6] == -0.25).all()


def test_enhance_is_colour_then_size():
    """One pass gives what the two models give one after the other, on gray [H, W] and on batches."""
    gray = smooth(66, 70)[..., 0]
    expected = upscaler(2)(colorizer()(gray))
    fused = enhancer(2)
    result = fused(gray, tile=31)
    assert result.shape == (132, 140, 3)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    batch = fused(np.stack([gray, gray[::-1]])[..., None])
    np.testing.assert_allclose(batch[0], expected, atol=1e-5)
    whole = jax.jit(fused.forward)(fused.variables, gray[None, ..., None])
    np.testing.assert_allclose(np.asarray(whole)[0], expected, atol=1e-4)


def test_upscaling_gray_gives_gray():
    """A gray image goes in as three equal channels and comes out as one."""
    image = pictures(20, 30, 1)
    rows = np.concatenate(list(render(upscaler(2).networks, ArraySource(image))))
    assert rows.shape == (40, 60, 1)
    three = upscaler(2)(np.repeat(image, 3, axis=-1))
    np.testing.assert_allclose(rows, three.mean(-1, keepdims=True), atol=1e-5)
