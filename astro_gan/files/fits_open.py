"""Opening FITS files of any origin: packed or plain, which extensions there are and which of them is meant."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from astro_gan.errors import UserError
from astro_gan.files.fits_units import Refused, Unit, read_unit, read_units
from astro_gan.files.refusals import refusal

# Packed files are unpacked beside the system's temporary files, and a few kilobytes can unpack to anything.
MAXIMUM_UNPACKED_BYTES = 2 << 30
LARGE_HOLE, _EDGE = 1 << 26, 1 << 16  # bytes
_CHUNK_BYTES = 1 << 20

_UNPACKERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b'\x1f\x8b': lambda file: gzip.GzipFile(fileobj=file),
    b'BZh': bz2.BZ2File,
}
# Words in the names of extensions that hold something about an image and not the image: errors, weights, flags, what
# was subtracted, point spread functions, previews, tables of corrections.
_NOT_SCIENCE = frozenset(
    ('ERR', 'ERRS', 'ERROR', 'ERRORS', 'UNC', 'UNCERT', 'UNCERTAINTY', 'SIG', 'SIGMA', 'STD', 'STDDEV', 'RMS', 'NOISE')
    + ('VAR', 'VARIANCE', 'STAT', 'IVAR', 'INVVAR', 'WHT', 'WGT', 'WEIGHT', 'WEIGHTS', 'WEIGHTMAP', 'EXP', 'EXPMAP')
    + ('EXPOSURE', 'EXPTIME', 'COV', 'COVERAGE', 'TIME', 'SAMP', 'NSAMP', 'CTX', 'CON', 'CONTEXT', 'DQ', 'MASK')
    + ('FLAG', 'FLAGS', 'FLG', 'QUAL', 'QUALITY', 'BPM', 'BADPIX', 'CONF', 'CONFIDENCE', 'PSF', 'BKG', 'BKGD')
    + ('IVM', 'RMSMAP', 'ERRMAP', 'NOISEMAP', 'VARMAP', 'SEG', 'SEGM', 'SEGMAP', 'MODEL', 'RESID', 'RESIDUAL')
    + ('BACKGROUND', 'SKY', 'PREVIEW', 'THUMB', 'THUMBNAIL', 'QUICKLOOK', 'D2IMARR', 'WCSDVARR', 'AREA', 'NPIX')
)
COLORS = ('RED', 'GREEN', 'BLUE')


@contextmanager
def explained(name: str) -> Iterator[list[warnings.WarningMessage]]:
    """Keep warnings from the user, and turn what goes wrong into one line that names the file.

    Gives the list of warnings so far: they say what astropy made of a damaged file.
    """
    try:
        with warnings.catch_warnings(record=True) as noted, np.errstate(over='ignore', invalid='ignore'):
            warnings.simplefilter('always', AstropyWarning)
            yield noted
    except Refused as error:
        raise UserError(f'{name}: {error}') from None
    except MemoryError:
        raise UserError(f'{name}: does not fit in memory') from None
    except Exception as error:  # decoders raise nearly every type on hostile files
        raise refusal(name, error, 'damaged FITS file') from error


@contextmanager
def unpacked(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file, or a temporary one that holds what it unpacks to: no more than its headers declare.

    Raises:
        Refused: damaged headers, or more than `MAXIMUM_UNPACKED_BYTES` are declared.
    """
    start = file.read(4)
    file.seek(0)
    unpacker = next((unpacker for magic, unpacker in _UNPACKERS.items() if start.startswith(magic)), None)
    if unpacker is None:
        yield file
        return
    with tempfile.TemporaryFile() as target:
        with unpacker(file) as packed:
            _unpack(packed, target)
        target.flush()
        with os.fdopen(os.dup(target.fileno()), 'rb') as source:  # astropy wants one that cannot be written
            yield source


