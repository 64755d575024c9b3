"""The frames of a mosaic: opened, checked against each other, and brought onto the mosaic's pixels in rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units
from astropy.wcs import WCS
from scipy import ndimage

from astro_gan.errors import UserError
from astro_gan.files.fits import read_frame
from astro_gan.files.frame import Frame
from astro_gan.files.paths import printable
from astro_gan.files.stretch import valid_sample
from astro_gan.inference.refit import REACH
from astro_gan.mosaic.grid import Grid, celestial, interpolated, looked_up, outline, pixel_area, pixels

# Pixels of a frame before it was enhanced: networks see 17 to 20 far, and at the rim less of the sky. What puts fluxes
# right after a network for frames reaches farther where stars are wide (`refit.REACH`).
RIM = 24
_LEAST = 1e-9  # of the full weight: a rim counts where there is nothing else
_PART = 1024  # columns that are interpolated at a time
_BLOCK = 8  # pixels on a side of the blocks in which the outside of a footprint is looked for
_AREAS = 1.02  # ratio of pixels' areas from which on values per pixel differ


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A frame and its place.

    Attributes:
        path: as the user named it.
        frame: values, bad pixels, header.
        wcs: its coordinates.
        weight: of its pixels, an inverse variance `[H, W]`; None: the same for all.
        rim: pixels at its edges that count where there is nothing else; over as many more the weight rises to full.
        corner: row and column of its first pixel on the grid; None: it is interpolated.
        box: of the grid that it may cover: top, bottom, left, right.
        inside: pixels to the outside of the footprint, for blocks of _BLOCK; None: the footprint is the whole frame.
    """

    path: str
    frame: Frame
    wcs: WCS
    weight: np.ndarray | None
    rim: int
    corner: tuple[int, int] | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    inside: np.ndarray | None = None

    def placed(self, grid: Grid, corner: tuple[int, int] | None) -> Tile:
        """The tile on a grid."""
        height, width = self.frame.height, self.frame.width
        if corner is not None:
            box: Any = (corner[0], corner[0] + height, corner[1], corner[1] + width)
        else:
            box = outline(self.wcs, (height, width), grid.wcs, grid.shape) or (0, 0, 0, 0)
        return dataclasses.replace(self, corner=corner, box=box)

    def rows(self, grid: Grid, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the grid within the box: values float32 `[planes, h, w]`, NaN where none, and weights `[h, w]`.

        The weights hold the weight map and the rim, not the noise.
        """
        if self.corner is None:
            parts = [
                interpolated(
                    self.frame, self.weights, self.wcs, grid, (top, bottom, left, min(left + _PART, self.box[3]))
                )
                for left in range(self.box[2], self.box[3], _PART)
            ]
            values, weights = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
            return values, weights
        rows, columns = slice(top - self.corner[0], bottom - self.corner[0]), slice(0, self.frame.width)
        data, valid = pixels(self.frame, rows, columns)
        own = self.weights(*np.ogrid[rows, columns])
        return np.where(valid, data, np.float32(np.nan)), np.where(valid, own, 0.0)

    def samples(self, grid: Grid, step: int) -> tuple[np.ndarray, np.ndarray]:
        """As `rows`, of every `step`-th row and column of the grid; of an interpolated tile the nearest pixels."""
        top, bottom, left, right = self.box
        ys, xs = np.arange(top + -top % step, bottom, step), np.arange(left + -left % step, right, step)
        y, x = (at.ravel() for at in np.meshgrid(ys, xs, indexing='ij'))
        if self.corner is not None:
            rows, columns, good = y - self.corner[0], x - self.corner[1], np.ones(y.shape, bool)
        else:
            there = looked_up(grid.wcs, self.wcs, x, y)
            columns, rows = (np.round(np.nan_to_num(at, nan=-1)).astype(int) for at in there)
            good = (rows >= 0) & (rows < self.frame.height) & (columns >= 0) & (columns < self.frame.width)
            rows, columns = np.where(good, rows, 0), np.where(good, columns, 0)
        data, valid = pixels(self.frame, rows, columns)
        valid &= good
        shape = (len(ys), len(xs))
        values = np.where(valid, data, np.float32(np.nan)).reshape(-1, *shape)
        return values, np.where(valid, self.weights(rows, columns), 0.0).reshape(shape)

    def ramp(self, distance: np.ndarray) -> np.ndarray:
        """The weight of pixels so far from an edge."""
        return np.clip((distance - self.rim + 1) / (self.rim + 1), _LEAST, 1.0)

    def weights(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of the frame's pixels in rows `y` and columns `x`, two arrays that broadcast."""
        height, width = self.frame.height, self.frame.width
        # Each side by itself: where two tiles share one rim, at the frame's own, the other side still tells them apart.
        weights = self.ramp(np.minimum(y, height - 1 - y)) * self.ramp(np.minimum(x, width - 1 - x))
        if self.inside is not None:
            coarse = np.broadcast_arrays(*((at + 0.5) / _BLOCK - 0.5 for at in (y, x)))
            weights = weights * self.ramp(ndimage.map_coordinates(self.inside, coarse, order=1, mode='nearest'))
        if self.weight is not None:
            step = height // self.weight.shape[0]
            own = self.weight[y // step, x // step]
            weights = weights * np.where(np.isfinite(own), np.maximum(own, 0.0), 0.0)
        return weights


def open_tiles(
    paths: Sequence[str],
    weights: Sequence[str] = (),
    *,
    hdu: str | None = None,
    rim: int | None = None,
    maximum_pixels: int | None = None,
) -> list[Tile]:
    """Frames that belong together.

    Args:
        paths: FITS files.
        weights: maps of the inverse variance for each, or none.
        hdu: the extension of each; None: its science image.
        rim: pixels; None: by what a frame's header tells of its enlargement.
        maximum_pixels: of each.

    Raises:
        UserError: a frame without coordinates, of another unit, pixel or number of planes than the first; a map that is
            none of its frame; one line.
    """
    if weights and len(weights) != len(paths):
        raise UserError(f'--weights: {len(weights)} files for {len(paths)} frames; one for each, in their order')
    tiles: list[Tile] = []
    for index, path in enumerate(paths):
        frame = _without_border(read_frame(path, hdu=hdu, maximum_pixels=maximum_pixels))
        wcs = celestial(frame.header, path)
        weight = _weight_map(weights[index], frame, path) if weights else None
        own = _rim(frame) if rim is None else rim
        tile = Tile(path, frame, wcs, weight, own, inside=_inside(frame))
        if tiles:
            _check_alike(tiles[0], tile)
        tiles.append(tile)
    return tiles


def _without_border(frame: Frame) -> Frame:
    """The frame with zeros flagged as bad where they fill the outside of a footprint (see `stretch.valid_sample`)."""
    first = np.asarray(frame.data[0] if frame.planes > 1 else frame.data)
    if not valid_sample(first, frame.bad).all():
        return frame
    empty = (frame.data == 0) if frame.planes == 1 else (frame.data == 0).all(0)
    return dataclasses.replace(frame, bad=empty if frame.bad is None else empty | frame.bad) if empty.any() else frame


def _rim(frame: Frame) -> int:
    """Pixels of a frame that depend on what was beyond its edges, by what its header tells."""
    factor, fwhm = frame.header.get('AGFACTOR', 1), frame.header.get('AGFWHM', 0.0)
    factor = factor if isinstance(factor, int) and 1 <= factor <= 16 else 1
    reach = REACH * fwhm if isinstance(fwhm, float) and 0 < fwhm < 10 else 0
    return factor * math.ceil(max(RIM, reach))


def _weight_map(path: str, frame: Frame, of: str) -> np.ndarray:
    found = read_frame(path)
    size = (frame.height, frame.width)
    step = max(1, round(frame.height / found.height))
    if found.planes != 1 or (step * found.height, step * found.width) != size:
        raise UserError(
            f'{printable(path)}: {found.width}x{found.height} pixels; the weights of {printable(of)} have its '
            f'{size[1]}x{size[0]}, or a whole fraction of them'
        )
    return found.data


def _inside(frame: Frame) -> np.ndarray | None:
    """How far blocks lie inside of the footprint, in pixels; None where no border of the frame is empty.

    Holes in it, such as a bad pixel or a masked star, are no outside.
    """
    height, width = (-(-side // _BLOCK) for side in (frame.height, frame.width))
    there = np.zeros((height, width), bool)
    for row in range(height):
        _, valid = pixels(frame, slice(row * _BLOCK, (row + 1) * _BLOCK), slice(None))
        starts = np.arange(0, frame.width, _BLOCK)
        share = np.add.reduceat(valid.mean(0), starts) / np.diff([*starts, frame.width])
        there[row] = share > 0.5
    there = ndimage.binary_fill_holes(there)
    if there.all():
        return None
    return (_BLOCK * (ndimage.distance_transform_edt(there) - 0.5)).astype(np.float32)


def _check_alike(first: Tile, tile: Tile) -> None:
    names = f'{printable(tile.path)}: %s, and {printable(first.path)} %s; '
    planes = [f'{t.frame.planes} plane{"s" * (t.frame.planes > 1)}' for t in (tile, first)]
    if planes[0] != planes[1]:
        raise UserError(names % (f'has {planes[0]}', f'has {planes[1]}') + 'gray and colour frames are not mixed')
    own, other = (str(t.frame.header.get('BUNIT', '')).strip() for t in (tile, first))
    if not _same_unit(own, other):
        told = [f'is in {unit}' if unit else 'has no unit (BUNIT)' for unit in (own, other)]
        raise UserError(names % (told[0], told[1]) + 'frames are co-added in one unit')
    kept = [str(t.frame.header.get('AGCONSRV', 'surface_brightness')) for t in (tile, first)]
    if kept[0] != kept[1]:
        raise UserError(names % (f'keeps {kept[0]}', kept[1]) + 'enlarge them with the same --conserve')
    areas = [pixel_area(t.wcs) for t in (tile, first)]
    if max(areas) > _AREAS * min(areas) and not _per_area(own):
        sides = [f'{area**0.5:.4g}' for area in areas]
        raise UserError(
            names % (f'has pixels of {sides[0]} arcsec', f'of {sides[1]}')
            + f'values per pixel ({own or "no unit"}) are co-added on pixels of one size'
        )


def _unit(text: str) -> Any:
    try:
        return units.Unit(text.lower() if text.isupper() else text)
    except (ValueError, TypeError):
        return None


def _same_unit(one: str, other: str) -> bool:
    if one.lower() == other.lower():
        return True
    parsed = _unit(one), _unit(other)
    return bool(one and other and None not in parsed and parsed[0] == parsed[1])


def _per_area(text: str) -> bool:
    """Whether a unit is one of surface brightness, per solid angle."""
    unit = _unit(text)
    if not text or unit is None:
        return False
    bases = zip(unit.decompose().bases, unit.decompose().powers, strict=True)
    return any(base == units.rad and power == -2 for base, power in bases)
