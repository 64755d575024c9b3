"""What a run leaves to look at: evaluations.csv, TensorBoard events, loss curves, sample pictures.

Files are written under a temporary name and renamed, so that a reader or a kill never meets half of one.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from astro_gan.curves import plot_curves
from astro_gan.files import atomic
from astro_gan.tables import Row, read_rows, write_rows


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 `[H, W, 3]` as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    atomic.write(path, buffer.getvalue())


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
