"""A picture of docs/gallery.md: the same nebulae coloured under different guides, beside the truth.

    python -m experiments.study.guided_gallery HUBBLE heic1007f=halpha opo9603a=sho -o docs/gallery/guided.jpg

Rows are pictures of the test split, each with a palette; columns are gray | no guide | that palette | 5 hints
(circled) | two bands (red and blue of the truth, without the lower right quarter) | truth. All guides but the palette
are read from the truth. The line of credits is printed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from astro_gan import guides, images
from astro_gan.color import lightness_to_gray, rgb_to_lab
from astro_gan.inference.guide_options import read_palette
from astro_gan.inference.guides import Guides
from astro_gan.inference.network import Network
from astro_gan.inference.render import ArraySource, render
from astro_gan.model import load_model
from experiments.study.gallery import FACTOR, read, save

HINTS, RING = 5, 14  # how many, and pixels from a hint to its circle
SHOWN = (640, 960)  # rows and columns of all pictures, the middle of the larger ones


def row(network: Network, truth: np.ndarray, palette: str) -> list[np.ndarray]:
    """RGB `[h, w, 3]` in [0, 1] under each guide, of a true picture like that."""
    lab = np.asarray(rgb_to_lab(truth))
    light, size = lab[..., 0], truth.shape[:2]
    gray = np.asarray(lightness_to_gray(lab[..., :1]))
    # Where a user would look: five random pixels of the brighter half of what is shown.
    top, left = _corner(truth)
    inside = np.zeros(size, bool)
    inside[top : top + SHOWN[0], left : left + SHOWN[1]] = True
    y, x = np.nonzero(inside & (light >= np.median(light[inside])))
    chosen = np.random.default_rng(0).choice(len(y), HINTS, replace=False)
    hints = np.column_stack([x[chosen], y[chosen], lab[y[chosen], x[chosen], 1:]])
    bands = np.array(guides.two_bands(light, truth[..., 0], truth[..., 2]))
    bands[top + SHOWN[0] // 2 :, left + SHOWN[1] // 2 :] = np.nan
    told = [{}, {'colours': read_palette(palette)}, {'hints': hints}, {'known': bands}]
    made = []
    for one in told:
        strips = render([network], ArraySource(gray), guides=Guides(size=size, **one))  # type: ignore[arg-type]
        made.append(np.concatenate(list(strips)))
    made[2] = _circled(made[2], hints)
    return [np.repeat(gray, 3, axis=-1), *made, truth]


def _circled(picture: np.ndarray, hints: np.ndarray) -> np.ndarray:
    image = Image.fromarray(images.to_uint8(picture))
    draw = ImageDraw.Draw(image)
    for x, y in hints[:, :2]:
        draw.ellipse((x - RING, y - RING, x + RING, y + RING), outline='white', width=3)
    return np.asarray(image, np.float32) / 255


def _corner(picture: np.ndarray) -> tuple[int, int]:
    return max(0, (picture.shape[0] - SHOWN[0]) // 2), max(0, (picture.shape[1] - SHOWN[1]) // 2)


def grid(network: Network, folder: Path, wanted: Sequence[tuple[str, str]]) -> np.ndarray:
    """The rows of pictures and palettes, made 4 times smaller for the page, uint8."""
    rows = []
    for name, palette in wanted:
        truth = read(next(folder.glob(f'*/{name}.jpg'), folder / f'{name}.jpg').parent, name)
        if truth.shape[0] < SHOWN[0] or truth.shape[1] < SHOWN[1]:
            raise ValueError(f'{name}: {truth.shape[1]}x{truth.shape[0]} pixels; {SHOWN[1]}x{SHOWN[0]} are shown')
        top, left = _corner(truth)
        cut = [cell[top : top + SHOWN[0], left : left + SHOWN[1]] for cell in row(network, truth, palette)]
        rows.append([np.asarray(images.quantize(images.downsample(cell[None], FACTOR)))[0] for cell in cut])
    return images.comparison_grid([np.stack(column) for column in zip(*rows, strict=True)])


def credits(folder: Path, names: Sequence[str]) -> str:
    """The line that licence and courtesy ask for, of the manifest beside the pictures."""
    with (folder / 'manifest.csv').open() as file:
        pages = {line['id']: line['page'] for line in csv.DictReader(file)}
    return 'Pictures: ESA/Hubble ' + ', '.join(f'[{name}]({pages[name]})' for name in names) + '; CC BY 4.0.'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.study.guided_gallery', description=__doc__.splitlines()[0]
    )
    parser.add_argument('folder', type=Path, help='with press pictures, by split, and their manifest.csv')
    parser.add_argument('rows', nargs='+', metavar='ID=PALETTE', help='a picture and a palette as --palette takes it')
    parser.add_argument('--model', default='colorize', help='a shipped model or an exported directory')
    parser.add_argument('-o', '--output', type=Path, default=Path('docs/gallery/guided.jpg'))
    arguments = parser.parse_args()
    wanted = [(name, palette) for name, _, palette in (text.partition('=') for text in arguments.rows)]
    try:
        line = credits(arguments.folder, [name for name, _ in wanted])
        save(grid(load_model(arguments.model).networks[0], arguments.folder, wanted), arguments.output)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyError as error:
        sys.exit(f'error: {arguments.folder / "manifest.csv"}: has no picture {error.args[0]}')
    print(line)


if __name__ == '__main__':
    main()
