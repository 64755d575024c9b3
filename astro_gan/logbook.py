"""What a run leaves to look at: evaluations.csv, TensorBoard events, loss curves, sample pictures.

Files are written under a temporary name and renamed, so that a reader or a kill never meets half of one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from astro_gan.curves import plot_curves
from astro_gan.files import atomic
from astro_gan.tables import TEXT, Row, format_rows, read_rows, salvage_rows, write_rows


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 `[H, W, 3]` as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    atomic.write(path, buffer.getvalue())


def _is_evaluation(row: Row) -> bool:
    numbers = all(isinstance(value, int | float) for name, value in row.items() if name not in TEXT)
    return numbers and {'stage', 'step'} <= row.keys()


def _digest(rows: list[Row], stage: str) -> str:
    of_stage = [row for row in rows if row['stage'] == stage]
    return hashlib.sha256(format_rows(of_stage).encode()).hexdigest()


class Logbook:
    """The records of one run in `workdir`; other hosts than the first hold one with `active=False`, which is silent.

    A damaged evaluations.csv is kept as evaluations.csv.damaged1; what can be read of it goes on. `log` gets a line.
    """

    def __init__(self, workdir: Path, log: Callable[[str], None] = print, *, active: bool = True):
        self.workdir = workdir
        self.active = active
        self._log = log
        self._csv = workdir / 'evaluations.csv'
        self._rows: list[Row] = []
        self._writer: Any = None
        self._damaged = False  # which is said once
        if active:
            rows, fault = salvage_rows(self._csv)
            self._rows = [row for row in rows if _is_evaluation(row)]
            if not fault and len(self._rows) < len(rows):
                fault = 'other columns, or text where numbers belong'
            if fault:
                self._keep_aside(fault)

    def _keep_aside(self, fault: str) -> None:
        self._damaged = True
        aside = atomic.free_name(self._csv.with_name(f'{self._csv.name}.damaged'))
        self._log(f'{self._csv}: damaged ({fault}): kept as {aside.name}; {len(self._rows)} rows of it go on')
        self._csv.rename(aside)
        if self._rows:
            write_rows(self._csv, self._rows)

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

    def digest(self, stage: str) -> str:
        """SHA-256 of the rows of `stage`, as they are read back."""
        return _digest(self._rows, stage)

    def compare(self, stage: str, digest: str | None) -> None:
        """Notice rows of `stage` that are not as they were when `digest` was taken; None: it was not."""
        if not self.active or self._damaged or digest in (None, self.digest(stage)):
            return
        if self._csv.exists():
            for aside in self.workdir.glob(f'{self._csv.name}.damaged*'):
                # An earlier run has said so: these are the rows that it went on with.
                if _digest([row for row in salvage_rows(aside)[0] if _is_evaluation(row)], stage) == self.digest(stage):
                    return
            self._keep_aside(f'rows of {stage} are not those that were written')
        else:
            self._damaged = True
            self._log(f'{self._csv}: gone, and with it the rows up to now')

    def evaluation(self, row: Row, picture: np.ndarray) -> None:
        """Record one evaluation: a CSV row, scalars, the comparison picture (uint8 `[H, W, 3]`), the curves."""
        if not self.active:
            return
        write_rows(self._csv, [*self._rows, row])
        self._rows = read_rows(self._csv)
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
