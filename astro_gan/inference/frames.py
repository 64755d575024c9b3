"""FITS frames for inference: stretched to [0, 1] in windows, and results back to data values on the same sky."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from astropy.io import fits
from scipy import ndimage

from astro_gan.files.fits import Frame, Stretch, choose_stretch, enlarged_header, read_frame
from astro_gan.files.paths import printable
from astro_gan.files.picture_source import too_large

CONSERVE = ('surface_brightness', 'flux')
_REACH = 16  # pixels over which a neighbour's value fills a missing pixel; beyond it is black


@dataclasses.dataclass(frozen=True, eq=False)
class FrameSource:
    """A frame to be read in windows, stretched and without gaps (see `render.Source`).

    Attributes:
        path: as the user named it.
        frame: data, bad pixels and header.
        stretch: what takes its values to [0, 1], unclipped.
        upright: rows from the top of the sky picture, as picture files have them; FITS begins at the bottom.
    """

    path: str
    frame: Frame
    stretch: Stretch
    upright: bool = False
    channels: int = 1

    @property
    def height(self) -> int:
        return self.frame.data.shape[0]

    @property
    def width(self) -> int:
        return self.frame.data.shape[1]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window, float32 `[height, width, 1]`; missing and bad pixels have their nearest neighbour's value.

        What fills a pixel depends on its surroundings alone, so all windows agree.
        """
        rows, columns = self._rows(top, height, _REACH), slice(max(0, left - _REACH), left + width + _REACH)
        values = self.stretch.apply(self.frame.data[rows, columns])
        missing = ~np.isfinite(values)
        if self.frame.bad is not None:
            missing |= self.frame.bad[rows, columns]
        if missing.any():
            distance, nearest = ndimage.distance_transform_edt(missing, return_indices=True)
            filled = np.where(distance > _REACH, 0.0, values[tuple(nearest)]) if not missing.all() else 0.0
            values = np.where(missing, filled, values).astype(np.float32)
        inner = self._rows(top, height, 0)
        values = values[inner.start - rows.start :][:height, left - columns.start :][:, :width]
        return self._turned(values)[..., None]

    def rows(self, top: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Whole rows of the frame: data values float32 `[height, W]`, and which pixels are flagged as bad."""
        rows = self._rows(top, height, 0)
        data = np.asarray(self.frame.data[rows], np.float32)
        bad = np.zeros(data.shape, bool) if self.frame.bad is None else self.frame.bad[rows]
        return self._turned(data), self._turned(bad)

    def _rows(self, top: int, height: int, margin: int) -> slice:
        """Rows of the array that a window's rows are."""
        first = self.height - top - height if self.upright else top
        return slice(max(0, first - margin), min(self.height, first + height + margin))

    def _turned(self, rows: np.ndarray) -> np.ndarray:
        return rows[::-1] if self.upright else rows


def open_frame(
    path: str | os.PathLike[str], *, hdu: str | None, stretch: str, upright: bool, maximum_pixels: int
) -> FrameSource:
    """Read a frame and choose its stretch.

    Raises:
        ValueError: no such frame, none with two values to tell apart, or one that is too large; one line.
    """
    name = printable(path)
    frame = read_frame(path, hdu=hdu)
    if frame.data.size > maximum_pixels:
        raise ValueError(f'{name}: {too_large(frame.data.shape[0], frame.data.shape[1], maximum_pixels)}')
    try:
        chosen = choose_stretch(frame.data, stretch, bad=frame.bad)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from None
    return FrameSource(name, frame, chosen, upright)


def to_data(source: FrameSource, strip: np.ndarray, top: int, factor: int, conserve: str) -> np.ndarray:
    """Rows of the output back to data values.

    Args:
        source: the frame.
        strip: `[rows, W, C]` as `render` yields it.
        top: the strip's first row in the output.
        factor: enlargement.
        conserve: 'surface_brightness' (values per pixel stay) or 'flux' (sums over an area stay: values / factor^2).
            Of a gray frame this is exact: the mean, or the sum, over each input pixel is what it was.

    Returns:
        float32 `[C, rows, W]`, NaN where the input has no number.
    """
    planes = source.stretch.invert(np.moveaxis(strip, -1, 0))
    first, last = top // factor, (top + strip.shape[0]) // factor
    if factor > 1 and len(planes) == 1:
        _conserve(planes[0], *source.rows(first, last - first), factor)
    if conserve == 'flux':
        planes /= np.float32(factor**2)
    missing = ~np.isfinite(source.rows(first, last - first)[0])
    if missing.any():
        planes[:, missing.repeat(factor, axis=0).repeat(factor, axis=1)] = np.nan
    return planes


def _conserve(output: np.ndarray, data: np.ndarray, bad: np.ndarray, factor: int) -> None:
    """Give every block of `factor` x `factor` pixels the mean that its input pixel has, in place.

    A network keeps it nearly; what is missing is added evenly. Pixels that hold no number, or a bad one, are left out.
    """
    height, width = data.shape
    blocks = output.reshape(height, factor, width, factor)
    missing = np.where(np.isfinite(data) & ~bad, data - blocks.mean((1, 3), dtype=np.float64), 0.0)
    blocks += missing.astype(np.float32)[:, None, :, None]


def output_header(source: FrameSource, shape: tuple[int, ...], factor: int, made: dict[str, Any]) -> fits.Header:
    """The frame's header for an output of `shape` `[H, W]` or `[3, H, W]`, with what made it.

    Args:
        made: see `provenance.describe`.
    """
    header = enlarged_header(source.frame.header, factor, shape)
    header.extend(source.stretch.to_cards(), update=True)
    header['AGMODEL'] = (ascii(made['model'])[1:41], 'model, AGHASH: its SHA-256')
    header['AGHASH'] = made['weights_sha256'][:64]  # no room for a comment
    header['AGFACTOR'] = (factor, 'enlargement')
    header['AGVERS'] = (made['software'], 'program')
    header['AGNOTICE'] = (made['notice'], '')
    if factor > 1:
        header['AGCONSRV'] = (made['conserve'], 'what the enlargement keeps')
    if len(shape) == 3:
        header['AGPLANES'] = ('red, green, blue', 'meaning of the third axis')
    for line in made['history']:
        header.add_history(line)
    return header
