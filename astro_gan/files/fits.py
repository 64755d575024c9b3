"""FITS frames in and out: the image of a file with its bad pixels and header, and results of any size.

Nothing here trusts the file: the format is told by its first bytes, what headers declare is compared with what is
there before anything is allocated, and whatever goes wrong comes out as one line that names the file. Arrays keep the
file's order of rows: the first row is the bottom of the picture on the sky.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits

from astro_gan.files import fits_open
from astro_gan.files.fits_open import Refused, is_fits, is_image, label_of, plane_of, size_text
from astro_gan.files.fits_writer import STRUCTURE, open_writer, readable_cards, write_frame
from astro_gan.files.paths import open_file
from astro_gan.files.stretch import Stretch, choose_stretch, lupton
from astro_gan.files.wcs import WCS_KEYWORD, enlarged_header

__all__ = [
    'Frame',
    'Stretch',
    'choose_stretch',
    'enlarged_header',
    'is_fits',
    'lupton',
    'open_writer',
    'read_frame',
    'write_frame',
]

# Largest image that is converted in memory (2 GiB as float32). Plain float images are mapped: they have no limit.
MAXIMUM_PIXELS = 1 << 29
_CHUNK_BYTES = 16 << 20
# Flags of the data quality arrays of Hubble's ACS and WFC3 whose pixels hold no usable measurement (STScI, "ACS Data
# Quality Flags"; WFC3 Data Handbook, the same bits): 1 and 2 lost or filled, 4 bad detector pixel, 8 masked or deviant
# zero read, 16 hot, 128 bad column or reference pixel, 1024 charge trap, 4096, 8192 and 16384 cosmic rays and the like.
# Kept: 32 and 64, unstable and warm pixels, as their dark current is subtracted; 512, dust and edges of the flat field;
# and 256 and 2048, saturation: masking it would punch holes into the very stars.
HUBBLE_BAD_BITS = 1 + 2 + 4 + 8 + 16 + 128 + 1024 + 4096 + 8192 + 16384
# JWST sums up in one flag, DO_NOT_USE; others, JUMP_DET above all, mark pixels that the pipeline has repaired.
JWST_BAD_BITS = 1

_NOT_INHERITED = STRUCTURE | {'EXTNAME', 'EXTVER', 'EXTLEVEL', 'BUNIT'}


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image of a FITS file.

    `data` `[H, W]`: for plain float images a read-only memory map, in the file's (big-endian) byte order, so convert
    the windows taken from it, `np.asarray(data[window], np.float32)`; otherwise float32 in memory. Rows in FITS order:
    the first is the bottom on the sky. Missing pixels are NaN.
    `bad`: bool `[H, W]`, pixels flagged by the file's data quality extension, None where there are none. Pixels that
    are NaN or infinite are not looked for.
    `header`: of the image's extension, with the primary header's cards that it lacks.
    `hdu`: which extension that is, for messages: 'SCI,1' or '0'.
    """

    data: np.ndarray
    bad: np.ndarray | None
    header: fits.Header
    hdu: str


def read_frame(path: str | os.PathLike[str], *, hdu: str | None = None, bad_bits: int | None = None) -> Frame:
    """Read the image of a FITS file, plain or packed by gzip or bzip2 (whatever its name), tile-compressed or not.

    Scaled integers become their physical values, blank ones NaN. Axes of length 1 beyond the second are dropped.

    Args:
        path: the file.
        hdu: which extension: its number, EXTNAME, or EXTNAME,EXTVER. None takes the only one called SCI, or else the
            first image.
        bad_bits: flags that make a pixel bad in the DQ extension of the same EXTVER. None means `HUBBLE_BAD_BITS`
            for ACS and WFC3, `JWST_BAD_BITS` for JWST, and every flag elsewhere. An extension MASK that holds only 0
            and 1 counts as well.

    Raises:
        ValueError: not FITS, damaged, truncated, too large, no such extension, or no single 2-D image; one line that
            names the file and, where another extension might do, lists them.
    """
    with open_file(path) as (file, name), fits_open.explained(name) as noted:
        source, size = fits_open.unpacked(file)
        hdus = fits_open.extensions(source, size)
        index = fits_open.choose(hdus, hdu, noted)
        chosen = hdus[index]
        label = label_of(index, chosen)
        return Frame(
            data=_pixels(chosen, label, file if source is file else None, size),
            bad=_bad_pixels(hdus, chosen, bad_bits, size),
            header=_merged_header(chosen.header, hdus[0].header),
            hdu=label,
        )


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


