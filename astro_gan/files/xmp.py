"""XMP packets of pictures that have another size now, and stand upright."""

from __future__ import annotations

import re

_WIDTHS = ('tiff:ImageWidth', 'exif:PixelXDimension')
_HEIGHTS = ('tiff:ImageLength', 'exif:PixelYDimension')
_DENSITIES = ('tiff:XResolution', 'tiff:YResolution', 'exif:FocalPlaneXResolution', 'exif:FocalPlaneYResolution')
_THUMBNAILS = re.compile(rb'<(xmp:Thumbnails)\b.*?(?:</\1>|/>)', re.DOTALL)


def resized(packet: bytes, width: int, height: int, factor: float) -> bytes:
    """The packet of a picture that was turned upright and enlarged to `width` x `height`, `factor` times.

    Sizes, orientation and pixels per inch follow; thumbnails, which show the old picture, go. The coordinates that
    press pictures carry (AVM) refer to a size that they name themselves, and stay.
    """
    known = {'tiff:Orientation': 1}
    known |= dict.fromkeys(_WIDTHS, width) | dict.fromkeys(_HEIGHTS, height)
    for name in (*known, *_DENSITIES):

        def follow(match: re.Match[bytes], value: int | None = known.get(name)) -> bytes:
            # Of a fraction, which densities are, the upper part.
            return match[1] + b'%d' % (round(int(match[2]) * factor) if value is None else value)

        # An attribute (tiff:ImageWidth="100") or an element (<tiff:ImageWidth>100</tiff:ImageWidth>).
        packet = re.sub(rb'(\b%b(?:\s*=\s*["\']|>)\s*)(\d+)' % name.encode(), follow, packet)
    return _THUMBNAILS.sub(b'', packet)
