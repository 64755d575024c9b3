"""Lost and invented sources are counted, and an output that is not its input any more is noticed."""

import numpy as np
import pytest

from astro_gan import fidelity
from astro_gan.images import downsample, upsample


def sky(stars, size=64):
    """Y `[size, size]` with stars (row, column, height) of sigma 1.2 px on a sky of 20 levels."""
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size), 20.0)
    for row, column, height in stars:
        image += height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.2**2))
    return image


def stars(seed, size=384, count=1000):
    """Places and heights of stars strewn at random."""
    rng = np.random.default_rng(seed)
    return np.stack([*rng.uniform(4, size - 4, (2, count)), rng.uniform(10, 32, count)], axis=-1)


def test_sources_are_the_stars():
    """A star is found at its place to a tenth of a pixel, with its height above a sky of any level."""
    places, heights = fidelity.find_sources(sky([(20.0, 30.3, 40.0), (50, 10, 15.0)]), fwhm=2.8, threshold=4.0)
    np.testing.assert_allclose(places, [(20, 30.3), (50, 10)], atol=0.1)
    np.testing.assert_allclose(heights, [40, 15], rtol=0.06)
    assert len(fidelity.find_sources(sky([]), fwhm=2.8, threshold=4.0)[0]) == 0


def test_lost_and_invented_sources():
    """A faint star that is gone lowers the recall; one from nowhere is spurious; one a pixel off is the same star."""
    truth = sky([(20, 30, 20.0), (50, 10, 20.0), (10, 50, 200.0)])
    output = sky([(21, 30, 20.0), (40, 40, 20.0), (10, 50, 200.0)])
    counts = {'faint': 2, 'found': 1, 'chance': 0, 'claimed': 3, 'spurious': 1}
    assert fidelity.source_counts(output, truth) == counts
    assert fidelity.source_counts(truth, truth) == counts | {'found': 2, 'spurious': 0}
    empty = sky([])
    assert fidelity.source_counts(empty, truth) == counts | {'found': 0, 'claimed': 0, 'spurious': 0}


def test_one_source_answers_for_one_source():
    """Two stars of the truth that the output has as one are one found and one lost."""
    truth, blend = sky([(30, 30, 20.0), (30, 32.9, 20.0)]), sky([(30, 31.5, 30.0)])
    counts = fidelity.source_counts(blend, truth)
    assert (counts['faint'], counts['found']) == (2, 1)


def test_pairs_are_as_many_and_as_close_as_possible():
    """A place gives up its nearest partner where another has no choice; beyond the radius there is none."""
    ours = np.array([(0.0, 0.0), (0.0, 1.0), (9.0, 9.0)])
    theirs = np.array([(0.0, 0.4), (0.0, -0.9)])
    np.testing.assert_array_equal(fidelity.match(ours, theirs, 1.0), [1, 0, -1])
    np.testing.assert_array_equal(fidelity.match(ours, theirs[:0], 1.0), [-1, -1, -1])


def test_a_saturated_star_is_no_source():
    """A white plateau with spikes counts nothing, neither as found nor as claimed; its neighbours count."""
    picture = sky([(32, 32, 30000.0), (10, 50, 20.0)])
    picture[31:34], picture[:, 31:34] = picture[31:34] + 400, picture[:, 31:34] + 400
    picture = np.clip(picture, 0, 255)
    assert (picture == 255).sum() > 50
    counts = fidelity.source_counts(picture, picture)
    assert counts['faint'] == counts['found'] == counts['claimed'] == 1


def test_unrelated_fields_are_chance():
    """What an unrelated field of a thousand stars finds is what the chance row says, and next to nothing on its own."""
    fields = [sky(stars(seed), 384) for seed in (1, 2)]
    counts = fidelity.source_counts(*fields)
    assert counts['faint'] > 500
    assert counts['found'] < 0.1 * counts['faint']
    assert abs(counts['found'] - counts['chance']) < 3 * counts['chance'] ** 0.5
    assert counts['spurious'] > 0.9 * counts['claimed']


def test_intervals_over_pictures():
    """The interval of a mean is that of its standard error; one of equal pictures has no width."""
    values = list(np.random.default_rng(0).normal(5, 2, 100))
    value, low, high = fidelity.interval(values, np.mean)
    assert value == pytest.approx(np.mean(values))
    assert high - low == pytest.approx(2 * 1.96 * 0.2, rel=0.25)
    assert list(fidelity.interval([3.0] * 5, np.mean)) == [3, 3, 3]


def test_consistency_is_in_levels():
    """An output that is brighter by one level differs by one level; the kernel is that of the package."""
    low_res = np.random.default_rng(0).random((1, 12, 9, 3)).astype(np.float32)
    output = np.asarray(upsample(low_res, 4))
    expected = 255 * np.abs(np.asarray(downsample(output, 4)) - low_res).mean()
    assert fidelity.consistency(output[0], low_res[0]) == pytest.approx(float(expected), rel=1e-3)
    flat = np.full((48, 36, 3), 0.5, np.float32)
    assert fidelity.consistency(flat + 1 / 255, flat[:12, :9]) == pytest.approx(1.0, abs=1e-4)
