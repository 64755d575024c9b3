"""Catch rate and false alarms of `astro-gan curate`, per kind of fault, on a folder of real pictures.

    python -m benchmarks.curate DIR [--every N]

Every picture is measured as it is, and again with each fault of tests/curation/faults.py planted into it. 'named right'
is the share refused for the reason that was planted. A picture that is refused as it is counts as a false alarm; look
at those: real sets have captions too.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from astro_gan.curation import framing, quality, sources
from astro_gan.curation.limits import Limits, judge
from astro_gan.files import pictures
from tests.curation import faults


def verdict(pixels: np.ndarray, limits: Limits) -> tuple[str, float]:
    """The reason for a refusal, '' for none, and the share of the picture that is left after the crop."""
    height, width = pixels.shape[:2]
    if min(height, width) < limits.minimum_size:
        return 'too small', 1.0
    x0, y0, x1, y1 = framing.clean_box(pixels)
    area = (x1 - x0) * (y1 - y0) / (width * height)
    if area < limits.minimum_area or min(x1 - x0, y1 - y0) < limits.minimum_size:
        return 'borders', area
    refusal = judge(quality.measure(np.ascontiguousarray(pixels[y0:y1, x0:x1])), limits)
    return refusal.reason if refusal else '', area


def measure(images: list[np.ndarray], limits: Limits) -> tuple[dict[str, tuple[float, float]], Counter[str], float]:
    """Per fault the shares (caught, named right); the reasons of false alarms; seconds per picture."""
    rng = np.random.default_rng(0)
    started = time.process_time()
    plain = [verdict(image, limits) for image in tqdm(images, desc='as they are', unit=' pictures')]
    seconds = (time.process_time() - started) / len(images)
    # What is refused anyway would count as caught.
    clean = [image for image, (reason, area) in zip(images, plain, strict=True) if not reason and area == 1]
    rates = {}
    for kind, (plant, reasons) in tqdm(faults.REFUSED.items(), desc='faults', unit=' kinds'):
        found = [verdict(plant(image, rng), limits)[0] for image in clean]
        rates[kind] = (float(np.mean([bool(one) for one in found])), float(np.mean([one in reasons for one in found])))
    for kind, plant_crop in faults.CROPPED.items():
        areas = [verdict(plant_crop(image, rng), limits)[1] for image in clean]
        rates[kind] = (float(np.mean([area < 0.95 for area in areas])),) * 2
    return rates, Counter(reason for reason, _ in plain if reason), seconds


def report(rates: dict[str, tuple[float, float]], alarms: Counter[str], count: int, seconds: float) -> str:
    """The measurement as a table."""
    lines = [f'{"fault":22}{"caught":>8}{"named right":>13}']
    lines += [f'{kind:22}{caught:8.0%}{right:13.0%}' for kind, (caught, right) in rates.items()]
    total = sum(alarms.values())
    lines.append(f'refused without a planted fault: {total} of {count} ({total / count:.1%}) {dict(alarms) or ""}')
    return '\n'.join([*lines, f'{seconds:.2f} s of one core per picture, matching apart'])


def main() -> None:
    """Measure a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--every', type=int, default=1, help='only every Nth picture')
    arguments = parser.parse_args()
    names = sources.find(arguments.folder)[:: arguments.every]
    images = [pictures.read_picture(arguments.folder / name) for name in names]
    rates, alarms, seconds = measure(images, Limits())
    print(report(rates, alarms, len(images), seconds))


if __name__ == '__main__':
    main()
