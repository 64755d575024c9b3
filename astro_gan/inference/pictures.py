"""Picture files for inference: JPEG, PNG and TIFF in windows, at their own depth, and results of any size out.

libvips does the work: it decodes what a window needs (or to a temporary file, if all is needed) and encodes row by row,
so neither the input nor the output has to fit into memory.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile

from astro_gan.data.pictures import printable

# More takes hours and tens of gigabytes; and a few hundred bytes of file can declare any size.
MAXIMUM_PIXELS = 1_000_000_000
SUFFIXES = {'.jpg': 'jpg', '.jpeg': 'jpg', '.png': 'png', '.tif': 'tif', '.tiff': 'tif'}
LARGEST_SIDE = {'jpg': 65500, 'png': 2**31 - 1, 'tif': 2**31 - 1}  # pixels, what the formats (and libjpeg) hold
_BIG_TIFF = 2**31  # bytes of pixels from which on a TIFF needs 64-bit offsets; a margin, as it may not compress
_SIGNATURES = {
    b'\xff\xd8\xff': ('jpg', pyvips.Image.jpegload),
    b'\x89PNG\r\n\x1a\n': ('png', pyvips.Image.pngload),
    **dict.fromkeys((b'II*\x00', b'MM\x00*', b'II+\x00', b'MM\x00+'), ('tif', pyvips.Image.tiffload)),
}
_DEPTHS = {'uchar': np.uint8, 'ushort': np.uint16}
_GRAY_LEVELS = 2  # of 255: channels this close are gray that went through a colour JPEG
_OURS = ('Software', 'Description', 'Comment')  # PNG texts
_KEPT = ('icc-profile-data', 'exif-data', 'xmp-data', 'iptc-data')


@dataclasses.dataclass(frozen=True, eq=False)
class PictureSource:
    """An upright picture to be read in windows (see `render.Source`).

    Attributes:
        path: as the user named it.
        kind: 'jpg', 'png' or 'tif'.
        pixels: one (gray) or three (sRGB) bands of uint8 or uint16.
        alpha: one band of the same depth, or None.
        original: as opened, for its metadata.
    """

    path: str
    kind: str
    pixels: pyvips.Image
    alpha: pyvips.Image | None
    original: pyvips.Image

    @property
    def height(self) -> int:
        return self.pixels.height

    @property
    def width(self) -> int:
        return self.pixels.width

    @property
    def channels(self) -> int:
        return self.pixels.bands

    @property
    def dtype(self) -> Any:
        """np.uint8 or np.uint16."""
        return _DEPTHS[self.pixels.format]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window, float32 `[height, width, channels]` in [0, 1]; ValueError if the file turns out to be damaged."""
        return self._window(self.pixels, top, left, height, width)

    def read_alpha(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window of the alpha channel, float32 `[height, width, 1]` in [0, 1]."""
        return self._window(self.alpha, top, left, height, width)

    def _window(self, image: Any, top: int, left: int, height: int, width: int) -> np.ndarray:
        with _explained(self.path):
            levels = image.crop(left, top, width, height).numpy().reshape(height, width, -1)
        return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)

    def to_gray(self, *, allow_color: bool) -> PictureSource:
        """The picture in one channel.

        Three channels that hold the same (within the rounding of a JPEG) are gray. Colours become the gray of their
        luminance.

        Raises:
            ValueError: it is in colour, and that is not allowed.
        """
        if self.channels == 1:
            return self
        with _explained(self.path):
            red, green, blue = self.pixels.cast('int').bandsplit()
            difference = max((red - green).abs().max(), (blue - green).abs().max())
        if difference <= _GRAY_LEVELS * (1 if self.dtype == np.uint8 else 257):
            return dataclasses.replace(self, pixels=self.pixels[1])
        if not allow_color:
            raise ValueError(f'{self.path}: is in colour, and gray is meant; --allow-color makes it gray first')
        return dataclasses.replace(self, pixels=self.pixels.colourspace('grey16' if self.dtype == np.uint16 else 'b-w'))


def too_large(height: int, width: int, maximum_pixels: int) -> str:
    """What is wrong with an input of that size."""
    allowed = f'{width}x{height} pixels are more than the {maximum_pixels / 1e6:.0f} megapixels that are read'
    return f'{allowed}; --max-megapixels {height * width // 10**6 + 1} reads it all the same'


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        raise ValueError(f'{path}: damaged picture ({" ".join(str(error.detail or error).split())})') from None


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes say JPEG, PNG or TIFF; False for what cannot be opened."""
    try:
        with open(path, 'rb') as file:
            return file.read(8).startswith(tuple(_SIGNATURES))
    except OSError:
        return False


def open_picture(path: str | os.PathLike[str], *, maximum_pixels: int = MAXIMUM_PIXELS) -> PictureSource:
    """Open a JPEG, PNG or TIFF (told by its first bytes), turned upright; nothing much is decoded yet.

    Palettes are looked up, CMYK becomes sRGB; of several pages the first is taken. Other embedded profiles stay as they
    are and go into the output.

    Raises:
        ValueError: not such a picture, damaged, too large, floating point or with more channels; one line.
    """
    name = printable(path)
    try:
        if not os.path.isfile(path):
            raise ValueError(f'{name}: no such file' if not os.path.exists(path) else f'{name}: not a regular file')
        with open(path, 'rb') as file:
            start = file.read(8)
    except OSError as error:
        raise ValueError(f'{name}: {(error.strerror or str(error)).lower()}') from None
    if not start:
        raise ValueError(f'{name}: the file is empty')
    kind, load = next((value for magic, value in _SIGNATURES.items() if start.startswith(magic)), (None, None))
    if kind is None or load is None:
        raise ValueError(f'{name}: neither a JPEG, PNG or TIFF picture nor a FITS file')
    with _explained(name):
        original = load(os.fspath(path), access='random', fail_on='error')
        pixels = original.width * original.height
        if pixels > maximum_pixels:
            raise ValueError(f'{name}: {too_large(original.height, original.width, maximum_pixels)}')
        image = original.autorot()
        if image.interpretation == 'cmyk':
            image = image.icc_transform('srgb', embedded=True, input_profile='cmyk')
        if image.format not in _DEPTHS and image.interpretation != 'lab':
            # Guessing white from the brightest pixel would change the picture from file to file.
            raise ValueError(f'{name}: {image.format} pixels have no known white level; save it with 8 or 16 bits')
        if image.coding == 'labq':
            image = image.LabQ2Lab()
        if image.interpretation in ('lab', 'labs', 'xyz', 'scrgb', 'hsv', 'lch'):
            image = image.colourspace('rgb16' if image.format in ('ushort', 'short') else 'srgb')
        if image.bands > 4:
            raise ValueError(f'{name}: {image.bands} channels; gray or RGB is wanted, with or without alpha')
        alpha = image[image.bands - 1] if image.bands in (2, 4) else None
        deep = image.format == 'ushort'
        names = ('grey16' if deep else 'b-w', 'rgb16' if deep else 'srgb')
        colors = (image[0] if image.bands < 3 else image[0:3]).copy(interpretation=names[image.bands >= 3])
    return PictureSource(name, kind, colors, alpha, original)


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

    Raises:
        ValueError: the format cannot hold that size.
        OSError: no room for it.
    """
    height, width, bands = shape
    size = height * width * bands * np.dtype(dtype).itemsize
    check_size(target, kind, height, width)
    _check_room(target, size)
    # First as plain TIFF, which libvips reads row by row. (A file of bare pixels it would map into memory, all of it.)
    # Names of its own: another process may be making the same picture.
    stem = f'.{target.name[:100]}.{secrets.token_hex(4)}'
    pixels, encoded = (target.with_name(f'{stem}.{part}') for part in ('pixels.tif', f'tmp.{kind}'))
    try:
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
        image = pyvips.Image.tiffload(os.fspath(pixels), access='sequential', unlimited=True, fail_on='error')
        image = image.copy()  # of its own, so that it can be described
        _describe(image, like, bands, comment=comment, notice=notice, software=software)
        with _interruptible(image):
            _save(image, encoded, kind, size)
        os.replace(encoded, target)
    except pyvips.Error as error:
        raise OSError(f'{target}: cannot be written ({" ".join(str(error.detail or error).split())})') from None
    except OSError as error:
        raise OSError(f'{target}: cannot be written ({(error.strerror or str(error)).lower()})') from None
    finally:
        for path in (pixels, encoded):
            path.unlink(missing_ok=True)


def check_size(target: Path, kind: str, height: int, width: int) -> None:
    """ValueError if the format cannot hold a picture of that size."""
    if max(height, width) > LARGEST_SIDE[kind]:
        size = f'{width}x{height} pixels'
        raise ValueError(f'{target}: {size} are more than a {kind} file can hold; choose --format tif')


def _check_room(target: Path, size: int) -> None:
    # The pixels, and the encoded file beside them.
    free = shutil.disk_usage(target.parent).free
    if free < 1.5 * size:
        raise OSError(
            f'{target}: needs up to {1.5 * size / 1e6:.1f} MB of disk while it is made; {free / 1e6:.1f} are free'
        )


def _describe(
    image: pyvips.Image, like: PictureSource | None, bands: int, *, comment: str, notice: str, software: str
) -> None:
    text = pyvips.GValue.gstr_type
    if like is not None:
        fields = set(like.original.get_fields())
        for field in fields.intersection(_KEPT):
            # A gray profile says nothing about a picture that has become coloured.
            if field != 'icc-profile-data' or (like.original.bands >= 3) == (bands >= 3):
                image.set_type(pyvips.GValue.blob_type, field, like.original.get(field))
        for field in fields:
            # The picture is upright now, and its old thumbnail shows another one.
            keep = field.startswith('exif-ifd') and not field.endswith('Orientation') and 'ifd1' not in field
            if keep and like.original.get_typeof(field) == text:
                image.set_type(text, field, like.original.get(field))
            if field.startswith('png-comment-') and field.rsplit('-', 1)[1] not in _OURS:
                image.set_type(text, field.replace('png-comment-', 'png-comment-1', 1), like.original.get(field))
        earlier = _plain(like.original, 'exif-ifd0-ImageDescription') or _plain(like.original, 'image-description')
        earlier = '' if earlier.startswith('{"shape"') else earlier  # what tifffile writes for itself
        notice = f'{earlier}; {notice}' if earlier and notice not in earlier else earlier or notice
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
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except pyvips.Error:
        if caught:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(image: pyvips.Image, path: Path, kind: str, size: int) -> None:
    if kind == 'jpg':
        image.jpegsave(os.fspath(path), Q=95, subsample_mode='off')
    elif kind == 'png':
        image.pngsave(os.fspath(path))
    else:
        image.tiffsave(os.fspath(path), compression='deflate', predictor='horizontal', bigtiff=size > _BIG_TIFF)
