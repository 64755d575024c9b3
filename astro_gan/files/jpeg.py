"""Whether a JPEG is whole inside, which the usual decoders do not say: they warn, and paint what is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import simplejpeg

from astro_gan.errors import UserError
from astro_gan.files.refusals import reason_of

_EOI = b'\xff\xd9'
# Warnings of the JPEG library about the header, not the pixels: versions of JFIF's and Adobe's segments that it does
# not know, and takes for YCbCr as it does without them. All others mean that pixels were made up.
_HARMLESS = ('JFIF', 'Adobe')
_LONG_RUN = bytes(16)  # zero bytes that no encoder writes in a row, but where they mean flat colour (see `_blanked`)


def check(data: bytes) -> None:
    """Find damage inside a JPEG, at less than half of what decoding costs: all codes are read, few pixels are made.

    Missing or surplus data, invalid codes and lost restart markers are found, and runs of zeros as a broken disk or
    download leaves them. Noise after which the decoder happens to fall into step again at the right block is not.

    Raises:
        UserError: it is damaged; the reason.
    """
    _strictly(data, 'GRAY', smallest=1)  # that is, at an eighth of the size


def decode(data: bytes) -> np.ndarray:
    """Decode a JPEG that is not CMYK to RGB, uint8 `[H, W, 3]`, as it is stored (not turned); raises as `check`."""
    return _strictly(data, 'RGB')


def header(data: bytes) -> tuple[int, int, str]:
    """Height, width and colours ('Gray', 'YCbCr', 'RGB', 'CMYK' or 'YCCK') of a JPEG."""
    return simplejpeg.decode_jpeg_header(data, strict=False)[:3]


def _strictly(data: bytes, colorspace: str, smallest: int = 0) -> np.ndarray:
    def decoded(data: bytes) -> np.ndarray:
        return simplejpeg.decode_jpeg(data, colorspace, min_height=smallest, min_width=smallest)

    try:
        pixels = decoded(data)
    except ValueError as error:
        if any(word in str(error) for word in _HARMLESS):
            return _strictly(_bare(data), colorspace, smallest)
        if 'Unsupported JPEG' in str(error):
            raise UserError(f'not supported ({error})') from None
        try:  # harmless: bytes without meaning before the end mark, which some cameras write, or no end mark at all
            pixels = decoded(_trimmed(data))
        except ValueError:
            raise UserError(f'damaged picture, its inside is not what was written ({reason_of(error)})') from None
    if _blanked(data):
        raise UserError('damaged picture, a part of its inside is zeros')
    return pixels


def _bare(data: bytes) -> bytes:
    """The picture without the segments of applications."""
    kept = [data[start - 4 : end] for marker, start, end in _segments(data) if not 0xE0 <= marker <= 0xEF]
    return data[:2] + b''.join(kept) + data[_scan(data) :]


def _trimmed(data: bytes) -> bytes:
    """The picture without padding between its codes and its end mark."""
    start = _scan(data)
    end = data.find(_EOI, start)
    codes = data[: end if end >= 0 else len(data)].rstrip(b'\0')
    return codes + b'\0' + _EOI  # a zero may have belonged to the last code


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the segments before the first scan's codes; the last is the scan's header."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
        yield marker, place + 4, end
        if marker == 0xDA:
            return
        place = end


def _scan(data: bytes) -> int:
    """Where the codes of the first scan start."""
    return max((end for _, _, end in _segments(data)), default=len(data))


def _blanked(data: bytes) -> bool:
    """Whether codes of a baseline JPEG were replaced by zeros.

    Zero bits are codes too: of each Huffman table, the first symbol. Where that is "end of block" they stand for flat
    colour or a ramp; elsewhere for blocks of one and the same improbable pattern.
    """
    start = _scan(data)
    if data.find(_LONG_RUN, start) < 0:
        return False
    baseline, firsts = False, []
    for marker, place, last in _segments(data):
        baseline |= marker in (0xC0, 0xC1)
        while marker == 0xC4 and place + 17 < last:  # several tables may share a segment
            if data[place] & 0x10:  # of what is not the mean of a block
                firsts.append(data[place + 17])
            place += 17 + sum(data[place + 1 : place + 17])
    end = data.find(_EOI, start)
    run = data.find(_LONG_RUN, start, end if end >= 0 else len(data))
    padding = run < 0 or not data[run:end].strip(b'\0')  # after the last code
    return baseline and any(firsts) and not padding
