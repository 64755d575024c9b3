"""Floating-point TIFF in and out: frames in another wrapping, as Siril and PixInsight write them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from astropy.io import fits
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from astro_gan.errors import UserError
from astro_gan.files import atomic, memory, tiff
from astro_gan.files.frame import Frame, check_pixels, display_note, within_display, without_fills
from astro_gan.files.paths import open_file
from astro_gan.files.refusals import explained

_PROFILE = 34675  # the tag of an ICC profile
_CHANNELS = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by the tag Orientation
    2: np.fliplr,
    3: lambda plane: np.rot90(plane, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda plane: np.rot90(plane, -1),
    7: lambda plane: np.rot90(plane, 2).T,
    8: np.rot90,
}
MAXIMUM_VALUES = 1 << 29  # of all channels, 2 GiB
_BIG = 2**31  # bytes of pixels from which on a TIFF needs 64-bit offsets


def read_float_tiff(path: str | os.PathLike[str], *, maximum_pixels: int | None = None) -> Frame:
    """Read the picture of a TIFF of 16, 32 or 64-bit floats; its first row on top becomes the frame's last.

    Raises:
        UserError: damaged, too large, not gray or RGB; one line that names the file.
    """
    with open_file(path) as (file, name), explained(name), tifffile.TiffFile(file) as opened:
        page, note = tiff.main_page(opened)
        alpha = _check(page, maximum_pixels)
        planes = _planes(page)
    planes = planes[: len(planes) - alpha]
    data, notes = without_fills(planes[0] if len(planes) == 1 else planes)
    display = within_display(data)
    lines = [*([note] if note else []), *notes, *(['its transparency is left out'] if alpha else [])]
    return Frame(
        data=data[..., ::-1, :],
        bad=None,
        header=fits.Header(),
        hdu='0',
        notes=(*lines, display_note(display)),
        display=display,
    )


def _check(page: Any, maximum_pixels: int | None) -> bool:
    """Refuse what is not read rightly; whether the last channel is transparency."""
    channels = _CHANNELS.get(page.photometric)
    if channels is None or page.imagedepth != 1:
        kind = getattr(page.photometric, 'name', page.photometric)
        raise UserError(f'floating-point {kind} is not supported; save it as gray (MinIsBlack) or RGB')
    alpha = tiff.has_alpha(page)
    if page.samplesperpixel != channels + alpha:
        raise UserError(f'{page.samplesperpixel} channels of floating-point pixels; gray or RGB is wanted')
    if alpha and page.extrasamples[0] == EXTRASAMPLE.ASSOCALPHA:
        raise UserError('its colours are multiplied with its transparency: not supported; save it without')
    check_pixels(page.imagelength, page.imagewidth, maximum_pixels)
    if page.imagelength * page.imagewidth * page.samplesperpixel > MAXIMUM_VALUES:
        raise UserError(f'more than {MAXIMUM_VALUES / 1e6:.0f} million values of floating-point TIFF do not fit')
    values = page.imagelength * page.imagewidth * page.samplesperpixel  # as they are, upright, and as float32
    memory.require(values * (page.bitspersample / 4 + 8), 'a FITS file is read a part at a time')
    tiff.check_parts(page)
    return alpha


@np.errstate(over='ignore', invalid='ignore')
def _planes(page: Any) -> np.ndarray:
    """All channels, float32 `[channels, H, W]`, upright, the first row on top."""
    pixels = page.asarray()
    separate = page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    planes = pixels if separate else np.moveaxis(np.atleast_3d(pixels), -1, 0)
    if planes.shape != (page.samplesperpixel, page.imagelength, page.imagewidth):
        raise UserError('damaged picture: its pixels do not fit its size')
    turn = _TURNS.get(page.tags.valueof('Orientation', 1), lambda plane: plane)
    return np.stack([turn(plane) for plane in planes]).astype(np.float32)


def write_float_tiff(
    target: Path,
    shape: tuple[int, int, int],
    strips: Iterable[np.ndarray],
    *,
    like: str | os.PathLike[str],
    factor: int,
    description: str,
    software: str,
    seal: Callable[[Path], None] = lambda path: None,
) -> None:
    """Write 32-bit floats strip by strip; the file appears under its name when all is there, or not at all.

    Args:
        target: the file; replaced if it is there.
        shape: of the whole picture, `[height, width, 1 or 3]`.
        strips: `[rows, width, channels]`, from the top.
        like: the TIFF it was made from: its colour profile goes along, its resolution is multiplied with `factor`.
        description, software: what made it.
        seal: is given the finished file just before it takes its name, and may refuse by raising.

    Raises:
        OSError: no room for it.
    """
    size = 4 * int(np.prod(shape))
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise OSError(f'{target}: {size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free')
    color = shape[2] == 3
    with atomic.replacing(target) as part:
        with tifffile.TiffWriter(part, bigtiff=size > _BIG) as file:
            file.write(
                (row if color else row[:, 0] for strip in strips for row in np.asarray(strip, np.float32)),
                shape=shape if color else shape[:2],
                dtype=np.float32,
                rowsperstrip=1,
                photometric='rgb' if color else 'minisblack',
                planarconfig='contig' if color else None,
                description=description.encode('ascii', 'backslashreplace'),
                software=software,
                metadata=None,
                **_kept(like, factor, color),
            )
        seal(part)


def _kept(like: str | os.PathLike[str], factor: int, color: bool) -> dict[str, Any]:
    """Arguments of the writer for what goes along: the profile, unless gray became colour, and the print's size."""
    with tifffile.TiffFile(like) as opened:
        page, _ = tiff.main_page(opened)
        kept: dict[str, Any] = {}
        profile = page.tags.valueof(_PROFILE)
        if isinstance(profile, bytes) and (page.photometric == PHOTOMETRIC.RGB) == color:
            kept['iccprofile'] = profile
        x, y, unit = tiff.densities(page) or (0, 0, 0)
        pairs = [(factor * density).as_integer_ratio() for density in (x, y)]
        if unit and max(map(max, pairs)) < 2**32:  # or there is no room for it
            kept |= {'resolution': tuple(pairs), 'resolutionunit': unit}
        return kept
