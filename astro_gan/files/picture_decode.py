"""The one reader of picture files, for inference and for training: any kind to gray or RGB, upright, at its own depth.

Nothing here trusts the file: its kind is told by its first bytes, its size is looked at before anything is decoded, its
inside is checked for damage. libvips decodes what is asked for (or to a temporary file, if all is needed), so a picture
does not have to fit into memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pyvips
from PIL import BmpImagePlugin

from astro_gan.errors import UserError
from astro_gan.files import jpeg, light, png, tiff, tiff_pixels

_SIGNATURES = {
    jpeg.MAGIC: 'jpg',
    png.MAGIC: 'png',
    **dict.fromkeys(tiff.MAGIC, 'tif'),
    b'GIF8': 'gif',
    b'BM': 'bmp',
}
# Fuji, Olympus (three), Panasonic, Minolta, Sigma, Phase One; others are TIFF (see `tiff`) or have a file type box.
_RAW = (b'FUJIFILMCCD-RAW', b'IIRO', b'IIRS', b'MMOR', b'IIU\0', b'\0MRM', b'FOVb', b'IIII')
_LOADERS = {'jpg': 'jpegload', 'png': 'pngload', 'gif': 'gifload', 'webp': 'webpload'}
_LOADING = {'access': 'random', 'fail_on': 'error', 'revalidate': True}  # a file may have changed since it was read
CheckSize = Callable[[int, int], None]


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


def kind_of(start: bytes) -> str:
    """The kind of picture that starts with these (16 or more) bytes, '' for no picture.

    Raises:
        UserError: it is camera raw.
    """
    if start.startswith(_RAW) or start[4:12] == b'ftypcrx ' or (start[8:10] == b'CR' and start.startswith(tiff.MAGIC)):
        raise UserError(tiff.RAW)
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return 'webp'
    return next((kind for magic, kind in _SIGNATURES.items() if start.startswith(magic)), '')


def size_of(file: BinaryIO, place: bytes | None, kind: str) -> tuple[int, int]:
    """`(height, width)` of the upright picture, from its header.

    Args:
        file: the file.
        place: its path; None: what `file` holds.
        kind: as `kind_of` has it.

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
        kind: as `kind_of` has it.
        check_size: is told height and width, and raises if that is too much.

    Raises:
        UserError: it is not supported or damaged; the reason. (Decoders raise other errors if it is damaged.)
    """
    notes: list[str] = []
    header = png.Header()
    file.seek(0)
    if kind == 'tif':
        original, has_alpha, notes = tiff_pixels.load(file, place, _LOADING, check_size)
    elif kind == 'bmp':
        opened = BmpImagePlugin.BmpImageFile(file)
        check_size(*opened.size[::-1])
        original = pyvips.Image.new_from_array(np.asarray(opened.convert('RGBA' if opened.mode == 'RGBA' else 'RGB')))
        has_alpha = original.bands == 4
    else:
        if kind == 'png':
            header = png.read(file)
        original = _load(file, place, kind)
        check_size(original.height, original.width)
        if kind == 'jpg':
            file.seek(0)
            jpeg.check(file.read())
        has_alpha = original.bands in (2, 4) and original.interpretation != 'cmyk'
        frames = header.frames if kind == 'png' else _field(original, 'n-pages', 1)
        if frames > 1:
            notes.append(f'an animation; the first of {frames} frames was taken')
    image = original.autorot()
    alpha = image[image.bands - 1] if has_alpha else None
    pixels = image[: image.bands - 1] if has_alpha else image
    profile, note = light.usable_profile(original, pixels.bands)
    if pixels.bands == 4:
        pixels, profile = light.cmyk_to_rgb(pixels, profile), None
    deep = pixels.format == 'ushort'
    if header.gamma and profile is None:
        pixels = pixels.maplut(pyvips.Image.new_from_array(png.to_srgb(header.gamma, 65536 if deep else 256)[None]))
        notes.append(f'its gamma (gAMA {header.gamma:.5g}) was applied: the levels are those of sRGB')
    if header.primaries:
        note = 'its primaries (cHRM) are not those of sRGB, and were taken for them'
    names = ('grey16', 'rgb16') if deep else ('b-w', 'srgb')
    pixels = pixels.copy(interpretation=names[pixels.bands > 1])
    resolution = (original.xres, original.yres) if _says_resolution(original, kind, header) else None
    return Decoded(kind, pixels, alpha, original, profile, resolution, tuple(filter(None, (*notes, note))))


def _load(file: BinaryIO, place: bytes | None, kind: str) -> pyvips.Image:
    if place is not None:
        return pyvips.Operation.call(_LOADERS[kind], place, **_LOADING)
    file.seek(0)
    return pyvips.Operation.call(f'{_LOADERS[kind]}_buffer', file.read(), **_LOADING)


def _field(image: pyvips.Image, name: str, otherwise: int) -> int:
    return image.get(name) if image.get_typeof(name) else otherwise


def _says_resolution(image: pyvips.Image, kind: str, header: png.Header) -> bool:
    """Whether the file says how large it is to be printed; libvips fills in 72 dpi where it does not."""
    return header.has_resolution if kind == 'png' else bool(image.get_typeof('resolution-unit'))
