"""FITS files out: results of any size, a few rows at a time, complete or not there at all."""

from __future__ import annotations

import gzip
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.fits_units import BLOCK, add_words

# Cards of an extension or of how its numbers are stored, not of its image, and sums over a file that is no more.
STRUCTURE = frozenset(
    ('SIMPLE', 'XTENSION', 'BITPIX', 'NAXIS', 'PCOUNT', 'GCOUNT', 'GROUPS', 'EXTEND', 'INHERIT', 'NEXTEND', 'EXTVER')
    + ('BSCALE', 'BZERO', 'BLANK', 'DATAMIN', 'DATAMAX', 'CHECKSUM', 'DATASUM', 'ZHECKSUM', 'ZDATASUM', 'END')
    + ('ZIMAGE', 'ZTENSION', 'ZBITPIX', 'ZNAXIS', 'ZCMPTYPE', 'ZQUANTIZ', 'ZDITHER0', 'ZBLANK', 'ZSCALE', 'ZZERO')
    + ('TFIELDS', 'THEAP')
)


def write_frame(
    path: str | os.PathLike[str], data: np.ndarray, header: fits.Header, *, overwrite: bool = False
) -> None:
    """Write `data` `[H, W]` or `[P, H, W]` as float32 to a FITS file with `header`, as `open_writer` does."""
    with open_writer(path, data.shape, header, overwrite=overwrite) as write:
        write(data)


