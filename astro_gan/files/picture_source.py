"""Picture files for inference: JPEG, PNG and TIFF, read in windows at their own depth."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from astro_gan.errors import UserError
from astro_gan.files import light, tiff
from astro_gan.files.kinds import picture_kind
from astro_gan.files.paths import open_file
from astro_gan.files.picture_decode import Decoded, decode, size_of
from astro_gan.files.refusals import explained

# More takes hours and tens of gigabytes; and a few hundred bytes of file can declare any size.
MAXIMUM_PIXELS = 1_000_000_000
SUFFIXES = {'.jpg': 'jpg', '.jpeg': 'jpg', '.png': 'png', '.tif': 'tif', '.tiff': 'tif'}
_KINDS = ('jpg', 'png', 'tif')
_DEPTHS = {'uchar': np.uint8, 'ushort': np.uint16}
_GRAY_LEVELS = 2  # of 255: channels this close are gray that went through a colour JPEG
_REACH = 64  # pixels beyond an edge of what is visible; the networks that ship look less far


@dataclasses.dataclass(frozen=True, eq=False)
class PictureSource(Decoded):
    """An upright picture to be read in windows (see `render.Source`).

    Attributes:
        path: as the user named it.
    """

    path: str = ''

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
        """A window, float32 `[height, width, channels]` in [0, 1]; UserError if the file turns out to be damaged.

        Where the picture is wholly transparent the file holds no colour that means anything: near what is visible the
        window holds the nearest colour that does, so that edges stay clean when they are enlarged.
        """
        if self.alpha is None:
            return self._window(self.pixels, top, left, height, width)
        y, x = max(0, top - _REACH), max(0, left - _REACH)
        rows, columns = (min(a, b + _REACH) for a, b in ((self.height, top + height), (self.width, left + width)))
        around = y, x, rows - y, columns - x
        pixels = _filled(self._window(self.pixels, *around), self._window(self.alpha, *around)[..., 0] == 0)
        return pixels[top - y : top - y + height, left - x : left - x + width]

    def read_alpha(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window of the alpha channel, float32 `[height, width, 1]` in [0, 1]."""
        return self._window(self.alpha, top, left, height, width)

    def _window(self, image: Any, top: int, left: int, height: int, width: int) -> np.ndarray:
        with explained(self.path):
            levels = image.crop(left, top, width, height).numpy().reshape(height, width, -1)
        return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)

    def to_gray(self, *, allow_color: bool) -> PictureSource:
        """The picture in one channel, sRGB's gray, with the lightness that is shown: profiles are applied.

        Three channels that hold the same (within the rounding of a JPEG) are gray. Colours become the gray of their
        luminance.

        Raises:
            UserError: it is in colour, and that is not allowed.
        """
        in_color = self.channels == 3 and not self._is_gray()
        if in_color and not allow_color:
            raise UserError(f'{self.path}: is in colour, and gray is meant; --allow-color makes it gray first')
        if self.profile is None and not in_color:
            return self if self.channels == 1 else dataclasses.replace(self, pixels=self.pixels[1])
        with explained(self.path):
            return dataclasses.replace(self, pixels=light.to_gray(self.pixels, self.profile), profile=None)

    def _is_gray(self) -> bool:
        with explained(self.path):
            red, green, blue = self.pixels.cast('int').bandsplit()
            difference = max((red - green).abs().max(), (blue - green).abs().max())
        return difference <= _GRAY_LEVELS * (1 if self.dtype == np.uint8 else 257)


def _filled(pixels: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Pixels `[H, W, C]` with the nearest colour that is not hidden `[H, W]`, up to `_REACH` away."""
    if not hidden.any() or hidden.all():
        return pixels
    from scipy import ndimage  # a quarter of a second, which most pictures do not need

    distance, (y, x) = ndimage.distance_transform_edt(hidden, return_indices=True)
    return np.where((distance <= _REACH)[..., None], pixels[y, x], pixels)


def too_large(height: int, width: int, maximum_pixels: int) -> str:
    """What is wrong with an input of that size."""
    allowed = f'{width}x{height} pixels are more than the {maximum_pixels / 1e6:.0f} megapixels that are read'
    return f'{allowed}; --max-megapixels {height * width // 10**6 + 1} reads it all the same'


def open_picture(path: str | os.PathLike[str], *, maximum_pixels: int = MAXIMUM_PIXELS) -> PictureSource:
    """Open a JPEG, PNG or TIFF (told by its first bytes), turned upright, and make sure that its inside is whole.

    Palettes are looked up, CMYK becomes sRGB, a PNG's gamma is applied. Profiles stay as they are.

    Raises:
        UserError: not such a picture, damaged, too large, or of a kind that is not supported; one line.
    """

    def check_size(height: int, width: int) -> None:
        if height * width > maximum_pixels:
            raise UserError(too_large(height, width, maximum_pixels))

    with open_file(path) as (file, name), explained(name):
        kind = _known_kind(file.read(16))
        return PictureSource(path=name, **vars(decode(file, os.fsencode(path), kind, check_size)))


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """`(height, width)` of a JPEG, PNG or TIFF from its header, upright; raises as `open_picture`."""
    with open_file(path) as (file, name), explained(name):
        return size_of(file, os.fsencode(path), _known_kind(file.read(16)))


def _known_kind(start: bytes) -> str:
    kind = picture_kind(start)
    if kind == 'raw':
        raise UserError(tiff.RAW)
    if kind not in _KINDS:
        raise UserError('neither a JPEG, PNG or TIFF picture nor a FITS file')
    return kind
