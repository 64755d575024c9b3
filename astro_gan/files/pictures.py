"""Picture files for training: JPEG, PNG, TIFF, BMP, WEBP and GIF to uint8 RGB, or one line that says why not.

`picture_decode` reads them, as it does for inference; JPEGs in colour take a shorter way to the same values.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
import pyvips

from astro_gan.errors import UserError
from astro_gan.files import jpeg, light, tiff
from astro_gan.files.kinds import picture_kind
from astro_gan.files.paths import open_file
from astro_gan.files.picture_decode import decode, orientation_of, size_of
from astro_gan.files.refusals import explained

# Largest picture that is decoded: 600 MB of RGB. A few hundred bytes of file can declare far more.
MAXIMUM_PIXELS = 200_000_000
FORMATS = 'JPEG, PNG, TIFF, BMP, WEBP or GIF'


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a picture file upright, its first frame, as uint8 `[H, W, 3]` RGB.

    16 bits are scaled (65535 -> 255), gray, palette and CMYK are converted, and transparency is laid on black. A gray
    picture's colour profile is applied, and that of CMYK; that of RGB is not.

    Raises:
        UserError: not a picture in a known format, damaged, of a kind that is not supported, larger than
            `MAXIMUM_PIXELS`, or not readable; one line that names the file.
    """
    with open_file(path) as (file, name), explained(name):
        return _decode(file, os.fsencode(path))


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read `(height, width)` of the upright picture from its header, without decoding it.

    A file whose end is missing is found out here too: where the end looks wrong the picture is decoded to make sure.
    What is damaged inside is found only by `read_picture`.

    Raises:
        UserError: as `read_picture`.
    """
    with open_file(path) as (file, name), explained(name):
        size, kind = _size(file, os.fsencode(path))
        if not _looks_complete(file, kind):
            _decode(file, os.fsencode(path))
        return size


def checked_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """`(height, width)` of a picture that was decoded, so that it is known to be whole; raises as `read_picture`."""
    height, width, _ = read_picture(path).shape
    return height, width


def decode_picture(encoded: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a picture file as `read_picture` does; `name` is what an error calls it."""
    with explained(name):
        return _decode(io.BytesIO(encoded), None)


def encoded_picture_size(encoded: bytes, name: str) -> tuple[int, int]:
    """Read `(height, width)` from the bytes of a picture file; `name` is what an error calls it."""
    with explained(name):
        return _size(io.BytesIO(encoded), None)[0]


def _size(file: BinaryIO, place: bytes | None) -> tuple[tuple[int, int], str]:
    """Height and width, checked, and the kind of picture."""
    kind = _kind(file)
    size = size_of(file, place, kind)
    _check_size(*size)
    return size, kind


def _kind(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(16)
    kind = picture_kind(start)
    if kind == 'raw':
        raise UserError(tiff.RAW)
    if not kind:
        raise UserError(f'not a {FORMATS} picture' if start else 'the file is empty')
    return kind


def _check_size(height: int, width: int) -> None:
    if width * height > MAXIMUM_PIXELS:
        raise UserError(
            f'{width}x{height} pixels are more than the {MAXIMUM_PIXELS / 1e6:.0f} megapixels that are read'
        )
    if width < 1 or height < 1:
        raise UserError(f'a picture of {width}x{height} pixels')


def _looks_complete(file: BinaryIO, kind: str) -> bool:
    """Whether the end mark is where it should be; cheap, and False means only 'decode it to be sure'."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))  # programs append a little after the mark
    tail = file.read(4096)
    if kind == 'jpg':
        return b'\xff\xd9' in tail
    if kind == 'png':
        return b'IEND' in tail
    if kind == 'gif':
        return b'\x3b' in tail[-16:]
    if kind in ('bmp', 'webp'):
        file.seek(0)
        head = file.read(8)
        declared = head[2:6] if kind == 'bmp' else head[4:8]
        return size >= int.from_bytes(declared, 'little')
    return False  # TIFF keeps its parts anywhere


def _decode(file: BinaryIO, place: bytes | None) -> np.ndarray:
    kind = _kind(file)
    if kind == 'jpg':
        file.seek(0)
        encoded = file.read()
        height, width, colors = jpeg.header(encoded)
        _check_size(height, width)
        if colors in ('YCbCr', 'RGB'):
            return _turned(jpeg.decode(encoded), orientation_of(encoded))
    decoded = decode(file, place, kind, _check_size)
    pixels = decoded.pixels
    if pixels.bands == 1 and decoded.profile is not None:
        pixels = light.to_gray(pixels, decoded.profile)
    levels = _eight_bits(pixels)
    if decoded.alpha is not None:
        opacity = _eight_bits(decoded.alpha).astype(np.uint32)
        levels = ((levels * opacity + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return pixels
    image = pyvips.Image.new_from_array(pixels).copy()
    image.set_type(pyvips.GValue.gint_type, 'orientation', orientation)
    return image.autorot().numpy()


def _eight_bits(image: pyvips.Image) -> np.ndarray:
    """Levels of 8 or 16 bits as uint8 `[H, W, C]`, rounded to nearest: 257 = 65535 / 255."""
    levels = image.numpy().reshape(image.height, image.width, -1)
    return levels if levels.dtype == np.uint8 else ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
