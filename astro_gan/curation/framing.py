"""The part of a picture that is sky: frames, blank corners of mosaics and edges of a rotated field are cut away."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage
from skimage import measure

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, the ends not included

_SMALLEST = 0.0015  # share of the picture: blank areas below are left alone
_STRAIGHT = 0.6  # share of the outline that has to be straight
_AREAS = 8  # of one level that are looked at, the largest first
_CELLS = 512  # of the longer side, for the largest rectangle
_WORK = 768  # pixels of the longer side, at most, in which blank areas are looked for


def clean_box(pixels: np.ndarray) -> Box:
    """The largest upright rectangle of uint8 RGB `[H, W, 3]` without blank areas: the whole picture if there are none.

    A blank area is an area of one level that touches the edge of the picture and is bounded by straight lines and a
    jump. Sky that was clipped to black is as even, but its outline is neither straight nor sharp. The colours are
    looked at one by one, as the fields of a mosaic's filters differ.
    """
    height, width = pixels.shape[:2]
    step = -(-max(height, width) // _WORK)
    small = pixels[::step, ::step]
    blank = np.zeros(small.shape[:2], bool)
    for channel in range(3):
        blank |= _blank(np.ascontiguousarray(small[..., channel]))
    if not blank.any():
        return 0, 0, width, height
    # Four pixels: what JPEG and a resampling smear over an edge.
    blank = _grown(blank, 4)
    x0, y0, x1, y1 = (step * value for value in _largest_rectangle(~blank))
    return x0, y0, min(x1, width), min(y1, height)


def _blank(plane: np.ndarray) -> np.ndarray:
    """Blank areas of one colour, uint8 `[H, W]`, as a mask."""
    found = np.zeros(plane.shape, bool)
    looked_at = {tolerance: np.zeros(plane.shape, bool) for tolerance in (4, 10, 20)}  # levels
    span = ndimage.maximum_filter(plane, 3) - ndimage.minimum_filter(plane, 3)
    seeds, _ = ndimage.label(span <= 3)
    sizes = np.bincount(seeds.ravel())
    sizes[0] = 0
    at_edge = np.unique(np.concatenate([seeds[0], seeds[-1], seeds[:, 0], seeds[:, -1]]))
    smallest = _SMALLEST * plane.size
    at_edge = at_edge[sizes[at_edge] >= smallest]
    for seed in at_edge[np.argsort(-sizes[at_edge], kind='stable')][:_AREAS]:
        inside = seeds == seed
        if found[inside].mean() > 0.5:
            continue
        level = int(np.median(plane[inside]))
        away = np.abs(plane.astype(np.int16) - level)
        for tolerance, seen in looked_at.items():
            if seen[inside].mean() > 0.5:
                continue  # part of an area that was judged already
            areas, _ = ndimage.label(away <= tolerance)
            area = areas == np.bincount(areas[inside]).argmax()
            area = ndimage.maximum_filter(ndimage.minimum_filter(area, 3), 3)  # no threads of one pixel
            seen |= area
            if area.sum() >= smallest and _is_cut(area, away, tolerance):
                found |= area
                break
    return found


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    return ndimage.maximum_filter(mask, 2 * pixels + 1)


def _is_cut(area: np.ndarray, away: np.ndarray, tolerance: int) -> bool:
    """Whether the outline of an area is straight and a jump, where it is not the picture's own edge."""
    ring = _grown(area, 5) & ~_grown(area, 3)
    if not ring.any():
        return True  # nothing else in the picture
    if np.median(away[ring]) < tolerance + 6:
        return False
    height, width = area.shape
    shortest = 0.1 * max(height, width)
    straight = total = 0.0
    outlines = measure.find_contours(np.pad(area, 1).astype(np.uint8), 0.5)
    if sum(map(len, outlines)) > 4 * (height + width):
        return False  # ragged; no need to fit polygons to it
    for outline in outlines:
        corners = measure.approximate_polygon(outline - 1, 1.5)
        for (y0, x0), (y1, x1) in itertools.pairwise(corners):
            at_edge = max(y0, y1) < 1 or max(x0, x1) < 1 or min(y0, y1) > height - 2 or min(x0, x1) > width - 2
            if not at_edge:
                length = float(np.hypot(y1 - y0, x1 - x0))
                total += length
                straight += length if length >= shortest else 0.0
    return total > 0 and straight >= _STRAIGHT * total


def _largest_rectangle(good: np.ndarray) -> Box:
    """The upright rectangle of the largest area inside a mask `[H, W]`, on a grid of a few pixels."""
    cell = max(4, -(-max(good.shape) // _CELLS))
    height, width = (size // cell for size in good.shape)
    cells = good[: height * cell, : width * cell].reshape(height, cell, width, cell).min(axis=(1, 3))
    best, box = 0, (0, 0, 0, 0)
    heights = np.zeros(width + 1, int)  # of the column of good cells that ends in this row; the last one is a stop
    for row in range(height):
        heights[:-1] = (heights[:-1] + 1) * cells[row]
        open_at: list[tuple[int, int]] = []  # (first column, height), the heights rising
        for column, tall in enumerate(heights.tolist()):
            start = column
            while open_at and open_at[-1][1] >= tall:
                start, top = open_at.pop()
                if top * (column - start) > best:
                    best, box = top * (column - start), (start, row + 1 - top, column, row + 1)
            open_at.append((start, tall))
    x0, y0, x1, y1 = (value * cell for value in box)
    # What is left of the last cell belongs to it.
    x1 = good.shape[1] if box[2] == width and good[y0:y1, x1:].all() else x1
    y1 = good.shape[0] if box[3] == height and good[y1:, x0:x1].all() else y1
    return x0, y0, x1, y1
