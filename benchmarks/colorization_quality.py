"""How close guided colours come to the truth, and how close the same guides come without a network.

    python -m benchmarks.colorization_quality PICTURES...                    # the guides alone
    python -m benchmarks.colorization_quality PICTURES... --model colorize   # and with a network

PICTURES are colour pictures or folders of them (the validation split of press images, say). Each is made 256 pixels
wide, its guides are read from itself, and what comes back is compared with its own colours, as pictures of 8 bits. A
markdown table, "alone" without the network:

    error           sum of the absolute errors of a* and b* over that of the gray pictures, with the 95% interval over
                    pictures (bootstrap)
    network less alone   the difference of both errors on the same pictures, with its interval
    colourfulness   sum over that of the truth (Hasler and Süsstrunk 2003)
    gray, one hue   how many of the tiles of 64 pixels `summary.colour_health` counts as gray, or as of one common hue
    Fréchet         `summary.frechet` of pooled AlexNet features of the same tiles
    aim             what the network is to reach, and whether it does: error; colourfulness

With a network, "none" is coloured by the palette that `inference.guesses` names first, and "best of 4 variants" by that
of the first four which comes closest to the truth: what a user would choose who knows it. Without one, "none" is gray.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from astro_gan import guides, summary
from astro_gan.color import fit_gamut, lab_to_rgb, rgb_to_lab
from astro_gan.inference.guesses import guess
from astro_gan.metrics import colour_metrics
from astro_gan.models.lpips import alex_features, load_lpips, pool

WIDTH = 256
TILE = 64
RESAMPLES = 2000
BEST = 'none, best of 4 variants'
Case = Callable[[np.ndarray, np.ndarray, np.random.Generator], dict[str, np.ndarray]]


def _palette(rows: int) -> Case:
    return lambda rgb, lab, rng: {'palette': guides.palette_of(lab, rows)}


def _hints(count: int) -> Case:
    def case(rgb: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        mask = np.zeros(lab.shape[:2], bool)
        mask.ravel()[rng.choice(mask.size, count, replace=False)] = True
        return {'known': lab[..., 1:], 'mask': mask}

    return case


def _small(rows: int) -> Case:
    def case(rgb: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        height, width = lab.shape[:2]
        return {'picture': guides.resized(lab[..., 1:], rows, round(width * rows / height))}

    return case


def _bands(rgb: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    known = guides.two_bands(lab[..., 0], rgb[..., 0], rgb[..., 2])
    return {'known': known, 'mask': np.ones(lab.shape[:2], bool)}


def _half(rgb: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    given = _bands(rgb, lab, rng)
    given['mask'][:, lab.shape[1] // 2 :] = False
    return given


CASES: dict[str, Case] = {
    'none': lambda rgb, lab, rng: {},
    'one colour': _palette(1),
    'three colours': _palette(3),
    '`--like` the truth': _palette(guides.CURVE),
    '10 hints': _hints(10),
    '30 hints': _hints(30),
    '100 hints': _hints(100),
    'picture 16 px high': _small(16),
    'red and blue': _bands,
    'red and blue of the left half': _half,
}


# By guide: the largest error, and between which colourfulness is to be.
AIMS = {
    'none': (0.92, 0.6, 1.2),
    BEST: (0.80, 0.6, 1.2),
    'one colour': (0.60, 0.8, 1.2),
    'three colours': (0.42, 0.9, 1.1),
    '`--like` the truth': (0.42, 0.9, 1.1),
    '10 hints': (0.50, 0.8, 1.15),
    'picture 16 px high': (0.25, 0.95, 1.05),
    'red and blue': (0.12, 0.95, 1.05),
}


def read_pictures(names: Sequence[str]) -> list[np.ndarray]:
    """RGB `[H, 256, 3]` in [0, 1], rounded to 8 bits, of pictures and of all in folders."""
    paths: list[Path] = []
    for path in map(Path, names):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        paths += [one for one in inside if one.suffix.lower() in ('.jpg', '.jpeg', '.png', '.tif')]
    if not paths:
        raise SystemExit(f'error: {", ".join(names)}: no pictures')
    pictures = []
    for path in paths:
        image = Image.open(path).convert('RGB')
        size = (WIDTH, round(image.height * WIDTH / image.width))
        pictures.append(np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / 255.0)
    return pictures


@jax.jit
def _to_rgb(lightness: jax.Array, ab: jax.Array) -> jax.Array:
    """The picture of 8 bits, in [0, 1], that a user gets."""
    rgb = lab_to_rgb(fit_gamut(jnp.concatenate([lightness[..., None], ab], axis=-1)))
    return jnp.round(255.0 * rgb) / 255.0


@functools.cache
def _features() -> Callable[[jax.Array], jax.Array]:
    params = load_lpips()
    return jax.jit(lambda images: pool(alex_features(params, images)))


def _tiles(image: np.ndarray) -> np.ndarray:
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    image = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    return image.swapaxes(1, 2).reshape(-1, TILE, TILE, 3)


@dataclasses.dataclass
class Row:
    """The sums of one row of the table, a number for each picture or tile."""

    errors: list[float] = dataclasses.field(default_factory=list)
    grays: list[float] = dataclasses.field(default_factory=list)
    colours: list[tuple[float, float]] = dataclasses.field(default_factory=list)  # colourfulness, and the truth's
    tiles: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
    features: list[tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)

    def add(self, output: np.ndarray, truth: np.ndarray) -> None:
        """One picture, RGB `[H, W, 3]` in [0, 1]."""
        ab, ab_truth = (np.asarray(rgb_to_lab(image))[..., 1:] for image in (output, truth))
        self.errors.append(float(np.abs(ab - ab_truth).mean()))
        self.grays.append(float(np.abs(ab_truth).mean()))
        whole = colour_metrics(output[None], truth[None])
        self.colours.append((float(whole['colourfulness'][0]), float(whole['colourfulness_truth'][0])))
        parts = _tiles(output), _tiles(truth)
        self.tiles.append({name: np.asarray(values) for name, values in colour_metrics(*parts).items()})
        self.features.append((np.asarray(_features()(parts[0])), np.asarray(_features()(parts[1]))))

    @property
    def error(self) -> float:
        """The a*b* error over gray's."""
        return sum(self.errors) / sum(self.grays)

    @property
    def colourfulness(self) -> float:
        """Over the truth's."""
        made, true = np.sum(self.colours, axis=0)
        return float(made / true)

    @property
    def counts(self) -> tuple[int, int]:
        """Gray tiles, and tiles of one hue."""
        counts, _ = summary.colour_health(
            {name: np.concatenate([t[name] for t in self.tiles]) for name in self.tiles[0]}
        )
        return int(counts['gray_outputs']), int(counts['one_hue_outputs'])

    @property
    def frechet(self) -> float:
        """The distance between the tiles' features and the truth's."""
        return summary.frechet(*(np.concatenate([pair[side] for pair in self.features]) for side in (0, 1)))


