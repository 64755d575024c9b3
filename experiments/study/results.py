"""What was measured: a row for each system, its metrics by tile, and comparisons between rows.

Spread is over pictures (tiles of one picture are averaged first, and so are seeds) and, by itself, over seeds (pictures
are averaged first); intervals are Student's.
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

FEWEST, FEWEST_SEEDS = 5, 3  # pictures, and trainings: an interval over fewer says nothing
SHARES = {'recall': ('found', 'faint'), 'spurious_share': ('spurious', 'claimed')}  # over all tiles together


@dataclasses.dataclass
class Row:
    """One row of the tables.

    Attributes:
        title: of the row.
        models: that were measured, one for each seed; none: the baseline.
        stage: of its training; ''.
        workdir: of its training with the first seed, if the study knows it.
        tables: of each model, `{metric: [tiles, ...]}`, the tiles in their own order.
        pictures: outputs of the first model for the chosen tiles, `[n, H, W, 3]` in [0, 1].
    """

    title: str
    models: list[Model] = dataclasses.field(default_factory=list)
    stage: str = ''
    workdir: Path | None = None
    tables: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
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
        """A row of the tables: means over the seeds."""
        by_seed = [self._summary(table) for table in row.tables]
        return {name: float(np.mean([summary[name] for summary in by_seed])) for name in by_seed[0]}

    def deviations(self, row: Row) -> dict[str, float]:
        """Standard deviations of a row over the seeds; {} where there is one."""
        by_seed = [self._summary(table) for table in row.tables]
        return {
            name: float(np.std([summary[name] for summary in by_seed], ddof=1))
            for name in by_seed[0]
            if len(by_seed) > 1
        }

    def _summary(self, table: dict[str, np.ndarray]) -> dict[str, float]:
        means = self.summarize(table)[0]
        for name, (part, whole) in SHARES.items():
            if whole in table:
                means[name] = float(table[part].sum() / max(table[whole].sum(), 1))
        return means

    def by_picture(self, row: Row, metric: str) -> np.ndarray:
        """The metric's mean over the seeds and each picture's tiles, pictures in order of appearance."""
        return self.by_seed(row, metric).mean(0)

    def by_seed(self, row: Row, metric: str) -> np.ndarray:
        """The metric's mean over each picture's tiles, `[seeds, pictures]`."""
        names = np.array(self.pictures)
        order = list(dict.fromkeys(self.pictures))
        return np.array([[table[metric][names == name].mean() for name in order] for table in row.tables])

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


@dataclasses.dataclass(frozen=True)
class Difference:
    """By how much a row is better than another; positive means that it is, whichever way the metric counts.

    Attributes:
        mean: over pictures and seeds.
        pictures, seeds: both ends of its 95% interval over pictures and over seeds; NaN where there are too few.
        share: of the pictures that agree.
    """

    mean: float
    pictures: tuple[float, float]
    seeds: tuple[float, float]
    share: float


def difference(results: Results, better: Row, worse: Row, metric: str) -> Difference:
    """Paired by picture, and by seed; a row of one model (a shipped one) stands beside every seed of the other."""
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    ours, theirs = (results.by_seed(row, metric) for row in (better, worse))
    seeds = max(len(ours), len(theirs)) if 1 in (len(ours), len(theirs)) else min(len(ours), len(theirs))
    first, second = (values[:seeds] if len(values) > 1 else values.repeat(seeds, 0) for values in (ours, theirs))
    gain = sign * (first - second)
    by_picture = gain.mean(0)
    return Difference(
        float(gain.mean()),
        _interval(by_picture, FEWEST),
        _interval(gain.mean(1), FEWEST_SEEDS),
        float((by_picture > 0).mean()),
    )


def _interval(values: np.ndarray, fewest: int) -> tuple[float, float]:
    """Student's 95% interval of the mean; NaN for fewer values than `fewest`."""
    if len(values) < fewest:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def verdict(found: Difference) -> str:
    """What both intervals say, or that over pictures alone where one seed was trained."""
    if np.isnan(found.pictures[0]):
        return 'too few pictures'
    ends = [end for end in (*found.pictures, *found.seeds) if not np.isnan(end)]
    return 'holds' if min(ends) > 0 else 'does not hold' if max(ends) < 0 else 'undecided'
