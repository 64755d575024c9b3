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

_NEAR = 3.0  # pixels over which a missing pixel has its neighbour's colour
_BRIGHT = 5.0  # times the noise: pixels that the bands are balanced by


def read_bands(paths: Sequence[str], source: Any) -> np.ndarray:
    """a*b* `[H, W, 2]` of the image's pixels, NaN where a band has no value and the image has one.

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
    return _filled(composite(frames, lightness), source)


def _filled(ab: np.ndarray, source: Any) -> np.ndarray:
    """Colours also where the image itself has no value: the nearest pixel's, as the brightness is; gray far off."""
    from scipy import ndimage

    data, bad = source.rows(0, source.height)
    unknown = np.isnan(ab).any(-1)
    holes = unknown & (bad | ~np.isfinite(data).all(0))
    if not holes.any() or unknown.all():
        return ab
    distance, nearest = ndimage.distance_transform_edt(unknown, return_indices=True)
    filled = np.where((distance <= _NEAR)[..., None], ab[tuple(nearest)], 0.0)
    return np.where(holes[..., None], filled, ab)


def composite(bands: list[np.ndarray], lightness: np.ndarray) -> np.ndarray:
    """a*b* `[H, W, 2]` of two or three frames' composite, NaN where one of them has no value."""
    from astro_gan.files.stretch import lupton

    red, *middle, blue = balanced(bands)
    rgb = lupton(red, middle[0] if middle else (red + blue) / 2.0, blue)
    return np.where(np.isfinite(red)[..., None], at_lightness(rgb, lightness), np.nan).astype(np.float32)


def balanced(bands: list[np.ndarray]) -> list[np.ndarray]:
    """Bands `[H, W]` less their skies, whose ratios are 1 in most bright pixels; NaN where one has no value.

    A mean over the middle half of the pixels' ratios. In sums the brightest stars decide, which are saturated, or red.
    """
    from scipy.stats import trim_mean

    from astro_gan.files.stretch import sky, valid_sample

    good = np.logical_and.reduce([np.isfinite(band) for band in bands])
    flat, noises, seen = [], [], good
    for band in bands:
        background, noise = sky(valid_sample(band, ~good))
        flat.append(np.where(good, band - background, 0.0))
        noises.append(noise)
        seen = seen & (flat[-1] > _BRIGHT * noise)
    # Where there is nothing to be seen the noise is.
    scales = (
        [np.exp(trim_mean(np.log(values[seen] / flat[0][seen]), 0.25)) for values in flat]
        if seen.sum() >= 10
        else noises
    )
    return [np.where(good, values / scale, np.nan) for values, scale in zip(flat, scales, strict=True)]


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
    from astro_gan.files.fits import read_frame
    from astro_gan.mosaic.grid import onto

    frame = read_frame(path)
    if frame.planes != 1:
        raise UserError(f'--color-from {printable(path)}: holds {frame.planes} planes; a band is one')
    like = (source.frame.header, (source.height, source.width))
    data = onto(frame, *like, where=f'--color-from {printable(path)}')
    return data[::-1] if source.turned else data
