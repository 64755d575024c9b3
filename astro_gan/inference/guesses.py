"""Palettes that a gray picture may have: those of the training pictures that look like it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from astro_gan.guides import CURVE, fill_palette, lightness_to_gray, resized
from astro_gan.models import ResNet, load_encoder
from astro_gan.models.backbones import WEIGHTS, imagenet_normalise

BOOK = WEIGHTS / 'palettes.safetensors'
SIZE = (192, 256)  # height and width of the copy that is looked at
STAGES = 2  # of ResNet-18, whose maps' means and deviations say what a picture looks like
PARTS = 32  # numbers that are kept of them
# Of the median squared distance between pictures: over that a training picture's say falls to 1/e. Small is bold: the
# palette of the most similar ones, where a large one gives what errs least over all of them, which is pale.
NARROWNESS = 0.02


def guess(lightness: np.ndarray, variant: int = 0) -> np.ndarray:
    """The palette `[CURVE, 3]` number `variant` (from 0) of a picture with L* `[h, w]`.

    The first is the training picture's whose palette would err least over similar pictures; each further one is that
    which lowers the error of the best so far the most: other possible colours, not shades of the same.
    """
    book = _book()
    own = (_look()(_gray(lightness)) - book['mean']) @ book['parts']
    distance = np.square(book['features'] - own).sum(-1)
    weights = np.exp(-(distance - distance.min()) / NARROWNESS)
    best, chosen = np.full(len(weights), np.inf), 0
    for _ in range(variant + 1):
        after = np.minimum(_errors(), best[:, None])
        chosen = int((weights @ after).argmin())
        best = after[:, chosen]
    levels = (np.arange(CURVE) + 0.5) * 100.0 / CURVE
    return np.concatenate([levels[:, None], book['palettes'][chosen]], axis=1).astype(np.float32)


def make_book(labs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What BOOK holds of training pictures `[h, w, 3]` in L*a*b*, float32.

    palettes    a*b* over L*, `[n, CURVE, 2]`
    shares      of the pixels in each range of L*, `[n, CURVE]`
    mean, parts what looks become features by: (look - mean) @ parts; the median squared distance is 1
    features    `[n, PARTS]`
    """
    looks = np.stack([_look()(_gray(lab[..., 0])) for lab in labs]).astype(np.float64)
    mean = looks.mean(0)
    _, _, directions = np.linalg.svd(looks - mean, full_matrices=False)
    parts = directions[:PARTS].T
    features = (looks - mean) @ parts
    scale = np.sqrt(np.median(np.square(features[:, None] - features).sum(-1)))
    shares = [np.histogram(lab[..., 0], CURVE, (0.0, 100.0))[0] / lab[..., 0].size for lab in labs]
    book = {
        'palettes': np.stack([fill_palette(lab) for lab in labs]),
        'shares': np.stack(shares),
        'mean': mean,
        'parts': parts / scale,
        'features': features / scale,
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in book.items()}


@functools.cache
def _book() -> dict[str, np.ndarray]:
    return {name: value.astype(np.float32) for name, value in safetensors.numpy.load_file(BOOK).items()}


@functools.cache
def _errors() -> np.ndarray:
    """Error of each palette (second axis) on each picture (first axis), a*b* in CIE units."""
    palettes, shares = _book()['palettes'], _book()['shares']
    errors = np.abs(palettes[:, None] - palettes[None]).mean(-1)
    return (errors * shares[:, None]).sum(-1)


def _gray(lightness: np.ndarray) -> np.ndarray:
    """Gray `[*SIZE]` in [0, 1] of L* `[h, w]`."""
    return np.clip(resized(lightness_to_gray(lightness)[..., None], *SIZE)[..., 0], 0.0, 1.0)


@functools.cache
def _look() -> Callable[[np.ndarray], np.ndarray]:
    """Means and deviations of ResNet-18's maps of a gray picture, each stage's with a deviation of 1 over ImageNet."""
    variables = load_encoder('resnet18', 'packaged', stages=STAGES, setting='the packaged ResNet-18')
    network = ResNet('resnet18', stages=STAGES)

    @jax.jit
    def look(gray: jax.Array) -> jax.Array:
        rgb = jnp.repeat(gray[None, ..., None], 3, axis=-1)
        maps: Any = network.apply(variables, imagenet_normalise(rgb), train=False)
        parts = []
        for stage in maps[1:]:
            values = jnp.concatenate([stage.mean((0, 1, 2)), stage.std((0, 1, 2))])
            parts.append(values / jnp.sqrt(values.size))
        return jnp.concatenate(parts)

    return lambda gray: np.asarray(look(jnp.asarray(gray, jnp.float32)))