def _unpack(packed: Any, target: BinaryIO) -> None:
    def read(count: int) -> bytes:
        data = packed.read(count)
        if data != bytes(len(data)):
            target.write(data)
        else:  # a hole, which takes no room and is known to be empty
            target.truncate(target.seek(len(data), os.SEEK_CUR))
        return data

    while unit := read_unit(read, target.tell()):
        if unit.end > MAXIMUM_UNPACKED_BYTES:
            raise Refused(
                f'would unpack to {unit.end / 2**30:.3g} GiB, more than the {MAXIMUM_UNPACKED_BYTES / 2**30:.3g} '
                'that are unpacked; unpack it first (gunzip, bunzip2): plain files of any size are read'
            )
        while missing := unit.end - target.tell():
            if not read(min(missing, _CHUNK_BYTES)):
                return


def is_hole(source: BinaryIO, unit: Unit) -> bool:
    """Whether nothing of a large unit's data was ever written: the file system has a hole there, which reads as zeros.

    Small ones are soon read.
    """
    descriptor, end = source.fileno(), unit.data + unit.length
    if unit.length < LARGE_HOLE or os.fstat(descriptor).st_size < end or not hasattr(os, 'SEEK_DATA'):
        return False
    try:
        if os.lseek(descriptor, unit.data + _EDGE, os.SEEK_DATA) < end - _EDGE:
            return False
    except OSError as error:
        if error.errno != errno.ENXIO:  # nothing but a hole up to the end of the file
            return False
    # Its ends share blocks of the file system with what is around them.
    return not any(any(os.pread(descriptor, _EDGE, place)) for place in (unit.data, end - _EDGE))


class _Part(io.RawIOBase):
    """The first `size` bytes of a file, with a place of its own in it."""

    def __init__(self, file: BinaryIO, size: int):
        self._descriptor, self._size, self._place = file.fileno(), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        data = os.pread(self._descriptor, max(0, min(len(buffer), self._size - self._place)), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def extensions(source: BinaryIO) -> tuple[list[Any], list[Unit]]:
    """All extensions, their data not read yet, and where they lie. Integers with an offset will be float, so that
    blank ones can be NaN.

    Astropy sees no more of the file than headers that were checked and their data: it would look for another one.
    """
    found = read_units(source, os.fstat(source.fileno()).st_size)
    opened = fits.open(io.BufferedReader(_Part(source, found[-1].end)), memmap=False, uint=False)
    hdus: list[Any] = []
    while len(hdus) < len(found):
        try:
            hdus.append(opened[len(hdus)])
        except IndexError:  # astropy could not read it, and has said so in a warning
            break
    return hdus, found[: len(hdus)]


def choose(hdus: list[Any], wanted: str | None, noted: list[warnings.WarningMessage]) -> list[int]:
    """The number of the extension to read, or of three, RED, GREEN and BLUE, that are one picture."""
    chosen = [_find(hdus, wanted)] if wanted is not None else _science(hdus, noted)
    hdu = hdus[chosen[0]]
    label = label_of(chosen[0], hdu)
    others = any(is_image(other) and planes_of(other) for other in hdus)
    way_out = f'; choose one with --hdu: {listing(hdus)}' if others else ''
    if not is_image(hdu):
        raise Refused(f'extension {label} holds no image{way_out}{_suspicion(noted)}')
    if not planes_of(hdu):
        raise Refused(f'extension {label} has {size_text(hdu.shape)} pixels, wanted a 2-D image{way_out}')
    return chosen


def _science(hdus: list[Any], noted: list[warnings.WarningMessage]) -> list[int]:
    """What a file is about: its only SCI, its RED, GREEN and BLUE, or the only image that its name does not exclude."""
    images = [index for index, hdu in enumerate(hdus) if is_image(hdu)]
    if not images:
        raise Refused(f'holds no image: {listing(hdus)}{_suspicion(noted)}')
    science = [index for index in images if hdus[index].name == 'SCI']
    if len(science) > 1:
        raise Refused(f'holds {len(science)} science images; choose one with --hdu: {listing(hdus)}')
    if science:
        return science
    colors = [index for index in images if hdus[index].name in COLORS]
    shapes = {planes_of(hdus[index]) for index in colors}
    if sorted(hdus[index].name for index in colors) == sorted(COLORS) and len(shapes) == 1 and None not in shapes:
        return sorted(colors, key=lambda index: COLORS.index(hdus[index].name))
    likely = [index for index in images if len(hdus[index].shape) > 1 and not _is_about_another(hdus[index].name)]
    if len(likely) > 1 or (not likely and len(images) > 1):
        raise Refused(f'holds {len(images)} images and none is called SCI; choose one with --hdu: {listing(hdus)}')
    return likely or images


def _is_about_another(name: str) -> bool:
    return any(word.rstrip('0123456789') in _NOT_SCIENCE for word in re.split('[^A-Z0-9]+', name.upper()) if word)


def _find(hdus: list[Any], wanted: str) -> int:
    """The extension that the user means."""
    name, _, version = wanted.strip().upper().partition(',')
    for index, hdu in enumerate(hdus):
        by_number = name == str(index) and not version
        by_name = name and name == hdu.name.upper() and version.strip() in ('', str(hdu.ver))
        if by_number or by_name:
            return index
    raise Refused(f'no extension {wanted!r}; --hdu takes a number, NAME or NAME,VERSION: {listing(hdus)}')


def is_image(hdu: Any) -> bool:
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU) and len(hdu.shape) > 0