def interval(errors: Sequence[float], grays: Sequence[float]) -> tuple[float, float]:
    """The 95% interval over pictures of sum(errors) / sum(grays)."""
    chosen = np.random.default_rng(0).integers(0, len(errors), (RESAMPLES, len(errors)))
    low, high = np.quantile(np.array(errors)[chosen].sum(1) / np.array(grays)[chosen].sum(1), (0.025, 0.975))
    return float(low), float(high)


NOTE = (
    'Without a guide "alone" is gray, and the network is told the palette of similar training pictures; the best of 4 '
    'variants is chosen by the truth, as a user would who knows it (`--variants 4`).'
)
HEAD = (
    '| guide | error, alone | error, network | network less alone | colourfulness, alone | network | gray | one hue '
    '| Fréchet, alone | network | aim |\n|---|---|---|---|---:|---:|---:|---:|---:|---:|---|'
)


def line(name: str, alone: Row, network: Row | None) -> str:
    """A line of the table; the counts are the network's, where there is one."""
    cells = ['', '', '', '']
    if network is not None:
        less = [ours - theirs for ours, theirs in zip(network.errors, alone.errors, strict=True)]
        cells = [_ranged(network), f'{network.error - alone.error:+.3f} ({_range(less, alone.grays, "+.2f")})']
        cells += [f'{100 * network.colourfulness:.0f}%', f'{network.frechet:.1f}']
    gray, one_hue = (network or alone).counts
    return (
        f'| {name} | {_ranged(alone)} | {cells[0]} | {cells[1]} | {100 * alone.colourfulness:.0f}% | {cells[2]} '
        f'| {gray} | {one_hue} | {alone.frechet:.1f} | {cells[3]} | {_aim(name, network)} |'
    )


