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
WHOLE = [*RGB[:1], *RGB[4:5], ('l1_ab', 'L1 a\\*b\\*', 3), ('lpips', 'LPIPS', 4)]
CHANNELS = [*RGB[1:4], *RGB[5:]]
AB = [column for column in LAB if column[0].endswith(('_astar', '_bstar'))]
PRETRAINED, TUNED = 'ResNet-18 L*a*b* natural GAN', 'ResNet-18 L*a*b* fine-tuned GAN'
# Number, title, columns, and the only rows ('' for all); then what is not in the report.
Table = tuple[str, str, list[tuple[str, str, int]], tuple[str, ...]]
TABLES: dict[str, list[Table]] = {
    'colorization': [
        ('8.1', 'Colorization, distances in RGB (values in [0, 1])', WHOLE, ()),
        ('8.2', 'Red, green and blue of the fine-tuned network', CHANNELS, (TUNED,)),
        ('8.3', 'a\\* and b\\*, pre-trained and fine-tuned (CIE units)', AB, (PRETRAINED, TUNED)),
        ('8.4', 'Red, green and blue, pre-trained and fine-tuned', CHANNELS, (PRETRAINED, TUNED)),
        ('8.1, channels', 'Colorization, distances in RGB by channel', CHANNELS, ()),
        ('8.1, quality', 'Colorization', [*QUALITY, *COLOUR], ()),
        ("8.1, by the report's formula", f'Colorization: {BY_FORMULA}', WRAPPED, ()),
        ('8.3, all', 'Colorization, distances in L\\*a\\*b\\* (CIE units)', LAB, ()),
        (
            "8.3, by the report's formula",
            'Colorization: "L1", the signed mean of a\\*/110 and b\\*/110, "L2", their mean absolute error; not to be '
            'relied on (the errors proper: Table 8.3)',
            SIGNED,
            (),
        ),
    ],
    'super_resolution': [
        ('8.5', 'Super-resolution, distances in RGB (values in [0, 1])', [*WHOLE, ('psnr_y', 'PSNR Y', 2)], ()),
        ('8.5, channels', 'Super-resolution, distances in RGB by channel', CHANNELS, ()),
        ('8.5, quality', 'Super-resolution', [*QUALITY, *SOURCES], ()),
        ("8.5, by the report's formula", f'Super-resolution: {BY_FORMULA}', WRAPPED, ()),
        ('8.5, L\\*a\\*b\\*', 'Super-resolution, distances in L\\*a\\*b\\* (CIE units)', LAB, ()),
    ],
}
# The report's own numbers: of each table its columns, and a row of ours -> what stands there. What they are worth:
# docs/explanation.md.
_RGB_TUNED = '64.6078, 38.5994, 92.1283; 3.4531, 1.0253, 3.8046'
REPORTED = {
    '8.1': (
        'L1; L2',
        {
            PRETRAINED: '64.5409; 2.77',
            TUNED: '65.1119; 2.62',
            'ResNet-18 RGB GAN': '125.5554; 9.04',
            'U-Net RGB GAN': '77.3273; 3.986',
        },
    ),
    '8.2': ('L1 R, G, B; L2 R, G, B', {TUNED: _RGB_TUNED}),
    '8.3': (
        'L1 a, b; L2 a, b',
        {PRETRAINED: '0.00588, 0.00501; 0.01565, 0.03208', TUNED: '0.00257, 0.00727; 0.01721, 0.03316'},
    ),
    '8.4': (
        'L1 R, G, B; L2 R, G, B',
        {PRETRAINED: '69.2401, 36.5852, 87.7973; 3.2890, 1.0439, 3.9785', TUNED: _RGB_TUNED},
    ),
    '8.5': (
        'L1; L2',
        {
            'SRGAN fine-tuned': '87.1090; 3.754',
            'SRGAN pre-trained': '114.8043; 5.953',
            'EDSR-GAN': '80.9414; 3.684',
            'WDSR-GAN': '79.7262; 3.627',
        },
    ),
}
# What the report concludes, and what its future work asks: claim, the row that should be better, the other one.
CLAIMS = {
    'colorization': [
        ('L\\*a\\*b\\* is better than RGB', 'ResNet-18 L*a*b* GAN', 'ResNet-18 RGB GAN'),
        ('fine-tuned is better than pre-trained only', TUNED, PRETRAINED),
        ('fine-tuned is better than not pre-trained', TUNED, 'ResNet-18 L*a*b* GAN'),
        ('a ResNet-18 encoder is better than a plain U-Net', 'ResNet-18 RGB GAN', 'U-Net RGB GAN'),
        ('SE-ResNeXt-50 is better than ResNet-18', 'SE-ResNeXt-50 L*a*b* GAN', 'ResNet-18 L*a*b* GAN'),
        ('EfficientNet-B0 is better than ResNet-18', 'EfficientNet-B0 L*a*b* GAN', 'ResNet-18 L*a*b* GAN'),
        (
            'a loss weighted towards low saturation is better',
            'ResNet-18 L*a*b* low saturation GAN',
            'ResNet-18 L*a*b* GAN',
        ),
    ],
    'super_resolution': [
        ('fine-tuned is better than pre-trained only', 'SRGAN fine-tuned', 'SRGAN pre-trained'),
        ('fine-tuned (ours) is better than pre-trained only', 'SRGAN natural, fine-tuned', 'SRGAN natural'),
        ('fine-tuned is better than not pre-trained', 'SRGAN natural, fine-tuned', 'SRGAN'),
        ('EDSR is better than SRGAN (equal parameters)', 'EDSR-GAN', 'SRGAN'),
        ('WDSR is better than EDSR (equal parameters)', 'WDSR-GAN', 'EDSR-GAN'),
        ("EDSR is better than SRGAN (the papers' sizes)", 'EDSR-GAN 16 x 64', 'SRGAN 16 x 64'),
        ("WDSR is better than EDSR (the papers' sizes)", 'WDSR-A-GAN 16 x 32', 'EDSR-GAN 16 x 64'),
        ('the Wasserstein loss is better than the default', 'SRGAN WGAN-GP', 'SRGAN'),
        ('EDSR that grows is better than EDSR', 'EDSR-GAN growing', 'EDSR-GAN'),
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
        'numbers, and are the distances proper unless they say otherwise; ± is the standard deviation over seeds.',
    ]


def _escape(title: str) -> str:
    return title.replace('*', '\\*')


def _systems(results: Results) -> list[str]:
    """What was measured: stage, data, steps, size."""
    lines = ['| system | stage | trained on | best step | parameters |', '| --- | --- | --- | ---: | ---: |']
    for row in results.rows:
        if not row.models:
            continue
        description = row.models[0].description
        stage, checkpoint = description.get('checkpoint', {}).get('stage', ''), description.get('checkpoint', {})
        data = Path(str(description.get('training_data', {}).get('name', ''))).name
        size = sum(np.size(leaf) for tree in row.models[0].variables for leaf in _leaves(tree['params']))
        lines.append(f'| {_escape(row.title)} | {stage} | {data} | {checkpoint.get("step", "")} | {size:,} |')
    return [*lines, '']


def _leaves(tree: Any) -> list[Any]:
    return [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [tree]


def _table(
    results: Results, number: str, title: str, columns: list[tuple[str, str, int]], only: tuple[str, ...]
) -> list[str]:
    rows = [row for row in results.rows if not only or row.title in only]
    if not rows:
        return []
    theirs, told = REPORTED.get(number, ('', {}))
    headings = [heading for _, heading, _ in columns] + [f"the report's {theirs}"] * bool(told)
    lines = [f'**Table {number}.** {title}.', '', '| |' + ''.join(f' {heading} |' for heading in headings)]
    lines.append('| --- |' + ' ---: |' * len(headings))
    for row in rows:
        means, spread = results.means(row), results.deviations(row)
        cells = [
            f'{means[key]:.{digits}f}' + (f' ± {spread[key]:.{digits}f}' if key in spread else '')
            for key, _, digits in columns
        ]
        cells += [told.get(row.title, '')] * bool(told)
        lines.append(f'| {_escape(row.title)} |' + ''.join(f' {cell} |' for cell in cells))
    if any(key == 'colourfulness' for key, _, _ in columns):
        truth = results.means(results.rows[0])['colourfulness_truth']
        lines += ['', f'Colourfulness (Hasler and Süsstrunk 2003) of the truth: {truth:.2f}.']
    return [*lines, '']


def _picture_table(results: Results) -> list[dict[str, Any]]:
    numbers = {name for name, values in results.rows[0].tables[0].items() if values.ndim == 1}
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
        f'Differences between two systems, paired by picture (pictures: {pictures}) and by seed, positive where the '
        "claim is right, with Student's 95% intervals over pictures and over seeds (from three on). A claim holds "
        'where both are above 0; of systems trained once only the pictures can say.',
        '',
        '| claim | metric | difference | over pictures | over seeds | pictures that agree | |',
        '| --- | --- | ---: | --- | --- | ---: | --- |',
    ]
    verdicts: dict[str, dict[str, str]] = {}
    for claim, better, worse in claims:
        if better is None or worse is None:
            lines.append(f'| {claim} | | | | | | not measured |')
            continue
        for metric, title in JUDGES[results.task]:
            found = difference(results, better, worse, metric)
            intervals = ' | '.join(
                '' if np.isnan(low) else f'{low:+.4g} to {high:+.4g}' for low, high in (found.pictures, found.seeds)
            )
            said = verdicts.setdefault(claim, {})[metric] = verdict(found)
            lines.append(f'| {claim} | {title} | {found.mean:+.4g} | {intervals} | {100 * found.share:.0f}% | {said} |')
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
