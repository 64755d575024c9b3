"""Manifests: CSV tables that say of each file in a folder what it is and where it came from.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula and runs it, and cells hold what servers say.
Such a cell is written with an apostrophe before it, which a spreadsheet shows as text, and read back without: any value
comes back as it was, whatever it begins with. Plain numbers are no formulas and stay as they are.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.paths import open_file, printable

_LONGEST = 256 * 2**20  # bytes
# What spreadsheets run, the wide forms of the characters too (East Asian ones); and what is a number with its sign.
_FORMULA = re.compile("\\s*'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?', re.IGNORECASE)
Row = dict[str, str]


def read_table(path: str | os.PathLike[str], required: Sequence[str] = ()) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns of a CSV table, and its rows with the numbers of their lines; blanks around values are dropped.

    Raises:
        UserError: it cannot be read, is no CSV table in UTF-8, lacks a column of `required`, or has a line with another
            number of fields; one line that names the file and the line.
    """
    rows: list[tuple[int, Row]] = []
    with open_file(path) as (file, name):
        try:
            text = file.read(_LONGEST + 1)
            if len(text) > _LONGEST:
                raise ValueError(f'larger than {_LONGEST >> 20} MB')
            table = csv.DictReader(io.StringIO(text.decode('utf-8-sig'), newline=''), strict=True)
            columns = [column.strip() for column in table.fieldnames or ()]
            table.fieldnames = columns
            missing = [column for column in required if column not in columns]
            if missing:
                raise ValueError(f'no column {" and ".join(missing)}; wanted: {", ".join(required)}')
            for row in table:
                if None in row or None in row.values():
                    raise ValueError(f'line {table.line_num}: not {len(columns)} fields, as the first line has')
                rows.append((table.line_num, {column: _read(value.strip()) for column, value in row.items()}))
        except UnicodeError:
            raise UserError(f'{name}: not UTF-8 text') from None
        except csv.Error as error:
            raise UserError(f'{name}: not a CSV table ({error})') from None
        except ValueError as error:
            raise UserError(f'{name}: {error}') from None
    return columns, rows


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV table, whole or not at all; keys of a row that are no columns are left out.

    Cells that a spreadsheet would run as a formula are written so that it does not. What a killed run has left beside
    the file is removed.
    """
    atomic.remove_stale(path.parent)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows({column: _written(value) for column, value in row.items()} for row in rows)
    atomic.write(path, text.getvalue().encode('utf-8', 'backslashreplace'))


def _written(value: object) -> str:
    """A cell that no spreadsheet runs."""
    text = '' if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _read(cell: str) -> str:
    """What `_written` was given, without blanks around it."""
    return cell[1:].strip() if cell.startswith("'") and _FORMULA.match(cell) else cell


def inside(name: str, where: str) -> str:
    """A path that a manifest names, normalised and checked to stay within the manifest's folder.

    Raises:
        UserError: it does not; `where` says on which line.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or '..' in path.parts or '\\' in name or '\0' in name:
        raise UserError(f'{where}: {printable(name)!r} is not a path within the folder (use / and no ..)')
    return str(path)
