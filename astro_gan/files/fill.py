"""Values that stand for "no number" in frames: 1e30, -32768 in floats and the like.

Nothing in a FITS file says which they are, so they are told by what no sky, star or saturated pixel does: they lie far
beyond everything else, with nothing in between. Saturated stars have wings that lead up to them, and even a hot pixel
of a detector of 16 bits lies no more than 65535 steps above its background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

# Distances from the median, in units of what the frame spans on that side (see `_spans`), and as multiples of the
# distance of the last value before the gap. Below the sky nothing real is bright, so less will do where a value is
# negative and repeats exactly.
_FAR, _FAR_GAP = 1e5, 1e3
_FAR_BELOW, _BELOW_GAP = 30.0, 5.0
_MOST = 100_000  # distinct values: more than this beyond the limits are data of a kind of their own


@dataclasses.dataclass(frozen=True)
class Limits:
    """Where numbers end.

    Attributes:
        lowest, highest: whatever lies beyond holds no number.
        below: what lies below and repeats exactly holds none either.
        blank: a value that the header declares to hold none, or None.
        darkest, brightest: of the rest.
    """

    lowest: float
    highest: float
    below: float
    blank: float | None
    darkest: float
    brightest: float

    def reached(self, lowest: float, highest: float) -> bool:
        """Whether a frame with these values at its ends can hold fills at all."""
        return lowest < max(self.lowest, self.below) or highest > self.highest or self.blank is not None


def find_limits(sample: np.ndarray, blank: float | None = None) -> Limits | None:
    """Limits for a frame of which `sample` `[n]` are some values; None where they cannot be told.

    Args:
        sample: any floats; what is not finite does not count.
        blank: the header's BLANK. The standard has it for integers only, and files of floats keep it by mistake: it
            counts only where it lies beyond the frame's range.
    """
    values = np.sort(sample[np.isfinite(sample)].astype(np.float64))
    declared = blank
    if declared is not None:
        values = values[values != declared]
    core = values
    while len(core):
        found = _trimmed(core)
        if found is None:
            # Two fills, one at each end, hide each other.
            inner = core[(core > core[0]) & (core < core[-1])]
            found = _trimmed(core, inner) if len(inner) else None
        if found is None:
            break
        core = found
    if not len(core) or core[0] == core[-1]:
        return None
    middle, below, above = _spans(core)
    low, high = middle - core[0], core[-1] - middle
    if declared is not None and middle - below <= declared <= middle + above:
        declared = None
    return Limits(
        lowest=middle - max(_FAR * below, _FAR_GAP * low),
        highest=middle + max(_FAR * above, _FAR_GAP * high),
        below=min(0.0, middle - max(_FAR_BELOW * below, _BELOW_GAP * low)),
        blank=declared,
        darkest=float(core[0]),
        brightest=float(core[-1]),
    )


def _spans(core: np.ndarray) -> tuple[float, float, float]:
    """Median of sorted values, and how far they reach below and above it: 99.9% of them, or 5 times their noise."""
    dark, low, middle, high, bright = (float(core[int(q * (len(core) - 1))]) for q in (0.001, 0.16, 0.5, 0.84, 0.999))
    spans = []
    for span, away in (
        (max(middle - dark, 5 * (middle - low)), middle - core),
        (max(bright - middle, 5 * (high - middle)), core - middle),
    ):
        others = away[away > 0]
        spans.append(span or (float(np.median(others)) if len(others) else 0.0))
    below, above = spans
    return middle, below or above, above or below


def _trimmed(core: np.ndarray, inner: np.ndarray | None = None) -> np.ndarray | None:
    """Sorted values without those beyond a gap; None if there is no gap. `inner`: those that are surely numbers."""
    middle, below, above = _spans(core if inner is None else inner)
    start, stop = 0, len(core)
    for side, span, far, gap in ((1, above, _FAR, _FAR_GAP), (-1, below, _FAR_BELOW, _BELOW_GAP)):
        away = np.maximum(side * (core - middle), 0.0)[::side]
        first = np.flatnonzero(away[1:] > np.maximum(far * span, gap * away[:-1]))
        if span and len(first):
            start, stop = (start, first[0] + 1) if side > 0 else (len(core) - first[0] - 1, stop)
    return core[start:stop] if 0 < stop - start < len(core) else None


def count_fills(chunks: Iterable[np.ndarray], limits: Limits) -> dict[float, int]:
    """Values that hold no number among all of a frame's, with how often they occur; `chunks`: all its values."""
    found: dict[float, int] = {}
    for chunk in chunks:
        with np.errstate(invalid='ignore'):
            beyond = (chunk < max(limits.lowest, limits.below)) | (chunk > limits.highest)  # infinite ones too
            if limits.blank is not None:
                beyond |= chunk == limits.blank
        if not beyond.any():
            continue
        values, counts = np.unique(chunk[beyond], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if np.isfinite(value):
                found[value] = found.get(value, 0) + count
        if len(found) > _MOST:
            return {}
    return {
        value: count
        for value, count in sorted(found.items())
        if count > 1 or value == limits.blank or not limits.lowest <= value <= limits.highest
    }


def describe(fills: dict[float, int], limits: Limits) -> str:
    """A line that says what was found."""
    count = sum(fills.values())
    often = sorted(fills, key=lambda value: -fills[value])[:3]
    values = ', '.join(f'{value:.6g}' for value in often) + (' and others' if len(fills) > 3 else '')
    rest = f'{limits.darkest:.6g} to {limits.brightest:.6g}'
    return f'{pixels(count)} of {values}, far beyond the rest ({rest}): no number there, NaN in the result'


def pixels(count: int) -> str:
    return f'{count} pixel{"s" * (count != 1)}'
