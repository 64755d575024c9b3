"""What the study writes: tables, loss curves, picture rows, and which of the report's conclusions hold here.

All of it comes from the per-tile metrics of `experiments.study`; nothing is measured here. Spread is over pictures:
tiles of one picture are averaged first, and intervals are bootstrapped over pictures.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from astro_gan.logbook import read_rows, write_atomically, write_rows
from astro_gan.loop import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from experiments.study import Measured

RESAMPLES = 2000
FEWEST = 5  # pictures: an interval over fewer says nothing
SUMS = {'recall': ('found', 'faint'), 'spurious_share': ('spurious', 'claimed')}  # shares over all tiles together
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
            'relied on',
            SIGNED,
        ),
    ],
    'super_resolution': [
        ('8.4', 'Super-resolution, distances in RGB (values in [0, 1])', RGB),
        ('8.4, quality', 'Super-resolution', [*QUALITY, *SOURCES]),
        ("8.4, by the report's formula", f'Super-resolution: {BY_FORMULA}', WRAPPED),
        ('8.5', 'Super-resolution, distances in L\\*a\\*b\\* (CIE units)', LAB),
    ],
}
FIRST_FIGURE = {'colorization': 3, 'super_resolution': 6}  # 8.3 to 8.5, 8.6 to 8.8
# What the report concludes: claim, the row that should be better, the other one.
CLAIMS = {
    'colorization': [
        ('L\\*a\\*b\\* is better than RGB', 'ResNet-18 L*a*b* fine-tuned GAN', 'ResNet-18 RGB GAN'),
        (
            'fine-tuned is better than pre-trained only',
            'ResNet-18 L*a*b* fine-tuned GAN',
            'ResNet-18 L*a*b* natural GAN',
        ),
        ('a ResNet-18 encoder is better than a plain U-Net', 'ResNet-18 RGB GAN', 'U-Net RGB GAN'),
    ],
    'super_resolution': [
        ('fine-tuned is better than pre-trained only', 'SRGAN fine-tuned', 'SRGAN natural'),
        ('EDSR is better than SRGAN', 'EDSR-GAN', 'SRGAN fine-tuned'),
        ('WDSR is better than EDSR', 'WDSR-GAN', 'EDSR-GAN'),
    ],
}
JUDGES = {
    'colorization': [('l1', 'L1'), ('l1_ab', 'L1 of a\\*b\\*'), ('lpips', 'LPIPS')],
    'super_resolution': [('l1', 'L1'), ('psnr_y', 'PSNR Y'), ('lpips', 'LPIPS')],
}


@dataclasses.dataclass(frozen=True)
class Results:
    """One task's measurements.

    Attributes:
        task: its name.
        rows: the baseline first.
        summarize: a table -> (row of means, warnings).
        pictures: id of the picture of every tile.
        chosen: indices of the tiles that are shown.
        inputs, truth: the chosen tiles, `[n, h, w, C]` in [0, 1].
    """

    task: str
    rows: Sequence[Measured]
    summarize: Callable[[Any], tuple[dict[str, float], list[str]]]
    pictures: Sequence[str]
    chosen: Sequence[int]
    inputs: np.ndarray
    truth: np.ndarray

    def means(self, row: Measured) -> dict[str, float]:
        """A row of the tables."""
        means = self.summarize(row.table)[0]
        for name, (part, whole) in SUMS.items():
            if whole in row.table:
                means[name] = float(row.table[part].sum() / max(row.table[whole].sum(), 1))
        return means

    def by_picture(self, row: Measured, metric: str) -> np.ndarray:
        """The metric's mean over each picture's tiles, pictures in order of appearance."""
        names = np.array(self.pictures)
        return np.array([row.table[metric][names == name].mean() for name in dict.fromkeys(self.pictures)])

    def row(self, title: str) -> Measured | None:
        """The row of that title, if it was measured."""
        return next((row for row in self.rows if row.title == title), None)


def choose(pictures: Sequence[str], truth: np.ndarray, *, count: int) -> list[int]:
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


def difference(results: Results, better: Measured, worse: Measured, metric: str) -> tuple[float, float, float, float]:
    """By how much `better` is better in a metric: mean, both ends of its 95% interval, share of pictures that agree.

    Positive means that it is, whichever way the metric counts. Paired by picture; percentile bootstrap over pictures.
    """
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    gain = sign * (results.by_picture(better, metric) - results.by_picture(worse, metric))
    draws = np.random.default_rng(0).integers(len(gain), size=(RESAMPLES, len(gain)))
    low, high = np.percentile(gain[draws].mean(axis=1), [2.5, 97.5])
    return float(gain.mean()), float(low), float(high), float((gain > 0).mean())


def verdict(low: float, high: float, pictures: int) -> str:
    """Of an interval of a difference over so many pictures."""
    if pictures < FEWEST:
        return 'too few pictures'
    return 'holds' if low > 0 else 'does not hold' if high < 0 else 'undecided'


def write(there: Sequence[Results], folder: Path, data: dict[str, Any]) -> None:
    """Everything into `folder`: README.md, the figures, and a CSV of means and one of pictures for each task."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*_introduction(data)]
    for results in there:
        write_rows(
            folder / f'{results.task}.csv', [{'system': row.title, **results.means(row)} for row in results.rows]
        )
        write_rows(folder / f'{results.task}_pictures.csv', _picture_rows(results))
        lines += ['', f'## {results.task.replace("_", "-").capitalize()}', '']
        lines += [line for table in TABLES[results.task] for line in _table(results, *table)]
        lines += _curves(results, folder) + _figures(results, folder, data['astro']) + _conclusions(results)
    write_atomically(folder / 'README.md', '\n'.join(lines) + '\n')


