"""XISF, PixInsight's format: its images as frames.

Read here and not by a library: what a header claims is judged before anything is allocated, byte order and pixel
storage are heeded, and nothing in a file is evaluated. After "XISF Version 1.0 Specification" (Pleiades Astrophoto).
"""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np
from astropy.io import fits

from astro_gan import extras
from astro_gan.errors import UserError
from astro_gan.files import memory
from astro_gan.files.fits_writer import STRUCTURE, readable_cards
from astro_gan.files.frame import Frame, check_pixels, display_note, within_display, without_fills
from astro_gan.files.paths import open_file
from astro_gan.files.refusals import explained
from astro_gan.files.wcs import two_axes

SIGNATURE = b'XISF0100'
MAXIMUM_PIXELS = 1 << 29  # of all channels, where they are converted in memory
_LARGEST_HEADER = 16 << 20  # bytes
_FORMATS = {'UInt8': 'u1', 'UInt16': 'u2', 'UInt32': 'u4', 'Float32': 'f4', 'Float64': 'f8'}


def read_xisf(path: str | os.PathLike[str], *, hdu: str | None = None, maximum_pixels: int | None = None) -> Frame:
    """Read an image of a monolithic XISF file; its first row on top becomes the frame's last.

    Integers become [0, 1]. FITS keywords become the header: their coordinates count from the bottom, as FITS does
    (PixInsight's WCSmetadata.jsh: y = height + 1/2 - y of FITS).

    Args:
        path: the file.
        hdu: which image, its number from 0 or its id. None takes the only one.
        maximum_pixels: of a channel; None: any number.

    Raises:
        UserError: not XISF, damaged, too large, not supported; one line that names the file.
    """
    with open_file(path) as (file, name), explained(name):
        image, label = _choose(_images(file), hdu)
        data, alpha = _pixels(file, image, maximum_pixels)
    data, notes = without_fills(data)
    display = within_display(data)
    return Frame(
        data=data[..., ::-1, :],
        bad=None,
        header=_header(image),
        hdu=label,
        notes=(*notes, *(['its transparency is left out'] if alpha else []), display_note(display)),
        display=display,
    )


def _images(file: BinaryIO) -> list[ElementTree.Element]:
    start = file.read(16)
    if start[:8] != SIGNATURE:
        raise UserError('not an XISF file: its first bytes are not XISF0100')
    length = int.from_bytes(start[8:12], 'little')
    if not 0 < length <= _LARGEST_HEADER:
        raise UserError(f'damaged picture: a header of {length} bytes')
    text = file.read(length).rstrip(b'\0')
    if b'<!DOCTYPE' in text or b'<!ENTITY' in text:  # the format has no use for them, bombs have
        raise UserError('damaged picture: its header defines entities')
    return [element for element in ElementTree.fromstring(text) if _tag(element) == 'Image']


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition('}')[2]


def _choose(images: list[ElementTree.Element], wanted: str | None) -> tuple[ElementTree.Element, str]:
    """The image that is meant, and its name."""
    names = [image.get('id', str(index)) for index, image in enumerate(images)]
    listing = ', '.join(
        f'{index} {name} ({image.get("geometry")})'
        for index, (name, image) in enumerate(zip(names, images[:12], strict=False))
    )
    if not images:
        raise UserError('holds no image')
    if wanted is None:
        if len(images) > 1:
            raise UserError(f'holds {len(images)} images; choose one with --hdu: {listing}')
        return images[0], names[0]
    for index, name in enumerate(names):
        if wanted.strip() in (str(index), name):
            return images[index], name
    raise UserError(f'no image {wanted!r}; --hdu takes a number or an id: {listing}')


def _pixels(file: BinaryIO, image: ElementTree.Element, maximum_pixels: int | None) -> tuple[np.ndarray, bool]:
    """The image `[H, W]` or `[3, H, W]`, the first row on top, and whether it had a channel of transparency."""
    sizes = [int(size) for size in image.get('geometry', '').split(':')]
    if len(sizes) != 3 or min(sizes) < 1:
        raise UserError(f'an image of {image.get("geometry")}; width:height:channels is wanted')
    width, height, channels = sizes
    colors = {'Gray': 1, 'RGB': 3}.get(image.get('colorSpace', 'Gray'))
    if colors is None or channels - colors not in (0, 1):
        raise UserError(f'{channels} channels of {image.get("colorSpace")}; gray or RGB is wanted')
    check_pixels(height, width, maximum_pixels)
    kind = _FORMATS.get(image.get('sampleFormat', ''))
    if kind is None:
        raise UserError(f'pixels of {image.get("sampleFormat")}; {", ".join(_FORMATS)} are read')
    dtype = np.dtype(('>' if image.get('byteOrder') == 'big' else '<') + kind)
    if image.get('compression') is not None or dtype.kind == 'u':  # packed, unpacked, in order, and as float32
        memory.require(width * height * channels * (3 * dtype.itemsize + 4), 'a FITS file is read a part at a time')
    by_planes = image.get('pixelStorage', 'Planar').lower() == 'planar'
    shape = (channels, height, width) if by_planes else (height, width, channels)
    stored = _stored(file, image, dtype, shape)
    planes = (stored if by_planes else np.moveaxis(stored, -1, 0))[:colors]
    if dtype.kind == 'u':
        planes = planes.astype(np.float32) / np.float32(np.iinfo(dtype).max)
    return (planes[0] if colors == 1 else planes), channels > colors


