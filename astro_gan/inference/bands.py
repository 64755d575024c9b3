"""Colours that were measured: two or three bands of the same sky, brought onto the image's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from astro_gan.errors import UserError
from astro_gan.files import picture_source as pictures
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import open_file, printable
from astro_gan.guides import at_lightness, lightness_of, two_bands

_BRIGHT = 5.0  # times the noise: pixels that the bands are balanced by
_LEAST_OVERLAP = 0.01  # of the image's pixels


def read_bands(paths: Sequence[str], source: Any) -> np.ndarray:
    """a*b* `[H, W, 2]` of the image's pixels, NaN where a band has no value.

    Of gray pictures, red and blue or red, green and blue as displayed. Of frames, Lupton et al.'s composite
    (`stretch.lupton`), each band's sky taken off and its bright pixels balanced with the others'; of two the green is
    their mean. Either way the colours have the ratios of the bands at the image's own L*.

    Args:
        paths: two or three, red first.
        source: the image.

    Raises:
        UserError: another number of files, mixed kinds, another size, another sky; one line.
    """
    if len(paths) not in (2, 3):
        raise UserError(f'--color-from: {len(paths)} files; one colour picture, or two or three bands, red first')
    kinds = set()
    for path in paths:
        with open_file(path):
            kinds.add(kind_of(path) == 'fits')
    gray = np.clip(source.read(0, 0, source.height, source.width)[..., 0], 0.0, 1.0)
    lightness = lightness_of(gray)
    if kinds == {False}:
        bands = [_read_gray(path, source) for path in paths]
        if len(bands) == 2:
            return two_bands(lightness, *bands)
        return at_lightness(np.stack(bands, axis=-1), lightness)
    if kinds != {True} or not hasattr(source, 'frame'):
        raise UserError('--color-from: frames go with a frame, gray pictures with a picture; not mixed')
    frames = [_read_frame(path, source) for path in paths]
    return composite(frames, lightness)


def composite(bands: list[np.ndarray], lightness: np.ndarray) -> np.ndarray:
    """a*b* `[H, W, 2]` of two or three frames' composite, NaN where one of them has no value."""
    from astro_gan.files.stretch import lupton, sky, valid_sample

    good = np.logical_and.reduce([np.isfinite(band) for band in bands])
    flat = []
    for band in bands:
        background, noise = sky(valid_sample(band, ~good))
        values = np.where(good, band - background, 0.0)
        flat.append((values, good & (values > _BRIGHT * noise)))
    # Balanced where all bands see something; where none does, as they are.
    bright = np.logical_and.reduce([own for _, own in flat])
    chosen = bright if bright.sum() >= 10 else good
    totals = [max(float(values[chosen].sum()), 1e-30) for values, _ in flat]
    scaled = [values / total for (values, _), total in zip(flat, totals, strict=True)]
    red, *middle, blue = [np.where(good, band, np.nan) for band in scaled]
    rgb = lupton(red, middle[0] if middle else (red + blue) / 2.0, blue)
    return np.where(good[..., None], at_lightness(rgb, lightness), np.nan).astype(np.float32)


def _read_gray(path: str, source: Any) -> np.ndarray:
    picture = pictures.open_picture(path).to_gray(allow_color=False)
    if (picture.height, picture.width) != (source.height, source.width):
        raise UserError(
            f'--color-from {printable(path)}: {picture.width}x{picture.height} pixels; the image has '
            f'{source.width}x{source.height}'
        )
    return picture.read(0, 0, picture.height, picture.width)[..., 0]


def _read_frame(path: str, source: Any) -> np.ndarray:
    """A band's values on the image's pixels, float64 `[H, W]`, NaN where it has none."""
    from astropy.wcs import WCS

    from astro_gan.files.fits import read_frame

    frame = read_frame(path)
    data = np.where(frame.bad, np.nan, frame.data) if frame.bad is not None else frame.data
    data = np.asarray(data, np.float64)
    here, there = (WCS(header, naxis=2) for header in (source.frame.header, frame.header))
    shape = source.frame.data.shape
    if not (here.has_celestial and there.has_celestial):
        if data.shape != shape:
            raise UserError(
                f'--color-from {printable(path)}: {data.shape[1]}x{data.shape[0]} pixels, the image has '
                f'{shape[1]}x{shape[0]}, and no coordinates (WCS) say how they fit'
            )
    elif data.shape != shape or not here.wcs.compare(there.wcs, tolerance=1e-9):
        try:
            from reproject import reproject_interp
        except ImportError:
            raise UserError("--color-from: aligning frames needs reproject: pip install 'astro_gan[align]'") from None
        data, _ = reproject_interp((data, there), here, shape_out=shape)
        if np.isfinite(data).mean() < _LEAST_OVERLAP:
            raise UserError(f'--color-from {printable(path)}: shows another part of the sky than the image')
    return data[::-1] if source.upright else data
