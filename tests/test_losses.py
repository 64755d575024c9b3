"""Losses against formulas written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from astro_gan import losses

REAL = np.random.default_rng(0).normal(size=(6, 5, 5, 1)).astype(np.float32)
FAKE = np.random.default_rng(1).normal(size=(6, 5, 5, 1)).astype(np.float32)


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def cross_entropy(logits, label):
    return -(label * log_sigmoid(logits) + (1 - label) * log_sigmoid(-logits)).mean()


EXPECTED = {
    'minimax': (
        lambda r, f, s: cross_entropy(r, s) + cross_entropy(f, 0),
        lambda r, f: cross_entropy(f, 1),
    ),
    'wasserstein': (lambda r, f, s: f.mean() - r.mean(), lambda r, f: -f.mean()),
    'least_squares': (
        lambda r, f, s: 0.5 * ((r - s) ** 2).mean() + 0.5 * (f**2).mean(),
        lambda r, f: 0.5 * ((f - 1) ** 2).mean(),
    ),
    'hinge': (
        lambda r, f, s: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        lambda r, f: -f.mean(),
    ),
    'relativistic': (
        lambda r, f, s: 0.5 * (cross_entropy(r - f.mean(), s) + cross_entropy(f - r.mean(), 0)),
        lambda r, f: 0.5 * (cross_entropy(f - r.mean(), 1) + cross_entropy(r - f.mean(), 0)),
    ),
}


@pytest.mark.parametrize('name', losses.ADVERSARIAL)
@pytest.mark.parametrize('label', [1.0, 0.9])
def test_adversarial_losses_are_their_papers_formulas(name, label):
    """Each adversarial pair, with and without label smoothing, equals its formula in numpy."""
    discriminator, generator = losses.ADVERSARIAL[name]
    expected_discriminator, expected_generator = EXPECTED[name]
    np.testing.assert_allclose(discriminator(REAL, FAKE, label), expected_discriminator(REAL, FAKE, label), rtol=1e-5)
    np.testing.assert_allclose(generator(REAL, FAKE), expected_generator(REAL, FAKE), rtol=1e-5)


@pytest.mark.parametrize('name', losses.ADVERSARIAL)
def test_adversarial_losses_pull_the_right_way(name):
    """The discriminator's loss falls as it tells real from fake; the generator's falls as fakes look real."""
    discriminator, generator = losses.ADVERSARIAL[name]
    good, bad = jnp.full((2, 1), 0.8), jnp.full((2, 1), 0.2)
    assert discriminator(good, bad, 1.0) < discriminator(bad, good, 1.0)
    assert jax.grad(lambda fake: generator(jnp.zeros((2, 1)), fake))(bad).sum() < 0


def test_huge_logits_stay_finite():
    """A discriminator that is certain of itself does not turn the cross-entropies into infinities."""
    for name in ('minimax', 'relativistic'):
        discriminator, generator = losses.ADVERSARIAL[name]
        huge = jnp.full((2, 1), 1e4)
        assert np.isfinite(discriminator(-huge, huge, 0.9))
        assert np.isfinite(generator(huge, -huge))


def test_pixel_losses():
    """L1, MSE and Charbonnier equal their formulas; Charbonnier is smooth where L1 has its corner."""
    a, b = REAL, FAKE
    np.testing.assert_allclose(losses.l1(a, b), np.abs(a - b).mean(), rtol=1e-6)
    np.testing.assert_allclose(losses.mse(a, b), ((a - b) ** 2).mean(), rtol=1e-6)
    np.testing.assert_allclose(losses.charbonnier(a, b), np.sqrt((a - b) ** 2 + 1e-6).mean(), rtol=1e-5)
    assert jax.grad(losses.charbonnier)(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1))).max() == 0


@pytest.mark.parametrize('period', [2, 3, 4])
def test_grid_sees_the_period_of_the_enlargement_only(period):
    """A grid costs its mean amplitude; an offset costs nothing, another period and noise little."""
    random, side = np.random.default_rng(4), 12 * period
    truth = random.random((2, side, side + 3, 3), np.float32)  # the last columns fill no window
    place = np.arange(side + 3)
    on_grid = ((place % period == 0)[:side, None] & (place % period == 1))[None, ..., None].astype(np.float32)
    share = 1 / period**2
    expected = 0.1 * 2 * share * (1 - share)  # mean of |x - mean| of 0.1 at one pixel of a block
    loss = losses.grid(truth + 0.1 * on_grid + 0.05, truth, period=period)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    other = (place % (period + 1) == 0)[None, None, :, None].astype(np.float32)
    assert losses.grid(truth + 0.1 * other, truth, period=period) < 0.02
    noise = 0.1 * random.standard_normal(truth.shape).astype(np.float32)
    assert losses.grid(truth + noise, truth, period=period) < 0.1 / 6
    assert np.isfinite(jax.grad(lambda x: losses.grid(x, truth, period=period))(truth)).all()
    with pytest.raises(ValueError, match='no window of'):
        losses.grid(truth[:, :5], truth[:, :5], period=period)
    with pytest.raises(ValueError, match='differ in shape'):
        losses.grid(truth[:, :5], truth, period=period)


def test_chroma_weighs_low_saturation():
    """The chroma loss is its formula; boost > 0 counts errors of gray regions more, < 0 less, 0 is plain L1."""
    ab, truth = 40 * REAL[..., [0, 0]], 40 * FAKE[..., [0, 0]] * [1, -0.5]
    for boost in (4.0, -0.8):
        weights = 1 + boost * np.exp(-np.sqrt((truth**2).sum(-1, keepdims=True)) / 15)
        weights = weights / weights.mean((1, 2, 3), keepdims=True)  # of each picture
        expected = (weights * np.abs(ab - truth)).mean()
        np.testing.assert_allclose(losses.chroma(ab, truth, boost=boost, scale=15.0), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.chroma(ab, truth, boost=0.0, scale=15.0), losses.l1(ab, truth), rtol=1e-6)
    truth = np.zeros((1, 1, 2, 2), np.float32) + [[0.0], [60.0]]  # a gray and a saturated pixel
    in_gray, in_colour = truth + [[5.0], [0.0]], truth + [[0.0], [5.0]]
    for boost, more, less in ((4.0, in_gray, in_colour), (-0.8, in_colour, in_gray)):
        options = {'boost': boost, 'scale': 10.0}
        assert losses.chroma(more, truth, **options) > 2 * losses.chroma(less, truth, **options)
    slope = jax.grad(lambda x: losses.chroma(x, truth, boost=4.0, scale=10.0))(in_gray)
    assert np.isfinite(slope).all()
    with pytest.raises(ValueError, match='boost has to be above -1 and scale above 0'):
        losses.chroma(truth, truth, boost=-1.0, scale=10.0)
    with pytest.raises(ValueError, match=r'needs a\*b\* \[n, H, W, 2\] twice'):
        losses.chroma(truth, truth[..., :1], boost=0.0, scale=10.0)
