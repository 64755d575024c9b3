"""What the user gives: a folder of pictures, perhaps its manifest, perhaps a file of decisions by hand."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from astro_gan.curation.framing import Box
from astro_gan.errors import UserError
from astro_gan.files.manifest import read_table
from astro_gan.files.paths import files_below, printable

# What travels from a folder's manifest into the new one.
CARRIED = ('id', 'ra', 'dec', 'credit', 'licence', 'page')
# Names of splits in manifests, and what they are called here; the first counts most.
SPLITS = {'train': 'train', 'validation': 'validation', 'val': 'validation', 'test': 'test'}
_LONGEST = 64 * 2**20  # bytes of a manifest or a file of overrides
_FORMS = 'keep PATH | refuse PATH [REASON] | crop PATH X0 Y0 X1 Y1'


@dataclasses.dataclass(frozen=True)
class Override:
    """Decisions by hand on one picture."""

    keep: bool = False
    refuse: str | None = None  # the reason
    crop: Box | None = None


def find(root: Path) -> list[str]:
    """Sorted paths, within `root`, of all files that could be pictures; hidden files are passed over."""
    if not root.is_dir():
        raise UserError(f'{printable(root)}: {"not a folder" if root.exists() else "no such folder"}')
    names = files_below(root)
    if not names:
        raise UserError(f'{printable(root)}: no picture in this folder or below')
    return names


def read_manifest(root: Path) -> dict[str, dict[str, str]]:
    """Rows of `root`/manifest.csv by their column `file`; empty if there is no manifest.

    Raises:
        UserError: not a CSV table with a column `file`.
    """
    path = root / 'manifest.csv'
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, str]] = {}
    for _, row in read_table(path, ['file'])[1]:
        rows[os.path.normpath(row['file'])] = row
    return rows


def earlier_splits(rows: dict[str, dict[str, str]], target: Path) -> dict[str, str]:
    """The split that pictures have already: in the earlier output `target`, else in the folder's own manifest."""
    found = {name: SPLITS.get(row.get('split', '').lower(), '') for name, row in rows.items()}
    if (target / 'manifest.csv').is_file():
        for _, row in read_table(target / 'manifest.csv', ['source', 'split'])[1]:
            found[row['source']] = SPLITS.get(row['split'].lower(), '')
    return {name: split for name, split in found.items() if split}


def coordinates(row: dict[str, str]) -> tuple[float, float] | None:
    """Right ascension and declination of a manifest's row in degrees, where it has both."""
    try:
        ra, dec = float(row.get('ra', '')), float(row.get('dec', ''))
    except ValueError:
        return None
    return (ra, dec) if 0 <= ra <= 360 and abs(dec) <= 90 else None


def read_overrides(path: Path, names: list[str]) -> dict[str, Override]:
    """Decisions by hand: lines `keep PATH`, `refuse PATH [REASON]` or `crop PATH X0 Y0 X1 Y1`, or the same as CSV.

    Paths are those within the folder of pictures; one with blanks stands in quotes. `#` starts a comment. A picture
    may have a crop and another decision.

    Raises:
        UserError: a line of another form, or a path that is not among `names`; the line is named.
    """
    known = set(names)
    overrides: dict[str, Override] = {}
    for number, words in _words(path):
        where = f'{printable(path)}: line {number}'
        if not words or words[0].startswith('#'):
            continue
        verb, name = words[0].lower(), os.path.normpath(words[1]) if len(words) > 1 else ''
        if verb not in ('keep', 'refuse', 'crop') or not name or (verb == 'keep' and len(words) > 2):
            raise UserError(f'{where}: {" ".join(words)!r}; valid are {_FORMS}')
        if name not in known:
            raise UserError(f'{where}: no picture {name!r} in the folder')
        old = overrides.get(name, Override())
        if verb == 'crop':
            if len(words) != 6 or not all(re.fullmatch(r'\d{1,9}', word) for word in words[2:]):
                raise UserError(f'{where}: a crop needs four whole numbers, X0 Y0 X1 Y1')
            x0, y0, x1, y1 = map(int, words[2:])
            if x1 <= x0 or y1 <= y0:
                raise UserError(f'{where}: an empty crop; X1 must be more than X0, Y1 more than Y0')
            overrides[name] = dataclasses.replace(old, crop=(x0, y0, x1, y1))
        elif verb == 'keep':
            overrides[name] = dataclasses.replace(old, keep=True)
        else:
            overrides[name] = dataclasses.replace(old, refuse=' '.join(words[2:]) or 'no reason given')
        if overrides[name].keep and overrides[name].refuse:
            raise UserError(f'{where}: {name!r} is both kept and refused')
    return overrides


def _words(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = _text(path).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            if path.suffix.lower() == '.csv':
                words = [word.strip() for word in next(csv.reader([line], strict=True), [])]
                yield number, [word for word in words if word]
            else:
                yield number, shlex.split(line, comments=True)
        except (ValueError, csv.Error) as error:
            raise UserError(f'{printable(path)}: line {number}: {error}') from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST:
            raise UserError(f'{printable(path)}: larger than {_LONGEST >> 20} MB')
        return path.read_text(encoding='utf-8-sig')
    except UnicodeError as error:
        raise UserError(f'{printable(path)}: not UTF-8 text') from error
    except OSError as error:
        raise UserError(f'{printable(path)}: {(error.strerror or str(error)).lower()}') from error
