"""Guides as pure functions: palettes, spreading of hints, the planes that the network sees, bands."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from astro_gan import guides


@pytest.fixture
def lab():
    """A picture in L*a*b* whose a* follows L* and whose b* is noise, float32 `[40, 60, 3]`."""
    rng = np.random.default_rng(0)
    light = rng.uniform(5, 95, (40, 60))
    return np.stack([light, light / 5 - 8, rng.normal(0, 3, light.shape)], axis=-1).astype(np.float32)


def test_a_palette_holds_means_over_lightness(lab):
    """One row is the mean colour, three are those of the dark, middle and light third, a curve follows L*."""
    np.testing.assert_allclose(guides.palette_of(lab, 1)[0], lab.reshape(-1, 3).mean(0), atol=1e-3)
    order = np.argsort(lab[..., 0], axis=None)
    thirds = [lab.reshape(-1, 3)[part].mean(0) for part in np.array_split(order, 3)]
    np.testing.assert_allclose(guides.palette_of(lab, 3), thirds, atol=1e-3)
    painted = guides.paint(lab[..., 0], guides.palette_of(lab))
    assert np.abs(painted[..., 0] - lab[..., 1]).max() < 1.0


def test_paint_is_linear_between_rows_and_constant_beyond():
    """Colours of a palette at, between and beyond its lightnesses, whatever the order of its rows."""
    palette = np.array([[60, 20, -10], [20, 0, 10]], np.float32)
    made = guides.paint(np.array([0, 20, 40, 60, 99]), palette)
    np.testing.assert_allclose(made, [[0, 10], [0, 10], [10, 0], [20, -10], [20, -10]], atol=1e-5)


def test_no_guide_is_all_zero_planes():
    """The network is told nothing by zeros."""
    assert not guides.first_guess(np.full((8, 9), 50.0)).any()


def test_hints_are_met_and_stop_at_edges():
    """A pixel with a hint has its colour; a hint spreads over its own surface, not over an edge in lightness."""
    light = np.where(np.arange(64) < 32, 20.0, 80.0) * np.ones((64, 1))
    known, mask = np.zeros((64, 64, 2), np.float32), np.zeros((64, 64), bool)
    for x, colour in ((28, (40, 0)), (36, (0, -30))):
        known[32, x], mask[32, x] = colour, True
    planes = guides.first_guess(light, known=known, mask=mask)
    guess = guides.AB_SCALE * planes[..., :2]
    np.testing.assert_allclose(guess[32, [28, 36]], [[40, 0], [0, -30]], atol=1e-4)
    assert np.abs(guess[:, :32] - [40, 0]).max() < 6
    assert np.abs(guess[:, 32:] - [0, -30]).max() < 6
    np.testing.assert_array_equal(planes[..., 2], mask)
    assert planes[32, 28, 3] == 1.0


def test_hints_correct_a_palette_nearby_only():
    """With a palette, a hint changes colours around it and leaves those far off."""
    light = np.full((100, 100), 50.0)
    palette = np.array([[50.0, 10.0, 10.0]], np.float32)
    known, mask = np.full((100, 100, 2), -30, np.float32), np.zeros((100, 100), bool)
    mask[0, 0] = True
    guess = guides.AB_SCALE * guides.first_guess(light, palette=palette, known=known, mask=mask)[..., :2]
    np.testing.assert_allclose(guess[0, 0], [-30, -30], atol=1e-4)
    np.testing.assert_allclose(guess[99, 99], [10, 10], atol=0.5)


def test_two_bands_and_lightness_give_the_colour():
    """Red, blue and L* of a colour leave one green: the colours come back."""
    rgb = np.random.default_rng(1).random((20, 30, 3))
    lab = rgb2lab(rgb)
    np.testing.assert_allclose(guides.two_bands(lab[..., 0], rgb[..., 0], rgb[..., 2]), lab[..., 1:], atol=0.05)


def test_a_composite_takes_the_lightness_of_the_frame():
    """`at_lightness` keeps the ratios of the bands and has the L* that was asked for."""
    rgb = np.random.default_rng(2).uniform(0.2, 0.6, (10, 11, 3))
    light = rgb2lab(0.8 * rgb)[..., 0]
    ab = guides.at_lightness(rgb, light)
    made = lab2rgb(np.concatenate([light[..., None], ab], axis=-1))
    np.testing.assert_allclose(made, 0.8 * rgb, atol=2e-3)


def test_gray_and_lightness_are_inverse_and_those_of_scikit_image():
    """L* of gray values as scikit-image has it, and back."""
    gray = np.linspace(0, 1, 50)
    light = guides.lightness_of(gray)
    np.testing.assert_allclose(light, rgb2lab(np.repeat(gray[:, None], 3, 1))[:, 0], atol=1e-3)
    np.testing.assert_allclose(guides.lightness_to_gray(light), gray, atol=1e-4)


def test_a_small_picture_follows_edges_and_keeps_its_means():
    """Colour that is linear in L* comes back; means over the cells are the small picture's."""
    rng = np.random.default_rng(3)
    light = np.where(np.kron(rng.random((8, 10)), np.ones((12, 13)))[:96, :128] < 0.5, 20.0, 70.0).astype(np.float32)
    ab = np.stack([0.5 * light - 10.0, 30.0 - 0.8 * light], axis=-1)
    small = guides.resized(ab, 12, 16)
    made = guides.enlarge(light, small)
    assert np.abs(made - ab).mean() < 0.3 < 5.0 < np.abs(guides.resized(small, 96, 128) - ab).mean()
    np.testing.assert_allclose(guides.resized(made, 12, 16), small, atol=0.3)
    np.testing.assert_array_equal(guides.enlarge(light, ab), ab)
    with pytest.raises(ValueError, match='no small one'):
        guides.enlarge(light[:8], ab)


def test_hints_are_spread_as_a_gaussian_process_says():
    """Against the mean of the posterior, written out pixel by pixel with the covariance that is stated."""
    rng = np.random.default_rng(4)
    light = rng.uniform(0, 100, (10, 12))
    mask = np.zeros((10, 12), bool)
    mask.ravel()[rng.choice(120, 5, replace=False)] = True
    values = rng.normal(0, 20, (10, 12, 2))
    places = [(y / 120**0.5, x / 120**0.5, light[y, x] / guides.REACH) for y in range(10) for x in range(12)]

    def covariance(p, q):
        away = sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5
        return np.exp(-away) + guides.COMMON + guides.ALONG * (p[2] - 1) * (q[2] - 1)

    known = np.flatnonzero(mask)
    among = [[covariance(places[i], places[j]) + guides.DOUBT * (i == j) for j in known] for i in known]
    weights = np.linalg.inv(among) @ values.reshape(-1, 2)[known]
    expected = np.array([[covariance(p, places[j]) for j in known] @ weights for p in places]).reshape(10, 12, 2)
    made, nearest = guides.spread(light, values, mask)
    np.testing.assert_allclose(made, np.where(mask[..., None], values, expected), atol=1e-3)
    assert (nearest[mask] == 0).all()
    assert (nearest[~mask] > 0).all()