def planes_of(hdu: Any) -> tuple[int, int, int] | None:
    """Planes, height and width of an image `[H, W]` (one plane), `[3, H, W]` or `[H, W, 3]`; None if it is neither.

    Further axes of length 1 do not count. Three planes are colours unless the header says what else they are.
    """
    shape = hdu.shape
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if not 2 <= len(shape) <= 3 or min(shape) < 1:
        return None
    if len(shape) == 2:
        return 1, *shape
    if shape[0] == 3 and _is_color(hdu.header, 3):
        return 3, *shape[1:]
    return (3, *shape[:2]) if shape[2] == 3 and _is_color(hdu.header, 1) else None


def colors_last(hdu: Any) -> bool:
    """Whether an image of three planes is `[H, W, 3]`."""
    planes, height, width = planes_of(hdu) or (0, 0, 0)
    return planes == 3 and hdu.shape[-3:] == (height, width, 3) and hdu.shape[-3:] != (3, height, width)


def _is_color(header: fits.Header, axis: int) -> bool:
    """Whether nothing says that an axis is one of frequency, polarization, time or the like."""
    kind = str(header.get(f'CTYPE{axis}', '')).strip().upper()
    return kind in ('', 'RGB', 'COLOR', 'COLOUR', 'LINEAR') or (axis == 1 and kind[:4] in ('RA--', 'GLON', 'ELON'))


def size_text(shape: tuple[int, ...]) -> str:
    return 'x'.join(str(length) for length in reversed(shape))


def label_of(index: int, hdu: Any) -> str:
    return f'{hdu.name},{hdu.ver}' if hdu.name and hdu.name != 'PRIMARY' else str(index)


def listing(hdus: list[Any]) -> str:
    """What there is, in one line: '0 (empty), 1 SCI,1 (1024x1024), 2 STARS,1 (a table)'."""
    parts = []
    for index, hdu in enumerate(hdus[:12]):
        label = label_of(index, hdu)
        what = 'a table' if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) else 'empty'
        what = size_text(hdu.shape) if is_image(hdu) else what
        parts.append(f'{index} ({what})' if label == str(index) else f'{index} {label} ({what})')
    return ', '.join(parts + ([f'and {len(hdus) - 12} more'] if len(hdus) > 12 else []))


def _suspicion(noted: list[warnings.WarningMessage]) -> str:
    """Where astropy has warned on the way, that may be why something is not there."""
    return '; what follows is damaged' if noted else ''
