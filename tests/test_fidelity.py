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


def test_peaks_are_the_stars():
    """A star's contrast is what Gaussians of these widths make of it: sigma^2 / (sigma^2 + s^2) of its height."""
    places, heights = fidelity.peaks(sky([(20, 30, 40.0), (50, 10, 15.0)]), 2.0)
    assert sorted(map(tuple, places)) == [(20, 30), (50, 10)]
    share = 1.44 / (1.44 + 1) - 1.44 / (1.44 + 9)
    np.testing.assert_allclose(sorted(heights), [15 * share, 40 * share], rtol=0.02)


def test_lost_and_invented_sources():
    """A faint star that is gone lowers the recall; one from nowhere is spurious; one a pixel off is the same star."""
    truth = sky([(20, 30, 20.0), (50, 10, 20.0), (10, 50, 200.0)])
    output = sky([(21, 30, 20.0), (40, 40, 20.0), (10, 50, 200.0)])
    assert fidelity.source_counts(output, truth) == {'faint': 2, 'found': 1, 'claimed': 3, 'spurious': 1}
    assert fidelity.source_counts(truth, truth) == {'faint': 2, 'found': 2, 'claimed': 3, 'spurious': 0}
    empty = sky([])
    assert fidelity.source_counts(empty, truth) == {'faint': 2, 'found': 0, 'claimed': 0, 'spurious': 0}


def test_consistency_is_in_levels():
    """An output that is brighter by one level differs by one level; the kernel is that of the package."""
    low_res = np.random.default_rng(0).random((1, 12, 9, 3)).astype(np.float32)
    output = np.asarray(upsample(low_res, 4))
    expected = 255 * np.abs(np.asarray(downsample(output, 4)) - low_res).mean()
    assert fidelity.consistency(output[0], low_res[0]) == pytest.approx(float(expected), rel=1e-3)
    flat = np.full((48, 36, 3), 0.5, np.float32)
    assert fidelity.consistency(flat + 1 / 255, flat[:12, :9]) == pytest.approx(1.0, abs=1e-4)