def _pixels(hdu: Any, label: str, file: BinaryIO | None, size: int) -> np.ndarray:
    """The image: mapped where it is plain and `file` is not None, else float32."""
    _check_extent(hdu, label, size)
    height, width = plane_of(hdu.shape) or (0, 0)
    header = hdu.header
    plain = header['BITPIX'] < 0 and header.get('BSCALE', 1) == 1 and header.get('BZERO', 0) == 0
    if plain and file is not None and not isinstance(hdu, fits.CompImageHDU):
        dtype = f'>f{-header["BITPIX"] // 8}'
        return np.memmap(file, dtype, 'r', hdu.fileinfo()['datLoc'], (height, width))
    if height * width > MAXIMUM_PIXELS:
        raise Refused(
            f'extension {label} has {size_text(hdu.shape)} pixels, more than the {MAXIMUM_PIXELS / 1e6:.0f} million '
            'that are converted in memory; uncompressed float images of any size are read'
        )
    data = np.empty((height, width), np.float32)
    with np.errstate(over='ignore', invalid='ignore'):
        for rows, values in _chunks(hdu):
            data[rows] = values
    return data


def _chunks(hdu: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Physical values of an image, some rows at a time (all at once where it is tile-compressed)."""
    height, width = plane_of(hdu.shape) or (0, 0)
    if isinstance(hdu, fits.CompImageHDU):
        yield slice(0, height), hdu.data.reshape(height, width)
        return
    step = max(1, _CHUNK_BYTES // (8 * width))
    further = (0,) * (len(hdu.shape) - 2)
    for top in range(0, height, step):
        rows = slice(top, min(height, top + step))
        yield rows, hdu.section[(*further, rows, slice(None))]


def _bad_pixels(hdus: list[Any], chosen: Any, bits: int | None, size: int) -> np.ndarray | None:
    """Pixels that a DQ or MASK extension of the same version and size flags; None where none are."""
    plane = plane_of(chosen.shape) or (0, 0)
    bad: np.ndarray | None = None
    for index, hdu in enumerate(hdus):
        name = hdu.name.upper()
        if hdu is chosen or name not in ('DQ', 'MASK') or hdu.ver != chosen.ver or not is_image(hdu):
            continue
        if plane_of(hdu.shape) != plane or hdu.header['BITPIX'] < 0:
            continue
        _check_extent(hdu, label_of(index, hdu), size)
        if bits is None:
            bits = _usual_bits(hdus[0].header)
        flags = np.zeros(plane, np.bool_)
        plain_mask = True
        for rows, values in _chunks(hdu):
            whole = np.nan_to_num(values, nan=-1).astype(np.int64)
            flags[rows] = whole & bits if name == 'DQ' else whole != 0
            plain_mask &= bool(np.isin(whole, (0, 1)).all())
        # Other masks have flags of their own: LSST's marks every detected source.
        if name == 'DQ' or plain_mask:
            bad = flags if bad is None else np.logical_or(bad, flags)
    return bad if bad is not None and bad.any() else None


def _usual_bits(primary: fits.Header) -> int:
    if primary.get('TELESCOP') == 'JWST':
        return JWST_BAD_BITS
    return HUBBLE_BAD_BITS if primary.get('INSTRUME') in ('ACS', 'WFC3') else -1


def _merged_header(science: fits.Header, primary: fits.Header) -> fits.Header:
    """The extension's readable cards, and those of the primary header that it lacks."""
    header = fits.Header(readable_cards(science))
    if primary is not science and header.get('INHERIT', True):
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
    return header
