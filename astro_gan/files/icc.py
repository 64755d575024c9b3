"""ICC profiles of gray and RGB, as far as they say how much light a level is (ICC.1:2022).

littleCMS, which libvips calls, samples the way from gray to L* at few points: 2.6 L* off in the dark of a
linear profile.
"""

from __future__ import annotations

import struct

import numpy as np

SPACES = {1: b'GRAY', 3: b'RGB ', 4: b'CMYK'}  # by the number of channels
# Profiles refer to the white D50, sRGB's lightness to D65: Y of D65 from XYZ of D50 (Bradford; B. Lindbloom's numbers).
D50_TO_D65 = (-0.0282895, 1.0099416, 0.0210077)
_TABLES = b'A2B0'  # counts before curves and primaries
_NEEDED = {1: (b'kTRC',), 3: (b'rTRC', b'gTRC', b'bTRC', b'rXYZ', b'gXYZ', b'bXYZ')}


def fits(profile: bytes, channels: int) -> bool:
    """Whether it is the profile of a picture with so many channels, and says what their levels mean."""
    if profile[16:20] != SPACES.get(channels) or profile[36:40] != b'acsp':
        return False
    names = {name for name, _ in _tags(profile)}
    return _TABLES in names or (channels in _NEEDED and names.issuperset(_NEEDED[channels]))


def light_of_levels(profile: bytes, channels: int) -> list[np.ndarray] | None:
    """What each level of each channel adds to the light (Y of D65, white = 1), float64 `[65536]` for 1 or 3 channels.

    None if the profile says it in a table of several dimensions.
    """
    tags = dict(_tags(profile))
    if _TABLES in tags:
        return None
    curves = [_curve(tags[name]) for name in _NEEDED[channels][:channels]]
    if channels == 1:
        return [_light_of_lightness(curves[0])] if profile[20:24] == b'Lab ' else curves
    primaries = [np.frombuffer(tags[name], '>i4', 3, 8) / 65536 for name in _NEEDED[3][3:]]
    weights = np.array(primaries) @ D50_TO_D65
    return [curve * weight for curve, weight in zip(curves, weights / weights.sum(), strict=True)]


def _light_of_lightness(lightness: np.ndarray) -> np.ndarray:
    """Y of L*, both from 0 to 1 (CIE 1976)."""
    root = (100 * lightness + 16) / 116
    return np.where(lightness > 0.08, root**3, 100 * lightness / 903.3)


def _tags(profile: bytes) -> list[tuple[bytes, bytes]]:
    if len(profile) < 132:
        return []
    (count,) = struct.unpack_from('>I', profile, 128)
    count = min(count, (len(profile) - 132) // 12)
    entries = [struct.unpack_from('>4sII', profile, 132 + 12 * index) for index in range(count)]
    return [(name, profile[start : start + size]) for name, start, size in entries]


def _curve(tag: bytes) -> np.ndarray:
    """A tone curve at 65536 levels."""
    level = np.linspace(0.0, 1.0, 65536)
    if tag[:4] == b'curv':
        (count,) = struct.unpack_from('>I', tag, 8)
        if count < 2:
            return level ** (struct.unpack_from('>H', tag, 12)[0] / 256 if count else 1.0)
        return np.interp(level, np.linspace(0.0, 1.0, count), np.frombuffer(tag, '>u2', count, 12) / 65535)
    if tag[:4] != b'para':
        raise ValueError('no curve')
    (kind,) = struct.unpack_from('>H', tag, 8)
    values = np.frombuffer(tag, '>i4', {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[kind], 12) / 65536
    g, a, b, c, d, e, f = np.pad(values, (0, 7 - len(values))).tolist()
    if kind < 3:  # the straight part below -b / a is level
        a, c, d, e, f = (a or 1.0), 0.0, (-b / a if a else 0.0), c, c
    curved = np.maximum(a * level + b, 0.0) ** g + e
    return np.clip(np.where(level >= d, curved, c * level + f), 0.0, 1.0)
