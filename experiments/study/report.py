"""What the study writes: tables, figures, and which of the report's conclusions hold here; nothing is measured here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.tables import write_rows
from experiments.study import figures
from experiments.study.results import FEWEST, Results, difference, verdict

MADE_BY = 'Written by `python -m experiments.study`'
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


def check_folder(folder: Path) -> None:
    """See that a report may take the place of `folder`: there is nothing, or an earlier one and nothing besides.

    Raises:
        UserError: it has something that no study wrote.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(f'{folder}: is {"a link" if folder.is_symlink() else "a file"}; -o names a folder')
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    page = folder / 'README.md'
    if not page.is_file() or MADE_BY not in page.read_text(errors='replace'):
        raise UserError(f'{folder}: is not empty, and no earlier output of the study; -o names another folder')
    ours = {'README.md', *(f'{task}{end}.csv' for task in TABLES for end in ('', '_pictures'))}
    if foreign := sorted(name for name in names - ours if not figures.NAME.fullmatch(name)):
        raise UserError(f'{folder}: has {foreign[0]}, which no study wrote; move it, or name another folder with -o')


def write(there: Sequence[Results], folder: Path, arguments: argparse.Namespace) -> None:
    """README.md, the figures, and a CSV of means and one of pictures for each task, in place of an earlier report.

    Raises:
        UserError: `folder` has something that no study wrote.
        OSError: it cannot be written; then all is as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(folder) as part:
        lines = _introduction(arguments)
        for results in there:
            means = [{'system': row.title, **results.means(row)} for row in results.rows]
            write_rows(part / f'{results.task}.csv', means)
            write_rows(part / f'{results.task}_pictures.csv', _picture_table(results))
            lines += ['', f'## {results.task.replace("_", "-").capitalize()}', '', *_systems(results)]
            lines += [line for table in TABLES[results.task] for line in _table(results, *table)]
            lines += [*figures.curves(results, part), *figures.picture_rows(results, part, arguments.astro)]
            lines += _conclusions(results)
        (part / 'README.md').write_text('\n'.join(lines) + '\n')
        check_folder(folder)  # again: measuring takes long


def _introduction(arguments: argparse.Namespace) -> list[str]:
    place = f'the folder `{Path(arguments.astro).name}`' if arguments.astro else 'the embedded Hubble Deep Field'
    smoke = ' **Smoke size: tiny networks after a few steps; the numbers mean nothing.**' if arguments.smoke else ''
    natural = f'; natural ones: the folder `{Path(arguments.natural).name}`' if arguments.natural else ''
    return [
        '# The study',
        '',
        f'{MADE_BY}; the settings of every system: `experiments/study/systems.py`.' + smoke,
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
