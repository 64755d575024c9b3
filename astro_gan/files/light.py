"""Colour profiles and curves of pictures: as much light as is shown, wherever a picture changes its channels."""

from __future__ import annotations

import pyvips

# Profiles refer to the white D50, sRGB's lightness to D65. Y of D65 from XYZ of D50 (Bradford; B. Lindbloom's numbers).
_D50 = (96.422, 100.0, 82.521)
_D50_TO_D65 = (-0.0282895, 1.0099416, 0.0210077)
_PROFILE_SPACES = {1: b'GRAY', 3: b'RGB ', 4: b'CMYK'}  # bytes 16 to 20 of a profile


def usable_profile(image: pyvips.Image, colors: int) -> tuple[bytes | None, str]:
    """The embedded profile if it is one of so many channels, and a note if it is not."""
    if not image.get_typeof('icc-profile-data'):
        return None, ''
    profile = bytes(image.get('icc-profile-data'))
    if profile[16:20] == _PROFILE_SPACES[colors] and profile[36:40] == b'acsp':
        return profile, ''
    return None, 'its colour profile does not fit its channels and was left out'


def to_gray(colors: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """The gray, of the same depth, that shows the lightness of a gray or RGB image; without a profile it is sRGB."""
    if profile is None:
        light = colors.colourspace('xyz')[1] / 100
    else:
        colors = colors.copy()
        colors.set_type(pyvips.GValue.blob_type, 'icc-profile-data', profile)
        xyz = colors.icc_import(embedded=True, pcs='lab').Lab2XYZ(temp=_D50) / 100
        light = sum(weight * xyz[band] for band, weight in enumerate(_D50_TO_D65))
    light = (light < 0).ifthenelse(0, light)
    srgb = (light <= 0.0031308).ifthenelse(light * 12.92, light ** (1 / 2.4) * 1.055 - 0.055)
    deep = colors.format == 'ushort'
    gray = (srgb * (65535 if deep else 255)).rint().cast(colors.format)  # too bright: cast clips
    return gray.copy(interpretation='grey16' if deep else 'b-w')


def cmyk_to_rgb(inks: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """CMYK to sRGB of the same depth: by its profile, or without one by the plain formula, (1 - ink) (1 - black)."""
    deep = inks.format == 'ushort'
    if profile is not None:
        inks = inks.copy()
        inks.set_type(pyvips.GValue.blob_type, 'icc-profile-data', profile)
        return inks.icc_transform('srgb', embedded=True, depth=16 if deep else 8)
    top = 65535 if deep else 255
    paper = (top - inks.cast('double')).bandsplit()
    rgb = paper[0].bandjoin(paper[1:3]) * paper[3] / top
    return rgb.rint().cast(inks.format).copy(interpretation='rgb16' if deep else 'srgb')
