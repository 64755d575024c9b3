"""What ships of the colours of training pictures: palettes to guess from, and how often classes of colour occur.

    python -m experiments.palettes FOLDER -o astro_gan/weights --without heic0601a

writes `palettes.safetensors` (`astro_gan.inference.guesses`) and `colour_classes.safetensors` (which the space
`classes` of experiments/colorization.py weights its loss by).
The same pictures give the same numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from PIL import Image

from astro_gan.color import rgb_to_lab
from astro_gan.colour_classes import shares_of
from astro_gan.files.atomic import replacing
from astro_gan.inference.guesses import make_book

WIDTH = 256  # pixels that pictures are made wide
SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff')


def read_picture(path: Path) -> np.ndarray:
    """L*a*b* `[h, WIDTH, 3]` of a picture."""
    with Image.open(path) as image:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        rgb = np.asarray(image.convert('RGB').resize(size, Image.Resampling.BICUBIC), np.float32) / 255.0
    return np.asarray(rgb_to_lab(jnp.asarray(rgb)))


def make_files(paths: list[Path]) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of both files, by the files' names."""
    labs = [read_picture(path) for path in paths]
    shares = np.mean([shares_of(lab[..., 1:].reshape(-1, 2)) for lab in labs], axis=0)
    book = {name: value.astype(np.float16) for name, value in make_book(labs).items()}
    return {'palettes.safetensors': book, 'colour_classes.safetensors': {'shares': shares.astype(np.float32)}}


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m experiments.palettes', description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='of colour pictures')
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder for both files')
    parser.add_argument(
        '--without', nargs='*', default=[], metavar='NAME', help='pictures to leave out, without suffix'
    )
    args = parser.parse_args()
    paths = sorted(path for path in args.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if path.stem not in args.without]
    if len(paths) < 2:
        raise SystemExit(f'error: {args.folder}: {len(paths)} pictures; at least 2 are needed')
    for name, tensors in make_files(paths).items():
        with replacing(args.output / name, '.safetensors') as temporary:
            safetensors.numpy.save_file(tensors, temporary, metadata={'pictures': str(len(paths))})
    print(f'{args.output}: made of {len(paths)} pictures')


if __name__ == '__main__':
    main()
