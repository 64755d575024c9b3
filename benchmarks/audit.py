"""The auditor on outputs whose truth is known: stars planted in outputs, and false alarms on honest ones.

    python -m benchmarks.audit                                  # simulated fields, three minutes
    python -m benchmarks.audit --frames ../shared/data/frames --pictures ../shared/data/hubble/val -o audit.md

Honest outputs are the bicubic enlargement and that of `frames_x2`, twice larger. An alarm is a source that is said to
have no counterpart in the input at 3 sigma. It is false if the truth has one there: a star of the simulated field
within half its FWHM, or, in a real frame, 3 sigma in the mean of other exposures of the same sky (`audit_frames`). It
is right if the truth has none: then the output did invent it. Where there is no truth it is counted as false.

Then Gaussian stars are planted in the same outputs, all with a peak of 5 times the input's noise, a third each as
narrow as two pixels, as wide as the output's stars, and as the input's; off real sources: where the simulated sky has
less than half the noise within 1.5 FWHM, or, in real frames, 2.5 FWHM from anything over 4 sigma, 1.5 from anything
over 3, and where a ring of 1.5 to 3 FWHM is less than the noise above the sky. One is found if there is a source
without a counterpart within a pixel of the input of its place. Neither the fields nor the frames are those that the
rule and its limits were chosen with. Pictures: `audit_pictures`.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image
from scipy import ndimage, stats
from scipy.spatial import cKDTree
from tqdm import tqdm

from astro_gan.audit.align import pair_of
from astro_gan.audit.auditor import audit, without_counterpart
from astro_gan.inference import observed
from astro_gan.inference.measure import measure
from astro_gan.model import load_model
from benchmarks import audit_frames, audit_pictures
from benchmarks import frames as simulated

FACTOR = 2
PEAK = 5.0  # noise units
HOT = ('amateur_microobs_hatp32',)  # hundreds of hot pixels, which are taken for the narrowest stars
MOST = 80  # stars planted in an output at a time
FIRST = 300  # seed of the simulated fields: with those below the auditor's rule was chosen
# name, input [h, w], free [h, w] bool: where stars may be planted, noise, fwhm, real: places of the input [n, 2] ->
# bool [n], whether the truth has a source there, or None
Case = dict[str, Any]


def simulated_cases(count: int) -> Iterator[Case]:
    for kind, sky in simulated.SKIES.items():
        for seed in range(FIRST, FIRST + count):
            field = simulated.simulate(sky, seed)
            fwhm = float(field['fwhm'])
            reach = math.ceil(1.5 * fwhm)
            y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
            light = ndimage.maximum_filter(field['clean'], footprint=np.hypot(y, x) <= 1.5 * fwhm)
            case = {'name': kind, 'input': field['input'], 'free': light < 0.5, 'noise': 1.0, 'fwhm': fwhm}
            yield case | {'real': functools.partial(_has_star, cKDTree(field['places']), fwhm / 2)}


def _has_star(stars: cKDTree, radius: float, places: np.ndarray) -> np.ndarray:
    return stars.query(places)[0] <= radius


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


def run(cases: Iterator[Case], rng: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    """One record for each output: planted, found, alarms, those of them that are right, megapixels."""
    records: dict[str, list[dict[str, Any]]] = {}
    for case in tqdm(cases, unit='field'):
        for name, output, header in honest(case):
            options = {'headers': (None, header)}
            alarms = lonely(audit(pair_of(case['input'], output, **options)))
            right = 0
            if len(alarms) and case['real']:
                right = int((~case['real']((alarms + 0.5) / FACTOR - 0.5)).sum())
            planted, there = plant(output, case, rng)
            hit = 0
            if len(there):
                seen = lonely(audit(pair_of(case['input'], planted, **options)))
                if len(seen):
                    hit = int(np.isfinite(cKDTree(seen).query(there, distance_upper_bound=FACTOR)[0]).sum())
            record = {'kind': case['name'], 'planted': len(there), 'found': hit, 'alarms': len(alarms), 'right': right}
            records.setdefault(name, []).append(record | {'megapixels': np.isfinite(output).sum() / 1e6})
            if len(alarms) or hit < len(there):
                words = f'{hit} of {len(there)} found, {len(alarms)} alarms, {right} of them right'
                tqdm.write(f'{case["name"]}, {name}: {words}')
    return records


def table(records: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Markdown, with 95% intervals: Clopper and Pearson of the share, Garwood of the rate."""
    lines = [
        '| output | of | planted | found | share | alarms | right | false, per megapixel |',
        '| --- ' * 8 + '|',
    ]
    for what, systems in records.items():
        for name, rows in systems.items():
            planted, found, alarms, right, area = (
                sum(r[k] for r in rows) for k in ('planted', 'found', 'alarms', 'right', 'megapixels')
            )
            share = stats.binomtest(int(found), int(planted)).proportion_ci(method='exact')
            false = alarms - right
            low = stats.chi2.ppf(0.025, 2 * false) / 2 if false else 0.0
            high = stats.chi2.ppf(0.975, 2 * false + 2) / 2
            found_share = f'{found / planted:.2%} ({share.low:.2%} to {share.high:.2%})'
            rate = f'{false} of {area:.1f}: {false / area:.2f} ({low / area:.2f} to {high / area:.2f})'
            cells = (name, f'{len(rows)} {what}', planted, found, found_share, alarms, right, rate)
            lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.audit', description=__doc__.splitlines()[0])
    parser.add_argument('--fields', type=int, default=6, help='simulated, of every kind')
    parser.add_argument('--frames', type=Path, help='folder of real frames')
    parser.add_argument('--pictures', type=Path, help='folder of pictures, the truth of what is made of them smaller')
    parser.add_argument('-o', '--out', type=Path, help='file for the tables')
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    records = {}
    if arguments.fields:
        records['simulated fields'] = run(simulated_cases(arguments.fields), rng)
    if arguments.frames:
        found = run(audit_frames.cases(arguments.frames), rng)
        for hot, what in ((False, 'parts of real frames'), (True, 'of a camera with hot pixels')):
            parts = {name: [row for row in rows if (row['kind'] in HOT) == hot] for name, rows in found.items()}
            records[what] = {name: rows for name, rows in parts.items() if rows}
    text = table(records) if records else ''
    if arguments.pictures:
        print(text, flush=True)
        text = f'{text}\n\n{audit_pictures.report(arguments.pictures)}'.lstrip()
    print(text)
    if arguments.out:
        arguments.out.write_text(f'{text}\n')


if __name__ == '__main__':
    main()
