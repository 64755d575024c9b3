"""Picture files for inference: JPEG, PNG and TIFF, read in windows at their own depth.

libvips does the work: it decodes what a window needs (or to a temporary file, if all is needed), so the input does not
have to fit into memory.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyvips

from astro_gan.files.paths import printable

# More takes hours and tens of gigabytes; and a few hundred bytes of file can declare any size.
MAXIMUM_PIXELS = 1_000_000_000
SUFFIXES = {'.jpg': 'jpg', '.jpeg': 'jpg', '.png': 'png', '.tif': 'tif', '.tiff': 'tif'}
_SIGNATURES = {
    b'\xff\xd8\xff': ('jpg', pyvips.Image.jpegload),
    b'\x89PNG\r\n\x1a\n': ('png', pyvips.Image.pngload),
    **dict.fromkeys((b'II*\x00', b'MM\x00*', b'II+\x00', b'MM\x00+'), ('tif', pyvips.Image.tiffload)),
}
_DEPTHS = {'uchar': np.uint8, 'ushort': np.uint16}
_GRAY_LEVELS = 2  # of 255: channels this close are gray that went through a colour JPEG


@dataclasses.dataclass(frozen=True, eq=False)
class PictureSource:
    """An upright picture to be read in windows (see `render.Source`).

    Attributes:
        path: as the user named it.
        kind: 'jpg', 'png' or 'tif'.
        pixels: one (gray) or three (sRGB) bands of uint8 or uint16.
        alpha: one band of the same depth, or None.
        original: as opened, for its metadata.
        notes: what a user should know of how it was read, each a line without the file's name.
    """

    path: str
    kind: str
    pixels: pyvips.Image
    alpha: pyvips.Image | None
    original: pyvips.Image
    notes: tuple[str, ...] = ()

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
