"""Guides as a user writes them on the command line, checked and read: palettes, hints, pictures and bands."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from astro_gan.color import rgb_to_lab
from astro_gan.errors import UserError
from astro_gan.files import picture_source as pictures
from astro_gan.files.hashes import sha256_of
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import open_file, printable
from astro_gan.guides import palette_of, resized
from astro_gan.inference.guides import Guides

PALETTES = Path(__file__).with_name('palettes.json')
MOST_COLOURS, MOST_HINTS = 8, 2000
_MOST_PIXELS = 1024  # on the longer side of a picture that colours are taken from: they are smooth
_STROKE = 15  # pixels: longer strokes of a picture of hints become several
_HEX = re.compile(r'#[0-9a-fA-F]{6}')


@dataclasses.dataclass(frozen=True)
class GuideOptions:
    """What stands on the command line; see `astro-gan colorize --help`.

    Attributes:
        palette: a shipped one's name, '#rrggbb,#rrggbb,...' or a JSON file.
        like: a picture whose palette over L* is taken.
        hint: 'X,Y=#rrggbb' each.
        hints: a CSV file, or a PNG of dots on transparency.
        color_from: a colour picture; or two or three frames or gray pictures, red first.
        variant: which guess is taken where there is no guide.
    """

    palette: str = ''
    like: str = ''
    hint: tuple[str, ...] = ()
    hints: str = ''
    color_from: tuple[str, ...] = ()
    variant: int = 0

    @property
    def given(self) -> bool:
        """Whether there is any guide."""
        return bool(self.palette or self.like or self.hint or self.hints or self.color_from)

    @property
    def of_one_image(self) -> bool:
        """Whether some guide belongs to one image alone."""
        return bool(self.hint or self.hints or self.color_from)

    def deciding(self) -> dict[str, Any]:
        """What decides the output, files by their hashes; {} for the default."""
        files = (self.like, self.hints, *self.color_from, self.palette if os.path.isfile(self.palette) else '')
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in named.items() if value}
        hashes = {os.path.basename(file): sha256_of(file) for file in files if file}
        return told | ({'sha256': hashes} if hashes else {})


def read_guides(options: GuideOptions, source: Any) -> Guides:
    """The guides for one image.

    Args:
        options: of the command line.
        source: the image: a PictureSource, or a FrameSource for frames aligned by their coordinates.

    Raises:
        UserError: a wrong value or file; one line that names it.
    """
    if options.palette and options.like:
        raise UserError('--palette and --like: both give a palette; leave one of them out')
    size = (source.height, source.width)
    given: dict[str, Any] = {}
    if options.palette:
        given['colours'] = read_palette(options.palette)
    if options.like:
        given['palette'] = palette_of(_lab(_read_colour(options.like, '--like')))
    rows = [_parse_hint(text) for text in options.hint]
    rows += _read_hints(options.hints, size) if options.hints else []
    if rows:
        given['hints'] = _checked_hints(rows, size)
    if len(options.color_from) == 1:
        given['picture'] = _read_picture(options.color_from[0], size)
    elif options.color_from:
        from astro_gan.inference.bands import read_bands

        given['known'] = read_bands(options.color_from, source)
    return Guides(size=size, variant=options.variant, **given)


def _lab(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(rgb_to_lab(jnp.asarray(rgb, jnp.float32)))


def _hex(text: str, where: str) -> np.ndarray:
    """sRGB `[3]` in [0, 1] of '#rrggbb'."""
    text = text.strip()
    if not _HEX.fullmatch(text):
        raise UserError(f'{where}: {printable(text)} is no colour; write #rrggbb, such as #ffcc88')
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0


def shipped_palettes() -> dict[str, dict[str, Any]]:
    """Those that ship: colours for dark, middle and light, what for, and where from."""
    return json.loads(PALETTES.read_text())


def read_palette(text: str) -> np.ndarray:
    """a*b* `[n, 2]` for dark to light, of a shipped palette's name, '#rrggbb,...' or a JSON file."""
    shipped, where = shipped_palettes(), f'--palette {printable(text)}'
    if text in shipped:
        colours = shipped[text]['colours']
    elif text.startswith('#'):
        colours = text.split(',')
    elif os.path.isfile(text):
        try:
            with open_file(text) as (file, _):
                colours = json.loads(file.read(2**20))
            colours = colours['colours'] if isinstance(colours, dict) else colours
            if not all(isinstance(colour, str) for colour in colours):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError(f'{where}: not a JSON file of a list of colours, ["#rrggbb", ...], dark to light') from None
    else:
        raise UserError(
            f'{where}: no such file, and no palette of that name (there are: {", ".join(shipped)}); '
            'or write "#rrggbb,#rrggbb,#rrggbb" for dark, middle and light'
        )
    if not 1 <= len(colours) <= MOST_COLOURS:
        raise UserError(f'{where}: {len(colours)} colours; 1 to {MOST_COLOURS} are taken, from dark to light')
    return _lab(np.stack([_hex(colour, where) for colour in colours]))[:, 1:]


