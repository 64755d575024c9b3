"""Real frames of one sky, a coarser one enlarged and a finer one as the truth: for `benchmarks.frames`.

The truth has noise and a PSF of its own, so no output can be equal to it; what counts is the order. Shift and zoom
between the two are fitted once, on the bicubic enlargement, and are the same for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, optimize

from astro_gan import fidelity
from astro_gan.files.fits import read_frame
from astro_gan.inference.measure import measure


def pairs(folder: Path) -> list[tuple[str, str, np.ndarray, np.ndarray, float, np.ndarray | None]]:
    """(kind, name, coarse, fine, coarse pixel over fine pixel, PSF of the coarse one)."""
    found = []
    for path in sorted((folder / 'pair_kids_sdss' / 'SDSS').glob('*fitim.fits.gz')):
        name = path.name.removesuffix('fitim.fits.gz')
        fine, coarse = (
            np.asarray(read_frame(folder / 'pair_kids_sdss' / survey / path.name).data, np.float64)
            for survey in ('KiDS', 'SDSS')
        )
        kernel = read_frame(path.with_name(f'{name}psfim.fits.gz')).data
        found.append(('SDSS to KiDS, r', name, coarse, fine, 0.396 / 0.2, np.asarray(kernel, np.float64)))
    both = [folder / 'pair_hst_hsc_scarlet' / f'Cut_{name}.fits.gz' for name in ('HSC', 'HST')]
    if all(path.is_file() for path in both):
        from astropy.io import fits

        coarse, fine = (np.asarray(fits.getdata(path), np.float64) for path in both)
        # The i band of the five lies nearest F814W. HST binned twice: 0.06 arc seconds.
        fine = fine[: fine.shape[0] // 2 * 2, : fine.shape[1] // 2 * 2]
        fine = fine.reshape(fine.shape[0] // 2, 2, -1, 2).mean((1, 3))
        found.append(('HSC i to HST F814W', 'COSMOS', coarse[2], fine, 0.168 / 0.06, None))
    return found


def onto(output: np.ndarray, shape: tuple[int, ...], zoom: float, shift: np.ndarray) -> np.ndarray:
    """The output at the pixels of the truth: `zoom` pixels of the output for one of it, centres `shift` apart."""
    grids = [
        (np.arange(size) - (size - 1) / 2) * zoom + (own - 1) / 2 + by
        for size, own, by in zip(shape, output.shape, shift, strict=True)
    ]
    return ndimage.map_coordinates(output, np.meshgrid(*grids, indexing='ij'), order=3, mode='nearest')


def fitted(plain: np.ndarray, truth: np.ndarray, zoom: float) -> tuple[float, np.ndarray]:
    """Zoom and shift at which the bicubic enlargement is most like the truth, smoothed to its width."""
    smooth = ndimage.gaussian_filter(truth, 2.0)

    def unlike(p: np.ndarray) -> float:
        return -float(np.corrcoef(onto(plain, truth.shape, p[0], p[1:]).ravel(), smooth.ravel())[0, 1])

    start = min(([zoom, y, x] for y in (-2, 0, 2) for x in (-2, 0, 2)), key=lambda p: unlike(np.array(p)))
    best = optimize.minimize(unlike, start, method='Nelder-Mead', options={'xatol': 0.01, 'fatol': 1e-6}).x
    return float(best[0]), best[1:]


def report(folder: Path, systems: dict[str, Any], factor: int = 2) -> str:
    """A markdown table: correlation with the truth, of every kind of pair."""
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in systems}
    for kind, _, coarse, truth, ratio, kernel in pairs(folder):
        found = measure(coarse)
        place = (0, 0, *coarse.shape)
        z = ((coarse - found.sky.window(*place)) / found.noise.window(*place)).astype(np.float32)
        field: dict[str, Any] = {'input': z}
        if kernel is not None:
            fine = np.maximum(ndimage.zoom(kernel, factor, order=3), 0)
            field['psf'] = fine / fine.sum()
        place_of = fitted(systems['bicubic'][0](field), truth, factor / ratio)
        for name, (enlarge, _) in systems.items():
            if 'psf' not in field and name.startswith('Richardson'):
                continue
            output = onto(enlarge(field), truth.shape, *place_of)
            rows[name].setdefault(kind, []).append(float(np.corrcoef(output.ravel(), truth.ravel())[0, 1]))
    kinds = sorted({kind for row in rows.values() for kind in row})
    lines = ['Real pairs of one sky: correlation of the enlarged coarser frame with the finer one.', '']
    lines += ['| | ' + ' | '.join(kinds) + ' |', '| --- ' * (len(kinds) + 1) + '|']
    for name, row in rows.items():
        cells = []
        for kind in kinds:
            values = row.get(kind, [])
            value, low, high = fidelity.interval(values, np.mean) if values else (np.nan,) * 3
            cells.append(f'{value:.4f}' + f' ({low:.4f} to {high:.4f})' * (len(values) > 1) if values else '-')
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    plain = rows['bicubic']
    lines += ['', 'Less bicubic, pair by pair: ' + '; '.join(
        f'{name} {np.mean(np.subtract(row[kind], plain[kind])):+.4f} ({kind})'
        for name, row in rows.items() if name != 'bicubic' for kind in row
    ) + '.']  # fmt: skip
    return '\n'.join(lines)
