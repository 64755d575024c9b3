"""Pictures out: results of any size, row by row, complete or not there at all, saying what made them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile

from astro_gan.errors import UserError
from astro_gan.files import atomic, xmp
from astro_gan.files.picture_source import PictureSource

LARGEST_SIDE = {'jpg': 65500, 'png': 2**31 - 1, 'tif': 2**31 - 1}  # pixels, what the formats (and libjpeg) hold
_BIG_TIFF = 2**31  # bytes of pixels from which on a TIFF needs 64-bit offsets; a margin, as it may not compress
_SIZES = ('Orientation', 'PlaneXResolution', 'PlaneYResolution')  # ends of EXIF names; libvips sets the others
_PLAIN_RESOLUTION = 72 / 25.4  # pixels per millimetre where an input does not say: what viewers take for granted
# Descriptions by programs for themselves, of pixels that are others now: tifffile, ImageJ, OME.
_PROGRAMS = ('{"shape"', 'ImageJ=', '<?xml', '<OME')
_OURS = ('Software', 'Description', 'Comment')  # PNG texts
_NOT_KEPT = (*_OURS, 'exif:', 'png:', 'Thumb::')  # the last by ImageMagick, of sizes


def write_picture(
    target: Path,
    kind: str,
    shape: tuple[int, int, int],
    dtype: Any,
    strips: Iterable[np.ndarray],
    *,
    like: PictureSource | None,
    comment: str,
    notice: str,
    software: str,
    seal: Callable[[Path], None] = lambda path: None,
) -> None:
    """Write a picture strip by strip; it appears under its name when all is there, or not at all.

    Args:
        target: the file.
        kind: 'jpg', 'png' or 'tif'.
        shape: of the whole picture, `[height, width, bands]`; two or four bands end with alpha.
        dtype: np.uint8 or np.uint16.
        strips: `[rows, width, bands]`, top to bottom.
        like: whose colour profile, EXIF and other metadata go along (None: none).
        comment: JSON that says what made the picture, one line.
        notice: a sentence for readers.
        software: name and version of this program.
        seal: is given the finished file just before it takes its name, and may refuse by raising.

    Raises:
        UserError: the format cannot hold that size.
        OSError: no room for it.
    """
    height, width, bands = shape
    size = height * width * bands * np.dtype(dtype).itemsize
    check_size(target, kind, height, width)
    _check_room(target, size)
    try:
        # First as plain TIFF, which libvips reads row by row. (A file of bare pixels it would map into memory, all.)
        with atomic.replacing(target, f'.{kind}') as encoded, atomic.scratch(target, '.pixels.tif') as pixels:
            with tifffile.TiffWriter(pixels, bigtiff=True) as file:
                file.write(
                    (row if bands > 1 else row[..., 0] for strip in strips for row in strip),
                    shape=shape if bands > 1 else shape[:2],
                    dtype=dtype,
                    rowsperstrip=1,
                    photometric='rgb' if bands > 2 else 'minisblack',
                    planarconfig='contig' if bands > 1 else None,
                    extrasamples=['unassalpha'] if bands in (2, 4) else None,
                    metadata=None,
                )
            image = pyvips.Image.tiffload(os.fsencode(pixels), access='sequential', unlimited=True, fail_on='error')
            x, y = _resolution(like, height)
            image = image.copy(xres=x, yres=y)  # of its own, so that it can be described
            _describe(image, like, bands, comment=comment, notice=notice, software=software)
            with _interruptible(image):
                _save(image, encoded, kind, size)
            seal(encoded)
    except pyvips.Error as error:
        raise OSError(f'{target}: cannot be written ({" ".join(str(error.detail or error).split())})') from None
    except OSError as error:
        raise OSError(f'{target}: cannot be written ({(error.strerror or str(error)).lower()})') from None


def check_size(target: Path, kind: str, height: int, width: int) -> None:
    """UserError if the format cannot hold a picture of that size."""
    if max(height, width) > LARGEST_SIDE[kind]:
        size = f'{width}x{height} pixels'
        raise UserError(f'{target}: {size} are more than a {kind} file can hold; choose --format tif')


def _check_room(target: Path, size: int) -> None:
    # The pixels, and the encoded file beside them.
    free = shutil.disk_usage(target.parent).free
    if free < 1.5 * size:
        raise OSError(
            f'{target}: needs up to {1.5 * size / 1e6:.1f} MB of disk while it is made; {free / 1e6:.1f} are free'
        )


def _resolution(like: PictureSource | None, height: int) -> tuple[float, float]:
    """Pixels per millimetre in x and y: enlarged as the picture is, so that it prints at the same size."""
    if like is None or like.resolution is None:
        return _PLAIN_RESOLUTION, _PLAIN_RESOLUTION
    x, y = like.resolution
    return x * height / like.height, y * height / like.height


def _describe(
    image: pyvips.Image, like: PictureSource | None, bands: int, *, comment: str, notice: str, software: str
) -> None:
    text, blob = pyvips.GValue.gstr_type, pyvips.GValue.blob_type
    if like is not None:
        factor = image.height / like.height
        # A profile says nothing about a picture that has other channels now.
        if like.profile is not None and (like.channels >= 3) == (bands >= 3):
            image.set_type(blob, 'icc-profile-data', like.profile)
        fields = set(like.original.get_fields())
        if 'iptc-data' in fields:
            image.set_type(blob, 'iptc-data', like.original.get('iptc-data'))
        if 'xmp-data' in fields:
            packet = xmp.resized(bytes(like.original.get('xmp-data')), image.width, image.height, factor)
            image.set_type(blob, 'xmp-data', packet)
        for field in fields:
            # One by one: the block as a whole holds a thumbnail of the old picture, and notes of the camera's maker.
            keep = field.startswith('exif-ifd') and not field.endswith(_SIZES) and 'ifd1' not in field
            if keep and isinstance(like.original.get(field), str):
                image.set_type(text, field, like.original.get(field))
            if field.startswith('png-comment-') and not field.split('-', 3)[3].startswith(_NOT_KEPT):
                image.set_type(text, field.replace('png-comment-', 'png-comment-1', 1), like.original.get(field))
        earlier = _plain(like.original, 'exif-ifd0-ImageDescription') or _plain(like.original, 'image-description')
        earlier = '' if earlier.startswith(_PROGRAMS) else earlier
        notice = f'{earlier}; {notice}' if earlier and notice not in earlier else earlier or notice
    image.set_type(text, 'resolution-unit', 'in')
    image.set_type(pyvips.GValue.gint_type, 'orientation', 1)
    image.set_type(text, 'exif-ifd0-ImageDescription', notice)
    image.set_type(text, 'exif-ifd0-Software', software)
    image.set_type(text, 'exif-ifd2-UserComment', comment)
    image.set_type(text, 'image-description', f'{notice}\n{comment}')
    for index, (key, value) in enumerate(zip(_OURS, (software, notice, comment), strict=True)):
        image.set_type(text, f'png-comment-{index}-{key}', value)


def _plain(image: pyvips.Image, field: str) -> str:
    """An EXIF text without what libvips appends: 'text (text, ASCII, 5 components, 5 bytes)'."""
    if field not in image.get_fields():
        return ''
    value = image.get(field)
    return (value.rsplit(' (', 1)[0] if field.startswith('exif') else value).split('\n')[0].strip()


@contextmanager
def _interruptible(image: pyvips.Image) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the encoding; libvips alone would notice them when all is done, minutes later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def stop(signum: int, frame: Any) -> None:
        caught.append(signum)
        image.set_kill(True)

    image.set_progress(True)
    image.signal_connect('eval', lambda image, progress: None)  # comes back to Python, where signals are handled
    # What is ignored, as by a job in the background, stays ignored.
    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    except pyvips.Error:
        if caught:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for caught_one in caught[:1]:  # it came when all was done
        signal.raise_signal(caught_one)


def _save(image: pyvips.Image, path: Path, kind: str, size: int) -> None:
    if kind == 'jpg':
        image.jpegsave(os.fsencode(path), Q=95, subsample_mode='off')
    elif kind == 'png':
        image.pngsave(os.fsencode(path))
    else:
        image.tiffsave(os.fsencode(path), compression='deflate', predictor='horizontal', bigtiff=size > _BIG_TIFF)
