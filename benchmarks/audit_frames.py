"""Real frames for `benchmarks.audit`, other parts and other frames than those that the auditor's rule was chosen with.

Where a folder has several exposures of one sky, their mean without the frame in question, laid on it by correlation, is
deeper than it, and says which of its output's sources are real.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from astro_gan.audit import sources
from astro_gan.errors import UserError
from astro_gan.inference.frames import open_frame
from astro_gan.inference.measure import Measured, measure

FACTOR = 2
LARGEST = 400  # pixels of a part on a side
SMALLEST = 128
CHOSEN_WITH = 2  # the rule was chosen with the middle of the first two frames of each folder
EACH = 8  # parts of a folder, as they are much alike
NO_SKY = ('psf', 'rms', 'sigma', 'noise', 'bias', 'dark', 'flat')  # in names: maps and calibrations
SAME_SKY = ('amateur_m13_orion_ssdsi', 'amateur_microobs_hatp32', 'ground_vista_z')
DEEPER = 4  # other exposures that are averaged


def cases(folder: Path) -> Iterator[dict[str, Any]]:
    """Parts of frames that open without being told how, and have noise to measure; see `benchmarks.audit.Case`."""
    paths = [p for p in folder.rglob('*') if 'fit' in p.name.lower() and not p.parent.name.startswith('psf')]
    groups: dict[Path, list[Path]] = {}
    for path in sorted(paths):
        groups.setdefault(path.parent, []).append(path)
    for parent, files in groups.items():
        opened = [path for path in files if _opens(path)]
        parts = [(path, place) for index, path in enumerate(opened) for place in _parts(path, index)]
        step = max(1, len(parts) / EACH)
        for path, place in [parts[int(index * step)] for index in range(min(EACH, len(parts)))]:
            deep = deeper(path, tuple(opened)) if parent.name in SAME_SKY else None
            case = _case(parent.name, path.name, read(path)[place], None if deep is None else deep[place])
            if case is not None:
                yield case


def _parts(path: Path, index: int) -> list[tuple[slice, slice]]:
    """Where parts of a frame are taken, of those that the rule was not chosen with."""
    if any(word in path.name.lower() for word in NO_SKY):
        return []
    shape = read(path).shape
    return [_middle(shape)] * (index >= CHOSEN_WITH) + _corners(shape)


def _opens(path: Path) -> bool:
    try:
        return min(read(path).shape) >= SMALLEST
    except UserError:
        return False


@functools.lru_cache(maxsize=8)
def read(path: Path) -> np.ndarray:
    """A frame of one plane, NaN where there is no measurement; UserError for others."""
    source = open_frame(path, stretch='asinh', upright=False, maximum_pixels=10**8)
    if source.channels != 1:
        raise UserError('more planes than one')
    values, bad = source.rows(0, source.height)
    return np.where(bad, np.nan, values[0]).astype(np.float32)


def _middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = (slice(max(0, (n - LARGEST) // 2), max(0, (n - LARGEST) // 2) + LARGEST) for n in shape)
    return rows, columns


def _corners(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Four parts that share no pixel with the middle."""
    side = min(LARGEST, max((n - LARGEST) // 2 for n in shape))
    if side < SMALLEST:
        return []
    rows, columns = ((slice(0, side), slice(n - side, n)) for n in shape)
    return [(row, column) for row in rows for column in columns]


def _case(folder: str, name: str, data: np.ndarray, deep: np.ndarray | None) -> dict[str, Any] | None:
    try:
        found = measure(data)
    except ValueError:
        return None
    z, noise = in_noise_units(data, found)
    if len(np.unique(np.round(z[np.abs(z) < 5], 3))) < 30:
        tqdm.write(f'{name}: left out, its values are a handful')
        return None
    missing = ndimage.binary_dilation(~np.isfinite(data), iterations=8)
    return {
        'name': folder,
        'input': data,
        'free': _free(z, found) & ~missing,
        'noise': noise,
        'fwhm': found.fwhm.value,
        'real': None if deep is None else functools.partial(_shows, *deep_field(deep)),
    }


def in_noise_units(data: np.ndarray, found: Measured) -> tuple[np.ndarray, np.ndarray]:
    """The frame less its sky, over its noise, and the noise."""
    place = (0, 0, *data.shape)
    noise = found.noise.window(*place)
    return np.nan_to_num((data - found.sky.window(*place)) / noise).astype(np.float32), noise


def deep_field(deep: np.ndarray) -> tuple[np.ndarray, dict[float, float]]:
    """A deeper frame in units of its noise, and the noise of the filters of its stars."""
    found = measure(deep)
    widths = sources.input_widths(found.fwhm.value, FACTOR)
    return in_noise_units(deep, found)[0], sources.filter_errors(widths, min(max(found.correlation.value, 0), 0.7))


def _shows(z: np.ndarray, errors: dict[float, float], places: np.ndarray) -> np.ndarray:
    """Whether the deeper frame has a source at places `[n, 2]`, or within half a pixel: of 3 sigma."""
    steps = [(y, x) for y in (-0.5, 0, 0.5) for x in (-0.5, 0, 0.5)]
    found = [sources.significance(z, places + step, errors) for step in steps]
    return np.max(found, axis=0) >= sources.COUNTERPART


@functools.lru_cache(maxsize=8)
def deeper(path: Path, exposures: tuple[Path, ...]) -> np.ndarray:
    """The mean of other exposures of its sky, laid on a frame."""
    data, others = read(path), [other for other in exposures if other != path][:DEEPER]
    flat = in_noise_units(data, measure(data))[0]
    total = np.zeros(data.shape)
    for name in others:
        other = read(name)
        shift = _shift(flat, in_noise_units(other, measure(other))[0])
        total += ndimage.shift(np.nan_to_num(other, nan=float(np.nanmedian(other))), shift, order=1, mode='nearest')
    return total / len(others)


def _shift(z: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many pixels the second has to be moved to lie on the first: the peak of their correlation."""
    one, two = (np.fft.rfft2(np.clip(ndimage.gaussian_filter(plane, 1.0), 1.0, 20.0) - 1) for plane in (z, other))
    similar = np.fft.irfft2(one * np.conj(two), z.shape)
    peak = np.array(np.unravel_index(similar.argmax(), similar.shape))
    shift = peak.astype(float)
    for axis, at in enumerate(peak):
        step = np.eye(2, dtype=int)[axis]
        before, top, after = (similar[tuple((peak + n * step) % z.shape)] for n in (-1, 0, 1))
        shift[axis] = at + (before - after) / (2 * min(before - 2 * top + after, -1e-9))
    return np.where(shift > np.array(z.shape) / 2, shift - z.shape, shift)


def _free(z: np.ndarray, found: Measured) -> np.ndarray:
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