def _parse_hint(text: str) -> tuple[float, float, np.ndarray, str]:
    match = re.fullmatch(r'\s*(\d{1,7})\s*,\s*(\d{1,7})\s*=\s*(.*)', text)
    where = f'--hint {printable(text)}'
    if not match:
        raise UserError(f'{where}: write X,Y=#rrggbb, such as 120,88=#ffcc88, in pixels from the upper left, from 0')
    return float(match[1]), float(match[2]), _hex(match[3], where), where


def _read_hints(path: str, size: tuple[int, int]) -> list[tuple[float, float, np.ndarray, str]]:
    where = f'--hints {printable(path)}'
    if kind_of(path):
        return _read_dots(path, size, where)
    try:
        with open_file(path) as (file, _):
            lines = file.read(2**24).decode('utf-8-sig').splitlines()
    except UnicodeDecodeError:
        raise UserError(f'{where}: neither a CSV file nor a PNG') from None
    rows = []
    comma = max(',;\t', key=''.join(lines).count)  # spreadsheets write others where 1,5 is a number
    for number, row in enumerate(csv.reader(lines, delimiter=comma), start=1):
        if not ''.join(row).strip() or (number == 1 and not any(map(str.isdigit, ''.join(row)))):
            continue  # a header
        if len(row) != 3 or not (row[0].strip().isdecimal() and row[1].strip().isdecimal()):
            raise UserError(f'{where}, line {number}: write X,Y,#rrggbb, in pixels from the upper left, from 0')
        rows.append((float(row[0]), float(row[1]), _hex(row[2], f'{where}, line {number}'), f'{where}, line {number}'))
    if not rows:
        raise UserError(f'{where}: no hints in it')
    return rows


def _read_dots(path: str, size: tuple[int, int], where: str) -> list[tuple[float, float, np.ndarray, str]]:
    """A hint for each dot, and for each piece of a stroke: the mean colour at the pixel next to the middle."""
    from scipy import ndimage

    picture = pictures.open_picture(path)
    if picture.alpha is None:
        raise UserError(f'{where}: has no transparency; a PNG of hints is dots of colour on transparency')
    if (picture.height, picture.width) != size:
        raise UserError(f'{where}: {picture.width}x{picture.height} pixels; the image has {size[1]}x{size[0]}')
    alpha = picture.read_alpha(0, 0, *size)[..., 0]
    rgb = np.broadcast_to(picture.read(0, 0, *size), (*size, 3))
    labels, _ = ndimage.label(alpha > 0.5, structure=np.ones((3, 3)))
    y, x = np.nonzero(labels)
    if not len(y):
        raise UserError(f'{where}: no dot in it; a dot is a pixel that is more than half opaque')
    pieces = np.stack([labels[y, x], y // _STROKE, x // _STROKE], axis=1)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if all(side.stop - side.start <= _STROKE for side in box):
            pieces[pieces[:, 0] == label, 1:] = 0
    rows = []
    for piece in np.unique(pieces, axis=0):
        own = (pieces == piece).all(1)
        middle = np.argmin(np.hypot(y[own] - y[own].mean(), x[own] - x[own].mean()))
        colour = rgb[y[own], x[own]].mean(0)
        rows.append((float(x[own][middle]), float(y[own][middle]), colour, where))
    return rows


def _checked_hints(rows: list[tuple[float, float, np.ndarray, str]], size: tuple[int, int]) -> np.ndarray:
    if len(rows) > MOST_HINTS:
        raise UserError(f'{rows[0][3].split(",")[0]}: {len(rows)} hints; {MOST_HINTS} are taken at most')
    found: dict[tuple[float, float], np.ndarray] = {}
    for x, y, colour, where in rows:
        if x >= size[1] or y >= size[0]:
            raise UserError(f'{where}: outside the image, which has {size[1]}x{size[0]} pixels')
        found[x, y] = colour  # the last word counts
    ab = _lab(np.stack(list(found.values())))[:, 1:]
    return np.concatenate([np.array(list(found), np.float32), ab], axis=1)


def _read_colour(path: str, option: str) -> np.ndarray:
    """RGB `[h, w, 3]` in [0, 1] of a colour picture, at most _MOST_PIXELS on a side."""
    where = f'{option} {printable(path)}'
    with open_file(path):
        kind = kind_of(path)
    if kind not in ('jpg', 'png', 'tif'):
        more = '; of frames two or three are needed, red first' if kind == 'fits' else ''
        raise UserError(f'{where}: not a colour picture (JPEG, PNG or TIFF){more}')
    picture = pictures.open_picture(path)
    if picture.channels != 3:
        raise UserError(f'{where}: is gray; a picture with colours is needed')
    rgb = picture.read(0, 0, picture.height, picture.width)
    share = min(1.0, _MOST_PIXELS / max(rgb.shape[:2]))
    return np.clip(resized(rgb, *(max(1, round(side * share)) for side in rgb.shape[:2])), 0.0, 1.0)


def _read_picture(path: str, size: tuple[int, int]) -> np.ndarray:
    rgb = _read_colour(path, '--color-from')
    height, width = rgb.shape[:2]
    # Half a pixel of the smaller picture is no difference.
    if abs(height * size[1] - width * size[0]) > 0.02 * width * size[0] + max(size):
        raise UserError(
            f'--color-from {printable(path)}: {width}x{height} is another shape than that of the image, '
            f'{size[1]}x{size[0]}; it must show the same sky'
        )
    return _lab(rgb)[..., 1:]