def _introduction(data: dict[str, Any]) -> list[str]:
    place = 'the embedded Hubble Deep Field' if not data['astro'] else f'the folder `{Path(data["astro"]).name}`'
    return [
        '# The study',
        '',
        'Written by `python -m experiments.study`; settings of every system: `experiments/systems.py`.'
        + (' **Smoke size: tiny networks after a few steps; the numbers mean nothing.**' if data['smoke'] else ''),
        '',
        f'Astronomical pictures: {place}, {data["split"]} split'
        + (f'; natural ones: `{Path(data["natural"]).name}`' if data['natural'] else '')
        + '. All systems of a task are measured on the same tiles. L1 and L2 are mean absolute and mean squared errors '
        'per pixel; PSNR in dB; LPIPS is a learned perceptual distance (AlexNet, v0.1), less is better; Fréchet is the '
        'Fréchet distance over pooled AlexNet features: made like the FID, but not the Inception FID, and biased '
        'upwards for few tiles. Faint sources found and spurious sources (shares), consistency (levels of 255): '
        '`astro_gan/fidelity.py`. A system without "GAN" in its name is the supervised stage. The report is Kalvankar '
        'et al. 2021 (arXiv 2112.13865); the tables have its numbers, and are the distances proper unless they say '
        'otherwise.',
    ]


def _escape(title: str) -> str:
    return title.replace('*', '\\*')


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


