"""What a run leaves to look at: evaluations.csv, TensorBoard events, loss curves, sample pictures.

Files are written under a temporary name and renamed, so that a reader or a kill never meets half of one.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file or nothing: a temporary name beside it, then a rename."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, numbers as floats and steps as integers; [] when there is no file."""
    if not path.exists():
        return []

    def parse(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    with path.open(newline='') as file:
        rows = [{key: parse(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {'step': int(row['step'])} if 'step' in row else row for row in rows]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; the columns are the union of the rows' keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 `[H, W, 3]` as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    write_atomically(path, buffer.getvalue())


def plot_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw generator, discriminator and evaluation curves over the steps, the stages' boundaries marked."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    panels = {
        'generator loss': ['generator/loss'],
        'discriminator loss': ['discriminator/loss'],
        'L1 (validation)': ['eval/l1'],
        'PSNR Y, dB (validation)': ['eval/psnr_y'],
        'LPIPS (validation)': ['eval/lpips'],
        'L1 of a*b* (validation)': ['eval/l1_ab'],
        'colourfulness (validation)': ['eval/colourfulness'],
    }
    panels = {title: names for title, names in panels.items() if any(name in row for row in rows for name in names)}
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            # Stages minimise different losses: one line each, never joined.
            for stage in dict.fromkeys(row['stage'] for row in rows):
                points = [(row['step'], row[name]) for row in rows if row['stage'] == stage and name in row]
                if points:
                    axis.plot(*zip(*points, strict=True), marker='.', label=stage)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('step')
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=100)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


class Logbook:
    """The records of one run in `workdir`; other hosts than the first hold one with `active=False`, which is silent."""

    def __init__(self, workdir: Path, *, active: bool = True):
        self.workdir = workdir
        self.active = active
        self._csv = workdir / 'evaluations.csv'
        self._rows = read_rows(self._csv) if active else []
        self._writer: Any = None

    def _tensorboard(self) -> Any:
        if self._writer is None:
            from clu import metric_writers  # imports TensorFlow

            self._writer = metric_writers.SummaryWriter(str(self.workdir / 'tensorboard'))
        return self._writer

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars for TensorBoard."""
        if self.active:
            self._tensorboard().write_scalars(step, dict(values))

    def forget_after(self, stage: str, step: int) -> None:
        """Drop the rows of `stage` beyond `step`: a resumed run writes them again."""
        self._rows = [row for row in self._rows if row['stage'] != stage or row['step'] <= step]

    def evaluation(self, row: Row, picture: np.ndarray) -> None:
        """Record one evaluation: a CSV row, scalars, the comparison picture (uint8 `[H, W, 3]`), the curves."""
        if not self.active:
            return
        self._rows.append(row)
        write_rows(self._csv, self._rows)
        step = row['step']
        writer = self._tensorboard()
        writer.write_scalars(step, {key: value for key, value in row.items() if isinstance(value, float)})
        folder = self.workdir / 'samples'
        folder.mkdir(exist_ok=True)
        save_picture(folder / f'{row["stage"]}_{step:07d}.png', picture)
        writer.write_images(step, {'samples': picture[None]})
        writer.flush()
        plot_curves(self._rows, self.workdir / 'curves.png')

    def close(self) -> None:
        """Flush and close the TensorBoard writer."""
        if self._writer is not None:
            self._writer.close()
