"""Inputs and outputs as planes of numbers, read in rows: frames in data values, pictures in levels of 255."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from astro_gan.color import gray_of
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import open_file
from astro_gan.files.stretch import Stretch
from astro_gan.files.tiff import is_float_tiff
from astro_gan.inference.frames import FrameSource, open_frame
from astro_gan.inference.provenance import sidecar

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601), as the project's measures have it
_IN_MEMORY = 1 << 26  # values of a map; more lie in a temporary file


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """One plane of numbers of a file, read in rows.

    Attributes:
        path: as the user named it.
        height, width: in pixels.
        rows: (first row, how many) -> float32 `[n, W]`, NaN where there is no measurement.
        shown: (first row, how many) -> float32 `[n, W, 1 or 3]` in [0, 1], as a screen shows it.
        levels: how many levels the file tells apart, 256 or 65536; None: data values.
        unit: of the values, for people.
        header: of a frame.
    """

    path: str
    height: int
    width: int
    rows: Callable[[int, int], np.ndarray]
    shown: Callable[[int, int], np.ndarray]
    levels: int | None = None
    unit: str = ''
    header: Any = None


def new_plane(height: int, width: int) -> np.ndarray:
    """Room for float32 `[height, width]`; where that is much, in a temporary file that is gone with the array."""
    if height * width <= _IN_MEMORY:
        return np.empty((height, width), np.float32)
    with tempfile.TemporaryFile() as file:
        file.truncate(4 * height * width)
        return np.memmap(file, np.float32, 'r+', shape=(height, width))


def array_plane(
    name: str, values: np.ndarray, header: Any, levels: int | None, stretch: Callable[[], Stretch]
) -> Plane:
    def rows(top: int, count: int) -> np.ndarray:
        return np.asarray(values[top : top + count], np.float32)

    def shown(top: int, count: int) -> np.ndarray:
        part = rows(top, count)
        return np.nan_to_num(np.clip(part / 255 if levels else stretch().apply(part), 0, 1))[..., None]

    height, width = values.shape
    return Plane(name, height, width, rows, shown, levels, 'levels of 255' if levels else 'data values', header)


def holds_frame(path: str | os.PathLike[str]) -> bool:
    with open_file(path):
        kind = kind_of(path)
    return kind in ('fits', 'xisf') or (kind == 'tif' and is_float_tiff(path))


def frame_of(path: Any, *, upright: bool = False, **options: Any) -> FrameSource:
    return open_frame(path, stretch='asinh', upright=upright, **{'allow_mosaic': True, **options})


def data_plane(source: FrameSource, *, lightness: bool, made_of: FrameSource | None = None) -> Plane:
    """Data values; of colours their mean, or the value that is as light.

    Args:
        made_of: the input of an output, which is shown as that is, lest a stretch of its own be taken for a difference.
    """
    gain = np.float32(1)
    if made_of is not None and str(source.frame.header.get('AGCONSRV', '')).strip() == 'flux':
        gain = np.float32(source.height * source.width / (made_of.height * made_of.width))
    stretch = (made_of or source).stretch

    def rows(top: int, count: int) -> np.ndarray:
        planes, bad = source.rows(top, count)
        if len(planes) == 3 and lightness:
            gray = stretch.invert(_gray(np.moveaxis(stretch.apply(planes * gain), 0, -1), lightness=True))
        else:
            gray = planes.mean(0) * gain
        return np.where(np.isfinite(gray) & ~bad, gray, np.float32(np.nan))

    def shown(top: int, count: int) -> np.ndarray:
        planes = stretch.apply(source.rows(top, count)[0] * gain)
        return np.nan_to_num(np.clip(np.moveaxis(planes, 0, -1), 0, 1))

    unit = str(source.frame.header.get('BUNIT', '')).strip() or 'data values'
    return Plane(source.path, source.height, source.width, rows, shown, None, unit, source.frame.header)


def picture_plane(source: Any, lightness: bool) -> Plane:
    """Luma, or the gray that is as light, in levels of 255; a frame is stretched."""

    def shown(top: int, count: int) -> np.ndarray:
        return source.read(top, 0, count, source.width)

    def rows(top: int, count: int) -> np.ndarray:
        return np.float32(255) * _gray(shown(top, count), lightness=lightness)

    levels = 65536 if isinstance(source, FrameSource) else int(np.iinfo(source.dtype).max) + 1
    return Plane(source.path, source.height, source.width, rows, shown, levels, 'levels of 255')


def _gray(pixels: np.ndarray, *, lightness: bool) -> np.ndarray:
    """`[H, W, 1 or 3]` -> `[H, W]`."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    if not lightness:
        return pixels @ np.array(LUMA, np.float32)
    gray = np.asarray(gray_of(jnp.asarray(pixels)))[..., 0]
    # Values outside [0, 1] have no lightness; a colorizer leaves them as they are, in all three.
    middle = pixels[..., 1]
    return np.where((middle < 0) | (middle > 1), middle, gray)


def stretch_of(path: str | os.PathLike[str]) -> Stretch | None:
    """The stretch that a picture's description says its frame went through."""
    try:
        return Stretch(**json.loads(sidecar(Path(path)).read_text())['stretch'])
    except (OSError, ValueError, KeyError, TypeError):
        return None