def _stored(file: BinaryIO, image: ElementTree.Element, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An image as it lies in the file: a map (copy on write) where it is plain, else in memory."""
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    method, *numbers = image.get('location', '').split(':')
    if method != 'attachment' or len(numbers) != 2:
        raise UserError(f'pixels at {image.get("location")!r}; only those attached to the file are read')
    position, length = map(int, numbers)
    end = os.fstat(file.fileno()).st_size
    if min(position, length) < 0 or position + length > end:
        raise UserError(f'truncated: its image ends at byte {position + length}, and the file at {end}')
    compression = image.get('compression')
    if compression is None:
        if length != size:
            raise UserError(f'damaged picture: an image of {size} bytes in {length}')
        return np.memmap(file, dtype, 'c', position, shape)
    if size > dtype.itemsize * MAXIMUM_PIXELS:
        raise UserError(
            f'a compressed image of more than {MAXIMUM_PIXELS / 1e6:.0f} million values; save it uncompressed'
        )
    file.seek(position)
    return np.frombuffer(_unpacked(file.read(length), image, size), dtype).reshape(shape).copy()


def _unpacked(data: bytes, image: ElementTree.Element, size: int) -> bytes:
    """What compressed pixels unpack to: `size` bytes, never more."""
    codec, *numbers = image.get('compression', '').split(':')
    method, _, shuffled = codec.partition('+')
    if not numbers or int(numbers[0]) != size or shuffled not in ('', 'sh'):
        raise UserError(f'damaged picture: an image of {size} bytes compressed as {image.get("compression")}')
    blocks = [tuple(map(int, block.split(','))) for block in image.get('subblocks', f'{len(data)},{size}').split(':')]
    if sum(packed for packed, _ in blocks) != len(data) or sum(plain for _, plain in blocks) != size:
        raise UserError('damaged picture: its compressed parts do not add up to the image')
    parts, start = [], 0
    for packed, plain in blocks:
        part = _decompressed(method, data[start : start + packed], plain)
        if len(part) != plain:
            raise UserError(f'damaged picture: {len(part)} of {plain} bytes unpacked')
        parts.append(part)
        start += packed
    whole = b''.join(parts)
    item = int(numbers[1]) if shuffled else 1
    return whole if item == 1 else np.frombuffer(whole, np.uint8).reshape(item, -1).T.tobytes()


def _decompressed(method: str, data: bytes, size: int) -> bytes:
    if method == 'zlib':
        return zlib.decompressobj().decompress(data, size)
    try:
        if method in ('lz4', 'lz4hc'):
            import lz4.block

            return lz4.block.decompress(data, uncompressed_size=size)
        if method == 'zstd':
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(data) as stream:
                return stream.read(size)
    except ModuleNotFoundError as error:
        raise UserError(extras.explain(f'compressed by {method}: reading it', error)) from None
    raise UserError(f'compressed by {method}; zlib, lz4, lz4hc and zstd are read')


def _header(image: ElementTree.Element) -> fits.Header:
    """The FITS keywords of an image, with the filters before its pixels."""
    header = fits.Header()
    for element in image:
        if _tag(element) == 'ColorFilterArray':
            header['BAYERPAT'] = element.get('pattern', 'unknown')
        if _tag(element) != 'FITSKeyword':
            continue
        keyword, value, comment = (element.get(key, '').strip() for key in ('name', 'value', 'comment'))
        with contextlib.suppress(ValueError, fits.VerifyError):
            if keyword in ('HISTORY', 'COMMENT'):
                header.add_history(comment) if keyword == 'HISTORY' else header.add_comment(comment)
            elif keyword not in STRUCTURE | {'ROWORDER'} and not keyword.startswith('NAXIS'):
                header.append(fits.Card.fromstring(f'{keyword[:8]:8}= {value} / {comment}'[:80]), end=True)
    return two_axes(fits.Header(readable_cards(header)))
