"""One grid of pixels for several frames: whole shifts where they share it already, interpolation where they do not."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, FITSFixedWarning, Sip
from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area
from scipy import ndimage

from astro_gan import extras
from astro_gan.errors import UserError
from astro_gan.files.frame import Frame
from astro_gan.files.paths import printable

SAME = 1e-3  # pixels: two grids that differ by less are one
_MARGIN = 16  # pixels around a window: the cubic spline forgets what is farther off (0.27^16 = 1e-9)
_LEAST_OVERLAP = 0.01  # of a frame's pixels
_POINTS = 33  # along a side, where the outline of one grid is looked up in another


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of an output: its coordinates and its shape `(H, W)`."""

    wcs: WCS
    shape: tuple[int, int]

    def header(self) -> fits.Header:
        """The coordinates as cards, distortion (SIP) included."""
        with _quiet():
            return self.wcs.to_header(relax=True)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        warnings.simplefilter('ignore', FITSFixedWarning)
        yield


def celestial(header: fits.Header, path: str) -> WCS:
    """The coordinates on the sky that a frame's header has.

    Raises:
        UserError: it has none, or they need tables of another extension; one line.
    """
    wcs = _read(header, printable(path))
    if not wcs.has_celestial:
        raise UserError(f'{printable(path)}: has no coordinates on the sky (WCS), so its place is not known')
    return wcs


def _read(header: fits.Header, where: str) -> WCS:
    with _quiet():
        try:
            return WCS(header, naxis=2)
        except Exception as error:  # wcslib has many ways to say that a header is none
            reason = ' '.join(str(error).split())[:120]
            raise UserError(f'{where}: its coordinates (WCS) cannot be read: {reason}') from None


def shift(wcs: WCS, shape: Sequence[int], other: WCS) -> tuple[int, int] | None:
    """By how many whole pixels, (rows, columns), `wcs` lies in `other`; None if the two are not one grid."""
    height, width = shape[-2:]
    y, x = (at.ravel() for at in np.meshgrid(np.linspace(0, height - 1, 9), np.linspace(0, width - 1, 9)))
    there_x, there_y = looked_up(wcs, other, x, y)
    moved = there_y - y, there_x - x
    whole = [round(float(d.mean())) if np.isfinite(d).all() else 0 for d in moved]
    same = all(np.abs(d - n).max() < SAME for d, n in zip(moved, whole, strict=True))  # False for NaN
    return (whole[0], whole[1]) if same else None


def find_grid(wcss: Sequence[WCS], shapes: Sequence[Sequence[int]]) -> tuple[Grid, list[tuple[int, int] | None]]:
    """The grid that holds all frames, and where each lies in it: (row, column) of its first pixel, None: nowhere whole.

    Frames on one grid keep it; otherwise it is a tangential one with north up and the finest of their pixels.
    """
    shifts = [shift(wcs, shape, wcss[0]) for wcs, shape in zip(wcss, shapes, strict=True)]
    if all(found is not None for found in shifts):
        whole = [found for found in shifts if found is not None]
        top, left = (min(found[axis] for found in whole) for axis in (0, 1))
        ends = [(y + shape[-2], x + shape[-1]) for (y, x), shape in zip(whole, shapes, strict=True)]
        size = (max(end[0] for end in ends) - top, max(end[1] for end in ends) - left)
        return Grid(moved(wcss[0], top, left), size), [(y - top, x - left) for y, x in whole]
    from reproject.mosaicking import find_optimal_celestial_wcs

    with _quiet():
        wcs, shape = find_optimal_celestial_wcs(
            [(tuple(shape[-2:]), wcs) for wcs, shape in zip(wcss, shapes, strict=True)]
        )
    return Grid(wcs, (int(shape[0]), int(shape[1]))), [None] * len(wcss)


def moved(wcs: WCS, top: int, left: int) -> WCS:
    """The coordinates of the same grid counted from another pixel, which may lie outside."""
    result = wcs.deepcopy()
    result.wcs.crpix = wcs.wcs.crpix - np.array([left, top])
    if wcs.sip is not None:
        sip = wcs.sip
        result.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - np.array([left, top]))
    result.pixel_shape = None
    return result


def pixel_area(wcs: WCS) -> float:
    """Of a pixel on the sky, square arc seconds."""
    return float(proj_plane_pixel_area(wcs.celestial)) * 3600**2


