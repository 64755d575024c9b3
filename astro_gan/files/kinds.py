"""What a file is, by its first bytes; names are not asked."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from typing import Any

from astro_gan.errors import UserError
from astro_gan.files.paths import open_file

_SIGNATURES = {
    b'\xff\xd8\xff': 'jpg',
    b'\x89PNG\r\n\x1a\n': 'png',
    **dict.fromkeys((b'II*\x00', b'MM\x00*', b'II+\x00', b'MM\x00+'), 'tif'),
    b'SIMPLE  =': 'fits',
    b'XISF0100': 'xisf',
}
_PACKED: dict[bytes, Callable[[Any], Any]] = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open}
_MORE_PICTURES = {b'GIF8': 'gif', b'BM': 'bmp'}  # that training reads
# Fuji, Olympus (three), Panasonic, Minolta, Sigma, Phase One.
_RAW = (b'FUJIFILMCCD-RAW', b'IIRO', b'IIRS', b'MMOR', b'IIU\0', b'\0MRM', b'FOVb', b'IIII')
_LONGEST = max(map(len, _SIGNATURES))


def kind_of(path: str | os.PathLike[str]) -> str:
    """'jpg', 'png', 'tif', 'xisf', 'fits' (packed by gzip or bzip2 too); '' for others, and what cannot be read."""
    try:
        with open_file(path) as (file, _):
            start = file.read(_LONGEST)
            for magic, unpack in _PACKED.items():
                if start.startswith(magic):
                    file.seek(0)
                    start = unpack(file).read(_LONGEST)
                    return 'fits' if start == b'SIMPLE  =' else ''
    except (UserError, OSError, EOFError, ValueError, zlib.error):
        return ''
    return next((kind for magic, kind in _SIGNATURES.items() if start.startswith(magic)), '')


def picture_kind(start: bytes) -> str:
    """The kind of picture that starts with these (16 or more) bytes: 'jpg', 'png', 'tif', 'gif', 'webp' or 'bmp'.

    'raw' for camera raw (of those that are TIFF, Canon's alone); '' for another file.
    """
    kind = next((kind for magic, kind in {**_SIGNATURES, **_MORE_PICTURES}.items() if start.startswith(magic)), '')
    if start.startswith(_RAW) or start[4:12] == b'ftypcrx ' or (kind == 'tif' and start[8:10] == b'CR'):
        return 'raw'
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return 'webp'
    return kind if kind in ('jpg', 'png', 'tif', 'gif', 'bmp') else ''
