"""Trust maps: calibrate models on known truths, and measure how much of the truth their intervals hold.

    python -m benchmarks.trust HUBBLE wdsr_x2 wdsr_x3 wdsr_x4 wdsr_gan_x4 --calibrate
    python -m benchmarks.trust HUBBLE wdsr_x4        # the coverage of what ships
    python -m benchmarks.trust - frames_x2 --calibrate     # simulated fields

HUBBLE holds `train/` and `val/`. The score, and the shape of the half widths by score and brightness, are fitted to
crops of the training pictures. One factor for all, the conformal step, is the quantile of errors over these half widths
of both sides, each with half the weight: the training pictures were seen by the networks, the validation pictures are
few. Each validation picture is judged by the factor of the training pictures and the other validation pictures. Of
frames, simulated fields of three kinds of keys fit, calibrate and validate.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from astro_gan import images
from astro_gan.color import luma
from astro_gan.files.atomic import write
from astro_gan.files.pictures import read_picture
from astro_gan.inference import refit, trust
from astro_gan.inference.network import Network
from astro_gan.inference.refine import refined
from astro_gan.model import Model, load_model, model_directory
from astro_gan.noise_units import TYPICAL, condition_values, from_network, to_network
from astro_gan.simulation import fields

COVERAGE = 0.9
SIDE, RIM = 64, 4  # pixels of the input of a crop, and those at its border that are not counted
KEPT = 4000  # pixels of a crop
CROPS = {'train': 1, 'val': 4}
FIELDS, FIELD_SIZE = {'train': 120, 'calibration': 120, 'val': 120}, 96
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # quantiles of the brightness at which there are half widths
STEPS = (0.0, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0)  # of the score: ends of cells
BRIGHT = (-1.0, 0.05, 0.15, 0.4, 10.0)  # levels of the input between which coverage is told apart
PICTURES_MEASURED = (
    'reductions of {train} training and {val} validation ESA/Hubble press pictures, without noise; each of the latter '
    'judged by an interval made without it'
)
FRAMES_MEASURED = f'{FIELDS["calibration"]} simulated fields, validation on {FIELDS["val"]} others'
REFINED: dict[str, dict[str, Any]] = {
    'self-ensemble': {'self_ensemble': True},
    'back-project 5': {'back_project': 5},
    'consistent': {'consistent': True},
}


def crops(folder: Path, side: str, factor: int) -> Iterator[tuple[str, np.ndarray]]:
    """Crops `[n, factor SIDE, factor SIDE, 3]` of every picture of a side, in [0, 1], with its name."""
    rng, size = np.random.default_rng(0), factor * SIDE
    for path in sorted((folder / side).iterdir()):
        picture = read_picture(path)
        if min(picture.shape[:2]) < size:
            continue
        places = [[rng.integers(0, length - size + 1) for length in picture.shape[:2]] for _ in range(CROPS[side])]
        yield path.stem, np.stack([picture[y : y + size, x : x + size] for y, x in places]).astype(np.float32) / 255


def pictures(model: Model, folder: Path, side: str, *, gray: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Input `[n, h, w, 3]` and truth of every picture of a side."""
    for _, truth in crops(folder, side, model.factor):
        if gray:
            truth = np.repeat(np.asarray(luma(truth))[..., None], 3, -1)
        yield np.asarray(images.quantize(images.downsample(truth, model.factor))), truth