def outline(wcs: WCS, shape: Sequence[int], other: WCS, limits: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The box (top, bottom, left, right) in `other`, within `limits` `(H, W)`, of `shape` in `wcs`; None: nothing."""
    height, width = shape[-2:]
    along = np.linspace(-0.5, 0.5, _POINTS)
    x, y = along * width + (width - 1) / 2, along * height + (height - 1) / 2
    low, high = np.full(_POINTS, -0.5), np.ones(_POINTS)
    xs = np.concatenate([x, x, low, (width - 0.5) * high])
    ys = np.concatenate([low, (height - 0.5) * high, y, y])
    there = looked_up(wcs, other, xs, ys)
    if not any(np.isfinite(at).any() for at in there):
        return None
    box = []
    for at, most in zip(reversed(there), limits[-2:], strict=True):
        first, last = math.floor(np.nanmin(at)) - 1, math.ceil(np.nanmax(at)) + 2
        box += [min(max(first, 0), most), min(max(last, 0), most)]
    return None if box[0] >= box[1] or box[2] >= box[3] else (box[0], box[1], box[2], box[3])


def looked_up(wcs: WCS, other: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of `wcs` as pixels of `other`; NaN where there are none."""
    with _quiet(), np.errstate(invalid='ignore'):
        try:
            there_x, there_y = pixel_to_pixel(wcs, other, x, y)
        except Exception as error:
            if type(error).__name__ != 'NoConvergence':  # the distortion's inverse, far outside of its frame
                raise
            there_x = there_y = np.full(len(x), np.nan)
    return np.asarray(there_x, float), np.asarray(there_y, float)


def interpolated(
    frame: Frame,
    weight: Callable[[np.ndarray, np.ndarray], np.ndarray],
    wcs: WCS,
    grid: Grid,
    box: tuple[int, int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """A frame on the pixels of a box (top, bottom, left, right) of another grid.

    Values by cubic splines, which keep a star as narrow as it is; a pixel that borders on a missing one is missing.

    Args:
        weight: gives those of the frame's pixels, by rows and columns that broadcast.

    Returns:
        float32 `[planes, h, w]`, NaN where there is none, and float64 weights `[h, w]`.
    """
    from reproject import reproject_interp

    top, bottom, left, right = box
    shape = (bottom - top, right - left)
    values, weights = np.full((frame.planes, *shape), np.nan, np.float32), np.zeros(shape)
    target = moved(grid.wcs, top, left)
    seen = outline(target, shape, wcs, (frame.height, frame.width))
    if seen is None:
        return values, weights
    rows = slice(max(0, seen[0] - _MARGIN), min(frame.height, seen[1] + _MARGIN))
    columns = slice(max(0, seen[2] - _MARGIN), min(frame.width, seen[3] + _MARGIN))
    data, valid = pixels(frame, rows, columns)
    if not valid.any():
        return values, weights
    own = moved(wcs, rows.start, columns.start)
    if not valid.all():
        nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
        data = data[:, nearest[0], nearest[1]]
    more: dict[str, Any] = {'shape_out': shape, 'roundtrip_coords': False, 'return_footprint': False}
    with _quiet():
        found = reproject_interp((data.astype(np.float64), own), target, order='bicubic', **more)
        flags = reproject_interp(
            (np.stack([valid.astype(np.float64), weight(*np.ogrid[rows, columns])]), own),
            target,
            order='bilinear',
            **more,
        )
    whole = np.nan_to_num(flags[0]) > 1 - 1e-6
    values[:, whole] = found[:, whole]
    weights[whole] = flags[1][whole]
    return values, weights


def onto(frame: Frame, header: fits.Header, shape: tuple[int, int], where: str) -> np.ndarray:
    """A frame of one plane on the pixels of another, by coordinates: float64 `shape`, NaN where it has none.

    Args:
        header, shape: of the other frame.
        where: what a message begins with: the frame's name.

    Raises:
        UserError: another size without coordinates, or another part of the sky; one line.
    """
    wcss = [_read(own, where) for own in (header, frame.header)]
    size = (frame.height, frame.width)
    if not all(wcs.has_celestial for wcs in wcss):
        if size != shape:
            raise UserError(
                f'{where}: {size[1]}x{size[0]} pixels, the image has {shape[1]}x{shape[0]}, and no coordinates (WCS) '
                'say how they fit'
            )
        corner: tuple[int, int] | None = (0, 0)
    else:
        corner = shift(wcss[1], size, wcss[0])
    result = np.full(shape, np.nan)
    if corner is not None:
        top, left = corner
        rows, columns = slice(max(0, top), max(0, top + size[0])), slice(max(0, left), max(0, left + size[1]))
        target = result[rows, columns]
        own = slice(max(0, -top), max(0, -top) + target.shape[0]), slice(max(0, -left), max(0, -left) + target.shape[1])
        data, valid = pixels(frame, *own)
        target[:] = np.where(valid, data[0], np.nan)
    else:
        extras.need('aligning frames', 'reproject')

        def one(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            return np.ones(np.broadcast_shapes(y.shape, x.shape))

        values, _ = interpolated(frame, one, wcss[1], Grid(wcss[0], shape), (0, shape[0], 0, shape[1]))
        result[:] = values[0]
    if np.isfinite(result).mean() < _LEAST_OVERLAP:
        raise UserError(f'{where}: shows another part of the sky than the image')
    return result


def pixels(frame: Frame, rows: Any, columns: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of pixels, slices of rows and columns or two arrays `[n]`: float32 `[planes, ...]`, and which have one."""
    with np.errstate(over='ignore', invalid='ignore'):
        data = np.asarray(frame.data[..., rows, columns], np.float32)
    data = data.reshape(frame.planes, *data.shape[frame.data.ndim - 2 :])
    valid = np.asarray(np.isfinite(data).all(0))
    if frame.bad is not None:
        valid &= ~frame.bad[rows, columns]
    return data, valid
