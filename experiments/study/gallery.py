"""The pictures of docs/gallery.md: what the shipped models make of validation pictures and of a real frame.

    python -m experiments.study.gallery HUBBLE/val --frame FRAME.fits -o docs/gallery

HUBBLE/val has the ESA/Hubble press pictures named below, FRAME is any FITS frame of a galaxy or a star field. Pictures
are made 4 times smaller (enlarging) or gray (colorization) first, so the truth is known; the frame has none.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from astro_gan import images
from astro_gan.color import lightness_to_gray, rgb_to_lab
from astro_gan.files import atomic
from astro_gan.files.picture_source import MAXIMUM_PIXELS
from astro_gan.files.pictures import read_picture
from astro_gan.inference.frames import open_frame
from astro_gan.model import load_model

FACTOR = 4
SIDE = 240  # pixels of the truth that are shown of an enlarged picture
# Rows: picture and upper left pixel (y, x) of the part that is shown. The last one of each is a failure.
ENLARGED = [('heic1006a', 330, 330), ('potw1630a', 250, 560), ('potw2111a', 250, 330), ('heic1510a', 200, 400)]
COLOURED = ['heic1006a', 'potw1726a', 'potw1530a', 'potw1308a', 'opo9603a']
NOISY = ('wdsr_x2', 'frames_x2')  # a network for pictures, and one for frames with noise
UPSCALERS = ('wdsr_x4', 'wdsr_gan_x4')
COLORIZER = 'colorize_lab'


def read(folder: Path, name: str) -> np.ndarray:
    """A picture as floats in [0, 1], its sides multiples of 4."""
    picture = read_picture(folder / f'{name}.jpg')
    height, width = (side // FACTOR * FACTOR for side in picture.shape[:2])
    return picture[:height, :width].astype(np.float32) / 255


def enlarged(folder: Path) -> np.ndarray:
    """Rows of input | bicubic | every upscaler | truth."""
    models = [load_model(name) for name in UPSCALERS]
    rows = []
    for name, top, left in ENLARGED:
        truth = read(folder, name)
        low_res = np.asarray(images.quantize(images.downsample(truth[None], FACTOR)))[0]
        results = [np.asarray(images.upsample(low_res[None], FACTOR))[0], *(model(low_res) for model in models), truth]
        low = low_res[top // FACTOR :, left // FACTOR :][: SIDE // FACTOR, : SIDE // FACTOR]
        rows.append([low, *(result[top : top + SIDE, left : left + SIDE] for result in results)])
    return images.comparison_grid([np.stack(column) for column in zip(*rows, strict=True)])


def coloured(folder: Path) -> np.ndarray:
    """Rows of gray | colorizer | truth, the middle of every picture, made 4 times smaller for the page."""
    model = load_model(COLORIZER)
    rows = []
    for name in COLOURED:
        truth = read(folder, name)
        gray = np.asarray(lightness_to_gray(rgb_to_lab(truth[None])[..., :1]))[0]
        cells = [np.repeat(gray, 3, axis=-1), model(gray), truth]
        size = (640, 960)  # of all of them, the middle of the larger ones
        top, left = ((have - want) // 2 for have, want in zip(truth.shape, size, strict=False))
        cut = [cell[top : top + size[0], left : left + size[1]] for cell in cells]
        rows.append([np.asarray(images.quantize(images.downsample(cell[None], FACTOR)))[0] for cell in cut])
    return images.comparison_grid([np.stack(column) for column in zip(*rows, strict=True)])


def frame(path: str, top: int, left: int) -> np.ndarray:
    """A row of the frame's own pixels | bicubic | every upscaler, gray, under the stretch of the command line."""
    source = open_frame(path, hdu=None, stretch='asinh', upright=True, maximum_pixels=MAXIMUM_PIXELS)
    side = SIDE // FACTOR
    if min(top, left) < 0 or source.height < top + side or source.width < left + side:
        raise ValueError(f'{path}: {source.height} x {source.width} has no {side} pixels at {top}, {left}')
    margin = min(32, top, left, source.height - side - top, source.width - side - left)
    part = source.read(top - margin, left - margin, side + 2 * margin, side + 2 * margin)
    inner = slice(margin, margin + side)
    large = slice(margin * FACTOR, (margin + side) * FACTOR)
    cells = [np.asarray(images.upsample(part[None], FACTOR))[0], *(load_model(name)(part) for name in UPSCALERS)]
    columns = [part[inner, inner], *(cell.reshape(*cell.shape[:2], 1)[large, large] for cell in cells)]
    return images.comparison_grid([np.repeat(column, 3, axis=-1)[None] for column in columns])


def noisy(path: str, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A row of a part of a frame: itself | NOISY, enlarged twice; gray, under the stretch of the command line."""
    source = open_frame(path, hdu=None, stretch='asinh', upright=True, maximum_pixels=MAXIMUM_PIXELS)
    if min(top, left) < 0 or source.height < top + height or source.width < left + width:
        raise ValueError(f'{path}: {source.height} x {source.width} has no {height} x {width} pixels at {top}, {left}')
    whole = source.read(0, 0, source.height, source.width)
    picture, network = (load_model(name) for name in NOISY)
    data, _ = source.rows(0, source.height)
    cells = [whole.repeat(2, 0).repeat(2, 1), picture(whole), source.stretch.apply(network(data[0]))[..., None]]
    part = slice(2 * top, 2 * (top + height)), slice(2 * left, 2 * (left + width))
    zoomed = [np.repeat(np.clip(cell.reshape(*cell.shape[:2], 1)[part], 0, 1), 3, -1) for cell in cells]
    return images.comparison_grid([cell.repeat(2, 0).repeat(2, 1)[None] for cell in zoomed])


def save(grid: np.ndarray, path: Path) -> None:
    """As JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(grid).save(buffer, 'JPEG', quality=92)
    atomic.write(path, buffer.getvalue())
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m experiments.study.gallery', description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', help='with the press pictures; without it only what --noisy names')
    parser.add_argument('--frame', help='FITS frame')
    parser.add_argument('--at', nargs=2, type=int, default=(530, 105), metavar=('Y', 'X'), help='part of the frame')
    parser.add_argument(
        '--noisy', nargs=6, action='append', default=[], metavar=('NAME', 'FRAME', 'Y', 'X', 'HEIGHT', 'WIDTH'),
        help='part of a frame as frames_NAME.jpg',
    )  # fmt: skip
    parser.add_argument('-o', '--output', default='docs/gallery')
    arguments = parser.parse_args()
    output = Path(arguments.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, path, *place in arguments.noisy:
            save(noisy(path, *map(int, place)), output / f'frames_{name}.jpg')
        if arguments.folder is None:
            return
        if arguments.frame:
            save(frame(arguments.frame, *arguments.at), output / 'frame.jpg')
        save(enlarged(Path(arguments.folder)), output / 'enlarged.jpg')
        save(coloured(Path(arguments.folder)), output / 'coloured.jpg')
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
