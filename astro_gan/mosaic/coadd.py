"""Frames co-added on one grid, some rows at a time: backgrounds matched, pixels weighted, nothing where nothing is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from astro_gan.files.stretch import sky
from astro_gan.mosaic.grid import Grid
from astro_gan.mosaic.tiles import Tile

_SAMPLE = 1_000_000  # pixels of the grid that tell noise and background
_LEAST_OVERLAP = 50  # samples: fewer tell nothing of two backgrounds
_INNER = 1e-3  # of the weight: samples that are no rim
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
    tiles: Sequence[Tile], grid: Grid, offsets: np.ndarray, variances: np.ndarray, band: int
) -> Iterator[np.ndarray]:
    """The mosaic, float32 `[planes, rows, W]`, `band` rows at a time; NaN where no tile has a value.

    Args:
        offsets: `[tiles, planes]`, added to the values.
        variances: `[tiles, planes]`: their inverse weighs a tile.
    """
    planes = tiles[0].frame.planes
    for top in range(0, grid.shape[0], band):
        bottom = min(top + band, grid.shape[0])
        total = np.zeros((planes, bottom - top, grid.shape[1]))
        weight = np.zeros_like(total)
        for tile, offset, variance in zip(tiles, offsets, variances, strict=True):
            first, last = max(top, tile.box[0]), min(bottom, tile.box[1])
            if first >= last:
                continue
            values, own = tile.rows(grid, first, last)
            place = (slice(None), slice(first - top, last - top), slice(tile.box[2], tile.box[3]))
            scaled = own / variance[:, None, None]
            total[place] += np.where(own > 0, scaled * (values.astype(np.float64) + offset[:, None, None]), 0.0)
            weight[place] += scaled
        with np.errstate(invalid='ignore', over='ignore'):
            yield (total / np.where(weight > 0, weight, np.nan)).astype(np.float32)
