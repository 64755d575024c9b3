"""Where a picture changes its channels: as much light as it shows, by its colour profile if it has one."""

from __future__ import annotations

import numpy as np
import pyvips

from astro_gan.files import icc

_D50 = (96.422, 100.0, 82.521)


def usable_profile(image: pyvips.Image, channels: int) -> tuple[bytes | None, str]:
    """The embedded profile if it is one for so many channels, and a note if it is not."""
    if not image.get_typeof('icc-profile-data'):
        return None, ''
    profile = bytes(image.get('icc-profile-data'))
    if icc.fits(profile, channels):
        return profile, ''
    return None, 'its colour profile does not fit its channels or is broken, and was left out'


def to_gray(colors: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """The gray, of the same depth, that shows the lightness of a gray or RGB image; without a profile it is sRGB."""
    light = colors.colourspace('xyz')[1] / 100 if profile is None else _light(colors, profile)
    light = (light < 0).ifthenelse(0, light)
    srgb = (light <= 0.0031308).ifthenelse(light * 12.92, light ** (1 / 2.4) * 1.055 - 0.055)
    deep = colors.format == 'ushort'
    gray = (srgb * (65535 if deep else 255)).rint().cast(colors.format)  # too bright: cast clips
    return gray.copy(interpretation='grey16' if deep else 'b-w')


def _light(colors: pyvips.Image, profile: bytes) -> pyvips.Image:
    """Y (of D65, white = 1) of an image with a profile."""
    curves = icc.light_of_levels(profile, colors.bands)
    if curves is None:
        colors = _with_profile(colors, profile)
        xyz = colors.icc_import(embedded=True, pcs='lab').Lab2XYZ(temp=_D50) / 100
        return sum(weight * xyz[band] for band, weight in enumerate(icc.D50_TO_D65))
    step = 1 if colors.format == 'ushort' else 257
    tables = [pyvips.Image.new_from_array(curve[None, ::step].astype(np.float32)) for curve in curves]
    return sum(band.maplut(table) for band, table in zip(colors.bandsplit(), tables, strict=True))


def cmyk_to_rgb(inks: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """CMYK to sRGB of the same depth: by its profile, or without one by the plain formula, (1 - ink) (1 - black)."""
    deep = inks.format == 'ushort'
    if profile is not None:
        return _with_profile(inks, profile).icc_transform('srgb', embedded=True, depth=16 if deep else 8)
    top = 65535 if deep else 255
    paper = (top - inks.cast('double')).bandsplit()
    rgb = paper[0].bandjoin(paper[1:3]) * paper[3] / top
    return rgb.rint().cast(inks.format).copy(interpretation='rgb16' if deep else 'srgb')


def _with_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, 'icc-profile-data', profile)
    return image
