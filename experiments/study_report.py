"""What the study writes: tables, and which of the report's conclusions hold here; `study_figures.py` has the figures.

All of it comes from the per-tile metrics of `experiments.study`; nothing is measured here. Spread is over pictures:
tiles of one picture are averaged first, and intervals are Student's for the mean of so many pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from astro_gan.logbook import write_rows
from astro_gan.model import Model
from astro_gan.task import HIGHER_IS_BETTER

FEWEST = 5  # pictures: an interval over fewer says nothing
SHARES = {'recall': ('found', 'faint'), 'spurious_share': ('spurious', 'claimed')}  # over all tiles together
# Tables: number, title, columns (metric, heading, digits). Numbers as in the report's chapter 8.
RGB = [(f'{name}{channel}', title, 5) for name in ('l1', 'l2') for channel, title in (
    ('', name.upper()), ('_r', 'R'), ('_g', 'G'), ('_b', 'B')
)]  # fmt: skip
LAB = [(f'{name}_{channel}', title, 3) for name in ('l1', 'l2') for channel, title in (
    ('lab', name.upper()), ('L', 'L\\*'), ('astar', 'a\\*'), ('bstar', 'b\\*'), ('ab', 'a\\*b\\*')
)]  # fmt: skip
WRAPPED = [(f'report_wrapped_{name}_{c}', f'"{name.upper()}" {c.upper()}', 1) for name in ('l1', 'l2') for c in 'rgb']
SIGNED = [
    ('report_signed_mean_a', '"L1" a\\*', 4),
    ('report_signed_mean_b', '"L1" b\\*', 4),
    ('report_mae_ab110_a', '"L2" a\\*', 4),
    ('report_mae_ab110_b', '"L2" b\\*', 4),
]
QUALITY = [
    ('psnr', 'PSNR', 2),
    ('psnr_y', 'PSNR Y', 2),
    ('ssim_y', 'SSIM Y', 4),
    ('lpips', 'LPIPS', 4),
    ('frechet_alex', 'Fréchet', 3),
]
COLOUR = [
    ('colourfulness', 'colourfulness', 2),
    ('gray_outputs', 'gray tiles', 0),
    ('one_hue_outputs', 'one-hue tiles', 0),
]
SOURCES = [
    ('recall', 'faint sources found', 3),
    ('spurious_share', 'spurious sources', 3),
    ('consistency', 'consistency', 2),
]
BY_FORMULA = 'differences wrapped in 8 bits; not to be relied on'
TABLES = {
    'colorization': [
        ('8.1', 'Colorization, distances in RGB (values in [0, 1])', RGB),
        ('8.1, quality', 'Colorization', [*QUALITY, *COLOUR]),
        ("8.1, by the report's formula", f'Colorization: {BY_FORMULA}', WRAPPED),
        ('8.2', 'Colorization, distances in L\\*a\\*b\\* (CIE units)', LAB),
        (
            "8.3, by the report's formula",
            'Colorization: "L1", the signed mean of a\\*/110 and b\\*/110, "L2", their mean absolute error; not to be '
            'relied on (the errors proper: Table 8.2)',
            SIGNED,
        ),
    ],
    'super_resolution': [
        ('8.4', 'Super-resolution, distances in RGB (values in [0, 1])', RGB),
        ('8.4, quality', 'Super-resolution', [*QUALITY, *SOURCES]),
        ("8.4 and 8.5, by the report's formula", f'Super-resolution: {BY_FORMULA}', WRAPPED),
        ('8.5', 'Super-resolution, distances in L\\*a\\*b\\* (CIE units)', LAB),
    ],
}
# What the report concludes: claim, the row that should be better, the other one.
CLAIMS = {
    'colorization': [
        ('L\\*a\\*b\\* is better than RGB', 'ResNet-18 L*a*b* GAN', 'ResNet-18 RGB GAN'),
        (
            'fine-tuned is better than pre-trained only',
            'ResNet-18 L*a*b* fine-tuned GAN',
            'ResNet-18 L*a*b* natural GAN',
        ),
        ('fine-tuned is better than not pre-trained', 'ResNet-18 L*a*b* fine-tuned GAN', 'ResNet-18 L*a*b* GAN'),
        ('a ResNet-18 encoder is better than a plain U-Net', 'ResNet-18 RGB GAN', 'U-Net RGB GAN'),
    ],
    'super_resolution': [
        ('fine-tuned is better than pre-trained only', 'SRGAN fine-tuned', 'SRGAN natural'),
        ('EDSR is better than fine-tuned SRGAN', 'EDSR-GAN', 'SRGAN fine-tuned'),
        ('WDSR is better than EDSR', 'WDSR-GAN', 'EDSR-GAN'),
    ],
}
JUDGES = {
    'colorization': [('l1', 'L1'), ('l1_ab', 'L1 of a\\*b\\*'), ('lpips', 'LPIPS')],
    'super_resolution': [('l1', 'L1'), ('psnr_y', 'PSNR Y'), ('lpips', 'LPIPS')],
}


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


def write(there: Sequence[Results], folder: Path, arguments: argparse.Namespace) -> None:
    """README.md, the figures, and a CSV of means and one of pictures for each task: all of it, or nothing new."""
    from experiments.study_figures import curves, picture_rows

    part = folder.with_name(f'.{folder.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        lines = _introduction(arguments)
        for results in there:
            means = [{'system': row.title, **results.means(row)} for row in results.rows]
            write_rows(part / f'{results.task}.csv', means)
            write_rows(part / f'{results.task}_pictures.csv', _picture_table(results))
            lines += ['', f'## {results.task.replace("_", "-").capitalize()}', '', *_systems(results)]
            lines += [line for table in TABLES[results.task] for line in _table(results, *table)]
            lines += [*curves(results, part), *picture_rows(results, part, arguments.astro), *_conclusions(results)]
        (part / 'README.md').write_text('\n'.join(lines) + '\n')
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in ('figure_8_*', '*.csv'):  # of an earlier study, perhaps of other systems
            for path in folder.glob(pattern):
                path.unlink()
        for path in part.iterdir():
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _introduction(arguments: argparse.Namespace) -> list[str]:
    place = f'the folder `{Path(arguments.astro).name}`' if arguments.astro else 'the embedded Hubble Deep Field'
    smoke = ' **Smoke size: tiny networks after a few steps; the numbers mean nothing.**' if arguments.smoke else ''
    natural = f'; natural ones: the folder `{Path(arguments.natural).name}`' if arguments.natural else ''
    return [
        '# The study',
        '',
        'Written by `python -m experiments.study`; the settings of every system: `experiments/systems.py`.' + smoke,
        '',
        f'Astronomical pictures: {place}, {arguments.split} split{natural}. A folder without a test split gives its '
        'validation pictures, on which the best weights of every stage were chosen too (by L1; of adversarial '
        'super-resolution by LPIPS), so that small gains in those metrics flatter. All systems of a task are measured '
        'on the same tiles.',
        '',
        'L1 and L2 are mean absolute and mean squared errors per pixel; PSNR in dB; LPIPS is a learned perceptual '
        'distance (AlexNet, v0.1), less is better; Fréchet is the Fréchet distance over pooled AlexNet features: made '
        'like the FID, but not the Inception FID, and biased upwards for few tiles. Faint sources found and spurious '
        'sources are shares, consistency is in levels of 255: `astro_gan/fidelity.py`. Super-resolution is measured '
        'without 4 pixels of border. The report is Kalvankar et al. 2021 (arXiv 2112.13865); the tables have its '
        'numbers, and are the distances proper unless they say otherwise.',
    ]


def _escape(title: str) -> str:
    return title.replace('*', '\\*')


def _systems(results: Results) -> list[str]:
    """What was measured: stage, data, steps, size."""
    lines = ['| system | stage | trained on | best step | parameters |', '| --- | --- | --- | ---: | ---: |']
    for row in results.rows:
        if row.model is None:
            continue
        description = row.model.description
        stage, checkpoint = description.get('checkpoint', {}).get('stage', ''), description.get('checkpoint', {})
        data = Path(str(description.get('training_data', {}).get('name', ''))).name
        size = sum(np.size(leaf) for tree in row.model.variables for leaf in _leaves(tree['params']))
        lines.append(f'| {_escape(row.title)} | {stage} | {data} | {checkpoint.get("step", "")} | {size:,} |')
    return [*lines, '']


def _leaves(tree: Any) -> list[Any]:
    return [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [tree]


def _table(results: Results, number: str, title: str, columns: list[tuple[str, str, int]]) -> list[str]:
    lines = [f'**Table {number}.** {title}.', '', '| |' + ''.join(f' {heading} |' for _, heading, _ in columns)]
    lines.append('| --- |' + ' ---: |' * len(columns))
    for row in results.rows:
        means = results.means(row)
        lines.append(f'| {_escape(row.title)} |' + ''.join(f' {means[key]:.{digits}f} |' for key, _, digits in columns))
    if any(key == 'colourfulness' for key, _, _ in columns):
        truth = results.means(results.rows[0])['colourfulness_truth']
        lines += ['', f'Colourfulness (Hasler and Süsstrunk 2003) of the truth: {truth:.2f}.']
    return [*lines, '']


def _picture_table(results: Results) -> list[dict[str, Any]]:
    numbers = {name for name, values in results.rows[0].table.items() if values.ndim == 1}
    metrics = sorted(name for name in numbers if not name.startswith('report_'))
    names = list(dict.fromkeys(results.pictures))
    columns = {(row.title, name): results.by_picture(row, name) for row in results.rows for name in metrics}
    return [
        {'system': row.title, 'picture': picture, **{name: float(columns[row.title, name][k]) for name in metrics}}
        for row in results.rows
        for k, picture in enumerate(names)
    ]


def _conclusions(results: Results) -> list[str]:
    pictures = len(dict.fromkeys(results.pictures))
    stages = {(row.workdir, row.stage): row for row in results.rows if row.workdir is not None}
    pairs = [
        (stages[workdir, 'adversarial'], row)
        for (workdir, stage), row in stages.items()
        if stage == 'supervised' and (workdir, 'adversarial') in stages
    ]
    claims = [(claim, results.row(first), results.row(second)) for claim, first, second in CLAIMS[results.task]]
    claims += [(f'{_escape(gan.title)} is better than its supervised stage', gan, plain) for gan, plain in pairs]
    lines = [
        "### Do the report's conclusions hold here?",
        '',
        f'Differences between two systems, paired by picture (pictures: {pictures}), positive where the claim is '
        "right, with Student's 95% interval over pictures. That is not the spread over seeds: every system was trained "
        'once.',
        '',
        '| claim | metric | difference | 95% interval | pictures that agree | |',
        '| --- | --- | ---: | --- | ---: | --- |',
    ]
    verdicts: dict[str, dict[str, str]] = {}
    for claim, better, worse in claims:
        if better is None or worse is None:
            lines.append(f'| {claim} | | | | | not measured |')
            continue
        for metric, title in JUDGES[results.task]:
            mean, low, high, share = difference(results, better, worse, metric)
            interval = '' if np.isnan(low) else f'{low:+.4g} to {high:+.4g}'
            verdicts.setdefault(claim, {})[metric] = verdict(low, high)
            lines.append(
                f'| {claim} | {title} | {mean:+.4g} | {interval} | {100 * share:.0f}% | {verdict(low, high)} |'
            )
    return [*lines, '', *_against_the_eye(results, verdicts), '']


def _against_the_eye(results: Results, verdicts: dict[str, dict[str, str]]) -> list[str]:
    """Do distances and the learned perceptual metric, which stands in for the eye, agree?"""
    torn = [claim for claim, by in verdicts.items() if {by['l1'], by['lpips']} == {'holds', 'does not hold'}]
    lines = [
        'Distance metrics against the eye, for which LPIPS stands in: '
        f'the two contradict each other in {len(torn)} of {len(verdicts)} claims'
        + (f' ({"; ".join(torn)}).' if torn else '.')
    ]
    if len(results.rows) >= FEWEST:
        means = [results.means(row) for row in results.rows]
        rank = stats.spearmanr(*([row[name] for row in means] for name in ('l1', 'lpips'))).statistic
        lines.append(f'Over all rows the ranks of L1 and LPIPS correlate with {rank:.2f} (Spearman; 1: they agree).')
    return lines
