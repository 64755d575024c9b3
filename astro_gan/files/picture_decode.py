"""The one reader of picture files, for inference and for training: any kind to gray or RGB, upright, at its own depth.

Nothing here trusts the file: its kind is told by its first bytes, its size is looked at before anything is decoded, its
inside is checked for damage. libvips decodes what is asked for (or to a temporary file, if all is needed), so a picture
does not have to fit into memory.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pyvips
from PIL import BmpImagePlugin

from astro_gan.files import jpeg, light, png, tiff, tiff_pixels
from astro_gan.files.tiff_pixels import Opened

_LOADERS = {'jpg': 'jpegload', 'png': 'pngload', 'gif': 'gifload', 'webp': 'webpload'}
_LOADING = {'access': 'random', 'fail_on': 'error', 'revalidate': True}  # a file may have changed since it was read
CheckSize = Callable[[int, int], None]

logging.getLogger('pyvips').setLevel(logging.CRITICAL)  # what matters of its warnings is checked here


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """A picture, turned upright; pixels are decoded when they are asked for.

    Attributes:
        kind: 'jpg', 'png', 'tif', 'gif', 'webp' or 'bmp'.
        pixels: one (gray) or three bands of uint8 or uint16.
        alpha: one band of the same depth, or None.
        original: as opened, for its metadata.
        profile: the ICC profile of `pixels`; None: sRGB.
        resolution: pixels per millimetre in x and y; None: the file does not say.
        notes: what a user should know of how it was read, each a line without the file's name.
    """

    kind: str
    pixels: pyvips.Image
    alpha: pyvips.Image | None
    original: pyvips.Image
    profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def size_of(file: BinaryIO, place: bytes | None, kind: str) -> tuple[int, int]:
    """`(height, width)` of the upright picture, from its header.

    Args:
        file: the file.
        place: its path; None: what `file` holds.
        kind: as `kinds.picture_kind` has it.

    Raises:
        UserError: it is not supported; the reason. (Decoders raise other errors if the header is damaged.)
    """
    if kind == 'tif':
        return tiff.size_of(file)
    if kind == 'bmp':
        file.seek(0)
        width, height = BmpImagePlugin.BmpImageFile(file).size
        return height, width
    image = _load(file, place, kind)
    return (image.width, image.height) if _field(image, 'orientation', 1) >= 5 else (image.height, image.width)


def orientation_of(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 (upright) where there is none."""
    return _field(pyvips.Image.jpegload_buffer(encoded, **_LOADING), 'orientation', 1)


def decode(file: BinaryIO, place: bytes | None, kind: str, check_size: CheckSize) -> Decoded:
    """Open a picture and make sure that its inside is whole.

    Palettes are looked up, CMYK becomes sRGB, a PNG's gamma is applied. Profiles of gray and RGB stay as they are.

    Args:
        file: the file.
        place: its path; None: what `file` holds.
        kind: as `kinds.picture_kind` has it.
        check_size: is told height and width, and raises if that is too much.

    Raises:
        UserError: it is not supported or damaged; the reason. (Decoders raise other errors if it is damaged.)
    """
    file.seek(0)
    gamma = None
    if kind == 'tif':
        opened = tiff_pixels.load(file, place, _LOADING, check_size)
    elif kind == 'bmp':
        opened = _open_bmp(file, check_size)
    elif kind == 'png':
        header = png.read(file)
        opened = _open(file, place, kind, check_size, header.frames)
        gamma = header.gamma
        if header.has_resolution:
            opened = opened._replace(resolution=(opened.image.xres, opened.image.yres))
        if header.primaries:
            opened.notes.append('its primaries (cHRM) are not those of sRGB, and were taken for them')
    else:
        opened = _open(file, place, kind, check_size)
    if kind == 'jpg':
        file.seek(0)
        jpeg.check(file.read())
    image = opened.image.autorot()
    colors = image.bands - opened.has_alpha
    alpha = image[colors] if opened.has_alpha else None
    pixels = image[:colors]
    profile, note = light.usable_profile(opened.image, colors)
    if colors == 4:
        pixels, profile = light.cmyk_to_rgb(pixels, profile), None
    deep = pixels.format == 'ushort'
    if gamma and profile is None:
        pixels = pixels.maplut(pyvips.Image.new_from_array(png.to_srgb(gamma, 65536 if deep else 256)[None]))
        opened.notes.append(f'its gamma (gAMA {gamma:.5g}) was applied: the levels are those of sRGB')
    names = ('grey16', 'rgb16') if deep else ('b-w', 'srgb')
    pixels = pixels.copy(interpretation=names[pixels.bands > 1])
    notes = tuple(filter(None, (*opened.notes, note)))
    return Decoded(kind, pixels, alpha, opened.image, profile, opened.resolution, notes)


def _open(file: BinaryIO, place: bytes | None, kind: str, check_size: CheckSize, frames: int = 1) -> Opened:
    """A kind that libvips reads by itself; it does not count the `frames` of a PNG."""
    image = _load(file, place, kind)
    check_size(image.height, image.width)
    has_alpha = image.bands in (2, 4) and image.interpretation != 'cmyk'
    # libvips fills in 72 dpi where a file does not say.
    resolution = (image.xres, image.yres) if image.get_typeof('resolution-unit') else None
    frames = max(frames, _field(image, 'n-pages', 1))
    notes = [f'an animation; the first of {frames} frames was taken'] if frames > 1 else []
    return Opened(image, has_alpha, resolution, notes)


def _open_bmp(file: BinaryIO, check_size: CheckSize) -> Opened:
    opened = BmpImagePlugin.BmpImageFile(file)
    check_size(opened.height, opened.width)
    mode = 'RGBA' if opened.mode == 'RGBA' else 'RGB'
    return Opened(pyvips.Image.new_from_array(np.asarray(opened.convert(mode))), mode == 'RGBA', None, [])


def _load(file: BinaryIO, place: bytes | None, kind: str) -> pyvips.Image:
    options = _LOADING | ({'fail_on': 'none'} if kind == 'jpg' else {})  # `jpeg.check` knows better
    if place is not None:
        return pyvips.Operation.call(_LOADERS[kind], place, **options)
    file.seek(0)
    return pyvips.Operation.call(f'{_LOADERS[kind]}_buffer', file.read(), **options)


def _field(image: pyvips.Image, name: str, otherwise: int) -> int:
    return image.get(name) if image.get_typeof(name) else otherwise
