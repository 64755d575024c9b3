"""What a PNG says of itself in chunks that decoders pass over: gamma, resolution, animation, and checksums."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import BinaryIO

import numpy as np

from astro_gan.errors import UserError

_MAGIC_LENGTH = 8
_SRGB_GAMMA = 0.45455  # what every sRGB file says; viewers take it for the sRGB curve
_SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # white, red, green, blue: x and y
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Header:
    """Of a PNG: `gamma` is None where the sRGB curve or a profile counts, `frames` more than 1 if it is animated."""

    gamma: float | None = None
    primaries: bool = False  # other primaries than sRGB's, that no profile says better
    has_resolution: bool = False
    frames: int = 1


def read(file: BinaryIO) -> Header:
    """Walk through the chunks, their checksums included.

    A wrong checksum of a chunk that is not pixels (texts, profile, gamma) is harmless: the chunk is passed over.

    Raises:
        UserError: pixels are damaged or missing; the reason.
    """
    small: dict[bytes, bytes] = {}
    pixels = False
    file.seek(_MAGIC_LENGTH)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack('>I4s', head)
        body, checksum = b'', zlib.crc32(kind)
        for start in range(0, length, _BLOCK):
            block = file.read(min(_BLOCK, length - start))
            checksum = zlib.crc32(block, checksum)
            body = block if not start else b''  # only short ones are looked at
        critical = not kind[0] & 0x20
        if int.from_bytes(file.read(4), 'big') != checksum:
            if critical:
                raise UserError(f'damaged picture: the checksum of its {kind.decode("ascii", "replace")} part is wrong')
            continue
        pixels |= kind == b'IDAT'
        if kind == b'IEND':
            break
        small.setdefault(kind, body)
    if not pixels:
        raise UserError('damaged picture: it holds no pixels')
    told = {b'iCCP', b'sRGB', b'cICP'} & small.keys()  # these say better how levels become light
    gamma = int.from_bytes(small.get(b'gAMA', b''), 'big') / 100_000
    primaries = struct.unpack('>8I', small[b'cHRM']) if len(small.get(b'cHRM', b'')) == 32 else _SRGB_PRIMARIES
    return Header(
        gamma=gamma if gamma and not told and abs(gamma - _SRGB_GAMMA) > 0.005 else None,
        primaries=not told and bool(np.abs(np.subtract(primaries, _SRGB_PRIMARIES)).max() > 300),
        has_resolution=small.get(b'pHYs', b'')[8:] == b'\1',  # else only the shape of a pixel
        frames=int.from_bytes(small.get(b'acTL', b'')[:4], 'big') or 1,
    )


def to_srgb(gamma: float, levels: int) -> np.ndarray:
    """The sRGB level that shows as much light as each level of a PNG with that gAMA, `[levels]`, uint8 or uint16."""
    light = np.linspace(0.0, 1.0, levels) ** (1.0 / gamma)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1.0 / 2.4) - 0.055)
    return np.rint(srgb * (levels - 1)).astype(np.uint8 if levels == 256 else np.uint16)
