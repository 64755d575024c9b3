"""FITS frames in and out: the image of a file with its bad pixels and header, and results of any size.

Nothing here trusts the file: the format is told by its first bytes, what headers declare is compared with what is
there before anything is allocated, and whatever goes wrong comes out as one line that names the file. Arrays keep the
file's order of rows: the first row is the bottom of the picture on the sky.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits

from astro_gan.files import fits_open
from astro_gan.files.fits_open import is_image, label_of, planes_of, size_text
from astro_gan.files.fits_units import Refused, Unit, sum_of, text
from astro_gan.files.fits_writer import STRUCTURE, open_writer, readable_cards, write_frame
from astro_gan.files.frame import Chunks, Frame, check_pixels, without_fills
from astro_gan.files.paths import open_file
from astro_gan.files.stretch import Stretch, choose_stretch, lupton
from astro_gan.files.wcs import WCS_KEYWORD, enlarged_header, two_axes

__all__ = [
    'Frame',
    'Stretch',
    'choose_stretch',
    'enlarged_header',
    'lupton',
    'open_writer',
    'read_frame',
    'write_frame',
]

# Values that are converted in memory; more go to a temporary file. Plain float images are mapped where they lie.
IN_MEMORY = 1 << 26
_CHUNK_BYTES = 4 << 20
# Flags of the data quality arrays of Hubble's ACS and WFC3 whose pixels hold no usable measurement (STScI, "ACS Data
# Quality Flags"; WFC3 Data Handbook, the same bits): 1 and 2 lost or filled, 4 bad detector pixel, 8 masked or deviant
# zero read, 16 hot, 128 bad column or reference pixel, 1024 charge trap, 4096, 8192 and 16384 cosmic rays and the like.
# Kept: 32 and 64, unstable and warm pixels, as their dark current is subtracted; 512, dust and edges of the flat field;
# and 256 and 2048, saturation: masking it would punch holes into the very stars.
HUBBLE_BAD_BITS = 1 + 2 + 4 + 8 + 16 + 128 + 1024 + 4096 + 8192 + 16384
# JWST sums up in one flag, DO_NOT_USE; others, JUMP_DET above all, mark pixels that the pipeline has repaired.
JWST_BAD_BITS = 1

_NOT_INHERITED = STRUCTURE | {'EXTNAME', 'EXTVER', 'EXTLEVEL', 'BUNIT'}


# What 1 means in an extension MASK, or that DQ and MASK are not looked at; None: bad, if that leaves half of the frame.
MASKS = ('bad', 'good', 'ignore')


def read_frame(
    path: str | os.PathLike[str],
    *,
    hdu: str | None = None,
    bad_bits: int | None = None,
    mask: str | None = None,
    ignore_checksum: bool = False,
    maximum_pixels: int | None = None,
) -> Frame:
    """Read the image of a FITS file, plain or packed by gzip or bzip2 (whatever its name), tile-compressed or not.

    Scaled integers become their physical values, blank ones NaN; so do values that stand for no number, 1e30 and the
    like. Axes of length 1 beyond the second are dropped. Three planes, `[3, H, W]`, `[H, W, 3]` or the extensions RED,
    GREEN and BLUE, are colours.

    Args:
        path: the file.
        hdu: which extension: its number, EXTNAME, or EXTNAME,EXTVER. None takes the only one called SCI, or else the
            only image that is not named as an error, a weight, a mask or the like.
        bad_bits: flags that make a pixel bad in the DQ extension of the same EXTVER. None means `HUBBLE_BAD_BITS`
            for ACS and WFC3, `JWST_BAD_BITS` for JWST, and every flag elsewhere. An extension MASK that holds only 0
            and 1 counts as well.
        mask: one of MASKS, or None.
        ignore_checksum: read data that do not agree with their DATASUM.
        maximum_pixels: of a plane; None: any number.

    Raises:
        UserError: not FITS, damaged, truncated, too large, no such extension, or no single image; one line that names
            the file and, where another extension might do, lists them.
    """
    with (
        open_file(path) as (file, name),
        fits_open.explained(name) as noted,
        fits_open.unpacked(file) as source,
        contextlib.ExitStack() as stack,
    ):
        size = os.fstat(source.fileno()).st_size
        hdus, units = fits_open.extensions(source)
        chosen = fits_open.choose(hdus, hdu, noted)
        first = hdus[chosen[0]]
        label = '+'.join(label_of(index, hdus[index]) for index in chosen)
        check_pixels(*(planes_of(first) or (0, 0, 0))[1:], maximum_pixels, f'extension {label}: ')
        if all(fits_open.is_hole(source, units[index]) for index in chosen):
            raise Refused(f'extension {label} has no data: nothing but zeros, as in a download that was not finished')
        notes = [] if len(hdus) == 1 else [f'extension {label}, one of {len(hdus)}']
        for index in chosen:
            notes += _check_sums(source, units[index], label_of(index, hdus[index]), ignore_checksum)
        planes = []
        for index in chosen:
            data, chunks = _pixels(hdus[index], label_of(index, hdus[index]), source, size, stack)
            blank = hdus[index].header.get('BLANK') if hdus[index].header['BITPIX'] < 0 else None
            data, lines = without_fills(data, blank=_number(blank), chunks=chunks)
            planes.append(np.moveaxis(data, -1, 0) if fits_open.colors_last(hdus[index]) else data)
            notes += lines
        bad, flagged = _bad_pixels(hdus, first, bad_bits, mask, size)
        header, more = _merged_header(first, hdus[0].header)
        return Frame(
            data=planes[0] if len(planes) == 1 else np.stack(planes),
            bad=bad,
            header=header,
            hdu=label,
            notes=(*notes, *flagged, *more),
        )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _check_extent(hdu: Any, label: str, size: int) -> None:
    """Compare the size that the header declares with the bytes that are there."""
    place = hdu.fileinfo()
    # The last block's padding is often missing, and does no harm. `size` of a tile-compressed image is not the file's.
    end = place['datLoc'] + (place['datSpan'] - 2879 if isinstance(hdu, fits.CompImageHDU) else hdu.size)
    if end > size:
        raise Refused(
            f'truncated: extension {label} declares {size_text(hdu.shape)} pixels, {end - place["datLoc"]} bytes, '
            f'and the file ends after {max(0, size - place["datLoc"])}'
        )


def _check_sums(source: BinaryIO, unit: Unit, label: str, ignore: bool) -> list[str]:
    """Compare data with their DATASUM and the whole with its CHECKSUM, where the header has them."""
    declared = text(unit.cards, 'DATASUM')
    if declared.isdecimal() and sum_of(source, unit.data, unit.end) != int(declared):
        line = f'the data of extension {label} have changed since their DATASUM was written'
        if not ignore:
            raise Refused(f'{line}; --ignore-checksum reads them all the same')
        return [line]
    # A header that was edited afterwards is no damage.
    if text(unit.cards, 'CHECKSUM') and sum_of(source, unit.start, unit.end) not in (0, 0xFFFFFFFF):
        return [
            f'extension {label} has changed since its CHECKSUM was written' + ', its data have not' * bool(declared)
        ]
    return []


def _pixels(
    hdu: Any, label: str, source: BinaryIO, size: int, stack: contextlib.ExitStack
) -> tuple[np.ndarray, Chunks | None]:
    """The image `[H, W]`, `[3, H, W]` or `[H, W, 3]`, mapped where it is plain, else float32, and a way through it."""
    _check_extent(hdu, label, size)
    shape = _shape(hdu)
    header = hdu.header
    plain = header['BITPIX'] < 0 and header.get('BSCALE', 1) == 1 and header.get('BZERO', 0) == 0
    if plain and not isinstance(hdu, fits.CompImageHDU):
        dtype, start = np.dtype(f'>f{-header["BITPIX"] // 8}'), hdu.fileinfo()['datLoc']
        # Copy on write: only pixels that turn out to hold no number are written.
        return np.memmap(source, dtype, 'c', start, shape), lambda: _stored(source, dtype, start, shape)
    # More digits than float32 has, which a background on a pedestal of millions needs.
    dtype = np.dtype(np.float64 if header['BITPIX'] > 16 or abs(header.get('BZERO', 0)) > 1e6 else np.float32)
    if int(np.prod(shape, dtype=object)) > IN_MEMORY:
        return _on_disk(hdu, shape, dtype, stack)
    data = np.empty(shape, dtype)
    for rows, values in _chunks(hdu):
        data[rows] = values
    return data, None


def _on_disk(
    hdu: Any, shape: tuple[int, ...], dtype: np.dtype, stack: contextlib.ExitStack
) -> tuple[np.ndarray, Chunks]:
    """A large image converted to a temporary file that is there as long as the array is, and a way through it."""
    size = int(np.prod(shape)) * dtype.itemsize
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise Refused(f'{size / 1e9:.1f} GB are needed in {tempfile.gettempdir()}, and {free / 1e9:.1f} GB are free')
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    file.truncate(size)
    for rows, values in _chunks(hdu):  # mapped anew each time: what is mapped counts as memory
        np.memmap(file, dtype, 'r+', 0, shape)[rows] = values
    return np.memmap(file, dtype, 'c', 0, shape), lambda: _stored(file, dtype, 0, shape)


def _shape(hdu: Any) -> tuple[int, ...]:
    """Of the image, without axes of length 1 before the others."""
    planes, _, _ = planes_of(hdu) or (0, 0, 0)
    return hdu.shape[-2:] if planes == 1 else hdu.shape[-3:]


def _stored(source: BinaryIO, dtype: np.dtype, start: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Rows of a plain image, read and forgotten."""
    width, count = shape[-1], int(np.prod(shape[:-1]))
    step = max(1, _CHUNK_BYTES // (dtype.itemsize * width))
    for top in range(0, count, step):
        source.seek(start + dtype.itemsize * width * top)
        raw = source.read(dtype.itemsize * width * min(step, count - top))
        yield np.frombuffer(raw, dtype).astype(dtype.newbyteorder('=')).reshape(-1, width)


def _chunks(hdu: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Physical values of an image, some rows at a time, with their place in it."""
    shape = _shape(hdu)
    further = (0,) * (len(hdu.shape) - len(shape))
    axis = len(shape) - 2  # of the rows, whatever they are: the whole width is taken
    step = max(1, _CHUNK_BYTES // (8 * (shape[-1] if axis == 0 else shape[-1] * shape[0])))
    if isinstance(hdu, fits.CompImageHDU):  # whole tiles: each would be unpacked again for the next rows
        tile = int(hdu.tile_shape[-2])
        step = max(tile, step // tile * tile)
    for top in range(0, shape[axis], step):
        rows = (slice(None),) * axis + (slice(top, min(shape[axis], top + step)), slice(None))
        yield rows, hdu.section[(*further, *rows)]


def _bad_pixels(
    hdus: list[Any], chosen: Any, bits: int | None, mask: str | None, size: int
) -> tuple[np.ndarray | None, list[str]]:
    """Pixels that a DQ or MASK extension of the same version and size flags, None where none are, and how many.

    Raises:
        Refused: more than half of the frame, and nobody has said that it is meant so.
    """
    _, *plane = planes_of(chosen) or (0, 0, 0)
    bad: np.ndarray | None = None
    names = []
    for index, hdu in enumerate(hdus):
        name = hdu.name.upper()
        if mask == 'ignore' or hdu is chosen or name not in ('DQ', 'MASK') or hdu.ver != chosen.ver:
            continue
        if not is_image(hdu) or planes_of(hdu) != (1, *plane) or hdu.header['BITPIX'] < 0:
            continue
        _check_extent(hdu, label_of(index, hdu), size)
        if bits is None:
            bits = _usual_bits(hdus[0].header)
        flags = np.zeros(plane, np.bool_)
        plain_mask = True
        for rows, values in _chunks(hdu):
            whole = np.nan_to_num(values, nan=-1).astype(np.int64)
            flags[rows] = whole & bits if name == 'DQ' else whole != (mask == 'good')
            plain_mask &= bool(np.isin(whole, (0, 1)).all())
        # Other masks have flags of their own: LSST's marks every detected source.
        if name == 'DQ' or plain_mask:
            count = int(flags.sum())
            if 2 * count > flags.size and mask is None:
                raise Refused(_too_many(name, count, flags.size))
            bad = flags if bad is None else np.logical_or(bad, flags)
            names.append(name)
    if bad is None or not bad.any():
        return None, []
    share = 100 * bad.mean()
    return bad, [f'{int(bad.sum())} pixels ({share:.2g}%) flagged by {" and ".join(names)}: filled from around them']


def _too_many(name: str, count: int, size: int) -> str:
    share = f'{count} of {size} pixels ({100 * count / size:.0f}%) are bad'
    if name == 'DQ':
        return f'{share} by its DQ; --mask ignore takes them all the same, --mask bad fills them from around them'
    return (
        f'{share} if 1 in its MASK means bad, and {size - count} ({100 - 100 * count / size:.0f}%) if 1 means good: '
        '--mask bad or --mask good says which, --mask ignore takes them all'
    )


def _usual_bits(primary: fits.Header) -> int:
    if primary.get('TELESCOP') == 'JWST':
        return JWST_BAD_BITS
    return HUBBLE_BAD_BITS if primary.get('INSTRUME') in ('ACS', 'WFC3') else -1


def _merged_header(hdu: Any, primary: fits.Header) -> tuple[fits.Header, list[str]]:
    """The extension's readable cards, and those of the primary header that it lacks; of two axes."""
    header = fits.Header(readable_cards(hdu.header))
    if primary is not hdu.header and header.get('INHERIT', True):
        # Half a coordinate system from here and half from there would be a third one.
        own_wcs = any(WCS_KEYWORD.fullmatch(keyword) for keyword in header)
        header.extend(
            [
                card
                for card in readable_cards(primary)
                if card.keyword not in _NOT_INHERITED and not (own_wcs and WCS_KEYWORD.fullmatch(card.keyword))
            ],
            unique=True,
        )
    for keyword in ('BSCALE', 'BZERO', 'BLANK'):  # done: they would be applied to the values once more
        header.remove(keyword, ignore_missing=True)
    if fits_open.colors_last(hdu):
        _, height, width = planes_of(hdu) or (0, 0, 0)
        header.update(NAXIS1=width, NAXIS2=height)
    if fits_open.colors_last(hdu) and 'CTYPE3' in header:
        for keyword in [keyword for keyword in header if WCS_KEYWORD.fullmatch(keyword)]:
            header.remove(keyword, remove_all=True)
        return header, ['the coordinates count colour as their first axis; they are left out']
    return two_axes(header), []
