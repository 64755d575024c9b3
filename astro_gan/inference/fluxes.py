"""`refit` over a whole frame, in bands: the output of a network for frames with the fluxes of its sources put right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from astro_gan.inference import refit
from astro_gan.inference.refit import Psf

# Rows and columns of the input that are put right at a time; where they begin does not depend on tiles.
BAND, BLOCK = 256, 2048
Rows = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


def corrected(
    strips: Iterator[np.ndarray],
    rows: Rows,
    height: int,
    psfs: Sequence[Psf],
    *,
    sharpen: float = 1.0,
    denoise: float = 1.0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the output and of the residual, top to bottom.

    Args:
        strips: float32 `[rows, W, channels, planes]` in noise units: the first is put right, the last is the
            network's own output (the same, unless that was blended).
        rows: first row and number -> so many rows of the input in noise units `[planes, rows, w]`, and which of their
            pixels are usable.
        height: of the input.
        psfs: of the planes.
        sharpen, denoise: what the first channel was blended with (see `blend`).

    Yields:
        All channels, the first with its fluxes right, and the input less the network's output, with the same fluxes,
        seen again, `[planes, rows / factor, w]`.
    """
    factor = psfs[0].factor
    margin = math.ceil(max(min(refit.REACH * psf.fwhm, 160) for psf in psfs))
    held: list[np.ndarray] = []
    first = 0  # row of the input with which `held` begins
    for top in range(0, height, BAND):
        bottom = min(height, top + BAND)
        start, stop = max(0, top - margin), min(height, bottom + margin)
        while sum(map(len, held)) < (stop - first) * factor:
            held.append(next(strips))
        values = np.concatenate(held)[(start - first) * factor :]
        held, first = [values], start
        values = values[: (stop - start) * factor]
        z, usable = rows(start, stop - start)
        outputs, residuals = [], []
        for index, psf in enumerate(psfs):
            more, residual = _missing(z[index], usable[index], values[:, :, -1, index], psf, margin, sharpen, denoise)
            outputs.append(np.concatenate([(values[:, :, 0, index] + more)[:, :, None], values[:, :, 1:, index]], 2))
            residuals.append(residual)
        inner = slice(top - start, bottom - start)
        yield np.stack(outputs, -1)[inner.start * factor : inner.stop * factor], np.stack(residuals)[:, inner]


def _missing(
    z: np.ndarray,
    usable: np.ndarray,
    output: np.ndarray,
    psf: Psf,
    margin: int,
    sharpen: float,
    denoise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """What the output of a band lacks, `[f h, f w]`, and its residual, `[h, w]`; some columns at a time, as a crowded
    field takes a kilobyte per pixel."""
    factor, (height, width) = psf.factor, z.shape
    more, residual = np.empty(output.shape, np.float32), np.empty((height, width), np.float32)
    for left in range(0, width, BLOCK):
        right = min(width, left + BLOCK)
        start, stop = max(0, left - margin), min(width, right + margin)
        part = output[:, start * factor : stop * factor]
        places, missing, seen = refit.refit(z[:, start:stop], usable[:, start:stop], part, psf)
        made = sharpen * refit.stars(places, missing, part.shape, psf, narrow=True)
        if denoise != sharpen:
            made += (denoise - sharpen) * refit.stars(places, missing, part.shape, psf, narrow=False)
        more[:, left * factor : right * factor] = made[:, (left - start) * factor : (right - start) * factor]
        residual[:, left:right] = seen[:, left - start : right - start]
    return more, residual
