"""What was measured: a row for each system, its metrics by tile, and comparisons between rows.

Spread is over pictures: tiles of one picture are averaged first, and intervals are Student's for the mean of so many
pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from astro_gan.model import Model
from astro_gan.task import HIGHER_IS_BETTER

FEWEST = 5  # pictures: an interval over fewer says nothing
SHARES = {'recall': ('found', 'faint'), 'spurious_share': ('spurious', 'claimed')}  # over all tiles together


@dataclasses.dataclass
class Row:
    """One row of the tables.

    Attributes:
        title: of the row.
        model: that was measured; None: the baseline.
        stage: of its training; ''.
        workdir: of its training, if the study knows it.
        table: `{metric: [tiles, ...]}`, the tiles in their own order.
        pictures: outputs for the chosen tiles, `[n, H, W, 3]` in [0, 1].
    """

    title: str
    model: Model | None = None
    stage: str = ''
    workdir: Path | None = None
    table: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pictures: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))


@dataclasses.dataclass(frozen=True)
class Results:
    """One task's measurements.

    Attributes:
        task: its name.
        rows: the baseline first.
        summarize: a table -> (row of means, warnings).
        pictures: id of the picture of every tile.
        chosen: positions of the tiles that are shown.
        inputs, truth: the chosen tiles, `[n, h, w, C]` in [0, 1].
    """

    task: str
    rows: Sequence[Row]
    summarize: Callable[[Any], tuple[dict[str, float], list[str]]]
    pictures: Sequence[str]
    chosen: Sequence[int]
    inputs: np.ndarray
    truth: np.ndarray

    def means(self, row: Row) -> dict[str, float]:
        """A row of the tables."""
        means = self.summarize(row.table)[0]
        for name, (part, whole) in SHARES.items():
            if whole in row.table:
                means[name] = float(row.table[part].sum() / max(row.table[whole].sum(), 1))
        return means

    def by_picture(self, row: Row, metric: str) -> np.ndarray:
        """The metric's mean over each picture's tiles, pictures in order of appearance."""
        names = np.array(self.pictures)
        return np.array([row.table[metric][names == name].mean() for name in dict.fromkeys(self.pictures)])

    def row(self, title: str) -> Row | None:
        """The row of that title, if it was measured."""
        return next((row for row in self.rows if row.title == title), None)


def choose(pictures: Sequence[str], truth: np.ndarray, *, count: int = 3) -> list[int]:
    """Tiles to show, by their truth alone: the most structured tile of pictures spread evenly from plain to rich.

    Args:
        pictures: id of the picture of every tile.
        truth: the tiles `[n, H, W, 3]`.
        count: how many; fewer if there are fewer pictures.
    """
    structure = truth.std(axis=(1, 2, 3))
    best: dict[str, int] = {}
    for index, name in enumerate(pictures):
        if name not in best or structure[index] > structure[best[name]]:
            best[name] = index
    ranked = sorted(best.values(), key=lambda index: structure[index])
    places = (np.arange(min(count, len(ranked))) + 0.5) / min(count, len(ranked)) * len(ranked)
    return [ranked[int(place)] for place in places]


def difference(results: Results, better: Row, worse: Row, metric: str) -> tuple[float, float, float, float]:
    """By how much `better` is better in a metric: mean, both ends of its 95% interval, share of pictures that agree.

    Positive means that it is, whichever way the metric counts. Paired by picture; Student's interval of the mean, NaN
    for fewer than FEWEST pictures.
    """
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    gain = sign * (results.by_picture(better, metric) - results.by_picture(worse, metric))
    enough = len(gain) >= FEWEST
    half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain) if enough else np.nan
    return float(gain.mean()), float(gain.mean() - half), float(gain.mean() + half), float((gain > 0).mean())


def verdict(low: float, high: float) -> str:
    """Of an interval of a difference."""
    if np.isnan(low):
        return 'too few pictures'
    return 'holds' if low > 0 else 'does not hold' if high < 0 else 'undecided'