@contextmanager
def open_writer(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    header: fits.Header,
    *,
    extensions: tuple[str, ...] = (),
    overwrite: bool = False,
    seal: Callable[[Path], None] = lambda path: None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a float32 image of `shape` `[H, W]` or `[P, H, W]`, larger than memory if need be:

        with open_writer('out.fits', (3, 4096, 4096), header) as write:
            for rows in parts:      # [3, n, 4096], from the first row to the last
                write(rows)

    The file appears under its name when the block ends with all rows written; after an error or Ctrl-C there is
    nothing. It holds one image (see `extensions`), the readable cards of `header` that still hold, CHECKSUM and
    DATASUM, and is the same to the last byte for the same input. A name that ends in .gz is packed. Values are written
    as they are, NaN too.

    Args:
        path: the file; rows are in FITS order, the first is the bottom on the sky.
        shape: of the whole image.
        header: cards of structure and scaling (NAXIS, BITPIX, BSCALE, BLANK ...) are replaced.
        extensions: names of as many 2-D extensions as there are planes, each with the whole header, after an empty
            primary; none: one primary image of all planes.
        overwrite: replace a file that is there.
        seal: is given the finished file just before it takes its name, and may refuse by raising.

    Raises:
        ValueError: a shape that is no image, rows that do not fit or are missing.
        OSError: the file exists, its folder does not, or there is no room.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f'a FITS image has the shape [H, W] or [P, H, W], not {list(shape)}')
    target = Path(path)
    _check_target(target, overwrite)
    planes, height, width = (1, *shape)[-3:]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)  # on sloppy cards of real headers
        heads = [_header(header, shape[-2:], name) for name in extensions] or [_header(header, shape)]
        empty = _bytes(fits.PrimaryHDU().header) if extensions else b''
    each = 4 * width * height * planes // len(heads)  # bytes of data after a header
    starts, data = [], []  # of the headers, and of every plane
    end = len(empty)
    for head in heads:
        starts.append(end)
        end += len(_bytes(head))
        data += [end + 4 * width * height * plane for plane in range(planes // len(heads))]
        end += each + -each % BLOCK
    size = 4 * planes * height * width
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise OSError(f'{target}: {size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free')
    done, sums = 0, [0] * len(heads)

    with atomic.replacing(target) as part:
        with open(part, 'wb') as file:
            file.write(empty)

            def write(rows: np.ndarray) -> None:
                """The next rows of every plane, `[n, W]` or `[P, n, W]`."""
                nonlocal done
                count = rows.shape[-2] if rows.ndim == len(shape) else 0
                if rows.shape != (*shape[:-2], count, width) or done + count > height:
                    raise ValueError(f'rows of shape {list(rows.shape)} after {done} of {list(shape)}')
                for plane, block in enumerate(rows.reshape(planes, count, width)):
                    file.seek(data[plane] + 4 * width * done)
                    with np.errstate(over='ignore'):
                        encoded = np.ascontiguousarray(block, '>f4')
                    file.write(encoded.data)
                    unit = plane if extensions else 0
                    sums[unit] = add_words(sums[unit], encoded.view('>u4'))
                done += count

            yield write
            if done != height:
                raise ValueError(f'{target}: only {done} of {height} rows were written')
            for start, head, datasum in zip(starts, heads, sums, strict=True):
                head['DATASUM'] = str(datasum)
                head['CHECKSUM'] = _encode(add_words(datasum, np.frombuffer(_bytes(head), '>u4')) ^ 0xFFFFFFFF)
                file.seek(start)
                file.write(_bytes(head))
                file.seek(each, os.SEEK_CUR)
                file.write(bytes(-each % BLOCK))
        if target.suffix == '.gz':
            _pack(part)
        seal(part)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix in ('.bz2', '.fz', '.zip', '.Z', '.xz'):
        raise UserError(f'{target}: FITS files are written plain or, with .gz at the end of the name, packed by gzip')
    if not target.parent.is_dir():
        raise FileNotFoundError(f'{target}: the folder {target.parent} does not exist')
    if target.is_dir():
        raise IsADirectoryError(f'{target}: is a folder')
    if target.exists() and not overwrite:
        raise FileExistsError(f'{target}: exists already')


def _header(header: fits.Header, shape: tuple[int, ...], name: str | None = None) -> fits.Header:
    """What begins the file, or the extension `name`, with room for the checksums."""
    result = fits.Header()
    if name is None:
        result['SIMPLE'] = (True, 'conforms to the FITS standard')
    else:
        result['XTENSION'] = ('IMAGE', 'image extension')
    result['BITPIX'] = (-32, '32-bit floating point')
    result['NAXIS'] = len(shape)
    for axis, length in enumerate(reversed(shape), 1):
        result[f'NAXIS{axis}'] = length
    if name is not None:
        result['PCOUNT'], result['GCOUNT'], result['EXTNAME'] = 0, 1, name
    for card in readable_cards(header):
        axis = card.keyword.startswith('NAXIS') and card.keyword[5:].isdigit()
        if card.keyword not in STRUCTURE and not axis and not (name and card.keyword == 'EXTNAME'):
            result.append(card, end=True)
    result.append(('DATASUM', '0'.zfill(10), 'ones complement sum of the data'), end=True)
    result.append(('CHECKSUM', '0' * 16, 'makes that of the whole unit zero'), end=True)
    return result


def readable_cards(header: fits.Header) -> Iterator[fits.Card]:
    """Cards that follow the standard or can be made to: a value that is none becomes text, control characters go."""
    for card in header.cards:
        try:
            card.verify('silentfix+ignore')
            image = str(card)
            fits.Card.fromstring(image).value  # noqa: B018 (raises where the value cannot be read)
        except (ValueError, fits.VerifyError):
            continue
        if image.isascii() and image.isprintable():
            yield card


def _bytes(header: fits.Header) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)  # comments of real headers are often too long, and are cut
        return header.tostring().encode('ascii')


def _pack(part: Path) -> None:
    """Replace a file by its gzip, which has no time and no name in it: the same bytes every time."""
    with (
        atomic.replacing(part) as packed,
        open(part, 'rb') as source,
        open(packed, 'wb') as file,
        gzip.GzipFile('', 'wb', 6, file, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)


def _encode(value: int) -> str:
    """The checksum as 16 letters and digits (FITS standard 4.0, appendix J): four for each byte, which add up to it."""
    text = bytearray(16)
    for index, byte in enumerate(value.to_bytes(4, 'big')):
        letters = [byte // 4 + 48 + (byte % 4 if i == 0 else 0) for i in range(4)]
        while not all(chr(letter).isalnum() for letter in letters):
            for i in (0, 2):  # the sum stays the same
                if not (chr(letters[i]).isalnum() and chr(letters[i + 1]).isalnum()):
                    letters[i] += 1
                    letters[i + 1] -= 1
        text[index::4] = bytes(letters)
    return (text[-1:] + text[:-1]).decode('ascii')
