"""Tables of a run: CSV files with numbers in most columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astro_gan.files import atomic

Row = dict[str, Any]

TEXT = ('stage', 'system', 'data', 'picture')  # stay text, whatever they look like: a data set may be called 2021


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, numbers as floats and steps as integers; [] when there is no file."""
    if not path.exists():
        return []

    def parse(column: str, text: str) -> Any:
        try:
            return text if column in TEXT else float(text)
        except ValueError:
            return text

    with path.open(newline='') as file:
        rows = [{key: parse(key, value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {'step': int(row['step'])} if 'step' in row else row for row in rows]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; the columns are the union of the rows' keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    atomic.write(path, text.getvalue())
