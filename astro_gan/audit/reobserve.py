"""An output made smaller again, and an input made larger, in rows: bicubic, or through the PSF between the two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from astro_gan.audit.align import Pair
from astro_gan.audit.planes import Plane

_PER_SIGMA = math.sqrt(8 * math.log(2))


def between(header: Any, factor: float) -> float | None:
    """Standard deviation, in pixels of the output, of the Gaussian that takes its PSF to the input's; None: unknown.

    Known of what a model for frames made: its header tells the width of the input's stars, its description its own.
    """
    from astro_gan.model import load_model, shipped_models

    name = str(header.get('AGMODEL', '')).split('+')[0] if header is not None else ''
    if name not in shipped_models() or 'AGFWHM' not in header:
        return None
    model = load_model(name)
    psf = model.description['output'].get('psf')
    if psf is None:
        return None
    fwhm = float(header['AGFWHM'])
    narrow = max(psf['ratio'] * fwhm, psf['least_fwhm_in_output_pixels'] / model.factor)
    # As in `astro_gan.inference.blend`: pixels of the output are summed to those of the input, which widens too.
    square = (fwhm**2 - narrow**2) / _PER_SIGMA**2 - (1 - 1 / factor**2) / 12
    # Blended with what it is through that Gaussian (AGSHARP), the output's variance lacks that share of it.
    return factor * math.sqrt(max(square, 1e-4) * float(header.get('AGSHARP', 1.0)))


def smaller(pair: Pair, top: int, count: int, sigma: float | None) -> np.ndarray:
    """Rows of the output at the input's size, float32 `[count, w]`; NaN where the output has no number.

    Args:
        top: first row of `pair.input`.
        sigma: of a Gaussian, pixels of the output, before pixels are averaged; None: antialiased bicubic resampling.
    """
    (scale_y, scale_x), (offset_y, offset_x) = pair.alignment.scale, pair.alignment.offset
    width = pair.input.shape[1]
    low, high = scale_y * top + offset_y, scale_y * (top + count) + offset_y
    margin = math.ceil(2 * scale_y if sigma is None else 4 * sigma) + 1
    first, values = window(pair.after, math.floor(low) - margin, math.ceil(high) + margin)
    box = (
        max(0.0, offset_x),
        max(0.0, low - first),
        min(offset_x + scale_x * width, float(pair.after.width)),
        min(high - first, float(len(values))),
    )
    good = np.isfinite(values)
    filled = values if good.all() else np.where(good, values, np.float32(np.median(values[good]) if good.any() else 0))
    if sigma is None:
        result = _resized(filled, (width, count), Image.Resampling.BICUBIC, box)
    else:
        blurred = ndimage.gaussian_filter(filled, sigma, mode='nearest', truncate=4.0)
        result = _resized(blurred, (width, count), Image.Resampling.BOX, box)
    if not good.all():
        result = result.copy()
        result[_resized(good.astype(np.float32), (width, count), Image.Resampling.BOX, box) < 0.999] = np.nan
    return result


def larger(values: np.ndarray, pair: Pair, top: int, first: int, count: int) -> np.ndarray:
    """Rows of the input, bicubically enlarged to the output's pixels, float32 `[count, W of the common part]`.

    Args:
        values: rows of the input `[n, w]`, a kernel's reach more than needed on either side; no NaN.
        top: the first of them.
        first: first row of the output that is wanted.
    """
    (scale_y, scale_x), (offset_y, offset_x) = pair.alignment.scale, pair.alignment.offset
    left, right = columns(pair)
    box = (
        max(0.0, (left - offset_x) / scale_x),
        max(0.0, (first - offset_y) / scale_y - top),
        min((right - offset_x) / scale_x, float(values.shape[1])),
        min((first + count - offset_y) / scale_y - top, float(len(values))),
    )
    return _resized(values, (right - left, count), Image.Resampling.BICUBIC, box)


def columns(pair: Pair) -> tuple[int, int]:
    """First and last column of the output that the input covers."""
    scale, offset, width = pair.alignment.scale[1], pair.alignment.offset[1], pair.input.shape[1]
    return max(0, round(offset)), min(pair.after.width, round(offset + scale * width))


def row_of(pair: Pair, top: int) -> int:
    """The row of the output at which a row of the input begins."""
    return min(pair.after.height, max(0, round(pair.alignment.scale[0] * top + pair.alignment.offset[0])))


def window(plane: Plane, first: int, last: int) -> tuple[int, np.ndarray]:
    """Rows that there are of those asked for, and the first of them."""
    first, last = max(0, first), min(plane.height, last)
    return first, plane.rows(first, last - first)


def _resized(
    values: np.ndarray, size: tuple[int, int], method: Any, box: tuple[float, float, float, float]
) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, method, box=box))
