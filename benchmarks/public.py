"""Upscalers on the public test sets, beside the numbers that the papers print.

    python -m benchmarks.public DIR wdsr_x2 wdsr_x3 wdsr_x4 wdsr_gan_x4 --import SRRESNET.safetensors

DIR holds a folder of high-resolution pictures for each set, such as Set5/ and Set14/. Each picture is cropped to a
multiple of the factor, made smaller by antialiased bicubic resampling (MATLAB's kernel), rounded to 8 bits, enlarged,
rounded, and compared on Y of BT.601 without as many border pixels as the factor: the convention of the papers.
Published numbers are of networks trained on DIV2K or ImageNet photographs; the networks that ship here were trained on
pictures of the sky.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np

from astro_gan import images
from astro_gan.color import luma
from astro_gan.files.pictures import read_picture
from astro_gan.foreign_weights import as_model
from astro_gan.metrics import psnr, ssim
from astro_gan.model import Model, load_model

FACTORS = (2, 3, 4)
# PSNR in dB and SSIM of Y, by set and factor.
PUBLISHED: dict[str, dict[tuple[str, int], tuple[float, float]]] = {
    # Lim et al. 2017 (arXiv 1707.02921), table 4.
    'bicubic (published)': {
        ('Set5', 2): (33.66, 0.9299),
        ('Set5', 3): (30.39, 0.8682),
        ('Set5', 4): (28.42, 0.8104),
        ('Set14', 2): (30.24, 0.8688),
        ('Set14', 3): (27.55, 0.7742),
        ('Set14', 4): (26.00, 0.7027),
    },
    'EDSR 32 x 256 (published)': {
        ('Set5', 2): (38.11, 0.9601),
        ('Set5', 3): (34.65, 0.9282),
        ('Set5', 4): (32.46, 0.8968),
        ('Set14', 2): (33.92, 0.9195),
        ('Set14', 3): (30.52, 0.8462),
        ('Set14', 4): (28.80, 0.7876),
    },
    # Ledig et al. 2017 (arXiv 1609.04802), tables 2 and 3.
    'SRResNet (published)': {('Set5', 4): (32.05, 0.9019), ('Set14', 4): (28.49, 0.8184)},
    'SRGAN (published)': {('Set5', 4): (29.40, 0.8472), ('Set14', 4): (26.02, 0.7397)},
}


def measure(model: Model | None, paths: list[Path], factor: int) -> tuple[float, float]:
    """Mean PSNR and SSIM of Y over pictures; `model` None is bicubic."""
    rows = []
    for path in paths:
        picture = read_picture(path)
        height, width = (size // factor * factor for size in picture.shape[:2])
        truth = picture[None, :height, :width].astype(np.float32) / 255
        low_res = np.asarray(images.quantize(images.downsample(truth, factor)))
        output = images.upsample(low_res, factor) if model is None else model(low_res)
        inner = (slice(None), slice(factor, -factor), slice(factor, -factor))
        y, y_truth = (luma(x[inner])[..., None] for x in (images.quantize(output), truth))
        rows.append([float(psnr(y, y_truth)[0]), float(ssim(y, y_truth)[0])])
    means = np.mean(rows, axis=0)
    return float(means[0]), float(means[1])


def table(results: dict[str, dict[tuple[str, int], tuple[float, float]]], columns: list[tuple[str, int]]) -> str:
    """Markdown: a row per system, a column per set and factor."""
    lines = ['| PSNR Y (dB) / SSIM Y | ' + ' | '.join(f'{name} x{factor}' for name, factor in columns) + ' |']
    lines.append('| --- ' * (len(columns) + 1) + '|')
    for name, row in results.items():
        cells = [f'{row[column][0]:.2f} / {row[column][1]:.4f}' if column in row else '' for column in columns]
        if any(cells):
            lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.public', description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='with a folder of pictures for each set')
    parser.add_argument('models', nargs='*', help='shipped models or exported directories')
    parser.add_argument('--import', dest='imported', action='append', default=[], help='weights of another project')
    arguments = parser.parse_args()
    sets = {
        path.name: sorted(p for p in path.iterdir() if p.suffix == '.png')
        for path in sorted(arguments.folder.iterdir(), key=lambda path: (len(path.name), path.name))
        if path.is_dir()
    }
    models = [load_model(name) for name in arguments.models]
    models += [as_model(path, name=f'{Path(path).stem} (imported)') for path in arguments.imported]
    columns = [(name, factor) for name in sets for factor in FACTORS]
    results: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}
    for model in (None, *models):
        row = results.setdefault('bicubic' if model is None else model.name, {})
        for name, factor in columns:
            if model is None or model.factor == factor:
                row[name, factor] = measure(model, sets[name], factor)
    print(f'jax {jax.__version__}; ' + ', '.join(f'{name}: {len(paths)} pictures' for name, paths in sets.items()))
    print(table(results | PUBLISHED, columns))


if __name__ == '__main__':
    main()
