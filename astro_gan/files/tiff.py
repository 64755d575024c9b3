"""What a TIFF says of its pixels, looked at before anything decodes them: which page, which samples, what they mean.

libvips decodes the ordinary layouts, a window at a time; the others go through tifffile, and what neither reads rightly
is refused as "not supported".
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, RESUNIT, SAMPLEFORMAT

from astro_gan.errors import UserError
from astro_gan.files import jpeg
from astro_gan.files.kinds import picture_kind
from astro_gan.files.paths import open_file

RAW = 'camera raw, a picture yet to be developed: not supported; save it as a 16-bit TIFF from a raw converter'
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller copy, a transparency mask
_COLORS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
_ONLY_LIBVIPS = (PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
_FAX = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
_DEFLATE = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_EXACT = (COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.PACKBITS, *_DEFLATE)
_LIBVIPS = (*_EXACT, COMPRESSION.JPEG, *_FAX)
_TIFFFILE = (*_EXACT, COMPRESSION.ZSTD, COMPRESSION.LZMA)
# Sensor data: a mosaic of colours, linear colours of the sensor's own, or what only camera makers write.
_RAW_PHOTOMETRICS = (32803, 34892)  # CFA, LinearRaw
_RAW_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)  # Sony, Epson, Samsung, Nikon, Kodak, Pentax
_DNG_VERSION = 50706
_LARGEST_TILE = 2**24  # pixels; larger ones only in pictures that have as many
_LARGEST_PART = 2**28  # bytes of a strip or tile that is decoded in memory to see whether it is whole

logging.getLogger('tifffile').setLevel(logging.CRITICAL)  # what matters of its warnings is checked here


def opened(file: BinaryIO) -> tifffile.TiffFile:
    """A TIFF for reading; `file` stays open when it is closed."""
    file.seek(0)
    return tifffile.TiffFile(file, name='picture.tif')  # tifffile stumbles over files that were opened by a number


def is_float_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TIFF of floating-point pixels: a frame, not a picture. False for what cannot be read."""
    try:
        with open_file(path) as (file, _):
            if picture_kind(file.read(16)) != 'tif':
                return False
            with opened(file) as tiff:
                return main_page(tiff)[0].sampleformat == SAMPLEFORMAT.IEEEFP
    except Exception:  # damaged in one of many ways: said by what opens it
        return False


def main_page(tiff: tifffile.TiffFile) -> tuple[Any, str]:
    """The page that is the picture, and a note for the user if there is a choice ('' if there is none).

    Reduced-resolution copies and masks (NewSubfileType) are passed over; sub-IFDs are looked at if nothing else is
    there.

    Raises:
        UserError: it is camera raw, or holds no page, or one without a size.
    """
    pages = [page.aspage() for page in tiff.pages]
    inner = list(_inner(pages))
    if any(_is_raw(page) for page in [*pages, *inner]):
        raise UserError(RAW)
    if not pages:
        raise UserError('damaged picture: it holds no page')
    full = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
    inner = [page for page in inner if not page.subfiletype & (_REDUCED | _MASK)]
    page = (full or inner or pages)[0]
    if not all(isinstance(size, int) and size > 0 for size in (page.imagelength, page.imagewidth)):
        raise UserError(f'damaged picture: {page.imagewidth} x {page.imagelength} pixels')
    if not full and not inner:
        return page, 'every page is marked as a reduced copy; the first was taken'
    if not full:
        return page, 'its pages are reduced copies; the first full picture among their sub-IFDs was taken'
    if len(full) > 1:
        return page, f'page {pages.index(page) + 1} of {len(pages)} was taken'
    return page, ''


def size_of(file: BinaryIO) -> tuple[int, int]:
    """`(height, width)` of the picture, turned upright; UserError if it is not supported."""
    with opened(file) as tiff:
        page, _ = main_page(tiff)
        refuse_unsupported(page)
        size = page.imagelength, page.imagewidth
        return size[::-1] if page.tags.valueof('Orientation', 1) in (5, 6, 7, 8) else size


def _inner(pages: list[Any]) -> Iterator[Any]:
    """Pages in sub-IFDs, at any depth."""
    for page in pages:
        inside = [inner.aspage() for inner in page.pages or ()]
        yield from inside
        yield from _inner(inside)


def _is_raw(page: Any) -> bool:
    kind = int(page.photometric), int(page.compression)
    return _DNG_VERSION in page.tags or kind[0] in _RAW_PHOTOMETRICS or kind[1] in _RAW_COMPRESSIONS


def has_alpha(page: Any) -> bool:
    """Whether the last sample of each pixel is marked as transparency."""
    marks = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
    return page.samplesperpixel == _COLORS[page.photometric] + 1 and tuple(page.extrasamples)[0:1] in [
        (m,) for m in marks
    ]


