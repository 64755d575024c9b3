"""Tables of a run: CSV files with numbers in most columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astro_gan.errors import UserError
from astro_gan.files import atomic

Row = dict[str, Any]

TEXT = ('stage', 'system', 'data', 'picture')  # stay text, whatever they look like: a data set may be called 2021


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, numbers as floats and steps as integers; [] when there is no file.

    Raises:
        UserError: it is damaged.
    """
    rows, fault = salvage_rows(path)
    if fault:
        raise UserError(f'{path}: a damaged table ({fault}); rename it, or bring a copy back')
    return rows


def salvage_rows(path: Path) -> tuple[list[Row], str]:
    """As `read_rows`, the rows that can be read; and what is wrong with the others, '' for nothing."""
    if not path.exists():
        return [], ''
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return [], 'no UTF-8'
    if '\0' in text:
        return [], 'it holds NUL bytes'
    try:
        lines = list(csv.reader(io.StringIO(text, newline='')))
    except csv.Error as error:
        return [], str(error)
    if not lines:
        return [], 'it is empty'
    columns, rows, fault = lines[0], [], '' if text.endswith('\n') else 'its last line is cut'
    for number, cells in enumerate(lines[1 : None if not fault else -1], 2):
        if len(cells) != len(columns):
            fault = fault or f'{len(cells)} cells in line {number}, and {len(columns)} columns'
            continue
        try:
            rows.append({key: _parse(key, cell) for key, cell in zip(columns, cells, strict=True) if cell})
        except ValueError:
            fault = fault or f'a step in line {number} that is no number'
    return rows, fault


def _parse(column: str, text: str) -> Any:
    if column == 'step':
        return int(text)
    try:
        return text if column in TEXT else float(text)
    except ValueError:
        return text


def format_rows(rows: Sequence[Row]) -> str:
    """Rows as CSV; the columns are the union of the rows' keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as `format_rows` has them."""
    atomic.write(path, format_rows(rows))
