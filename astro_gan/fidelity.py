"""Whether an enlarged picture can be believed: sources that it lost or invented, and whether it still is its input.

Perceptual scores reward invention; these do not. NumPy, one image at a time. Sources are found by photutils' DAOFIND,
matched one to one, left out where the image is saturated, and matched in an unrelated field too: what chance alone
finds. `astro_gan.photometry` measures what is found in frames whose truth is a catalogue.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

FWHM = 2.8  # pixels: of the point sources that are looked for in pictures
FAINT = (8.0, 30.0)  # levels of 255: the heights of the truth's sources whose recall is measured
SEEN = 4.0  # levels: from here on a source counts as a counterpart
CLAIMED = 8.0  # levels: from here on an output's source is a claim
SATURATED = 254.0  # levels: a plateau has no peak
_APART = 1.5  # pixels between a source and its counterpart, at most: more finds more by chance


def find_sources(
    image: np.ndarray, *, fwhm: float, threshold: float, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Point-like sources: local maxima of the image convolved with a Gaussian without its mean (DAOFIND).

    Args:
        image: `[H, W]`; the sky may have any level.
        fwhm: pixels, of the sources.
        threshold: smallest height of the fitted Gaussian, in the image's unit.
        mask: bool `[H, W]`, pixels that hold no measurement; no source has its peak on them.

    Returns:
        Their places `[n, 2]` (row, column; fractions of a pixel) and heights `[n]`.
    """
    from photutils.detection import DAOStarFinder
    from photutils.utils.exceptions import NoDetectionsWarning

    finder = DAOStarFinder(
        threshold, fwhm, min_separation=0, scale_threshold=False, sharpness_range=None, roundness_range=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        warnings.simplefilter('ignore', RuntimeWarning)
        # Outside the image DAOFIND sees zeros: an edge, with peaks at its corners.
        margin = min(round(2 * fwhm) + 2, min(np.shape(image)) - 1)
        wide = np.pad(np.asarray(image, np.float64), margin, mode='reflect')
        found = finder(wide, mask=None if mask is None else np.pad(mask, margin, mode='reflect'))
    if found is None:
        return np.empty((0, 2)), np.empty(0)
    places = np.stack([found['y_centroid'], found['x_centroid']], axis=-1).astype(np.float64) - margin
    heights = threshold * 10 ** (-0.4 * np.asarray(found['daofind_mag'], np.float64))
    inside = ((places > -0.5) & (places < np.asarray(np.shape(image)) - 0.5)).all(axis=1)
    return places[inside], heights[inside]


def saturated(image: np.ndarray, level: float, *, reach: int = 3) -> np.ndarray:
    """Pixels at or above a level, and those within `reach` of them, bool `[H, W]`."""
    full = np.asarray(image) >= level
    return ndimage.binary_dilation(full, iterations=reach) if full.any() else full


def match(places: np.ndarray, others: np.ndarray, radius: float) -> np.ndarray:
    """Pair two lists of places one to one: as many pairs as possible within the radius, as close as possible.

    Args:
        places: `[n, 2]`.
        others: `[m, 2]`.
        radius: largest distance of a pair.

    Returns:
        Of each place the index of its partner, or -1, int `[n]`.
    """
    partner = np.full(len(places), -1)
    if not len(places) or not len(others):
        return partner
    near = cKDTree(places).sparse_distance_matrix(cKDTree(others), radius, output_type='coo_matrix')
    rows, columns, distances = near.row, near.col, near.data
    total = len(places) + len(others)
    graph = coo_array((np.ones(len(rows)), (rows, columns + len(places))), shape=(total, total))
    labels = connected_components(graph, directed=False)[1][rows]  # clusters that do not compete with one another
    order = np.argsort(labels, kind='stable')
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        ours, i = np.unique(rows[group], return_inverse=True)
        theirs, j = np.unique(columns[group], return_inverse=True)
        cost = np.full((len(ours), len(theirs)), 1e3 * radius * len(ours))  # a pair too far costs more than all near
        cost[i, j] = distances[group]
        for a, b in zip(*linear_sum_assignment(cost), strict=True):
            if cost[a, b] <= radius:
                partner[ours[a]] = theirs[b]
    return partner


def unrelated(places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The same places half an image away, in rows and columns: a field as crowded that has nothing to do with it."""
    return (places + np.asarray(shape) / 2) % np.asarray(shape)


def source_counts(output: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Count the faint sources of the truth and the output's claims, for shares over many images.

    Args:
        output, truth: Y `[H, W]` of the same size, in levels of 255.

    Returns:
        'faint': sources of the truth between 8 and 30 levels high; 'found': those with a counterpart of over 4 levels
        in the output within 1.5 pixels, one to one; 'chance': those with a counterpart half the picture away, where
        none belongs to them; 'claimed': sources of the output over 8; 'spurious': those without a counterpart of over 4
        in the truth. Where either picture is white (254 and above) nothing counts.
    """
    mask = saturated(truth, SATURATED) | saturated(output, SATURATED)
    theirs, heights = find_sources(truth, fwhm=FWHM, threshold=SEEN, mask=mask)
    ours, strengths = find_sources(output, fwhm=FWHM, threshold=SEEN, mask=mask)
    faint = theirs[(heights >= FAINT[0]) & (heights <= FAINT[1])]
    claimed = ours[strengths > CLAIMED]
    return {
        'faint': len(faint),
        'found': int((match(faint, ours, _APART) >= 0).sum()),
        'chance': int((match(faint, unrelated(ours, truth.shape), _APART) >= 0).sum()),
        'claimed': len(claimed),
        'spurious': int((match(claimed, theirs, _APART) < 0).sum()),
    }


def interval(
    pictures: Sequence[Any], statistic: Callable[[Sequence[Any]], np.ndarray], *, repeats: int = 300, seed: int = 0
) -> np.ndarray:
    """A statistic of many pictures with its 95% interval over pictures (bootstrap).

    Args:
        pictures: one record for each picture.
        statistic: records -> float or `[k]`; NaN where it cannot be told.
        repeats: draws, with replacement.
        seed: of the draws; the same for two systems on the same pictures, so that differences can be paired.

    Returns:
        float64 `[3, ...]`: the value, and the interval's lower and upper end.
    """
    rng = np.random.default_rng(seed)
    value = np.asarray(statistic(pictures), np.float64)
    draws = rng.integers(0, len(pictures), (repeats, len(pictures)))
    samples = np.array([statistic([pictures[i] for i in draw]) for draw in draws], np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # all NaN
        low, high = np.nanpercentile(samples, (2.5, 97.5), axis=0)
    return np.stack([value, low, high])


def consistency(output: np.ndarray, low_res: np.ndarray) -> float:
    """Mean absolute difference, in levels of 255, between the output made smaller again and the input.

    Args:
        output: `[s h, s w, C]` in [0, 1].
        low_res: `[h, w, C]` in [0, 1].

    Smaller means antialiased bicubic, as everywhere here.
    """
    height, width = low_res.shape[:2]
    planes = [
        Image.fromarray(np.ascontiguousarray(output[..., c], np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for c in range(low_res.shape[-1])
    ]
    return float(255.0 * np.abs(np.stack([np.asarray(p) for p in planes], axis=-1) - low_res).mean())
