"""Which pictures show the same sky: the same framing twice is a duplicate, a crop or another zoom is the same group.

Each picture becomes a few hundred ORB key points (Rublee et al. 2011), which a change of scale and a turn leave alone.
Pictures that share many of them are found with locality sensitive hashing (Gionis et al. 1999), without comparing all
with all, and are then registered: a similarity transform by RANSAC, and the correlation of what overlaps.

Key points, descriptors and RANSAC are scikit-image's, perceptual hashes imagehash's; what is here joins them. Why no
library does it all: those for duplicates (imagededup and the like) compare whole pictures, find no crop at a zoom,
and want PyTorch. To be looked at again in November 2027.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import imagehash
import numpy as np
from PIL import Image
from skimage import feature, measure, registration, transform

_SIDE = 512  # pixels of the longer side, when key points are looked for
_VIEW = 256  # of what is kept for the correlation
_POINTS = 500
_TABLES, _BITS = 16, 18  # of the hash: at distance 32 of 256 bits, 3 of 4 true pairs meet in a table
_NEIGHBOURS = 8  # in a bucket: pairs farther apart in a full one are not counted, to stay linear
_VOTES = 8  # of some 8000: 500 points in 16 tables
_CANDIDATES = 30  # per picture
_NEAR = 10  # bits of 64 in which the perceptual hashes of the same framing may differ
_ALIKE = 0.9  # correlation without key points: round galaxies on black reach 0.84 with one another
_SEED = 0
_TURNS, _ZOOM = 12, 0.6  # bins: 30 degrees, a factor of 1.5


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What is kept of a picture for matching: some 70 kB."""

    hashes: np.ndarray  # bool [8, 64], perceptual, of the eight orientations
    points: np.ndarray  # float32 [N, 2], x and y in `view`
    turns: np.ndarray  # float32 [N], orientation of the points in radians
    zooms: np.ndarray  # float32 [N], log2 of the scale at which they were found
    descriptors: np.ndarray  # uint8 [N, 32], packed bits
    view: np.ndarray  # uint8 [h, w], luma


