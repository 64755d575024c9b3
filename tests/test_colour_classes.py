"""Colours as classes against numpy in float64: bins, soft encoding, the annealed mean, rebalancing, the loss."""

import jax
import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from astro_gan import colorization, colour_classes, losses
from astro_gan.colour_classes import BINS, CLASSES

RANDOM = np.random.default_rng(0)
AB = rgb2lab(RANDOM.random((3, 5, 7, 3)))[..., 1:].astype(np.float32)


def numpy_encode(ab):
    """Soft targets `[..., CLASSES]`: the five nearest bins, by a Gaussian of 5 units."""
    squares = np.square(np.asarray(ab, np.float64)[..., None, :] - BINS).sum(-1)
    near = squares <= np.sort(squares, axis=-1)[..., 4:5]
    shares = near * np.exp(-squares / 50.0)
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.filterwarnings('ignore:Conversion from CIE-LAB')  # of bins at a lightness that cannot show them
def test_bins_are_the_colours_of_a_grid_that_srgb_has():
    """225 bins of 10 units, gray among them, each shown by sRGB at some L*; no colour is farther than 13 from one."""
    assert CLASSES == colorization.CHANNELS['classes'] == 225
    assert [0.0, 0.0] in BINS.tolist()
    np.testing.assert_array_equal(BINS % 10, 0)
    shown = np.zeros(CLASSES, bool)
    for light in np.arange(1.0, 100.0, 2.0):
        lab = np.column_stack([np.full(CLASSES, light), BINS])
        back = rgb2lab(np.clip(lab2rgb(lab), 0, 1))
        shown |= np.abs(back - lab).max(-1) < 1.0
    assert shown.all()
    cube = np.stack(np.meshgrid(*[np.linspace(0, 1, 12)] * 3), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(rgb2lab(cube)[:, None, 1:] - BINS, axis=-1).min(1)
    assert distance.max() < 13
    assert np.quantile(distance, 0.99) < 9


def test_soft_encoding_equals_numpy():
    """The five nearest bins share a colour by a Gaussian of half a step; the nearest is the first."""
    numbers, shares = jax.jit(colour_classes.encode)(AB)
    dense = np.zeros((*AB.shape[:-1], CLASSES))
    np.put_along_axis(dense, np.asarray(numbers), np.asarray(shares), axis=-1)
    np.testing.assert_allclose(dense, numpy_encode(AB), atol=1e-5)
    np.testing.assert_array_equal(dense.argmax(-1), np.asarray(numbers)[..., 0])


def test_the_annealed_mean_equals_numpy_and_is_between_mean_and_mode():
    """Probabilities to the power 1 / 0.38, renormalised, times the bins; a certain class is its bin."""
    logits = RANDOM.normal(0, 3, (2, 4, CLASSES)).astype(np.float32)
    likely = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(-1, keepdims=True)
    annealed = likely ** (1 / 0.38)
    expected = annealed / annealed.sum(-1, keepdims=True) @ BINS.astype(np.float64)
    np.testing.assert_allclose(colour_classes.decode(logits), expected, atol=1e-3)
    sure = np.where(np.arange(CLASSES) == 17, 100.0, 0.0).astype(np.float32)
    np.testing.assert_allclose(colour_classes.decode(sure), BINS[17], atol=1e-4)


def test_an_encoded_colour_comes_back():
    """What a perfect classifier says is decoded to within 9 units of the truth, 2.5 on average."""
    back = colour_classes.decode(np.log(numpy_encode(AB) + 1e-12).astype(np.float32))
    error = np.linalg.norm(np.asarray(back) - AB, axis=-1)
    assert error.max() < 9
    assert error.mean() < 2.5


def test_shares_are_counts_of_the_nearest_bins():
    """How often each bin is the nearest, colours out of the grid included."""
    ab = np.concatenate([AB.reshape(-1, 2), [[120.0, 0.0], [0.0, 0.0]]])
    nearest = np.square(ab[:, None] - BINS).sum(-1).argmin(1)
    found = colour_classes.shares_of(ab)
    assert found.sum() == pytest.approx(1)
    # Beyond the bins a colour counts for the one nearest to its cell, which may be the next one.
    assert np.abs(found - np.bincount(nearest, minlength=CLASSES) / len(ab)).sum() < 0.1


def test_rare_colours_count_more_and_one_on_average():
    """Equation 4 of the paper, written out; weights average to 1 over the smoothed shares."""
    shares = RANDOM.dirichlet(np.full(CLASSES, 0.1))
    kernel = np.array([[np.exp(-np.sum((a - b) ** 2) / 50.0) for b in BINS] for a in BINS])
    smooth = np.zeros(CLASSES)
    for number, share in enumerate(shares):  # each class spreads its own share
        smooth += share * kernel[number] / kernel[number].sum()
    expected = 1 / (0.5 * smooth + 0.5 / CLASSES)
    expected /= (smooth * expected).sum()
    found = colour_classes.weights_of(shares)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[smooth.argmin()] > 3 * found[smooth.argmax()]


def test_the_loss_equals_numpy_and_is_lowest_at_the_truth():
    """Cross entropy with the soft target, weighted by the true class; other arrays are refused."""
    logits = RANDOM.normal(0, 2, (*AB.shape[:-1], CLASSES)).astype(np.float32)
    weights = RANDOM.uniform(0.1, 4, CLASSES).astype(np.float32)
    target = numpy_encode(AB)
    log_likely = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    expected = -(weights[target.argmax(-1)] * (target * log_likely).sum(-1)).mean()
    loss = jax.jit(lambda x: losses.class_entropy(x, AB, weights=weights))
    np.testing.assert_allclose(loss(logits), expected, rtol=1e-5)
    best = loss(np.log(target + 1e-9).astype(np.float32))
    assert best < loss(logits)
    assert np.abs(jax.grad(loss)(np.log(target + 1e-9).astype(np.float32))).max() < 1e-5
    with pytest.raises(ValueError, match='classes and a\\*b\\* of the same pixels'):
        losses.class_entropy(logits[..., :2], AB, weights=weights)
