"""What `astro-gan colorize` and `enhance` take of a user's knowledge: guides, and how many guesses without one."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astro_gan.commands import expanded

MOST_VARIANTS = 16
_SHEET = 480  # pixels on the longer side of a picture of a contact sheet


def add_to(parser: argparse.ArgumentParser) -> None:
    """The options."""
    group = parser.add_argument_group('what is known of the colours', 'any of them together; see docs/colorizing.md')
    group.add_argument(
        '--palette',
        default='',
        metavar='NAME|"#hex,..."|FILE',
        help='colours for dark, middle and light: a shipped palette, 1 to 8 colours, or a JSON file with such a list',
    )
    group.add_argument('--like', type=expanded, metavar='PICTURE', help='colours over lightness as there')
    group.add_argument(
        '--hint',
        action='append',
        default=[],
        metavar='X,Y=#rrggbb',
        help='the colour of a pixel, counted from 0 at the upper left (of a frame that stays one: in its first row); '
        'again for more',
    )
    group.add_argument(
        '--hints',
        type=expanded,
        metavar='FILE',
        help='hints: CSV (x,y,#rrggbb), or a PNG of dots on transparency',
    )
    group.add_argument(
        '--color-from',
        nargs='+',
        type=expanded,
        default=[],
        metavar='FILE',
        help='the same sky from elsewhere: a colour picture of any size, or two or three bands, red first '
        '(frames are aligned by their coordinates)',
    )
    group.add_argument(
        '--variants',
        type=_count,
        metavar='N',
        help='without such knowledge: N different guesses, one output each, and a contact sheet',
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_VARIANTS:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 1 to {MOST_VARIANTS}')
    return int(text)


def options(arguments: argparse.Namespace, jobs: list[Any]) -> Any:
    """The GuideOptions of the command line.

    Raises:
        UserError: options that do not go together, or with several images.
    """
    from astro_gan.errors import UserError
    from astro_gan.inference.guide_options import GuideOptions, read_palette

    if arguments.command == 'upscale':
        return GuideOptions()
    chosen = GuideOptions(
        palette=arguments.palette,
        like=arguments.like or '',
        hint=tuple(arguments.hint),
        hints=arguments.hints or '',
        color_from=tuple(arguments.color_from),
    )
    if chosen.of_one_image and len(jobs) > 1:
        raise UserError(f'--hint, --hints and --color-from belong to one image; {len(jobs)} are given')
    if chosen.given and arguments.variants:
        raise UserError('--variants: guesses are made where nothing is known; leave the guides out, or --variants')
    if chosen.palette:
        read_palette(chosen.palette)  # a wrong one is an error before the first file
    return chosen


def runs(settings: Any, jobs: list[Any], variants: int | None) -> Iterator[tuple[Any, list[Any]]]:
    """Settings with the jobs that they are for: as they are, or for each variant `m51_1.png`, `m51_2.png` ..."""
    if not variants:
        yield settings, jobs
        return
    for number in range(variants):
        guides = dataclasses.replace(settings.guides, variant=number)
        named = [(source, _variant(target, number)) for source, target in jobs]
        yield dataclasses.replace(settings, guides=guides), named


def _variant(target: Path, number: int) -> Path:
    stem, dot, rest = target.name.partition('.')
    return target.with_name(f'{stem}_{number + 1}{dot}{rest}')


def write_sheets(jobs: list[Any], variants: int) -> list[Path]:
    """A contact sheet for each image all of whose variants are pictures: `m51_variants.jpg`."""
    from PIL import Image, ImageDraw

    from astro_gan.files.atomic import replacing

    sheets = []
    for _, target in jobs:
        paths = [_variant(target, number) for number in range(variants)]
        if '.fit' in target.name.lower() or not all(path.is_file() for path in paths):
            continue
        columns = min(variants, 4)
        thumbnails = []
        for path in paths:
            thumbnails.append(_thumbnail(path))
        width, height = thumbnails[0].size
        rows = -(-variants // columns)
        sheet = Image.new('RGB', (columns * width, rows * height), 'white')
        for number, thumbnail in enumerate(thumbnails):
            place = (number % columns * width, number // columns * height)
            sheet.paste(thumbnail, place)
            ImageDraw.Draw(sheet).text(
                (place[0] + 8, place[1] + 8), str(number + 1), 'white', stroke_width=2, stroke_fill='black'
            )
        path = target.with_name(f'{target.name.partition(".")[0]}_variants.jpg')
        with replacing(path, '.jpg') as temporary:
            sheet.save(temporary, quality=90)
        sheets.append(path)
    return sheets


def _thumbnail(path: Path) -> Any:
    """A picture of 8 bits, at most _SHEET on a side."""
    import numpy as np
    from PIL import Image

    from astro_gan.files.picture_source import open_picture

    picture = open_picture(path)
    share = min(1.0, _SHEET / max(picture.height, picture.width))
    rgb = picture.read(0, 0, picture.height, picture.width)
    image = Image.fromarray(np.round(255 * np.clip(rgb, 0, 1)).astype(np.uint8))
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))
