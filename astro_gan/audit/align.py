"""Input and output as planes of numbers that lie on one another: by their sizes, or by their world coordinates."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import warnings
from typing import Any

import numpy as np
from astropy.wcs import WCS

from astro_gan.audit.planes import (
    Plane,
    array_plane,
    data_plane,
    frame_of,
    holds_frame,
    new_plane,
    picture_plane,
    stretch_of,
)
from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.files.picture_source import MAXIMUM_PIXELS, open_picture
from astro_gan.files.stretch import Stretch, choose_stretch

SMALLEST = 32  # pixels of the input on a side
LARGEST = 16.0  # enlargement
_AGREE = 0.02  # pixels of the input: sizes and coordinates that agree to this say the same
_TURNED = 0.1  # pixels of the input over the frame: more is a rotation


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Where the input lies in the output: edge u of a pixel of the input, from 0, is edge scale u + offset there.

    Attributes:
        scale, offset: along rows and columns (y, x).
        by: 'size' or 'WCS'.
    """

    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    by: str = 'size'

    @property
    def factor(self) -> float:
        return math.sqrt(self.scale[0] * self.scale[1])

    def to_input(self, places: np.ndarray) -> np.ndarray:
        """Places `[n, 2]` in pixels of the output, from pixel centres, as places of the input."""
        return (places + 0.5 - np.array(self.offset)) / np.array(self.scale) - 0.5

    def to_output(self, places: np.ndarray) -> np.ndarray:
        return (places + 0.5) * np.array(self.scale) + np.array(self.offset) - 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """An input and what was made of it.

    Attributes:
        input: the part of the input that the output shows, float32 `[h, w]`, NaN where there is no measurement.
        before, after: the files' planes.
        alignment: of `input` and `after`.
        corner: of `input` in its file (row, column).
        notes: lines that a user should see.
    """

    input: np.ndarray
    before: Plane
    after: Plane
    alignment: Alignment
    corner: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    @property
    def is_frame(self) -> bool:
        return self.after.levels is None


def open_pair(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    hdu: str | None = None,
    mask: str | None = None,
    allow_mosaic: bool = True,
    ignore_checksum: bool = False,
    maximum_pixels: int = MAXIMUM_PIXELS,
    stretch: Stretch | None = None,
    lightness: bool | None = None,
) -> Pair:
    """Open an input and an output of any tool, and lay one on the other.

    Args:
        hdu, mask, allow_mosaic, ignore_checksum: of the input, where it is a frame; see `open_frame`.
        maximum_pixels: of either.
        stretch: of a frame that became a picture; None: as the picture's description has it.
        lightness: pictures are compared by their lightness, which a colorizer keeps, not by their luma; None: where the
            input is gray and the output in colour.

    Raises:
        UserError: one cannot be read, or they do not fit; one line that names the files.
    """
    options: dict[str, Any] = {'mask': mask, 'allow_mosaic': allow_mosaic, 'ignore_checksum': ignore_checksum}
    first, second = holds_frame(before), holds_frame(after)
    if second and not first:
        raise UserError(f'{printable(after)}: a frame cannot come from the picture {printable(before)}')
    input: Any = (
        frame_of(before, maximum_pixels=maximum_pixels, hdu=hdu, upright=not second, **options)
        if first
        else open_picture(before, maximum_pixels=maximum_pixels)
    )
    output: Any = (
        frame_of(after, maximum_pixels=maximum_pixels, mask='ignore', ignore_checksum=True)
        if second
        else open_picture(after, maximum_pixels=maximum_pixels)
    )
    if lightness is None:
        lightness = input.channels == 1 and output.channels == 3
    if second:
        turned = input.frame.first_row_is_top != output.frame.first_row_is_top
        input = dataclasses.replace(input, turned=turned)
        planes = data_plane(input, lightness=False), data_plane(output, lightness=lightness, made_of=input)
        if turned:  # its coordinates count the rows from the other end
            planes = dataclasses.replace(planes[0], header=None), planes[1]
    else:
        if first:
            chosen = stretch or stretch_of(after)
            if chosen is None:
                raise UserError(
                    f'{printable(after)}: a picture of the frame {printable(before)}, and nothing says how it was '
                    'stretched; give the output as FITS'
                )
            input = dataclasses.replace(input, stretch=chosen)
        planes = picture_plane(input, lightness), picture_plane(output, lightness)
    alignment, notes = align(*planes)
    return _cut(*planes, alignment, notes)