def _ranged(row: Row) -> str:
    return f'{row.error:.3f} ({_range(row.errors, row.grays, ".2f")})'


def _range(errors: Sequence[float], grays: Sequence[float], form: str) -> str:
    low, high = interval(errors, grays)
    return f'{low:{form}} to {high:{form}}'


def _aim(name: str, row: Row | None) -> str:
    if name not in AIMS:
        return ''
    most, low, high = AIMS[name]
    text = f'<= {most:.2f}; {100 * low:.0f} to {100 * high:.0f}%'
    if row is None:
        return text
    met = (round(row.error, 3) <= most, low <= round(row.colourfulness, 2) <= high)
    return text + ': ' + ('met' if all(met) else 'missed' if not any(met) else f'{"error" if met[0] else "colour"} met')


def measure(pictures: list[np.ndarray], case: Case, network: Any, variants: int = 1, seed: int = 0) -> Row:
    """One row: every picture with guides of its own, coloured by `network`, or as the guides say if it is None.

    Of several variants the one that is closest to the truth counts.
    """
    row = Row()
    for number, rgb in enumerate(pictures):
        lab = np.asarray(rgb_to_lab(rgb))
        given = case(rgb, lab, np.random.default_rng([seed, number]))
        made = [
            np.asarray(_to_rgb(lab[..., 0], colours(lab[..., 0], given, network, variant)))
            for variant in range(variants)
        ]
        row.add(min(made, key=lambda one: float(np.abs(np.asarray(rgb_to_lab(one)) - lab)[..., 1:].mean())), rgb)
    return row


def colours(lightness: np.ndarray, given: dict[str, np.ndarray], network: Any, variant: int = 0) -> np.ndarray:
    """a*b* `[H, W, 2]` for L* `[H, W]` with guides, or with the guess number `variant` of a palette."""
    planes = guides.first_guess(lightness, **given)
    if network is None:
        return guides.AB_SCALE * planes[..., :2]
    if not given:
        planes = guides.first_guess(lightness, palette=guess(lightness, variant))
    gray = guides.lightness_to_gray(lightness)[..., None]
    height, width = lightness.shape
    images = np.concatenate([gray, planes], axis=-1).astype(np.float32)[None]
    images = np.pad(images, ((0, 0), (0, -height % 64), (0, -width % 64), (0, 0)), mode='edge')
    ab = np.asarray(_chroma(network)(network.variables, images))[0, :height, :width]
    return np.where(given['mask'][..., None], given['known'], ab) if 'mask' in given else ab


@functools.cache
def _chroma(network: Any) -> Any:
    return jax.jit(network.chroma)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.colorization_quality', description=__doc__.splitlines()[0]
    )
    parser.add_argument('pictures', nargs='+', help='colour pictures, or folders of them')
    parser.add_argument('--model', help='a shipped model or an exported directory')
    args = parser.parse_args()
    pictures = read_pictures(args.pictures)
    network = None
    if args.model:
        from astro_gan.model import load_model

        network = load_model(args.model).networks[0]
    print(HEAD)
    for name, case in CASES.items():
        alone = measure(pictures, case, None)
        print(line(name, alone, None if network is None else measure(pictures, case, network)), flush=True)
        if name == 'none' and network is not None:
            print(line(BEST, alone, measure(pictures, case, network, variants=4)), flush=True)
    print(f'\n{len(pictures)} pictures. {NOTE}')


if __name__ == '__main__':
    main()
