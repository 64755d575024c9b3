"""Picture files in: JPEG, PNG, TIFF, BMP, WEBP and GIF to uint8 RGB, or one line that says why not.

Nothing here trusts the file: the format is told by its first bytes and not by its name, the size is checked before
anything is decoded, and whatever a decoder raises comes out as a `ValueError` naming the file. FITS is read elsewhere.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from astro_gan.files.paths import open_file

# Largest picture that is decoded: 600 MB of RGB. A few hundred bytes of file can declare far more.
MAXIMUM_PIXELS = 200_000_000

# Pillow's classes are called directly. `Image.open` would try other formats, and its own size limit (179 megapixels,
# with a warning from 89) can only be changed for the whole process.
_SIGNATURES: tuple[tuple[bytes, Callable[..., ImageFile.ImageFile]], ...] = (
    (b'\xff\xd8\xff', JpegImagePlugin.JpegImageFile),
    (b'\x89PNG\r\n\x1a\n', PngImagePlugin.PngImageFile),
    (b'II*\x00', TiffImagePlugin.TiffImageFile),
    (b'MM\x00*', TiffImagePlugin.TiffImageFile),
    (b'II+\x00', TiffImagePlugin.TiffImageFile),  # BigTIFF
    (b'MM\x00+', TiffImagePlugin.TiffImageFile),
    (b'GIF8', GifImagePlugin.GifImageFile),
    (b'BM', BmpImagePlugin.BmpImageFile),
)
FORMATS = 'JPEG, PNG, TIFF, BMP, WEBP or GIF'

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a picture file upright, its first frame, as uint8 `[H, W, 3]` RGB.

    16-bit gray is scaled (65535 -> 255), gray, palette and CMYK are converted, and transparency is laid on black.
    Embedded colour profiles are not applied.

    Raises:
        ValueError: not a picture in a known format, damaged, larger than `MAXIMUM_PIXELS`, or not readable; one line
            that names the file.
    """
    with open_file(path) as (file, name):
        return _decode(file, name)


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read `(height, width)` of the upright picture from its header, without decoding it.

    A file whose end is missing is found out here too: where the end looks wrong the picture is decoded to make sure.

    Raises:
        ValueError: as `read_picture`.
    """
    with open_file(path) as (file, name), _explained(name):
        image = _open(file)
        size = _upright_size(image)
        if not _looks_complete(file, image.format):
            file.seek(0)
            _open(file).load()
        return size


def decode_picture(encoded: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a picture file as `read_picture` does; `name` is what an error calls it."""
    return _decode(io.BytesIO(encoded), name)


def encoded_picture_size(encoded: bytes, name: str) -> tuple[int, int]:
    """Read `(height, width)` from the bytes of a picture file; `name` is what an error calls it."""
    with _explained(name):
        return _upright_size(_open(io.BytesIO(encoded)))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn anything that a decoder raises into one line that names the file."""
    try:
        yield
    except _Refused as error:
        raise ValueError(f'{name}: {error}') from None
    except Exception as error:  # decoders raise nearly every type on hostile files
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{name}: damaged picture ({reason})') from error


class _Refused(ValueError):
    """A reason that needs no explanation around it."""


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    """Read the header of a picture and check the size that it declares."""
    start = file.read(16)
    file.seek(0)
    if not start:
        raise _Refused('the file is empty')
    opener = next((opener for magic, opener in _SIGNATURES if start.startswith(magic)), None)
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        opener = WebPImagePlugin.WebPImageFile
    if opener is None:
        raise _Refused(f'not a {FORMATS} picture')
    image = opener(file)
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise _Refused(f'{width}x{height} pixels are more than the {MAXIMUM_PIXELS / 1e6:.0f} megapixels that are read')
    if width < 1 or height < 1:
        raise _Refused(f'a picture of {width}x{height} pixels')
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block does not make the picture unusable
        return 1


def _upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    width, height = image.size
    # Pillow turns TIFF files by itself, and reports their size as turned.
    if image.format != 'TIFF' and _orientation(image) in (5, 6, 7, 8):
        width, height = height, width
    return height, width


def _looks_complete(file: BinaryIO, format_name: str | None) -> bool:
    """Whether the end mark is where it should be; cheap, and False means only 'decode it to be sure'."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))  # programs append a little after the mark
    tail = file.read(4096)
    if format_name == 'JPEG' or format_name == 'MPO':
        return b'\xff\xd9' in tail
    if format_name == 'PNG':
        return b'IEND' in tail
    if format_name == 'GIF':
        return b'\x3b' in tail[-16:]
    if format_name in ('BMP', 'WEBP'):
        file.seek(0)
        head = file.read(8)
        declared = head[2:6] if format_name == 'BMP' else head[4:8]
        return size >= int.from_bytes(declared, 'little')
    return False  # TIFF keeps its parts anywhere


def _decode(file: BinaryIO, name: str) -> np.ndarray:
    with _explained(name):
        image: Image.Image = _open(file)
        image.load()  # first: reading the EXIF of a damaged PNG would swallow the error
        upright = None if image.format == 'TIFF' else _UPRIGHT.get(_orientation(image))
        pixels = np.asarray(_to_rgb(image))
        if upright is not None:
            pixels = np.asarray(Image.fromarray(pixels).transpose(upright))
        return np.ascontiguousarray(pixels)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that Pillow reads to RGB."""
    if image.mode == 'I' and image.format == 'PNG':  # older Pillow's mode for 16-bit gray PNG
        image = Image.fromarray(np.asarray(image).clip(0, 65535).astype(np.uint16))
    if image.mode.startswith('I;16'):
        # Pillow's own conversion clips at 255. Rounding to nearest: 257 = 65535 / 255.
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert('RGB')
    if image.mode in ('I', 'F'):
        # Guessing white from the brightest pixel would change colours from picture to picture.
        raise _Refused(f'32-bit pixels (mode {image.mode}) have no known white level; save it with 8 or 16 bits')
    if image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, (0, 0, 0, 255)), image).convert('RGB')
    return image.convert('RGB')


# NEED open_file
