"""Guides of training examples: the same as a user's, drawn from the key alone."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from astro_gan import guide_draws, guides


@pytest.fixture(scope='module')
def lab():
    """A smooth picture in L*a*b*, float32 `[64, 64, 3]`."""
    rng = np.random.default_rng(0)
    planes = [
        np.asarray(
            Image.fromarray(rng.normal(0, 1, (8, 8)).astype(np.float32)).resize((64, 64), Image.Resampling.BICUBIC)
        )
        for _ in range(3)
    ]
    return (np.stack(planes, axis=-1) * [15, 20, 20] + [50, 5, 5]).astype(np.float32)


@pytest.mark.parametrize('rows', [1, 3, guides.CURVE])
def test_palettes_are_those_of_the_library(lab, rows):
    """A palette and what it paints, in JAX and in numpy, also where some steps of L* are empty."""
    palette, used = guide_draws.palette_of(lab, rows)
    np.testing.assert_allclose(palette[used], guides.palette_of(lab, rows), atol=2e-3)
    painted = guide_draws.paint(lab[..., 0], palette, used)
    np.testing.assert_allclose(painted, guides.paint(lab[..., 0], guides.palette_of(lab, rows)), atol=0.05)


@pytest.mark.parametrize('count', [1, 3, 30, 200])
def test_hints_spread_as_in_the_library(lab, count):
    """One hint, a few and many, one pixel among them twice, in JAX and in numpy."""
    places = np.random.default_rng(1).integers(0, 64 * 64, guide_draws.POINTS)
    places[1] = places[0]
    mask = np.zeros(64 * 64, bool)
    mask[places[:count]] = True
    mask = mask.reshape(64, 64)
    ours = guide_draws.spread(lab[..., 0], lab[..., 1:], mask, places)
    theirs = guides.spread(lab[..., 0], lab[..., 1:], mask)
    assert np.abs(ours[0] - theirs[0]).mean() < 0.01
    np.testing.assert_allclose(ours[1], theirs[1], atol=2e-3)


@pytest.mark.parametrize('small', [2, 7, 32])
def test_small_pictures_are_enlarged_as_in_the_library(lab, small):
    """Means over areas and the Keys cubic, in JAX and in Pillow."""
    made = guide_draws.enlarge(lab[..., 0], lab[..., 1:], np.float32(small))
    away = np.abs(made - guides.enlarge(lab[..., 0], guides.resized(lab[..., 1:], small, small)))
    assert away.max() < (0.02 if 64 % small == 0 else 5.0)  # Pillow takes whole pixels where they do not divide
    assert away.mean() < 0.6


def test_every_kind_is_drawn_and_known_pixels_are_the_truth(lab):
    """All kinds of guides, none among them; known pixels have the truth's colours; the same key, the same example."""
    draw = jax.jit(jax.vmap(functools.partial(guide_draws.draw, lab=lab, context=lab)))
    keys = jax.random.split(jax.random.key(0), 60)
    truths, planes = map(np.asarray, draw(keys))
    np.testing.assert_array_equal(planes[:1], draw(keys)[1][:1])
    assert np.isfinite(planes).all()
    known = planes[..., 2] > 0
    np.testing.assert_allclose(guides.AB_SCALE * planes[..., :2][known], truths[known], atol=1e-3)
    seen = {(float(own[0, 0, 4]), float(own[0, 0, 5]), bool(own[..., 2].any())) for own in planes}
    assert {(0, 0, False), (0.25, 0, False), (0.5, 0, False), (1, 0, False), (0, 0, True), (0, 1, False)} <= seen
    untold = ~planes.any((1, 2, 3))
    np.testing.assert_allclose(truths[untold], np.broadcast_to(lab[..., 1:], truths[untold].shape), atol=1e-5)
    changed = np.abs(truths - lab[..., 1:]).max((1, 2, 3)) > 1
    assert 12 < changed.sum() < 42  # half of those that have a guide
