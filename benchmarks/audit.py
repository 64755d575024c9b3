"""The auditor on outputs whose truth is known: stars planted in outputs, and false alarms on honest ones.

    python -m benchmarks.audit                                              # simulated fields, ten minutes
    python -m benchmarks.audit --frames ../shared/data/frames -o docs/audit.md    # and real frames

Honest outputs are the bicubic enlargement and that of `frames_x2`, twice larger. A false alarm is a source that is said
to have no counterpart in the input at 3 sigma. Then Gaussian stars are planted in the same outputs, all with a peak of
5 times the input's noise, a third each as narrow as two pixels, as wide as the output's stars, and as the input's; off
real sources: where the simulated sky has less than half the noise within 1.5 FWHM, or, in real frames, 2.5 FWHM from
anything over 4 sigma, 1.5 from anything over 3, and where a ring of 1.5 to 3 FWHM is less than the noise above the sky.
Frames whose noise takes a handful of values are left out, and those along whose border the sky is measured wrong: what
`frames_x2` makes there is wrong too, and is no honest output. One is found if there is a
source without a counterpart within a pixel of the input of its place.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image
from scipy import ndimage, stats
from scipy.spatial import cKDTree
from tqdm import tqdm

from astro_gan.audit import sources
from astro_gan.audit.align import pair_of
from astro_gan.audit.auditor import audit, without_counterpart
from astro_gan.errors import UserError
from astro_gan.inference import observed
from astro_gan.inference.frames import open_frame
from astro_gan.inference.measure import measure
from astro_gan.model import load_model
from benchmarks import frames as simulated

FACTOR = 2
PEAK = 5.0  # noise units
MOST = 40  # stars planted in an output at a time
LARGEST = 400  # pixels of a real frame on a side; the middle of larger ones is taken
SMALLEST = 128
EACH = 2  # frames of a folder, as its first ones are much like the others
Case = dict[str, Any]  # name, input [h, w], free [H, W] bool: where stars may be planted, noise, fwhm


FIRST = 100  # seed of the simulated fields: those below are what the auditor's rule was chosen with


def simulated_cases(count: int) -> Iterator[Case]:
    for kind, sky in simulated.SKIES.items():
        for seed in range(FIRST, FIRST + count):
            field = simulated.simulate(sky, seed)
            fwhm = float(field['fwhm'])
            reach = math.ceil(1.5 * fwhm)
            y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
            light = ndimage.maximum_filter(field['clean'], footprint=np.hypot(y, x) <= 1.5 * fwhm)
            yield {'name': kind, 'input': field['input'], 'free': light < 0.5, 'noise': 1.0, 'fwhm': fwhm}


def real_cases(folder: Path) -> Iterator[Case]:
    """Frames that open without being told how, and have noise to measure."""
    taken: Counter[str] = Counter()
    for path in sorted(p for p in folder.rglob('*') if 'fit' in p.name.lower() and not p.parent.name.startswith('psf')):
        if taken[path.parent.name] == EACH:
            continue
        try:
            source = open_frame(path, stretch='asinh', upright=False, maximum_pixels=10**8)
        except UserError:
            continue
        if source.channels != 1 or min(source.height, source.width) < SMALLEST or 'psf' in path.name.lower():
            continue
        values, bad = source.rows(0, source.height)
        data = np.where(bad, np.nan, values[0])
        top, left = (max(0, (n - LARGEST) // 2) for n in data.shape)
        data = data[top : top + LARGEST, left : left + LARGEST]
        try:
            found = measure(data)
        except ValueError:
            continue
        place = (0, 0, *data.shape)
        missing = ndimage.binary_dilation(~np.isfinite(data), iterations=8)
        z = np.nan_to_num((data - found.sky.window(*place)) / found.noise.window(*place))
        why = _odd(z)
        if why:
            tqdm.write(f'{path.name}: left out, {why}')
            continue
        taken[path.parent.name] += 1
        yield {
            'name': path.parent.name,
            'input': data.astype(np.float32),
            'free': _free(z.astype(np.float32), found) & ~missing,
            'noise': found.noise.window(*place),
            'fwhm': found.fwhm.value,
        }


def _odd(z: np.ndarray) -> str:
    """Why a frame tells nothing of the auditor; '' if it does."""
    if len(np.unique(np.round(z[np.abs(z) < 5], 3))) < 30:
        return 'its noise takes a handful of values (digitised film)'
    edges = (z[:64], z[-64:], z[:, :64], z[:, -64:])
    if max(float(np.median(edge)) for edge in edges) > 10:
        return 'the sky along a border is measured wrong, and what is made of it is wrong there'
    return ''


def _free(z: np.ndarray, found: Any) -> np.ndarray:
    """Where a real frame shows nothing."""
    fwhm, correlation = found.fwhm.value, min(max(found.correlation.value, 0), 0.7)
    errors = sources.filter_errors(sources.input_widths(fwhm, FACTOR), correlation)
    there = sources.find_in_input(z, errors, correlation, None)
    far = np.ones(z.shape, bool)
    for sigma, away in ((4, 2.5), (3, 1.5)):
        spots = np.ones(z.shape, bool)
        spots[tuple(np.clip(np.round(there[there[:, 3] > sigma, :2]).astype(int), 0, np.array(z.shape) - 1).T)] = False
        if not spots.all():
            far &= ndimage.distance_transform_edt(spots) > away * fwhm
    reach = math.ceil(3 * fwhm)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ring = (np.hypot(y, x) >= 1.5 * fwhm) & (np.hypot(y, x) <= 3 * fwhm)
    return far & (ndimage.percentile_filter(z, 50, footprint=ring) < 1)


def honest(case: Case) -> Iterator[tuple[str, np.ndarray, fits.Header]]:
    """Outputs that invent nothing on purpose, with their names and headers."""
    data, missing = case['input'], ~np.isfinite(case['input'])
    filled = data
    if missing.any():
        filled = data[tuple(ndimage.distance_transform_edt(missing, return_indices=True)[1])]
    size = (FACTOR * data.shape[1], FACTOR * data.shape[0])
    plain = np.array(Image.fromarray(filled.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    plain[missing.repeat(FACTOR, 0).repeat(FACTOR, 1)] = np.nan
    yield 'bicubic', plain, fits.Header()
    model = load_model('frames_x2')
    found = measure(data)
    network = model.networks[0]
    if not observed.unlike(observed.Observed(None, (found,), network)):  # type: ignore[arg-type]
        header = fits.Header({'AGMODEL': model.name, 'AGFWHM': observed.told(found, network)['fwhm']})
        yield model.name, observed.enlarge(network, data), header


def plant(output: np.ndarray, case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The output with stars, and their places `[n, 2]`."""
    fwhm, room = case['fwhm'], math.ceil(4 * case['fwhm']) + 8
    free = case['free'].copy()
    free[:room], free[-room:], free[:, :room], free[:, -room:] = False, False, False, False
    candidates = np.argwhere(free)
    places = np.empty((0, 2))
    for at in rng.permutation(candidates)[:3000] + rng.uniform(-0.5, 0.5, (min(3000, len(candidates)), 2)):
        if len(places) < MOST and (not len(places) or np.hypot(*(places - at).T).min() > 7 * fwhm):
            places = np.concatenate([places, at[None]])
    result = output.copy()
    there = (places + 0.5) * FACTOR - 0.5
    noise = np.broadcast_to(case['noise'], case['input'].shape)
    for index, (row, column) in enumerate(there):
        width = (2.0, max(0.6 * fwhm * FACTOR, 2.0), max(fwhm * FACTOR, 2.0))[index % 3]
        reach = math.ceil(3 * width)
        y, x = (slice(max(0, round(at) - reach), round(at) + reach + 1) for at in (row, column))
        rows, columns = np.ogrid[y, x]
        star = np.exp(-4 * math.log(2) * (np.square(rows - row) + np.square(columns - column)) / width**2)
        level = noise[tuple(np.round(places[index]).astype(int))]
        result[y, x] += PEAK * level * star[: result[y, x].shape[0], : result[y, x].shape[1]]
    return result, there