@dataclasses.dataclass(frozen=True)
class Match:
    """Two pictures of the same sky."""

    first: int
    second: int
    points: int  # key points that agree; 0 where the perceptual hash led to it
    overlap: float  # share of both framings that the two have in common, the smaller one
    correlation: float  # of what they have in common


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Of uint8 RGB `[H, W, 3]`."""
    image = Image.fromarray(pixels).convert('L')
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    view = image.resize([max(1, round(size * _VIEW / _SIDE)) for size in image.size], Image.Resampling.BOX)
    # A square root, as for photon noise: faint structure has key points too.
    detector = feature.ORB(n_keypoints=_POINTS, fast_threshold=0.03, n_scales=10)
    found: list[Any] = [np.empty((0, 2)), np.empty((0, 256), bool), np.empty(0), np.empty(0)]
    # No key point at all is an error there, and no room for one another.
    with contextlib.suppress(RuntimeError, ValueError):
        detector.detect_and_extract(np.sqrt(np.asarray(image) / 255.0))
        found = [detector.keypoints, detector.descriptors, detector.orientations, detector.scales]
    points, bits, turns, zooms = found
    return Fingerprint(
        hashes=np.stack([imagehash.phash(turned).hash.ravel() for turned in _orientations(image)]),
        points=(points[:, ::-1] * (_VIEW / _SIDE)).astype(np.float32),
        turns=turns.astype(np.float32),
        zooms=np.log2(zooms).astype(np.float32),
        descriptors=np.packbits(bits, axis=1),
        view=np.asarray(view),
    )


def matches(prints: Sequence[Fingerprint], *, points: int, correlation: float) -> list[Match]:
    """All pairs that show the same sky, by index: `points` key points agree, and what overlaps correlates."""
    found = {}
    for first, second, orientation in _same_framing(prints):
        match = _lay_over(prints, first, second, orientation)
        if match and match.correlation >= max(correlation, _ALIKE):
            found[first, second] = match
    for first, second in _sharing_points(prints):
        if (first, second) not in found:
            match = _register(prints, first, second, points)
            if match and match.correlation >= correlation:
                found[first, second] = match
    return [found[pair] for pair in sorted(found)]


def _orientations(image: Image.Image) -> list[Image.Image]:
    """The picture itself, its turns and its mirror images."""
    return [image, *(image.transpose(way) for way in Image.Transpose)]


def _same_framing(prints: Sequence[Fingerprint]) -> list[tuple[int, int, int]]:
    """Pairs i < j whose perceptual hashes are near, and the orientation of j in which they are."""
    if len(prints) < 2:
        return []
    signs = np.stack([one.hashes for one in prints]).astype(np.float32) * 2 - 1
    found = []
    for i in range(len(prints) - 1):
        distance = (64 - signs[i + 1 :] @ signs[i, 0]) / 2
        best = distance.argmin(1)
        for j in np.flatnonzero(distance.min(1) <= _NEAR):
            found.append((i, int(i + 1 + j), int(best[j])))
    return found


def _sharing_points(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs i < j whose key points meet in many hash buckets with the same turn and the same change of scale.

    Random meetings have any turn and scale (weak geometric consistency: Jegou, Douze and Schmid 2008).
    """
    count = len(prints)
    if count < 2:
        return []
    owner = np.repeat(np.arange(count), [len(one.points) for one in prints])
    bits = np.unpackbits(np.concatenate([one.descriptors for one in prints]), axis=1)
    turns, zooms = (np.concatenate([getattr(one, name) for one in prints]) for name in ('turns', 'zooms'))
    rng = np.random.default_rng(_SEED)
    votes: list[list[np.ndarray]] = [[], []]
    for _ in range(_TABLES):
        key = bits[:, rng.choice(256, _BITS, replace=False)].astype(np.int64) @ (1 << np.arange(_BITS))
        order = np.lexsort((owner, key))
        key = key[order]
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(key[:-step] == key[step:])
            a, b = order[same], order[same + step]
            a, b = np.where(owner[a] < owner[b], a, b), np.where(owner[a] < owner[b], b, a)
            a, b = a[owner[a] != owner[b]], b[owner[a] != owner[b]]
            for bins, vote in zip(_bins(turns[b] - turns[a], zooms[b] - zooms[a]), votes, strict=True):
                vote.append((owner[a] * count + owner[b]) * 1000 + bins)
    best: dict[int, int] = {}
    for vote in votes:
        ballots, counts = np.unique(np.concatenate(vote), return_counts=True)
        for pair, number in zip(*(part[counts >= _VOTES].tolist() for part in (ballots // 1000, counts)), strict=True):
            best[pair] = max(best.get(pair, 0), number)
    chosen = [0] * count
    found = []
    for pair in sorted(best, key=lambda pair: (-best[pair], pair)):
        first, second = divmod(pair, count)
        if min(chosen[first], chosen[second]) < _CANDIDATES:
            chosen[first] += 1
            chosen[second] += 1
            found.append((first, second))
    return sorted(found)


def _bins(turn: np.ndarray, zoom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers below 1000 of the bins of turn and scale, and of those shifted by half a bin."""
    turn, zoom = turn / (2 * np.pi) * _TURNS, zoom / _ZOOM + 15
    plain, shifted = (((turn + half) % _TURNS).astype(int) * 40 + (zoom + half).astype(int) for half in (0, 0.5))
    return plain, shifted


def _lay_over(prints: Sequence[Fingerprint], first: int, second: int, orientation: int) -> Match | None:
    """Compare two pictures of about the same framing, a small shift undone; None if their shapes differ."""
    a, b = prints[first].view, _orientations(Image.fromarray(prints[second].view))[orientation]
    if abs(np.log(a.shape[1] / a.shape[0] * b.height / b.width)) > 0.05:
        return None
    other = np.asarray(b.resize(a.shape[::-1], Image.Resampling.BICUBIC)).astype(np.float32)
    shift = registration.phase_cross_correlation(np.sqrt(a), np.sqrt(other.clip(0)), normalization=None)[0].astype(int)
    if np.abs(shift).max() > 0.1 * max(a.shape):
        return None
    here, there = a, other
    for axis, step in enumerate(shift):
        size = a.shape[axis] - abs(step)
        here = here.take(range(max(step, 0), max(step, 0) + size), axis)
        there = there.take(range(max(-step, 0), max(-step, 0) + size), axis)
    return Match(first, second, 0, here.size / a.size, _correlation(here, there))


def _register(prints: Sequence[Fingerprint], first: int, second: int, points: int) -> Match | None:
    """Lay one picture on the other by its key points; None if fewer than `points` agree on how."""
    a, b = prints[first], prints[second]
    if not len(a.points) or not len(b.points):
        return None
    signs = [np.unpackbits(one.descriptors, axis=1).astype(np.float32) * 2 - 1 for one in (a, b)]
    distance = (256 - signs[0] @ signs[1].T) / 2  # Hamming's: a product is quicker than counting bits
    best = distance.argmin(1)
    mutual = np.flatnonzero((distance.argmin(0)[best] == np.arange(len(best))) & (distance.min(1) <= 64))
    agreeing = np.empty(0, int)
    for bins in _bins(b.turns[best[mutual]] - a.turns[mutual], b.zooms[best[mutual]] - a.zooms[mutual]):
        if len(bins):
            inside = mutual[bins == np.bincount(bins).argmax()]
            agreeing = inside if len(inside) > len(agreeing) else agreeing
    if len(agreeing) < max(points, 4):
        return None
    source, target = a.points[agreeing].astype(float), b.points[best[agreeing]].astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that no transform was found is an answer here
        model, inliers = measure.ransac(
            (source, target), transform.SimilarityTransform, 3, 1.5, max_trials=300, rng=np.random.default_rng(_SEED)
        )
    if inliers is None or inliers.sum() < points or not 1 / 8 < model.scale < 8:
        return None
    warped = transform.warp(b.view, model, output_shape=a.view.shape, preserve_range=True, cval=-1)
    seen = warped >= 0
    if seen.sum() < 500:
        return None
    share = float(seen.mean())
    overlap = min(share, share * a.view.size * model.scale**2 / b.view.size)
    return Match(first, second, int(inliers.sum()), float(min(overlap, 1.0)), _correlation(a.view[seen], warped[seen]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of them is even."""
    if min(a.std(), b.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
