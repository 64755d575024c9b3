"""FITS frames for inference: stretched to [0, 1] in windows, and results back to data values on the same sky."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

import numpy as np
from astropy.io import fits
from scipy import ndimage

from astro_gan.errors import UserError
from astro_gan.files.fits import Frame, Stretch, choose_stretch, enlarged_header, read_frame
from astro_gan.files.fits_open import COLORS
from astro_gan.files.float_tiff import read_float_tiff
from astro_gan.files.frame import mosaic_pattern
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import printable
from astro_gan.files.xisf import read_xisf

CONSERVE = ('surface_brightness', 'flux')
DISPLAY = Stretch('linear', 0.0, 1.0)
_REACH = 16  # pixels over which a neighbour's value fills a missing pixel; beyond it is black
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear red, green and blue (ITU-R BT.709)


@dataclasses.dataclass(frozen=True, eq=False)
class FrameSource:
    """A frame to be read in windows, stretched and without gaps (see `render.Source`).

    Attributes:
        path: as the user named it.
        frame: data, bad pixels and header.
        stretch: what takes its values to [0, 1], unclipped.
        turned: rows from the last to the first.
        notes: lines that a user should see.
    """

    path: str
    frame: Frame
    stretch: Stretch
    turned: bool = False
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return self.frame.height

    @property
    def width(self) -> int:
        return self.frame.width

    @property
    def channels(self) -> int:
        return self.frame.planes

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window, float32 `[height, width, channels]`; missing and bad pixels have their nearest neighbour's value.

        What fills a pixel depends on its surroundings alone, so all windows agree.
        """
        rows, columns = self._rows(top, height, _REACH), slice(max(0, left - _REACH), left + width + _REACH)
        bad = None if self.frame.bad is None else self.frame.bad[rows, columns]
        planes = self.frame.data[..., rows, columns].reshape(self.channels, rows.stop - rows.start, -1)
        inner = self._rows(top, height, 0).start - rows.start
        window = np.empty((height, width, self.channels), np.float32)
        for channel, plane in enumerate(planes):
            values = _filled(self.stretch.apply(plane), bad)
            window[..., channel] = self._turned(values[inner:][:height, left - columns.start :][:, :width])
        return window

    @np.errstate(over='ignore', invalid='ignore')
    def rows(self, top: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Whole rows: data values float32 `[channels, height, W]`, and which are flagged as bad, `[height, W]`."""
        rows = self._rows(top, height, 0)
        data = np.asarray(self.frame.data[..., rows, :], np.float32).reshape(self.channels, height, self.width)
        bad = np.zeros(data.shape[1:], bool) if self.frame.bad is None else self.frame.bad[rows]
        return self._turned(data), self._turned(bad)

    def _rows(self, top: int, height: int, margin: int) -> slice:
        """Rows of the array that a window's rows are."""
        first = self.height - top - height if self.turned else top
        return slice(max(0, first - margin), min(self.height, first + height + margin))

    def _turned(self, rows: np.ndarray) -> np.ndarray:
        return rows[..., ::-1, :] if self.turned else rows


@np.errstate(over='ignore', invalid='ignore')  # values at the end of float32, and NaN that signal
def _to_gray(frame: Frame, name: str, allow_color: bool) -> Frame:
    """The frame in one plane: of colours the luminance, unless all planes are the same."""
    red, green, blue = frame.data
    if np.array_equal(red, green, equal_nan=True) and np.array_equal(blue, green, equal_nan=True):
        return dataclasses.replace(frame, data=green)
    if not allow_color:
        raise UserError(f'{name}: is in colour, and gray is meant; --allow-color makes it gray first')
    gray = np.zeros(green.shape, np.float32)
    for weight, plane in zip(_LUMINANCE, (red, green, blue), strict=True):
        gray += np.float32(weight) * np.asarray(plane, np.float32)
    return dataclasses.replace(frame, data=gray, notes=(*frame.notes, 'in colour; its luminance is taken as gray'))


def _filled(values: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
    """Stretched values `[h, w]` with their nearest neighbour's where they are missing or bad, 0 far from any."""
    missing = ~np.isfinite(values) if bad is None else ~np.isfinite(values) | bad
    if not missing.any():
        return values
    distance, nearest = ndimage.distance_transform_edt(missing, return_indices=True)
    filled = np.where(distance > _REACH, 0.0, values[tuple(nearest)]) if not missing.all() else 0.0
    return np.where(missing, filled, values).astype(np.float32)


def open_frame(
    path: str | os.PathLike[str],
    *,
    stretch: str,
    upright: bool,
    maximum_pixels: int,
    gray: bool = False,
    allow_color: bool = False,
    hdu: str | None = None,
    mask: str | None = None,
    allow_mosaic: bool = False,
    ignore_checksum: bool = False,
) -> FrameSource:
    """Read a frame, FITS, XISF or floating-point TIFF, and choose its stretch; values that a screen shows have none.

    Args:
        stretch: see `choose_stretch`.
        upright: rows from the top of the picture, as picture files have them; otherwise as they are.
        gray: one plane is wanted; of colours, if `allow_color`, it is the luminance.
        allow_mosaic: take the pixels of a colour sensor, each behind its own filter, as gray.
        hdu, mask, ignore_checksum, maximum_pixels: see `read_frame`.

    Raises:
        UserError: no such frame, none with two values to tell apart, one that is too large, in colour or a mosaic and
            not allowed to be; one line.
    """
    name = printable(path)
    kind = kind_of(path)
    if kind == 'tif':
        frame = read_float_tiff(path, maximum_pixels=maximum_pixels)
    elif kind == 'xisf':
        frame = read_xisf(path, hdu=hdu, maximum_pixels=maximum_pixels)
    else:
        frame = read_frame(path, hdu=hdu, mask=mask, ignore_checksum=ignore_checksum, maximum_pixels=maximum_pixels)
    if gray and frame.planes == 3:
        frame = _to_gray(frame, name, allow_color)
    notes = [*frame.notes]
    pattern = mosaic_pattern(frame.header) if frame.planes == 1 else None
    if pattern and not allow_mosaic:
        raise UserError(
            f'{name}: a {pattern} mosaic, every pixel behind a filter of its own, is no gray picture; debayer it '
            'first, or --allow-mosaic takes it as gray'
        )
    if pattern:
        notes.append(f'a {pattern} mosaic, taken as gray')
    try:
        chosen = DISPLAY if frame.display else choose_stretch(frame.data, stretch, bad=frame.bad)
    except ValueError as error:
        raise UserError(f'{name}: {error}') from None
    return FrameSource(os.fspath(path), frame, chosen, upright and not frame.first_row_is_top, tuple(notes))


@np.errstate(over='ignore', invalid='ignore')  # values at the end of float32 have no mean: no number comes out
def to_data(source: FrameSource, strip: np.ndarray, top: int, factor: int, conserve: str) -> np.ndarray:
    """Rows of the output back to data values.

    Args:
        source: the frame.
        strip: `[rows, W, C]` as `render` yields it.
        top: the strip's first row in the output.
        factor: enlargement.
        conserve: 'surface_brightness' (values per pixel stay) or 'flux' (sums over an area stay: values / factor^2).
            Where no colour is added this is exact: the mean, or the sum, over each input pixel is what it was.

    Returns:
        float32 `[C, rows, W]`, NaN where the input has no number.
    """
    planes = source.stretch.invert(np.moveaxis(strip, -1, 0))
    first, last = top // factor, (top + strip.shape[0]) // factor
    data, bad = source.rows(first, last - first)
    if factor > 1 and len(planes) == len(data):
        for plane, values in zip(planes, data, strict=True):
            _conserve(plane, values, bad, factor)
    if conserve == 'flux':
        planes /= np.float32(factor**2)
    missing = np.broadcast_to(~np.isfinite(data), (len(planes), *data.shape[1:]))
    if missing.any():
        planes[missing.repeat(factor, axis=1).repeat(factor, axis=2)] = np.nan
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
    header['AGMODEL'] = (_ascii(made['model'])[:40], 'AGHASH: SHA-256 of its weights')
    for number, digest in enumerate(made['weights_sha256'].split('+'), 1):
        header['AGHASH' if number == 1 else f'AGHASH{number}'] = digest  # no room for a comment
    header['AGFACTOR'] = (factor, 'enlargement')
    header['AGVERS'] = (made['software'], 'program')
    header['AGNOTICE'] = (made['notice'], '')
    if factor > 1:
        header['AGCONSRV'] = (made['conserve'], 'what the enlargement keeps')
    if len(shape) == 3:
        header['AGPLANES'] = ('red, green, blue', 'meaning of the planes')
    for line in (*made['history'], *source.notes):
        header.add_history(_ascii(line))
    return header


def color_extensions(header: fits.Header) -> tuple[str, ...]:
    """Names of the extensions that a coloured frame has to be written in; none: three planes of one image are read.

    Coordinates with SIP distortion are defined for images of two axes only.
    """
    return COLORS if any(re.fullmatch('[AB]_ORDER', keyword) for keyword in header) else ()


def _ascii(line: str) -> str:
    """Text that a FITS card can hold: other letters as their escapes."""
    return (
        ''.join(letter if letter.isprintable() else ' ' for letter in line).encode('ascii', 'backslashreplace').decode()
    )