def pair_of(
    before: np.ndarray, after: np.ndarray, *, levels: int | None = None, headers: tuple[Any, Any] = (None, None)
) -> Pair:
    """Input `[h, w]` and output `[H, W]` as arrays, NaN where there is no measurement, laid on one another.

    Args:
        levels: of pictures, whose values are levels of 255: how many the files tell apart; None: data values.
        headers: of input and output.

    Raises:
        UserError: they do not fit; one line.
    """
    stretch = functools.cache(lambda: choose_stretch(before))  # both are shown alike
    planes = [
        array_plane(name, values, header, levels, stretch)
        for name, values, header in zip(('input', 'output'), (before, after), headers, strict=True)
    ]
    alignment, notes = align(planes[0], planes[1])
    return _cut(planes[0], planes[1], alignment, notes)


def align(before: Plane, after: Plane) -> tuple[Alignment, list[str]]:
    """How the output lies on the input: by their coordinates where both have some that say so, else by their sizes.

    Raises:
        UserError: they do not fit.
    """
    name = f'{printable(after.path)} and {printable(before.path)}'
    sizes = f'{after.width}x{after.height} and {before.width}x{before.height} pixels'
    scale = (after.height / before.height, after.width / before.width)
    # A size that is no multiple was rounded: half a pixel, at most one.
    fits = abs(after.width - scale[0] * before.width) < 1 or abs(after.height - scale[1] * before.height) < 1
    fits &= min(scale) >= 1 and max(scale) <= LARGEST
    by_sky = _by_sky(before, after)
    if by_sky is None:
        if not fits:
            raise UserError(f'{name}: {sizes}: no one factor from 1 to {LARGEST:g} takes one to the other')
        return Alignment(scale), []
    matrix, offset = by_sky
    size = np.array([before.height, before.width])
    if fits:
        corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * size
        apart = np.abs((corners @ matrix.T + offset) / scale - corners).max()
        if apart < _AGREE:
            return Alignment(scale), []
    turned = np.abs([matrix[0, 1] * size[1] / matrix[0, 0], matrix[1, 0] * size[0] / matrix[1, 1]]).max()
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or not turned < _TURNED:
        raise UserError(f'{name}: by their coordinates one is turned or mirrored against the other; reproject it first')
    found = Alignment((float(matrix[0, 0]), float(matrix[1, 1])), (float(offset[0]), float(offset[1])), 'WCS')
    if not 0.98 < found.factor < LARGEST:
        raise UserError(f'{name}: by their coordinates the output is {found.factor:.3g} times finer; 1 to {LARGEST:g}')
    return found, [f'aligned by coordinates: {found.factor:.4g} times finer, {sizes}']


def _by_sky(before: Plane, after: Plane) -> tuple[np.ndarray, np.ndarray] | None:
    """Matrix and offset that take edges (y, x) of the input to those of the output; None: no two coordinate systems."""
    if before.header is None or after.header is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # on sloppy cards of real headers
        try:
            one, other = (WCS(plane.header, naxis=2) for plane in (before, after))
        except Exception:  # astropy raises many kinds; what cannot be read is no coordinate system
            return None
        if not (one.has_celestial and other.has_celestial):
            return None
        y, x = np.meshgrid(*(np.linspace(0.1, 0.9, 5) * n for n in (before.height, before.width)), indexing='ij')
        try:
            sky = one.celestial.pixel_to_world(x.ravel() - 0.5, y.ravel() - 0.5)
            to_x, to_y = other.celestial.world_to_pixel(sky)
        except Exception:
            return None
    there = np.stack([to_y, to_x], -1) + 0.5
    here = np.stack([y.ravel(), x.ravel(), np.ones(x.size)], -1)
    if not np.isfinite(there).all():
        return None
    found, *_ = np.linalg.lstsq(here, there, rcond=None)
    return found[:2].T, found[2]


def _cut(before: Plane, after: Plane, alignment: Alignment, notes: list[str]) -> Pair:
    """The input's pixels that lie in the output."""
    spans = []
    for size, other, scale, offset in zip(
        (before.height, before.width), (after.height, after.width), alignment.scale, alignment.offset, strict=True
    ):
        first, last = math.ceil(-offset / scale - _AGREE), math.floor((other - offset) / scale + _AGREE)
        spans.append((max(0, first), min(size, last)))
    (top, bottom), (left, right) = spans
    height, width = bottom - top, right - left
    if min(height, width) < SMALLEST:
        raise UserError(
            f'{printable(after.path)} and {printable(before.path)}: {max(0, width)}x{max(0, height)} pixels in common; '
            f'at least {SMALLEST}x{SMALLEST} are needed'
        )
    data = new_plane(height, width)
    for first in range(top, bottom, 512):
        last = min(bottom, first + 512)
        data[first - top : last - top] = before.rows(first, last - first)[:, left:right]
    (scale_y, scale_x), (y, x) = alignment.scale, alignment.offset
    moved = (y + scale_y * top, x + scale_x * left)
    placed = dataclasses.replace(alignment, offset=moved)
    return Pair(data, before, after, placed, (top, left), tuple(notes))
