"""Colours as classes: bins of a*b*, after Zhang et al. 2016 (arXiv 1603.08511, section 2), in JAX.

A regression answers what may be red or blue with their mean, gray. A classifier says how likely each bin is, and one
of the likely colours is taken (`decode`). Classes are arrays `[..., CLASSES]`, a*b* `[..., 2]` in CIE units.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.color import SLOPE, WHITE, XYZ_TO_RGB

STEP = 10.0  # CIE units between bins; with 20 there are 57, and decoded colours are off by 4 in place of 2
NEIGHBOURS = 5  # bins that a true colour is shared among, by a Gaussian of half a step
TEMPERATURE = 0.38  # between the mean of the classes (1), which is pale, and the likeliest (0), which is spotty
UNIFORM = 0.5  # share of the uniform distribution in the one that classes are weighted by


def _in_gamut(step: float) -> np.ndarray:
    """The bins `[n, 2]` of a grid of a*b* that sRGB can show at some lightness, float32."""
    ticks = step * np.arange(-np.floor(110.0 / step), np.floor(110.0 / step) + 1)
    a, b, light = np.meshgrid(ticks, ticks, np.arange(1.0, 100.0), indexing='ij')
    y = (light + 16.0) / 116.0
    f = np.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    xyz = np.where(f > 0.2068966, f**3, (f - 16.0 / 116.0) / SLOPE) * WHITE
    linear = xyz @ np.transpose(XYZ_TO_RGB)
    shown = ((linear >= 0.0) & (linear <= 1.0)).all(-1).any(-1)
    return np.stack([a[..., 0], b[..., 0]], axis=-1)[shown].astype(np.float32)


BINS = _in_gamut(STEP)
CLASSES = len(BINS)


def encode(ab: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The nearest bins of colours `[..., 2]`: numbers and shares `[..., NEIGHBOURS]`, nearest first; they sum to 1."""
    bins = BINS.reshape(*[1] * (ab.ndim - 1), CLASSES, 2)
    squares = sum(jnp.square(ab[..., None, c] - bins[..., c]) for c in (0, 1))
    near, numbers = jax.lax.top_k(-squares, NEIGHBOURS)
    return numbers, jax.nn.softmax(near / (2.0 * (STEP / 2.0) ** 2), axis=-1)


def decode(logits: jax.Array) -> jax.Array:
    """The annealed mean `[..., 2]` of classes `[..., CLASSES]` (equation 5), differentiable."""
    return jnp.matmul(jax.nn.softmax(logits / TEMPERATURE, axis=-1), BINS, precision='highest')


def shares_of(ab: np.ndarray) -> np.ndarray:
    """How often each bin is the nearest of colours `[n, 2]`, `[CLASSES]`."""
    cells, counts = np.unique(np.round(ab / STEP), axis=0, return_counts=True)
    numbers = np.square(STEP * cells[:, None] - BINS).sum(-1).argmin(1)
    return np.bincount(numbers, counts, CLASSES) / len(ab)


def weights_of(shares: np.ndarray) -> np.ndarray:
    """How much a class counts in a loss (equation 4), `[CLASSES]` float32: rare colours more, 1 on average.

    The shares of the classes are smoothed by a Gaussian of half a step, mixed with the uniform distribution, and
    inverted.
    """
    kernel = np.exp(-np.square(BINS[:, None] - BINS).sum(-1) / (2.0 * (STEP / 2.0) ** 2))
    smooth = (kernel / kernel.sum(0)) @ shares
    weights = 1.0 / ((1.0 - UNIFORM) * smooth + UNIFORM / CLASSES)
    return (weights / (smooth * weights).sum()).astype(np.float32)
