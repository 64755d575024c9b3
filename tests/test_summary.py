"""Summaries of tables against scipy, and alarms that ring when they should and only then."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from astro_gan import summary

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(('n', 'm', 'dimensions'), [(40, 30, 6), (5, 40, 12), (4, 5, 20)])
def test_frechet_is_the_formula(n, m, dimensions):
    """Equal to the formula with scipy's matrix square root, with more and with fewer vectors than dimensions."""
    a = RANDOM.normal(size=(n, dimensions)) @ RANDOM.normal(size=(dimensions, dimensions))
    b = 1 + RANDOM.normal(size=(m, dimensions))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    # scipy's root of a singular matrix needs a little help; it costs the reference its last digits.
    help_ = 1e-9 * np.eye(dimensions)
    root = sqrtm((cov_a + help_) @ (cov_b + help_)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root)
    np.testing.assert_allclose(summary.frechet(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(summary.frechet(b, a), summary.frechet(a, b))


def test_frechet_of_known_sets():
    """A shift by d is d^2, a stretch by s is (s - 1)^2 times the variance, equal sets are 0; too few is NaN."""
    x = RANDOM.normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(summary.frechet(x, x), 0, atol=1e-9)
    np.testing.assert_allclose(summary.frechet(x, x + [3, 4, 0]), 25, rtol=1e-6)
    centred = x - x.mean(0)
    np.testing.assert_allclose(summary.frechet(centred, 3 * centred), 4 * centred.var(0, ddof=1).sum(), rtol=1e-5)
    assert np.isnan(summary.frechet(x[:1], x))
    assert np.isnan(summary.frechet(np.where(x > 1, np.nan, x), x))  # a network gone wrong is no crash
    with pytest.raises(ValueError, match=r'not \(9, 3\) and \(9, 2\)'):
        summary.frechet(x, x[:, :2])


def test_summary_row():
    """A row has the means, and one distance instead of the vectors."""
    vectors = RANDOM.normal(size=(6, 4))
    table = {'l1': np.arange(6.0), 'features_prediction': vectors + [1, 0, 0, 0], 'features_truth': vectors}
    row = summary.summarize(table)
    assert row.keys() == {'l1', 'frechet_alex'}
    np.testing.assert_allclose([row['l1'], row['frechet_alex']], [2.5, 1.0])
    assert summary.summarize({'l1': np.ones(2)}) == {'l1': 1.0}


def colours(hues, chroma, purity=0.9, tiles=12):
    """Mean C*, a* and b* of `tiles`: `purity` is the share of the colour that does not cancel within a tile."""
    hues, chroma, _ = np.broadcast_arrays(np.radians(hues), np.asarray(chroma, float), np.zeros(tiles))
    return chroma, purity * chroma * np.cos(hues), purity * chroma * np.sin(hues)


def health(truth, output):
    names = ('chroma', 'mean_a', 'mean_b')
    table = dict(zip([f'{name}_truth' for name in names], truth, strict=True)) | dict(zip(names, output, strict=True))
    return summary.colour_health(table)


MANY = np.arange(0, 360, 30)  # hues of twelve tiles
RED = np.linspace(15, 45, 12)


def test_gray_outputs_raise_the_alarm():
    """A generator that leaves more than half of the coloured tiles gray is reported, with how many of how many."""
    counts, warnings = health(colours(MANY, 20), colours(MANY, np.where(MANY < 210, 1.0, 12.0)))
    assert counts == {'gray_outputs': 7, 'one_hue_outputs': 0}
    assert len(warnings) == 1
    assert '7 of 12 coloured tiles came out gray' in warnings[0]
    counts, warnings = health(colours(MANY, 20), colours(MANY, np.where(MANY < 180, 1.0, 12.0)))
    assert counts['gray_outputs'] == 6
    assert not warnings
    truth, output = colours(MANY, 20), colours(MANY, np.r_[np.nan, np.zeros(11)])
    assert health(truth, output)[0]['gray_outputs'] == 11  # nor is a broken tile gray


@pytest.mark.parametrize('chroma', [30, 2.5])
def test_one_hue_raises_the_alarm(chroma):
    """A generator that tints everything sepia is reported, strongly or faintly tinted, at whatever hue."""
    hues = np.r_[np.linspace(60, 70, 11), 100]
    counts, warnings = health(colours(MANY, 20), colours(hues, chroma, purity=0.97))
    assert counts == {'gray_outputs': 0, 'one_hue_outputs': 11}
    assert len(warnings) == 1
    assert '11 of 12 coloured tiles came out in one hue, orange' in warnings[0]
    assert 'hue, red' in health(colours(MANY, 20), colours(hues + 315, chroma, purity=0.97))[1][0]  # across 0 degrees


@pytest.mark.parametrize(
    ('truth', 'output'),
    [
        (colours(MANY, 20), colours(MANY, 20)),  # perfect
        (colours(MANY, 20), colours(MANY + 25, 4)),  # timid, as L1 makes them, and a little off
        (colours(MANY, 1.5), colours(60, 0)),  # a colourless truth, left gray; and tinted
        (colours(MANY, 0), colours(60, 10)),
        (colours([20, 140], 20, tiles=2), colours(60, [0, 10], tiles=2)),  # two tiles prove nothing
        (colours(20, 20, tiles=1), colours(60, 0, tiles=1)),
        (colours(RED, 20), colours(30, 15, purity=1)),  # red nebulae are all red
        (colours(RED, 3, purity=0.4), colours(30, 2, purity=1)),  # also behind colour noise
        (colours(MANY, 20), colours(30, 15, purity=0.5)),  # a slight common cast of diverse pixels
        (colours(MANY, 20), colours(MANY, [80] + [8] * 11)),  # one tile more saturated than all others together
    ],
)
def test_no_false_alarm(truth, output):
    """Nothing is reported of good outputs, colourless or one-hued truths, or sets too small to tell."""
    counts, warnings = health(truth, output)
    assert not warnings
    assert counts['one_hue_outputs'] == 0


def test_health_of_other_tasks_is_empty():
    """Super-resolution's tables have no such columns, and get no such counts."""
    assert summary.colour_health({'l1': np.ones(3)}) == ({}, [])
