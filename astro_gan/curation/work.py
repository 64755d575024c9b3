"""The work on one picture: `examine` reads, crops and measures it, `cut` writes its tiles."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from astro_gan.curation import duplicates, framing, quality, sources
from astro_gan.curation.limits import Limits, Refusal, judge
from astro_gan.errors import UserError
from astro_gan.files import pictures
from astro_gan.files.hashes import sha256_of
from astro_gan.files.paths import printable

FORMATS: dict[str, dict[str, Any]] = {'png': {'compress_level': 6}, 'jpg': {'quality': 95, 'subsampling': 0}}
KEPT_BY_HAND = 'kept by hand'
_THUMBNAIL = 160
_SMALLEST = 64  # pixels: less cannot be measured


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run depends on, besides the pictures."""

    limits: Limits = dataclasses.field(default_factory=Limits)
    tile: int = 256  # pixels; 0 leaves pictures whole
    format: str = 'png'
    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f'format is {self.format!r}; valid are {", ".join(FORMATS)}')
        if self.tile and not 32 <= self.tile <= 8192:
            raise UserError(f'tile is {self.tile}: must be 32 to 8192 pixels, or 0 for whole pictures')
        fractions = (self.test_fraction, self.validation_fraction)
        if not (all(0 <= fraction < 1 for fraction in fractions) and sum(fractions) < 1):
            raise UserError('the fractions for test and validation must be 0 or more and together less than 1')


@dataclasses.dataclass
class Picture:
    """What is known of one file of the folder."""

    name: str
    sha256: str = ''
    box: framing.Box = (0, 0, 0, 0)
    measured: dict[str, float] = dataclasses.field(default_factory=dict)
    refusal: Refusal | None = None
    decision: str = 'automatic'
    thumbnail: str = ''
    print: duplicates.Fingerprint | None = None


def examine(task: tuple[Path, str, Path, str, sources.Override | None, Settings]) -> Picture:
    """Read, crop and measure one picture, and leave its thumbnail."""
    root, name, partial, number, by_hand, settings = task
    limits, by_hand = settings.limits, by_hand or sources.Override()
    one = Picture(name)
    if by_hand.refuse:
        one.refusal = Refusal('by hand', by_hand.refuse)
    try:
        one.sha256 = sha256_of(root / name)
        pixels = pictures.read_picture(root / name)
    except ValueError as error:
        why = str(error).removeprefix(f'{printable(root / name)}: ')
        one.refusal = one.refusal or Refusal('unreadable', why)
        return one
    height, width = pixels.shape[:2]
    smallest = int(max(_SMALLEST, limits.minimum_size, settings.tile))
    if by_hand.crop:
        one.decision = 'cropped by hand'
        x0, y0, x1, y1 = by_hand.crop
        one.box = min(x0, width), min(y0, height), min(x1, width), min(y1, height)
    elif min(width, height) >= _SMALLEST and not by_hand.keep:
        one.box = framing.clean_box(pixels)
    else:
        one.box = (0, 0, width, height)
    if by_hand.keep:
        one.decision = KEPT_BY_HAND
    x0, y0, x1, y1 = one.box
    _write_thumbnail(pixels, one.box, partial / 'thumbnails' / f'{number}.jpg')
    one.thumbnail = f'thumbnails/{number}.jpg'
    one.measured = {'area': (x1 - x0) * (y1 - y0) / (width * height)}
    if one.refusal:
        return one
    if min(width, height) < smallest:
        one.refusal = Refusal('too small', f'{width}x{height}', f'minimum_size {smallest}')
    elif one.measured['area'] < limits.minimum_area and not by_hand.crop:
        one.refusal = Refusal('borders', f'area {one.measured["area"]:.3g}', f'minimum_area {limits.minimum_area:g}')
    elif min(x1 - x0, y1 - y0) < smallest:
        one.refusal = Refusal('borders', f'{x1 - x0}x{y1 - y0} left', f'minimum_size {smallest}')
    if one.refusal is None:
        sky = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        one.measured |= quality.measure(sky)
        one.refusal = None if by_hand.keep else judge(one.measured, limits)
        if one.refusal is None:
            one.print = duplicates.fingerprint(sky)
    return one


def cut(task: tuple[Path, Picture, Path, str, Settings]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the tiles of one picture below `partial`, their names starting with `stem`.

    Returns the manifest's rows, and rows for the tiles that were refused.
    """
    root, one, partial, stem, settings = task
    x0, y0, x1, y1 = one.box
    if sha256_of(root / one.name) != one.sha256:
        raise UserError(f'{printable(root / one.name)}: changed while it was read')
    pixels = pictures.read_picture(root / one.name)
    tile = settings.tile
    if tile:
        # The grid lies in the middle: what is left over is shared by the sides.
        columns, rows = (x1 - x0) // tile, (y1 - y0) // tile
        left, top = x0 + (x1 - x0 - columns * tile) // 2, y0 + (y1 - y0 - rows * tile) // 2
        boxes = [(left + i * tile, top + j * tile) for j in range(rows) for i in range(columns)]
    else:
        boxes = [(x0, y0)]
    split = stem.split('/')[0]
    (partial / split).mkdir(exist_ok=True)
    good, bad = [], []
    for x, y in boxes:
        right, bottom = (x + tile, y + tile) if tile else (x1, y1)
        piece = np.ascontiguousarray(pixels[y:bottom, x:right])
        row: dict[str, Any] = {'x0': x, 'y0': y, 'x1': right, 'y1': bottom}
        if tile:
            row |= quality.measure_tile(piece)
            refusal = None if one.decision == KEPT_BY_HAND else judge(row, settings.limits, tile=True)
            if refusal:
                bad.append({**row, **dataclasses.asdict(refusal)})
                continue
        file = f'{stem}_{x:05d}_{y:05d}.{settings.format}' if tile else f'{stem}.{settings.format}'
        Image.fromarray(piece).save(partial / file, **FORMATS[settings.format])
        written = sha256_of(partial / file)
        row |= {'file': file, 'split': split, 'sha256': written, 'width': right - x, 'height': bottom - y}
        good.append(row)
    return good, bad


def _write_thumbnail(pixels: np.ndarray, box: framing.Box, path: Path) -> None:
    """The whole picture, what is cropped away at half its brightness."""
    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    scale = image.width / pixels.shape[1]
    shown = np.asarray(image) // 2
    x0, y0, x1, y1 = (round(value * scale) for value in box)
    shown[y0:y1, x0:x1] = np.asarray(image)[y0:y1, x0:x1]
    Image.fromarray(shown).save(path, quality=80)
