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
}
_PACKED: dict[bytes, Callable[[Any], Any]] = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open}
_LONGEST = max(map(len, _SIGNATURES))


def kind_of(path: str | os.PathLike[str]) -> str:
    """'jpg', 'png', 'tif' or 'fits' (packed by gzip or bzip2 too); '' for another file, and one that cannot be read."""
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