def lonely(found: Any) -> np.ndarray:
    """Places of the sources without a counterpart, `[n, 2]`."""
    return np.column_stack([found.sources['y'], found.sources['x']])[without_counterpart(found.sources)]


def run(cases: Iterator[Case], rng: np.random.Generator) -> dict[str, list[dict[str, float]]]:
    """One record for each output: planted, found, false alarms, megapixels."""
    records: dict[str, list[dict[str, float]]] = {}
    for case in tqdm(cases, unit='field'):
        for name, output, header in honest(case):
            options = {'headers': (None, header)}
            alarms = lonely(audit(pair_of(case['input'], output, **options)))
            planted, there = plant(output, case, rng)
            seen = lonely(audit(pair_of(case['input'], planted, **options)))
            hit = 0
            if len(seen) and len(there):
                hit = int(np.isfinite(cKDTree(seen).query(there, distance_upper_bound=FACTOR)[0]).sum())
            records.setdefault(name, []).append(
                {
                    'kind': case['name'],
                    'planted': len(there),
                    'found': hit,
                    'alarms': len(alarms),
                    'megapixels': np.isfinite(output).sum() / 1e6,
                }
            )
            if len(alarms) or hit < len(there):
                tqdm.write(f'{case["name"]}, {name}: {hit} of {len(there)} found, {len(alarms)} false alarms')
    return records


def table(records: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Markdown, with 95% intervals: Clopper and Pearson of the share, Garwood of the rate."""
    lines = [
        '| output | of | planted | found | share | false alarms | megapixels | per megapixel |',
        '| --- ' * 8 + '|',
    ]
    for what, systems in records.items():
        for name, rows in systems.items():
            planted, found, alarms, area = (
                sum(r[k] for r in rows) for k in ('planted', 'found', 'alarms', 'megapixels')
            )
            share = stats.binomtest(int(found), int(planted)).proportion_ci(method='exact')
            low = stats.chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0
            high = stats.chi2.ppf(0.975, 2 * alarms + 2) / 2
            found_share = f'{found / planted:.2%} ({share.low:.2%} to {share.high:.2%})'
            rate = f'{alarms / area:.2f} ({low / area:.2f} to {high / area:.2f})'
            cells = (name, f'{len(rows)} {what}', planted, found, found_share, alarms, f'{area:.1f}', rate)
            lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.audit', description=__doc__.splitlines()[0])
    parser.add_argument('--fields', type=int, default=6, help='simulated, of every kind')
    parser.add_argument('--frames', type=Path, help='folder of real frames')
    parser.add_argument('-o', '--out', type=Path, help='file for the table')
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    records = {}
    if arguments.fields:
        records['simulated fields'] = run(simulated_cases(arguments.fields), rng)
    if arguments.frames:
        records['real frames'] = run(real_cases(arguments.frames), rng)
    text = table(records)
    print(text)
    if arguments.out:
        arguments.out.write_text(f'{text}\n')


if __name__ == '__main__':
    main()
