"""What the refinements of `astro-gan upscale` do, on crops from the middle of a folder's pictures.

    python -m benchmarks.refine HUBBLE/val

Measured as by `benchmarks.super_resolution`, for `wdsr_x4`, `wdsr_gan_x4` and their blends. Consistency is the
difference, in levels of 255, between the output made smaller again and the input: its mean for the output in 8 bits,
its mean and largest in 16 bits, its largest before clipping and rounding.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from astro_gan import images
from astro_gan.files.pictures import read_picture
from astro_gan.inference.choose import interpolated
from astro_gan.inference.refine import refined
from astro_gan.model import Model, load_model
from astro_gan.models import load_lpips
from benchmarks.super_resolution import measure, summarize

SUPERVISED, GAN = 'wdsr_x4', 'wdsr_gan_x4'
SIDE = 256  # pixels of a crop
OPTIONS: dict[str, dict[str, Any]] = {
    '': {},
    '--self-ensemble': {'self_ensemble': True},
    '--back-project 1': {'back_project': 1},
    '--back-project 5': {'back_project': 5},
    '--consistent': {'consistent': True},
}


def systems() -> dict[str, Model]:
    """All that is compared, by name."""
    models = {name: load_model(name) for name in (SUPERVISED, GAN)}
    found = {
        f'{name} {option}'.strip(): refined(model, **own)
        for name, model in models.items()
        for option, own in OPTIONS.items()
    }
    pair = (models[SUPERVISED], models[GAN])
    return found | {f'--blend {share:g}': interpolated(*pair, share) for share in (0.25, 0.5, 0.75)}


def differences(output: np.ndarray, low_res: np.ndarray) -> np.ndarray:
    """Absolute, in levels of 255, of the output made smaller again."""
    again = images.downsample(output[None], len(output) // len(low_res))
    return 255 * np.abs(np.asarray(again)[0] - low_res)


def crops(folder: Path, factor: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth and input of every picture, in [0, 1]."""
    found = []
    for path in sorted(folder.iterdir()):
        picture = read_picture(path)
        top, left = ((length - SIDE) // 2 for length in picture.shape[:2])
        truth = picture[top : top + SIDE, left : left + SIDE].astype(np.float32) / 255
        found.append((truth, np.asarray(images.quantize(images.downsample(truth[None], factor)))[0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.refine', description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='of pictures')
    pairs = crops(parser.parse_args().folder, 4)
    lpips_params = load_lpips()
    print(
        '| | PSNR Y | LPIPS | faint sources found (by chance) | spurious sources | consistency, 8 bits: mean ', end=''
    )
    print('| 16 bits: mean | largest | unrounded: largest | seconds |')
    print('| --- ' * 10 + '|')
    for name, model in systems().items():
        rows, exact, fine, seconds = [], [], [], 0.0
        model(pairs[0][1])  # compiled
        for truth, low_res in tqdm(pairs, desc=name):
            start = time.perf_counter()
            output = model(low_res)
            seconds += time.perf_counter() - start
            rows.append(measure(lambda _, output=output: output, truth, low_res, lpips_params))
            exact.append(differences(output, low_res).max())
            fine.append(differences(np.round(np.clip(output, 0, 1) * 65535) / np.float32(65535), low_res))
        found = summarize(rows)
        print(
            f'| {name} | {found["psnr_y"]:.2f} | {found["lpips"]:.4f} | {100 * found["recall"]:.1f}% '
            f'({100 * found["chance"]:.1f}%) | {100 * found["spurious"]:.1f}% | {found["consistency"]:.3f} '
            f'| {np.mean(fine):.2g} | {np.max(fine):.2g} | {max(exact):.2g} | {seconds:.0f} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