def _picture_rows(results: Results) -> list[dict[str, Any]]:
    metrics = [
        name for name, values in results.rows[0].table.items() if values.ndim == 1 and not name.startswith('report_')
    ]
    names = list(dict.fromkeys(results.pictures))
    columns = {(row.title, name): results.by_picture(row, name) for row in results.rows for name in metrics}
    return [
        {'system': row.title, 'picture': picture, **{name: float(columns[row.title, name][k]) for name in metrics}}
        for row in results.rows
        for k, picture in enumerate(names)
    ]


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    options = {'pil_kwargs': {'quality': 90}} if path.suffix == '.jpg' else {}
    figure.savefig(buffer, format=path.suffix[1:], dpi=100, **options)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def _curves(results: Results, folder: Path) -> list[str]:
    """Figures 8.1 and 8.2: losses of generator and discriminator of every system that the study trained."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    panels = [
        ('supervised', 'generator/loss', 'generator, supervised stage'),
        ('adversarial', 'generator/loss', 'generator, adversarial stage'),
        ('adversarial', 'discriminator/loss', 'discriminator, adversarial stage'),
    ]
    workdirs = list(dict.fromkeys(row.workdir for row in results.rows if row.workdir is not None))
    if not workdirs:
        return []
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 3.6), layout='constrained')
    for axis, (stage, name, title) in zip(axes, panels, strict=True):
        for workdir in workdirs:
            rows = [row for row in read_rows(workdir / 'evaluations.csv') if row['stage'] == stage and name in row]
            axis.plot([row['step'] for row in rows], [row[name] for row in rows], marker='.', label=workdir.name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('step')
        if name == 'generator/loss':
            axis.set_yscale('log')
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    number = 1 + list(TABLES).index(results.task)
    path = folder / f'figure_8_{number}.png'
    _save(figure, path)
    words = f'Figure 8.{number}: training losses'
    return [
        f'![{words}]({path.name})',
        '',
        f'*{words} of {results.task.replace("_", "-")}, means between evaluations.*',
        '',
    ]


def _figures(results: Results, folder: Path, astro: str) -> list[str]:
    """Input, truth and every system for the chosen tiles, a figure each."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    credits, lines = _credits(astro), []
    for place, index in enumerate(results.chosen):
        cells = [('truth', results.truth[place])]
        if results.task == 'super_resolution':
            cells.insert(0, ('input', results.inputs[place]))
        cells += [(row.title, row.pictures[place]) for row in results.rows]
        width = 5
        height = -(-len(cells) // width)
        figure, axes = plt.subplots(
            height, width, figsize=(2.6 * width, 2.85 * height), layout='constrained', squeeze=False
        )
        for axis in axes.ravel():
            axis.axis('off')
        for axis, (title, picture) in zip(axes.ravel(), cells, strict=False):
            axis.imshow(np.clip(picture, 0, 1), interpolation='nearest')
            axis.set_title(title, fontsize=9)
        number = FIRST_FIGURE[results.task] + place
        name = f'figure_8_{number}.jpg'
        _save(figure, folder / name)
        picture = results.pictures[index]
        words = f'Figure 8.{number}: {", ".join(title for title, _ in cells)}'
        credit = credits.get(picture, 'a part of the Hubble eXtreme Deep Field (NASA, ESA)' if not astro else picture)
        lines += [
            f'![{_escape(words)}]({name})',
            '',
            f'*Figure 8.{number}. Picture: {credit}. Results are generated: not for photometry.*',
            '',
        ]
    return lines


def _credits(astro: str) -> dict[str, str]:
    """What a folder's manifest.csv says of the origin of its pictures, by file."""
    path = Path(astro).expanduser() / 'manifest.csv'
    if not astro or not path.is_file():
        return {}
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    keys = ('page', 'credit', 'licence')
    return {row['file']: ', '.join(filter(None, (row.get(key) for key in keys))) or row['file'] for row in rows}


def _conclusions(results: Results) -> list[str]:
    lines = ["### Do the report's conclusions hold here?", '']
    count = len(dict.fromkeys(results.pictures))
    lines += [
        f'Differences between two systems, paired by picture (pictures: {count}), positive where the claim is right; '
        '95% intervals are bootstrapped over pictures. They do not contain the spread over seeds: every system was '
        'trained once.',
        '',
        '| claim | metric | difference | 95% interval | pictures that agree | |',
        '| --- | --- | ---: | --- | ---: | --- |',
    ]
    for claim, first, second in CLAIMS[results.task]:
        better, worse = results.row(first), results.row(second)
        if better is None or worse is None:
            lines.append(f'| {claim} | | | | | not measured |')
            continue
        for metric, title in JUDGES[results.task]:
            mean, low, high, share = difference(results, better, worse, metric)
            numbers = f'{mean:+.4g} | {low:+.4g} to {high:+.4g} | {100 * share:.0f}%'
            lines.append(f'| {claim} | {title} | {numbers} | {verdict(low, high, count)} |')
    return [*lines, '', *_against_the_eye(results), '']


def _against_the_eye(results: Results) -> Iterable[str]:
    """Do distances and the learned perceptual metric, which stands in for the eye, agree?"""
    means = {row.title: results.means(row) for row in results.rows}
    stages = {(row.workdir, row.stage): row.title for row in results.rows if row.workdir is not None}
    pairs = [
        (title, stages[workdir, 'adversarial'])
        for (workdir, stage), title in stages.items()
        if stage == 'supervised' and (workdir, 'adversarial') in stages
    ]
    if pairs:
        torn = [
            _escape(gan)
            for plain, gan in pairs
            if means[gan]['l1'] > means[plain]['l1'] and means[gan]['lpips'] < means[plain]['lpips']
        ]
        yield (
            f'Distance against perception: the adversarial stage made L1 worse and LPIPS better in {len(torn)} of '
            f'{len(pairs)} systems' + (f' ({"; ".join(torn)}).' if torn else '.')
        )
    if len(results.rows) > 2:
        rank = stats.spearmanr(
            [row['l1'] for row in means.values()], [row['lpips'] for row in means.values()]
        ).statistic
        yield (
            f'Over all rows the ranks of L1 and LPIPS correlate with {rank:.2f} (Spearman; 1: they say the same). '
            'Where they part, the figures show which one the eye follows.'
        )