def simulated(model: Model, _: Path, side: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Input and truth of simulated fields, as the networks take them."""
    split = {'train': 11, 'calibration': 12, 'val': 13}[side]
    for batch in fields.Fields(1, FIELD_SIZE, model.factor).held_out(split, FIELDS[side]):
        yield np.asarray(batch['input'])[0], np.asarray(batch['target'])[0]


def refitted(network: Network, frame: np.ndarray, output: Any) -> np.ndarray:
    """The output `[f h, f w, 1]` of a compressed frame `[h, w, k]` as the product gives it: with its fluxes right."""
    told = {'concentration': TYPICAL} | condition_values(frame)
    narrow = float(fields.truth_fwhm(told['fwhm'], network.factor))
    psf = refit.Psf(told['fwhm'], told['concentration'], narrow, network.factor, max(told['correlation'], 0.0))
    z, light = from_network(frame[..., 0]), np.asarray(from_network(np.asarray(output)[..., 0]))
    places, missing, _ = refit.refit(z, np.ones(z.shape, bool), light, psf)
    return to_network(light + refit.stars(places, missing, light.shape, psf, narrow=True))[..., None]


def measure(model: Model, pairs: Iterator[tuple[np.ndarray, np.ndarray]], *names: str) -> list[dict[str, Any]]:
    """Of every picture: errors `[k, C]`, features `[3, k, C]` and levels `[k, C]` of pixels drawn at random.

    Args:
        model: with one network.
        pairs: of every picture inputs and truths.
        names: of REFINED, whose errors stand beside those of the model as it is.
    """
    network: Network = model.networks[0]
    observe = jax.jit(functools.partial(trust.observe, network))
    better = [refined(model, **REFINED[name]) for name in names]
    enlarge = [jax.jit(each.forward) for each in better]
    rim, rng, found = RIM * model.factor, np.random.default_rng(0), []
    for low_res, truth in pairs:
        parts: dict[str, list[np.ndarray]] = {}
        for one, own in zip(low_res, truth, strict=True):
            output, features, level = observe(network.variables, one[None])
            outputs = [output, *(run(each.variables, one[None]) for run, each in zip(enlarge, better, strict=True))]
            finished = [refitted(network, one, made[0]) if model.task == 'frames' else made[0] for made in outputs]
            errors = {
                name: np.abs(np.asarray(made) - own) for name, made in zip(('error', *names), finished, strict=True)
            }
            chosen = rng.permutation((len(own) - 2 * rim) ** 2)[: KEPT // len(low_res)]
            for key, values in {**errors, 'level': level[0], 'features': features[:, 0]}.items():
                inner = np.asarray(values)[..., rim:-rim, rim:-rim, :]
                flat = inner.reshape(*inner.shape[:-3], -1, inner.shape[-1])
                parts.setdefault(key, []).append(flat[..., chosen, :])
        found.append({key: np.concatenate(values, -2) for key, values in parts.items()})
    return found


def fit(records: list[dict]) -> dict[str, Any]:
    """Weights of the score by least squares, and quantiles of the error by brightness and score."""
    error, level = (np.concatenate([record[key] for record in records]).ravel() for key in ('error', 'level'))
    features = np.concatenate([record['features'] for record in records], 1).reshape(3, -1)
    design = np.stack([*features, np.ones_like(level)], -1).astype(np.float64)
    weights = np.linalg.lstsq(design, np.log(error + trust.FLOOR), rcond=None)[0][:-1]
    score = weights @ features
    made: dict[str, Any] = {'coverage': COVERAGE, 'weights': weights, 'levels': [], 'scores': [], 'half_widths': []}
    edges = np.quantile(level, LEVELS)
    for low, high in itertools.pairwise(edges):
        own = (level >= low) & (level <= high)
        steps = np.quantile(score[own], STEPS)
        cells = np.clip(np.searchsorted(steps, score[own], 'right') - 1, 0, len(STEPS) - 2)
        made['levels'].append(np.median(level[own]))
        made['scores'].append([np.median(score[own][cells == cell]) for cell in range(len(STEPS) - 1)])
        made['half_widths'].append([np.quantile(error[own][cells == cell], COVERAGE) for cell in range(len(STEPS) - 1)])
    return {key: np.asarray(value).tolist() for key, value in made.items()}


def half_widths(calibration: dict[str, Any], records: list[dict]) -> list[np.ndarray]:
    """Of every picture, `[k, C]`."""
    half = jax.jit(functools.partial(trust.half_width, calibration))
    return [np.asarray(half(record['features'], record['level'])) for record in records]


def factor_for(sides: list[list[np.ndarray]]) -> float:
    """The factor that covers COVERAGE, of errors over half widths; sides weigh the same, and pictures of a side too."""
    values = np.concatenate([ratio.ravel() for side in sides for ratio in side])
    weights = np.concatenate([np.full(ratio.size, 1 / (ratio.size * len(side))) for side in sides for ratio in side])
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, COVERAGE * total[-1])])


def summary(covered: list[np.ndarray]) -> dict[str, float]:
    """Shares of the pixels whose truth is within its interval, over all and by picture."""
    each = np.array([own.mean() for own in covered])
    return {
        'all': float(each.mean()),
        'median_picture': float(np.median(each)),
        'tenth_of_pictures_below': float(np.quantile(each, 0.1)),
        'worst_picture': float(each.min()),
    }


def conditional(covered: list[np.ndarray], records: list[dict], half: list[np.ndarray]) -> dict[str, float]:
    """Coverage by the brightness of the input, and by fifths of the intervals' width."""
    within, level, width = (
        np.concatenate([part.ravel() for part in parts])
        for parts in (covered, [record['level'] for record in records], half)
    )
    shares = {
        f'level {low:g} to {high:g}': float(within[(level >= low) & (level < high)].mean())
        for low, high in itertools.pairwise(BRIGHT)
        if ((level >= low) & (level < high)).any()
    }
    edges = np.quantile(width, np.linspace(0, 1, 6))
    for number, (low, high) in enumerate(itertools.pairwise(edges), 1):
        shares[f'width, fifth {number}'] = float(within[(width >= low) & (width <= high)].mean())
    return shares


def calibrated(model: Model, folder: Path, val: list[dict[str, Any]]) -> dict[str, Any]:
    """A model's calibration, with what it was measured on and what it covers.

    Args:
        model: to be calibrated.
        folder: of the pictures.
        val: what was measured of the validation pictures or fields.
    """
    frames = model.task == 'frames'
    train = measure(model, (simulated if frames else pictures)(model, folder, 'train'))
    calibration = fit(train)
    if frames:
        factor = factor_for([_ratios(calibration, measure(model, simulated(model, folder, 'calibration')))])
        factors = [factor] * len(val)
    else:
        theirs, own = _ratios(calibration, train), _ratios(calibration, val)
        factor = factor_for([theirs, own])
        factors = [factor_for([theirs, own[:index] + own[index + 1 :]]) for index in range(len(own))]
    half = [each * one for each, one in zip(factors, half_widths(calibration, val), strict=True)]
    covered = [record['error'] <= each for record, each in zip(val, half, strict=True)]
    measured = {
        'on': FRAMES_MEASURED if frames else PICTURES_MEASURED.format(train=len(train), val=len(val)),
        'validation': summary(covered) | {'by': conditional(covered, val, half)},
        'training': summary([ratio <= factor for ratio in _ratios(calibration, train)]),
        'factor_of_training_quantiles': factor,
    }
    calibration['half_widths'] = (factor * np.asarray(calibration['half_widths'])).tolist()
    made = _rounded(calibration) | {'measured': _rounded(measured)}
    return made | {'weights_sha256': model.description['weights']['sha256']}


def _ratios(calibration: dict[str, Any], records: list[dict]) -> list[np.ndarray]:
    return [r['error'] / half for r, half in zip(records, half_widths(calibration, records), strict=True)]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        rounded = {key: _rounded(item) for key, item in items}
        return rounded if isinstance(value, dict) else list(rounded.values())
    return float(f'{value:.4g}') if isinstance(value, float) else value


def row(name: str, calibration: dict[str, Any], records: list[dict[str, Any]], key: str = 'error') -> str:
    """A line of the table: what intervals as they ship cover of the errors under a key."""
    half = half_widths(calibration, records)
    covered = [record[key] <= each for record, each in zip(records, half, strict=True)]
    found, by = summary(covered), conditional(covered, records, half)
    widths = np.concatenate([each.ravel() for each in half])
    shares = ' | '.join(f'{100 * share:.1f}%' for share in (*found.values(), min(by.values()), max(by.values())))
    return f'| {name} | {shares} | {255 * np.median(widths):.1f} | {255 * widths.mean():.1f} |'


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.trust', description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='of train/ and val/; - for frames')
    parser.add_argument('models', nargs='+', help='shipped models or exported directories')
    parser.add_argument('--calibrate', action='store_true', help="write the calibration into each model's model.json")
    arguments = parser.parse_args()
    print('| | all | median picture | a tenth of the pictures below | worst picture | ', end='')
    print('least by brightness or width | most | median half width (levels) | mean |')
    print('| --- ' * 9 + '|')
    for name in arguments.models:
        model, path = load_model(name), model_directory(name) / 'model.json'
        frames = model.task == 'frames'
        refinements = ('self-ensemble',) if frames else tuple(REFINED)
        val = measure(model, (simulated if frames else pictures)(model, arguments.folder, 'val'), *refinements)
        description = json.loads(path.read_text())
        if arguments.calibrate:
            description['calibration'] = calibrated(model, arguments.folder, val)
            write(path, json.dumps(description, indent=2, allow_nan=False) + '\n')
        calibration = description['calibration']
        print(row(model.name, calibration, val), flush=True)
        for other in refinements:
            print(row(f'{model.name}, {other}', calibration, val, other), flush=True)
        if not frames:
            gray = measure(model, pictures(model, arguments.folder, 'val', gray=True))
            print(row(f'{model.name}, gray pictures', calibration, gray), flush=True)


if __name__ == '__main__':
    main()
