"""What an audit goes by: the input's sky, noise and stars, and how its output is made smaller."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from astro_gan.audit.align import Pair
from astro_gan.audit.reobserve import between
from astro_gan.errors import UserError
from astro_gan.inference.measure import Measured, Mesh, measure

ASSUMED = 2.5  # pixels: FWHM where nothing tells


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """What was measured of the input, and how the output is made smaller."""

    sky: Mesh
    noise: Mesh
    floor: float
    fwhm: float
    correlation: float
    saturation: float
    sigma: float | None
    words: list[str]

    def units(self, values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the input: sky and noise, both float32 `[n, w]`."""
        place = (top, 0, *values.shape)
        return self.sky.window(*place), np.maximum(self.noise.window(*place), np.float32(self.floor))


def look_at(pair: Pair, kernel: float | None, noise: float | None, fwhm: float | None) -> Look:
    levels = pair.after.levels and min(pair.before.levels or pair.after.levels, pair.after.levels)
    floor = 255 / (levels - 1) / math.sqrt(12) if levels else 0.0
    words = []
    measured: Measured | None = None
    try:
        measured = measure(pair.input, noise=noise, fwhm=fwhm)
    except ValueError as error:
        if not floor and noise is None:
            raise UserError(f'{pair.before.path}: {error}; --noise says how much there is') from None
    shape = pair.input.shape
    if measured is None:
        flat = np.full((1, 1), float(np.nanmedian(pair.input[:: max(1, shape[0] // 512)])))
        sky, own = Mesh(flat, shape), Mesh(np.full((1, 1), noise or 0.0), shape)
        correlation, width, full = 0.0, fwhm or ASSUMED, None
    else:
        sky, own, full = measured.sky, measured.noise, measured.saturation
        correlation, width = measured.correlation.value, measured.fwhm.value
        words += [line for line in measured.lines() if not line.startswith('sky')]
    if floor and float(np.median(own.values)) < floor:
        words.append(
            f'less noise than the rounding of {levels} levels: {floor:.2g} levels of 255 are taken, and what is said '
            'in sigma is in units of that'
        )
    if levels:
        full = min(254.0, full) if full else 254.0
    factor = pair.alignment.factor
    if kernel is None:
        sigma = between(pair.after.header, factor) if pair.is_frame else None
    else:
        sigma = kernel * factor / math.sqrt(8 * math.log(2)) or None
    kind = 'antialiased bicubic resampling' if sigma is None else f'a Gaussian of {2.3548 * sigma / factor:.3g} px FWHM'
    words.append(f'made smaller again by {kind}')
    return Look(sky, own, floor, width, float(np.clip(correlation, 0, 0.7)), full or math.inf, sigma, words)
