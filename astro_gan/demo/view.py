"""What the page shows: inputs and outputs as 8-bit pictures, hints on them, numbers as a table."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from astro_gan.audit.auditor import Audit
from astro_gan.audit.files import LIMIT, colored, thumbnail
from astro_gan.files.fits import Stretch
from astro_gan.files.kinds import kind_of
from astro_gan.files.picture_source import open_picture
from astro_gan.files.tiff import is_float_tiff
from astro_gan.inference.frames import open_frame
from astro_gan.inference.provenance import NOTICE

LARGEST = 1600  # pixels on a side of what is shown


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image for the screen.

    Attributes:
        pixels: uint8 `[h, w, 3]`, at most LARGEST on a side.
        size: height and width of the image itself.
        turned: whether its first row is at the bottom of what is shown.
        stretch: of a frame; None: a picture.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    turned: bool = False
    stretch: Stretch | None = None

    def place(self, x: float, y: float) -> tuple[int, int]:
        """The pixel (x, y) of the image at a pixel of what is shown, both from 0 at the upper left.

        Of a frame, which stays one, pixels are counted in its array: from the first row.
        """
        height, width = self.size
        column = min(int((x + 0.5) * width / self.pixels.shape[1]), width - 1)
        row = min(int((y + 0.5) * height / self.pixels.shape[0]), height - 1)
        return column, height - 1 - row if self.turned else row

    def shown_at(self, column: int, row: int) -> tuple[float, float]:
        """The other way round."""
        height, width = self.size
        row = height - 1 - row if self.turned else row
        return (column + 0.5) * self.pixels.shape[1] / width, (row + 0.5) * self.pixels.shape[0] / height


def show(path: str | Path, *, stretch: str | Stretch, megapixels: int) -> Shown:
    """An image as a picture, the top row first.

    Args:
        stretch: of a frame: a name, or that of another.
        megapixels: largest.

    Raises:
        UserError: it is none; one line.
    """
    kind, limit = kind_of(path), megapixels * 10**6
    if kind in ('fits', 'xisf') or (kind == 'tif' and is_float_tiff(path)):
        name = stretch if isinstance(stretch, str) else 'asinh'
        source: Any = open_frame(path, stretch=name, upright=True, maximum_pixels=limit, allow_mosaic=True)
        if not isinstance(stretch, str) and not source.frame.display:
            source = dataclasses.replace(source, stretch=stretch)
        used, turned = source.stretch, source.turned and kind != 'tif'
    else:
        source, used, turned = open_picture(str(path), maximum_pixels=limit), None, False
    pixels = source.read(0, 0, source.height, source.width)
    levels = np.round(255 * np.clip(np.nan_to_num(pixels), 0.0, 1.0)).astype(np.uint8)
    levels = np.broadcast_to(levels, (*levels.shape[:2], 3))
    share = min(1.0, LARGEST / max(levels.shape[:2]))
    size = (max(1, round(levels.shape[1] * share)), max(1, round(levels.shape[0] * share)))
    return Shown(_resized(levels, size), (source.height, source.width), turned, used)


def before_and_after(before: Shown, output: Path, *, stretch: str, megapixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Input and output at one size; the input enlarged by bicubic interpolation, a frame in the input's stretch."""
    after = show(output, stretch=before.stretch or stretch, megapixels=megapixels * 64)
    height, width = after.pixels.shape[:2]
    return _resized(before.pixels, (width, height)), after.pixels


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC))


def hexadecimal(colour: str) -> str:
    """`#rrggbb` of what a colour picker gives: that, or `rgba(255, 85.4, 51, 1)`."""
    if found := re.match(r'rgba?\(([^)]*)\)', colour):
        red, green, blue = (round(float(part)) for part in found[1].split(',')[:3])
        return f'#{red:02x}{green:02x}{blue:02x}'
    return colour[:7]


def parsed(hints: str) -> list[tuple[int, int, str]]:
    """Those lines `x,y=#rrggbb` that are hints; the command says what is wrong with others."""
    found = re.findall(r'^\s*(\d{1,7})\s*,\s*(\d{1,7})\s*=\s*(#[0-9a-fA-F]{6})\s*$', hints, re.MULTILINE)
    return [(int(x), int(y), colour) for x, y, colour in found]


def with_hints(shown: Shown, hints: list[tuple[int, int, str]]) -> np.ndarray:
    """What is shown, with a dot at every hint (x, y, colour)."""
    image = Image.fromarray(np.ascontiguousarray(shown.pixels))
    draw, radius = ImageDraw.Draw(image), max(3, round(0.008 * max(image.size)))
    for column, row, colour in hints:
        x, y = shown.shown_at(column, row)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour, 'white', max(1, radius // 3))
    return np.asarray(image)


def maps(found: Audit | None, turned: bool) -> list[tuple[np.ndarray, str]]:
    """The maps of an audit as pictures, with their titles; `turned`: their first row is at the bottom."""
    if found is None:
        return []
    titles = {
        'detail': 'Added to bicubic',
        'residual': 'Made smaller, less the input',
    }
    pictures = [
        (colored(thumbnail(np.asarray(getattr(found, name)), LARGEST)), title) for name, title in titles.items()
    ]
    unit = f': ±{LIMIT:g} noise'
    return [(picture[::-1] if turned else picture, title + unit) for picture, title in pictures]


def trust_map(path: Path) -> list[tuple[np.ndarray, str]]:
    """The half width of the interval that holds 90% of the errors, as a picture: bright where little is sure."""
    title = 'Trust: ± for 90%'
    if kind_of(path) == 'fits':
        return [(show(path, stretch='linear', megapixels=10**6).pixels, title)]
    source = open_picture(str(path))
    values = source.read(0, 0, source.height, source.width).mean(-1)
    most = max(float(np.percentile(values, 99.5)), 1e-6)
    shown = np.round(255 * np.clip(thumbnail(values, LARGEST) / most, 0, 1)).astype(np.uint8)
    return [(shown, f'{title}; white: {255 * most:.2g} levels of 255')]


def numbers(made: dict[str, Any], seconds: float, size: tuple[int, int]) -> str:
    """What the description of an output says, as a table (HTML); `size`: height and width of the input."""
    height, width = size
    factor = made['factor']
    rows = {
        'Model': made['model'],
        'Weights, SHA-256': made['weights_sha256'][:16] + ' ...',
        'Input': f'{width} x {height} pixels',
        'Output': f'{factor * width} x {factor * height} pixels, {made["output"]["bytes"] / 1e6:.2f} MB',
        'Time': f'{seconds:.1f} s',
    }
    names = ('', 'red ', 'green ', 'blue ')
    measured = made.get('measured', [])
    for index, found in enumerate(measured):
        plane = names[index + 1] if len(measured) > 1 else ''
        for key, label, unit in (
            ('sky_level', 'sky', ''),
            ('noise_level', 'noise of a pixel', ''),
            ('fwhm', 'FWHM of stars', ' px'),
            ('correlation', 'correlation of neighbours', ''),
        ):
            value, error, _ = found[key].values()
            named = f'{plane}{label}'
            rows[named[0].upper() + named[1:]] = f'{value:.4g} ± {error:.2g}{unit}'
    for name, share in made.get('colours', {}).items():
        rows[f'Colours {name}'] = f'{share:.0%}' if isinstance(share, float) else str(share)
    body = ''.join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table class="numbers">{body}</table><p>{html.escape(NOTICE.capitalize())}.</p>'
