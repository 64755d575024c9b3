"""Two or three bands of one sky as a colour picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_gan.errors import UserError
from astro_gan.files.fits import read_frame, write_frame
from astro_gan.files.hashes import sha256_of
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import printable
from astro_gan.files.picture_writer import write_picture
from astro_gan.files.stretch import lupton
from astro_gan.inference import provenance
from astro_gan.inference.bands import balanced
from astro_gan.mosaic.grid import onto

SUFFIXES = {
    '.png': 'png',
    '.tif': 'tif',
    '.tiff': 'tif',
    '.jpg': 'jpg',
    '.jpeg': 'jpg',
    '.fits': 'fits',
    '.fit': 'fits',
}
_BAND = 256  # rows that are written at a time


def compose(
    paths: Sequence[str],
    target: Path,
    *,
    scales: Sequence[float] | None = None,
    stretch: float = 50.0,
    softening: float = 8.0,
    hdu: str | None = None,
    maximum_pixels: int = 10**9,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Frames, red first, as a picture on the pixels of the first (`stretch.lupton`); its height and width.

    Of two bands, red and blue, the green is their mean, as in `--color-from`.

    Args:
        paths: two or three FITS frames of one plane.
        target: PNG and TIFF of 16 bits, JPEG, or FITS: three planes of the picture's values, in [0, 1].
        scales: factors on the bands, one each; None: their bright pixels are balanced.
        stretch, softening: see `lupton`.
        hdu: the extension of each; None: its science image.
        maximum_pixels: of each frame.
        overwrite: replace a picture that is there.

    Raises:
        UserError: frames that do not fit, or a place that is taken; one line.
    """
    if len(paths) not in (2, 3):
        raise UserError(f'compose: {len(paths)} band{"s" * (len(paths) != 1)}; two or three, red first')
    if scales is not None and len(scales) != len(paths):
        raise UserError(f'--scales: {len(scales)} for {len(paths)} bands; one for each, in their order')
    suffix = os.path.splitext(target.name)[1].lower()
    if suffix not in SUFFIXES:
        raise UserError(f'{printable(target)}: a picture ends in .png, .tif, .jpg or .fits')
    if target.is_dir() or (os.path.lexists(target) and not overwrite):
        raise UserError(f'{printable(target)}: exists already; --overwrite replaces it')
    frames = []
    for path in paths:
        if kind_of(path) not in ('fits', ''):
            raise UserError(f'{printable(path)}: is no FITS frame; bands are')
        frames.append(read_frame(path, hdu=hdu, maximum_pixels=maximum_pixels))
        if frames[-1].planes != 1:
            raise UserError(f'{printable(path)}: holds {frames[-1].planes} planes; a band is one')
    first = frames[0]
    shape = (first.height, first.width)
    bands = [onto(frame, first.header, shape, where=printable(p)) for frame, p in zip(frames, paths, strict=True)]
    bands = balanced(bands) if scales is None else [scale * band for scale, band in zip(scales, bands, strict=True)]
    red, *green, blue = bands
    try:
        rgb = lupton(red, green[0] if green else (red + blue) / 2, blue, stretch=stretch, softening=softening)
    except ValueError as error:
        raise UserError(f'{printable(target)}: {error}') from None
    enhanced = any('AGNOTICE' in frame.header for frame in frames)
    made: dict[str, Any] = {
        **({'notice': provenance.NOTICE} if enhanced else {}),
        'software': provenance.SOFTWARE,
        'task': 'compose',
        'inputs': [{'file': os.path.basename(path), 'sha256': sha256_of(path)} for path in paths],
        'settings': {'scales': list(scales) if scales else 'balanced', 'stretch': stretch, 'softening': softening},
    }
    if SUFFIXES[suffix] == 'fits':
        _write_cube(target, rgb, first.header, made, overwrite)
    else:
        _write_picture(target, SUFFIXES[suffix], rgb if first.first_row_is_top else rgb[::-1], made)
    return shape


def _write_cube(target: Path, rgb: np.ndarray, header: Any, made: dict[str, Any], overwrite: bool) -> None:
    header = header.copy()
    header.remove('BUNIT', ignore_missing=True)  # values of a picture have none
    header['AGPLANES'] = ('red, green, blue', 'meaning of the planes')
    if 'notice' in made:
        header['AGNOTICE'] = made['notice']
    header.add_history(f'{made["software"]}: composed (Lupton et al. 2004), values of a picture in [0, 1]')
    for entry in made['inputs']:
        header.add_history(f'{entry["file"]} SHA-256 {entry["sha256"]}'.encode('ascii', 'backslashreplace').decode())
    write_frame(target, np.moveaxis(rgb, -1, 0), header, overwrite=overwrite)


def _write_picture(target: Path, kind: str, rgb: np.ndarray, made: dict[str, Any]) -> None:
    dtype = np.uint8 if kind == 'jpg' else np.uint16
    most = np.iinfo(dtype).max
    strips = (np.round(rgb[top : top + _BAND] * most).astype(dtype) for top in range(0, len(rgb), _BAND))
    write_picture(
        target,
        kind,
        rgb.shape,
        dtype,
        strips,
        like=None,
        comment=json.dumps(made, allow_nan=False),
        notice=made.get('notice', 'bands composed (Lupton et al. 2004)'),
        software=made['software'],
    )
