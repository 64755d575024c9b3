"""Frames co-added on one grid, some rows at a time: backgrounds matched, pixels weighted, nothing where nothing is."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from astro_gan.files.stretch import sky
from astro_gan.mosaic.grid import Grid
from astro_gan.mosaic.tiles import Tile

_SAMPLE = 1_000_000  # pixels of the grid that tell noise and background
_LEAST_OVERLAP = 50  # samples: fewer tell nothing of two backgrounds
_INNER = 1e-3  # of the weight: samples that are no rim
_RAY, _BESIDE = (5.0, 1.2), (3.0, 0.7)  # of the noise, and of the change between pixels
_GROWN, _RINGS = 1, 6  # pixels around a ray that are looked at; where splines have made rings of it
BAND_VALUES = 1 << 20  # of the mosaic at a time


def sampled(tiles: Sequence[Tile], grid: Grid) -> tuple[int, list[np.ndarray], list[np.ndarray]]:
    """Values of every tile on a coarser grid: its step, and for each tile values `[planes, h, w]`, weights `[h, w]`."""
    step = max(1, math.ceil(math.sqrt(grid.shape[0] * grid.shape[1] / _SAMPLE)))
    found = [tile.samples(grid, step) for tile in tiles]
    return step, [values for values, _ in found], [weights for _, weights in found]


def noises(values: Sequence[np.ndarray]) -> np.ndarray:
    """The noise of every tile `[tiles, planes]`: their deviation, clipped at 3 sigma; 1 if any has none."""
    found = np.ones((len(values), len(values[0])))
    for index, planes in enumerate(values):
        for plane, own in enumerate(planes):
            own = own[np.isfinite(own)].astype(np.float64)
            found[index, plane] = (sky(own)[1] if own.size else 0.0) or np.nan
    return found if np.isfinite(found).all() else np.ones_like(found)


def matched(
    tiles: Sequence[Tile], step: int, values: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[int]]:
    """What to add to every tile so that overlaps agree, `[tiles, planes]`, and to which group each tile belongs.

    By least squares over all overlaps, each with the clipped median of its differences and the weight of its samples;
    the offsets of tiles that hang together sum to 0.
    """
    count, planes = len(tiles), len(values[0])
    pairs, differences, sizes = [], [], []
    for one, other in itertools.combinations(range(count), 2):
        shared = _shared(tiles[one], tiles[other], step)
        if shared is None:
            continue
        (a, b), (c, d) = (
            (values[index][(slice(None), *place)], weights[index][place])
            for index, place in zip((one, other), shared, strict=True)
        )
        inner = np.minimum(b / max(b.max(initial=0), 1e-30), d / max(d.max(initial=0), 1e-30))
        good = np.isfinite(a).all(0) & np.isfinite(c).all(0)
        if (good & (inner > _INNER)).sum() >= _LEAST_OVERLAP:
            good &= inner > _INNER
        if good.sum() >= _LEAST_OVERLAP:
            pairs.append((one, other))
            differences.append([sky(x[good].astype(np.float64) - y[good])[0] for x, y in zip(a, c, strict=True)])
            sizes.append(math.sqrt(good.sum()))
    group = list(range(count))
    for one, other in pairs:
        group = [group[one] if g == group[other] else g for g in group]
    if not pairs:
        return np.zeros((count, planes)), group
    matrix = np.zeros((len(pairs), count))
    for row, (one, other) in enumerate(pairs):
        matrix[row, one], matrix[row, other] = sizes[row], -sizes[row]
    right = -np.array(differences) * np.array(sizes)[:, None]
    return np.linalg.lstsq(matrix, right, rcond=None)[0], group  # the shortest: the sum of each group is 0


def _shared(one: Tile, other: Tile, step: int) -> list[tuple[slice, slice]] | None:
    """Where two tiles' samples are of the same pixels; None if nowhere."""
    first, second = one.box, other.box
    rows = max(first[0], second[0]), min(first[1], second[1])
    columns = max(first[2], second[2]), min(first[3], second[3])
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return None
    places = []
    for box in (first, second):
        sides = []
        for (low, high), start in zip((rows, columns), (box[0], box[2]), strict=True):
            origin = -(-start // step)
            sides.append(slice(-(-low // step) - origin, -(-high // step) - origin))
        places.append((sides[0], sides[1]))
    return places


def coadded(
    tiles: Sequence[Tile],
    grid: Grid,
    offsets: np.ndarray,
    variances: np.ndarray,
    band: int,
    *,
    noise: np.ndarray | None = None,
    rejected: list[int] | None = None,
) -> Iterator[np.ndarray]:
    """The mosaic, float32 `[planes, rows, W]`, `band` rows at a time; NaN where no tile has a value.

    Args:
        offsets: `[tiles, planes]`, added to the values.
        variances: `[tiles, planes]`: their inverse weighs a tile.
        noise: `[tiles, planes]`: leave out cosmic rays (see `_rays`); None: all values count.
        rejected: is told how many values were left out of each band.
    """
    planes, margin = tiles[0].frame.planes, 0 if noise is None else _RINGS + 1
    for top in range(0, grid.shape[0], band):
        bottom = min(top + band, grid.shape[0])
        start, stop = max(0, top - margin), min(bottom + margin, grid.shape[0])
        total = np.zeros((planes, stop - start, grid.shape[1]))
        weight = np.zeros_like(total)
        there = []
        for index, tile in enumerate(tiles):
            first, last = max(start, tile.box[0]), min(stop, tile.box[1])
            if first < last:
                values, own = tile.rows(grid, first, last)
                place = (slice(None), slice(first - start, last - start), slice(tile.box[2], tile.box[3]))
                there.append((index, place, values.astype(np.float64) + offsets[index][:, None, None], own))
                if noise is None:
                    _add(total, weight, there.pop(), variances)
        if noise is not None:
            inner = slice(top - start, bottom - start)
            reach = [_RINGS if tiles[index].corner is None else _GROWN for index, *_ in there]
            parts = [(place, values, own > 0, noise[index]) for index, place, values, own in there]
            rays = _rays(parts, reach, total.shape)
            for (index, place, values, own), ray in zip(there, rays, strict=True):
                _add(total, weight, (index, place, values, np.where(ray[place], 0.0, own)), variances)
                if rejected is not None:
                    rejected.append(int(ray[:, inner].sum()))
            total, weight = total[:, inner], weight[:, inner]
        with np.errstate(invalid='ignore', over='ignore'):
            yield (total / np.where(weight > 0, weight, np.nan)).astype(np.float32)


def _add(total: np.ndarray, weight: np.ndarray, part: Any, variances: np.ndarray) -> None:
    index, place, values, own = part
    scaled = own / variances[index][:, None, None]
    total[place] += np.where(scaled > 0, scaled * values, 0.0)
    weight[place] += scaled


def _rays(parts: Sequence[Any], reach: Sequence[int], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Cosmic rays: what sticks out of the median of three tiles or more, bool `shape` for each tile.

    By more than _RAY of its noise and of how much the median changes from pixel to pixel (stars that are sampled
    otherwise differ by that), and around that what differs by more than _BESIDE, as astrodrizzle does it (Fruchter and
    Hook 2002, PASP 114, 144). Only what is brighter: of two rays in three frames the third frame must not be the odd
    one.

    Args:
        parts: place in the band, values `[planes, h, w]`, which of them count `[h, w]`, noise `[planes]`.
        reach: pixels around a ray, of each.
    """
    stack = np.full((len(parts), *shape), np.nan, np.float32)
    for own, (place, values, counts, _) in zip(stack, parts, strict=True):
        own[place] = np.where(counts, values, np.nan)
    enough = np.isfinite(stack).sum(0) >= 3
    if not enough.any():
        return [np.zeros(shape, bool)] * len(parts)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # pixels that no tile has
        median = np.nanmedian(stack, axis=0)
    flat = np.nan_to_num(median)
    near = (1, 3, 3)
    steep = ndimage.maximum_filter(flat, near, mode='nearest') - ndimage.minimum_filter(flat, near, mode='nearest')
    found = []
    for own, (_, _, _, noise), pixels in zip(stack, parts, reach, strict=True):
        over = np.where(enough, own - median, 0)
        sigma = noise[:, None, None]
        ray = over > _RAY[0] * sigma + _RAY[1] * steep
        beside = np.abs(over) > _BESIDE[0] * sigma + _BESIDE[1] * steep
        found.append(beside & ndimage.maximum_filter(ray, (1, 2 * pixels + 1, 2 * pixels + 1)))
    return found
