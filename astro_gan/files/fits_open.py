"""Opening FITS files of any origin: packed or plain, which extensions there are and which of them is meant."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

# Files that have to be unpacked are unpacked in memory, and a few kilobytes can unpack to anything.
MAXIMUM_UNPACKED_BYTES = 2 << 30
# A file has tens of extensions, a mosaic camera's some hundred. Each takes a few kilobytes and a millisecond.
_MAXIMUM_EXTENSIONS = 1000
_MAXIMUM_HEADER_BYTES = 16 << 20
_CHUNK_BYTES = 16 << 20

_UNPACKERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b'\x1f\x8b': lambda file: gzip.GzipFile(fileobj=file),
    b'BZh': bz2.BZ2File,
}


def is_fits(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes say FITS, packed by gzip or bzip2 or not; False for what cannot be opened."""
    try:
        with open(path, 'rb') as file:
            start = file.read(9)
            file.seek(0)
            for magic, unpacker in _UNPACKERS.items():
                if start.startswith(magic):
                    start = unpacker(file).read(9)
    except (OSError, EOFError, ValueError, zlib.error):
        return False
    return start == b'SIMPLE  ='


class Refused(ValueError):
    """A reason that needs no explanation around it."""


@contextmanager
def explained(name: str) -> Iterator[list[warnings.WarningMessage]]:
    """Keep warnings from the user, and turn what goes wrong into one line that names the file.

    Gives the list of warnings so far: they say what astropy made of a damaged file.
    """
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter('always', AstropyWarning)
            yield noted
    except Refused as error:
        raise ValueError(f'{name}: {error}') from None
    except MemoryError:
        raise ValueError(f'{name}: does not fit in memory') from None
    except Exception as error:  # decoders raise nearly every type on hostile files
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{name}: damaged FITS file ({reason})') from error


def unpacked(file: BinaryIO) -> tuple[BinaryIO, int]:
    """The file, or what it unpacks to in memory, and its size in bytes."""
    start = file.read(4)
    file.seek(0)
    for magic, unpacker in _UNPACKERS.items():
        if start.startswith(magic):
            memory = io.BytesIO()
            packed = unpacker(file)
            while chunk := packed.read(_CHUNK_BYTES):
                memory.write(chunk)
                if memory.tell() > MAXIMUM_UNPACKED_BYTES:
                    raise Refused(
                        f'unpacks to more than the {MAXIMUM_UNPACKED_BYTES / 2**30:g} GiB that fit in memory; '
                        'unpack it first (gunzip, bunzip2): plain files of any size are read'
                    )
            return memory, memory.tell()
    return file, os.fstat(file.fileno()).st_size


def extensions(source: BinaryIO, size: int) -> list[Any]:
    """All extensions, their data not read yet. Integers with an offset will be float, so that blank ones can be NaN.

    Astropy would read to the end of the file for a header without END, and go on for ever in a file of empty
    extensions: both are refused. What follows the last extension and is none is passed over, as the standard has it.
    """
    source.seek(0)
    if source.read(9) != b'SIMPLE  =':
        raise Refused('not a FITS file: its first bytes are not SIMPLE  =')
    _check_header(source, 0)
    opened = fits.open(source, memmap=False, uint=False)
    found = [opened[0]]
    while True:
        place = found[-1].fileinfo()
        end = place['datLoc'] + place['datSpan']
        before = source.tell()
        source.seek(end)
        more = end < size and source.read(8) == b'XTENSION'
        if more:
            _check_header(source, end)
        source.seek(before)
        if not more:
            return found
        if len(found) >= _MAXIMUM_EXTENSIONS:
            raise Refused(f'more than {_MAXIMUM_EXTENSIONS} extensions')
        try:
            found.append(opened[len(found)])
        except IndexError:  # astropy could not read it, and has said so in a warning
            return found


def _check_header(source: BinaryIO, start: int) -> None:
    """Refuse a header without an end."""
    source.seek(start)
    for _ in range(0, _MAXIMUM_HEADER_BYTES, 2880):
        block = source.read(2880)
        if any(block[i : i + 80].rstrip() == b'END' for i in range(0, len(block), 80)):
            source.seek(0)
            return
        if len(block) < 2880:
            break
    raise Refused('damaged FITS file: a header has no END')


def choose(hdus: list[Any], wanted: str | None, noted: list[warnings.WarningMessage]) -> int:
    """The number of the extension to read."""
    images = [index for index, hdu in enumerate(hdus) if is_image(hdu)]
    if wanted is not None:
        chosen = _find(hdus, wanted)
    elif not images:
        raise Refused(f'holds no image: {_listing(hdus)}{_suspicion(noted)}')
    else:
        science = [index for index in images if hdus[index].name == 'SCI']
        if len(science) > 1:
            raise Refused(f'holds {len(science)} science images; choose one with --hdu: {_listing(hdus)}')
        flat = [index for index in images if plane_of(hdus[index].shape)]
        chosen = (science or flat or images)[0]
    hdu = hdus[chosen]
    label = label_of(chosen, hdu)
    others = any(is_image(other) and plane_of(other.shape) for other in hdus)
    way_out = f'; choose one with --hdu: {_listing(hdus)}' if others else ''
    if not is_image(hdu):
        raise Refused(f'extension {label} holds no image{way_out}{_suspicion(noted)}')
    if not plane_of(hdu.shape):
        raise Refused(f'extension {label} has {size_text(hdu.shape)} pixels, wanted a 2-D image{way_out}')
    return chosen


def _find(hdus: list[Any], wanted: str) -> int:
    """The extension that the user means."""
    name, _, version = wanted.strip().upper().partition(',')
    for index, hdu in enumerate(hdus):
        by_number = name == str(index) and not version
        by_name = name and name == hdu.name.upper() and version.strip() in ('', str(hdu.ver))
        if by_number or by_name:
            return index
    raise Refused(f'no extension {wanted!r}; --hdu takes a number, NAME or NAME,VERSION: {_listing(hdus)}')


def is_image(hdu: Any) -> bool:
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU) and len(hdu.shape) > 0


def plane_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of an image whose further axes have length 1; None if it is no image of two axes."""
    if len(shape) < 2 or min(shape) < 1 or any(length != 1 for length in shape[:-2]):
        return None
    return shape[-2], shape[-1]


def size_text(shape: tuple[int, ...]) -> str:
    return 'x'.join(str(length) for length in reversed(shape))


def label_of(index: int, hdu: Any) -> str:
    return f'{hdu.name},{hdu.ver}' if hdu.name and hdu.name != 'PRIMARY' else str(index)


def _listing(hdus: list[Any]) -> str:
    """What there is, in one line: '0 (empty), 1 SCI,1 (1024x1024), 2 STARS,1 (a table)'."""
    parts = []
    for index, hdu in enumerate(hdus[:12]):
        label = label_of(index, hdu)
        what = 'a table' if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) else 'empty'
        what = size_text(hdu.shape) if is_image(hdu) else what
        parts.append(f'{index} ({what})' if label == str(index) else f'{index} {label} ({what})')
    return ', '.join(parts + ([f'and {len(hdus) - 12} more'] if len(hdus) > 12 else []))


def _suspicion(noted: list[warnings.WarningMessage]) -> str:
    """What astropy said on the way, where it may be why something is not there."""
    return f' (astropy: {" ".join(str(noted[-1].message).split())})' if noted else ''
