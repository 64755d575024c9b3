"""XMP packets of pictures that have another size now, and stand upright."""

from __future__ import annotations

import re
from collections.abc import Callable

_WIDTHS = ('tiff:ImageWidth', 'exif:PixelXDimension')
_HEIGHTS = ('tiff:ImageLength', 'exif:PixelYDimension')
_DENSITIES = ('tiff:XResolution', 'tiff:YResolution', 'exif:FocalPlaneXResolution', 'exif:FocalPlaneYResolution')
_THUMBNAILS = re.compile(rb'<(xmp:Thumbnails)\b.*?(?:</\1>|/>)', re.DOTALL)


def resized(packet: bytes, width: int, height: int, factor: float) -> bytes:
    """The packet of a picture that was turned upright and enlarged to `width` x `height`, `factor` times.

    Sizes, orientation and pixels per inch follow; thumbnails, which show the old picture, go. The coordinates that
    press pictures carry (AVM) refer to a size that they name themselves, and stay.
    """
    values: dict[str, Callable[[bytes], bytes]] = {'tiff:Orientation': lambda old: b'1'}
    values |= {name: lambda old: b'%d' % width for name in _WIDTHS}
    values |= {name: lambda old: b'%d' % height for name in _HEIGHTS}
    values |= {
        name: lambda old: b'%d' % round(int(old) * factor) for name in _DENSITIES
    }  # the upper part of a fraction
    # As an attribute (tiff:ImageWidth="100") or an element (<tiff:ImageWidth>100</tiff:ImageWidth>).
    for name, value in values.items():
        pattern = rb'(\b%b(?:\s*=\s*["\']|>)\s*)(\d+)' % name.encode()
        packet = re.sub(pattern, lambda match, value=value: match[1] + value(match[2]), packet)
    return _THUMBNAILS.sub(b'', packet)
