"""How close guided colours come to the truth, and how close the same guides come without a network.

    python -m benchmarks.colorization_quality FOLDER                    # the guides alone
    python -m benchmarks.colorization_quality FOLDER --model colorize   # and with a network

FOLDER holds colour pictures (the validation split of press images, say). Each is made 256 pixels wide, its guides are
read from itself, and the colours that come back are compared with its own, as pictures of 8 bits. A markdown table:

    a*b* error      sum of the absolute errors of a* and b* over that of the gray pictures, with the 95% interval over
                    pictures (bootstrap)
    colourfulness   sum over that of the truth (Hasler and Süsstrunk 2003)
    gray, one hue   how many outputs `summary.colour_health` counts as gray, or as of one common hue
    Fréchet         `summary.frechet` of pooled AlexNet features of tiles of 64 pixels
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
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
}


def read_pictures(folder: str) -> list[np.ndarray]:
    """RGB `[H, 256, 3]` in [0, 1], rounded to 8 bits."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in ('.jpg', '.jpeg', '.png', '.tif'))
    if not paths:
        raise SystemExit(f'error: {folder}: no pictures')
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


class Row:
    """The sums of one row of the table."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.grays: list[float] = []
        self.tables: list[dict[str, float]] = []
        self.features: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, output: np.ndarray, truth: np.ndarray) -> None:
        """One picture, RGB `[H, W, 3]` in [0, 1]."""
        ab, ab_truth = (np.asarray(rgb_to_lab(image))[..., 1:] for image in (output, truth))
        self.errors.append(float(np.abs(ab - ab_truth).mean()))
        self.grays.append(float(np.abs(ab_truth).mean()))
        table = colour_metrics(output[None], truth[None])
        self.tables.append({name: float(value[0]) for name, value in table.items()})
        made = (np.asarray(_features()(_tiles(image))) for image in (output, truth))
        self.features.append(tuple(made))  # type: ignore[arg-type]

    def line(self, name: str) -> str:
        """A line of the markdown table."""
        errors, grays = np.array(self.errors), np.array(self.grays)
        chosen = np.random.default_rng(0).integers(0, len(errors), (RESAMPLES, len(errors)))
        low, high = np.quantile(errors[chosen].sum(1) / grays[chosen].sum(1), (0.025, 0.975))
        table = {key: np.array([row[key] for row in self.tables]) for key in self.tables[0]}
        counts, _ = summary.colour_health(table)
        colour = table['colourfulness'].sum() / table['colourfulness_truth'].sum()
        distance = summary.frechet(*(np.concatenate([pair[side] for pair in self.features]) for side in (0, 1)))
        return (
            f'| {name} | {errors.sum() / grays.sum():.3f} ({low:.2f} to {high:.2f}) | {100 * colour:.0f}% '
            f'| {counts["gray_outputs"]:.0f} | {counts["one_hue_outputs"]:.0f} | {distance:.1f} |'
        )


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
    parser.add_argument('folder', help='of colour pictures')
    parser.add_argument('--model', help='a shipped model or an exported directory')
    args = parser.parse_args()
    pictures = read_pictures(args.folder)
    network = None
    if args.model:
        from astro_gan.model import load_model

        network = load_model(args.model).networks[0]
    print('| guide | a*b* error / gray | colourfulness | gray | one hue | Fréchet |\n|---|---|---:|---:|---:|---:|')
    for name, case in CASES.items():
        print(measure(pictures, case, None).line(f'{name}, guides alone'), flush=True)
        if network is not None:
            print(measure(pictures, case, network).line(name), flush=True)
    if network is not None:
        print(measure(pictures, CASES['none'], network, variants=4).line('none, best of 4 variants'), flush=True)


if __name__ == '__main__':
    main()
