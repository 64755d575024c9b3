"""Figures of the study: loss curves (8.1, 8.2), and input, truth and every system side by side (8.3 to 8.8)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use('Agg')
import numpy as np
from matplotlib import pyplot as plt

from astro_gan.data.folders import manifest_rows
from astro_gan.tables import read_rows
from experiments.study.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = re.compile(r'figure_8_\d+\.(png|jpg)')  # of every figure's file
NUMBERS = {'colorization': (1, 3), 'super_resolution': (2, 6)}  # of the loss curves, and of the first picture row
PANELS = [
    ('supervised', 'generator/loss', 'generator, supervised stage'),
    ('adversarial', 'generator/loss', 'generator, adversarial stage'),
    ('adversarial', 'discriminator/loss', 'discriminator, adversarial stage'),
]
WIDTH = 5  # pictures in a line
EMBEDDED = 'a part of the Hubble eXtreme Deep Field (NASA, ESA)'


def curves(results: Results, folder: Path) -> list[str]:
    """Losses of generator and discriminator of every system that the study trained; the page's lines."""
    workdirs = list(dict.fromkeys(row.workdir for row in results.rows if row.workdir is not None))
    if not workdirs:
        return []
    losses = {workdir: _losses(workdir) for workdir in workdirs}
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 3.6), layout='constrained')
    for axis, (stage, name, title) in zip(axes, PANELS, strict=True):
        for workdir in workdirs:
            points = losses[workdir].get((stage, name), {})
            axis.plot(list(points), list(points.values()), label=workdir.name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('step')
        if name == 'generator/loss':
            axis.set_yscale('log')
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    number = NUMBERS[results.task][0]
    name = f'figure_8_{number}.png'
    _save(figure, folder / name)
    words = f'Figure 8.{number}: training losses of {results.task.replace("_", "-")}'
    return [f'![{words}]({name})', '', f'*{words}, as TensorBoard has them.*', '']


def _losses(workdir: Path) -> dict[tuple[str, str], dict[int, float]]:
    """{step within the stage: value} by stage and scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(workdir / 'tensorboard'), size_guidance={'tensors': 0})
    events.Reload()
    ends = {row['stage']: row['step'] for row in read_rows(workdir / 'evaluations.csv')}
    first = ends.get('supervised', 0)  # steps go on counting from stage to stage
    found: dict[tuple[str, str], dict[int, float]] = {}
    for name in {name for _, name, _ in PANELS} & set(events.Tags()['tensors']):
        for event in events.Tensors(name):
            stage = 'adversarial' if event.step > first else 'supervised'
            step = event.step - first * (stage == 'adversarial')
            # An evaluation writes the mean since the last one to the same step; the first is the step's own.
            found.setdefault((stage, name), {}).setdefault(step, float(tensor_util.make_ndarray(event.tensor_proto)))
    return found


def picture_rows(results: Results, folder: Path, astro: str) -> list[str]:
    """Input, truth and every system for the chosen tiles, a figure each; the page's lines."""
    credits, lines = _credits(astro), []
    for place, position in enumerate(results.chosen):
        cells = [('truth', results.truth[place])]
        if results.task == 'super_resolution':  # of the other one the baseline is the input
            cells.insert(0, ('input', results.inputs[place]))
        cells += [(row.title, row.pictures[place]) for row in results.rows]
        height = -(-len(cells) // WIDTH)
        size = (2.6 * WIDTH, 2.85 * height)
        figure, axes = plt.subplots(height, WIDTH, figsize=size, layout='constrained', squeeze=False)
        for axis in axes.ravel():
            axis.axis('off')
        for axis, (title, picture) in zip(axes.ravel(), cells, strict=False):
            axis.imshow(np.clip(picture, 0, 1), interpolation='nearest')
            axis.set_title(title, fontsize=9)
        number = NUMBERS[results.task][1] + place
        name = f'figure_8_{number}.jpg'
        _save(figure, folder / name, pil_kwargs={'quality': 90})
        titles = ', '.join(title for title, _ in cells).replace('*', '\\*')
        picture_name = results.pictures[position]
        credit = (
            credits.get(picture_name, picture_name) if astro else 'a part of the Hubble eXtreme Deep Field (NASA, ESA)'
        )
        lines += [f'![Figure 8.{number}: {titles}]({name})', '']
        lines += [f'*Figure 8.{number}. Picture: {credit}. Results are generated: not for photometry.*', '']
    return lines


def _credits(astro: str) -> dict[str, str]:
    """What a folder's manifest.csv says of the origin of its pictures, by file."""
    path = Path(astro).expanduser() / 'manifest.csv'
    if not astro or not path.is_file():
        return {}
    told = {row['file']: [row.get(key, '') for key in ('page', 'credit', 'licence')] for row in manifest_rows(path)[0]}
    return {file: ', '.join(filter(None, words)) or file for file, words in told.items()}


def _save(figure: Figure, path: Path, **options: Any) -> None:
    figure.savefig(path, dpi=100, **options)
    plt.close(figure)