def densities(page: Any) -> tuple[Fraction, Fraction, int] | None:
    """Pixels in x and y per inch (2), centimetre (3) or another `RESUNIT`; None where the tags say nothing sensible."""
    unit = page.tags.valueof('ResolutionUnit', RESUNIT.INCH)
    x, y = (page.tags.valueof(name) for name in ('XResolution', 'YResolution'))
    for pair in (x, y):
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, int) and n > 0 for n in pair)):
            return None
    return (Fraction(*x), Fraction(*y), int(unit)) if unit in list(RESUNIT) else None


def refuse_unsupported(page: Any) -> None:
    """UserError, the reason, for pixels that nobody here reads rightly."""
    bits, samples = page.bitspersample, page.samplesperpixel
    if page.sampleformat in (SAMPLEFORMAT.IEEEFP, SAMPLEFORMAT.COMPLEXIEEEFP):
        raise UserError('floating-point pixels have no known white level; save it with 8 or 16 bits')
    if page.sampleformat not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID):
        raise UserError('signed pixels have no known black level; save it unsigned, with 8 or 16 bits')
    if not isinstance(bits, int):
        raise UserError(f'channels of different depths ({bits} bits) are not supported')
    if bits > 16:
        raise UserError(f'{bits}-bit pixels have no known white level; save it with 8 or 16 bits')
    colors = _COLORS.get(page.photometric)
    if colors is None or (page.photometric == PHOTOMETRIC.SEPARATED and page.tags.valueof('InkSet', 1) != 1):
        raise UserError(f'{_name(page.photometric)} colours are not supported; save it as gray or RGB')
    if samples != colors + has_alpha(page):
        raise UserError(
            f'{samples} channels, but {_name(page.photometric)} has {colors}, and the rest is not marked as '
            'transparency (ExtraSamples): not supported; save gray or RGB, with or without alpha'
        )
    if page.imagedepth != 1:
        raise UserError('a volume (ImageDepth) is not supported')
    if not is_ordinary(page) and (page.photometric in _ONLY_LIBVIPS or page.compression not in _TIFFFILE):
        what = f'{_name(page.photometric)} of {bits} bits, {_name(page.compression)} compressed'
        raise UserError(f'{what}, is not supported; save it as RGB or gray, with deflate or LZW')


def _name(value: Any) -> str:
    return str(getattr(value, 'name', value))


def is_ordinary(page: Any) -> bool:
    """Whether libvips reads such pixels rightly (the tests compare it with tifffile, layout by layout)."""
    if page.compression not in _LIBVIPS or (page.planarconfig != PLANARCONFIG.CONTIG and page.samplesperpixel > 1):
        return False
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG:
        return False
    if page.compression in _FAX or page.bitspersample == 1:
        return page.bitspersample == page.samplesperpixel == 1
    only_8 = page.compression == COMPRESSION.JPEG or page.photometric == PHOTOMETRIC.PALETTE
    return page.bitspersample in ((8,) if only_8 else (8, 16))


def check_parts(page: Any) -> None:
    """UserError, the reason, if strips or tiles are missing or damaged: decoders fill them with what they have."""
    file = page.parent.filehandle
    if page.is_tiled and page.tilelength * page.tilewidth > max(_LARGEST_TILE, page.imagelength * page.imagewidth):
        tile, whole = f'{page.tilewidth}x{page.tilelength}', f'{page.imagewidth}x{page.imagelength}'
        raise UserError(f'damaged picture: tiles of {tile} pixels in a picture of {whole}')
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))[: math.prod(page.chunked)]
    if len(parts) < math.prod(page.chunked) or any(not offset or not count for offset, count in parts):
        raise UserError('damaged picture: some of its strips or tiles are missing')
    if max(offset + count for offset, count in parts) > file.size:
        raise UserError('damaged picture: the file ends before its pixels do')
    if page.compression == COMPRESSION.NONE and 8 * sum(count for _, count in parts) < math.prod(page.shape) * _bits(
        page
    ):
        raise UserError('damaged picture: its strips or tiles are too short for its pixels')
    if page.compression in (COMPRESSION.NONE, *_FAX):
        return
    tables = page.jpegtables
    large = math.prod(page.chunks) * page.bitspersample // 8 > _LARGEST_PART
    for index, (offset, count) in enumerate(parts):
        file.seek(offset)
        data = file.read(count)
        if page.compression == COMPRESSION.JPEG:
            jpeg.check(tables[:-2] + data[2:] if tables else data)
        elif not large:
            page.decode(data, index)
        elif page.compression in _DEFLATE:
            _check_deflate(data)


def _bits(page: Any) -> int:
    """Of a sample."""
    return page.bitspersample if isinstance(page.bitspersample, int) else min(page.bitspersample)


def _check_deflate(data: bytes) -> None:
    """Read a zlib stream to its checksum, in little memory however large it is."""
    stream = zlib.decompressobj()
    while data and not stream.eof:
        stream.decompress(data, 2**20)
        data = stream.unconsumed_tail
    if not stream.eof:
        raise UserError('damaged picture: a strip or tile of it is cut off')
