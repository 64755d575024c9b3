"""What a data set is to be built of: the pictures of a manifest or a folder, and what is known of each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from astro_gan.data import folders
from astro_gan.data.sources import SPLITS
from astro_gan.errors import UserError
from astro_gan.files import pictures
from astro_gan.files.paths import existing_folder, printable

COLUMNS = ('id', 'group', 'credit', 'licence', 'page')


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file (its path within the folder), the split that it goes to, and what is known of it; '' where nothing is."""

    file: str
    split: str
    sha256: str = ''
    id: str = ''
    group: str = ''
    credit: str = ''
    licence: str = ''
    page: str = ''


def list_pictures(
    source: str | os.PathLike[str], log: Callable[[str], None], earlier: Mapping[str, str] = folders.NONE
) -> tuple[Path, list[Picture]]:
    """The folder and the pictures of a manifest or a folder, checked as a whole.

    The pictures of a folder are decoded, and those that are damaged left out and logged; a manifest's are not.

    Pictures of which nothing says what split they belong to are shared out, but for ids that have one in `earlier`.

    Raises:
        UserError: the manifest or the folder cannot be used, training or validation has no picture, or a group or a
            file is in two splits; one line.
    """
    path = Path(source).expanduser()
    if path.is_dir() and (path / 'manifest.csv').is_file():
        path = path / 'manifest.csv'
    if path.is_file():
        shown, root = printable(path), path.parent
        rows, how = folders.manifest_rows(path, earlier)
        if how != f'by {path.name}':  # no splits in it, so perhaps files of other kinds too
            log(f'{shown}: split {how}')
            usable = set(folders.usable_pictures(root, [row['file'] for row in rows], 1, log).ids)
            rows = [row for row in rows if row['file'] in usable]
        listed = [_of_row(row) for row in rows]
    else:
        root = existing_folder(path)
        shown = printable(root)
        members, how = folders.members_by_split(root, earlier)
        log(f'{shown}: split {how}')
        listed = [
            Picture(file=file, split=split, id=file)
            for split in SPLITS
            for file in folders.usable_pictures(root, members.get(split, []), 1, log, pictures.checked_size).ids
        ]
    for split in ('train', 'validation'):
        if not any(picture.split == split for picture in listed):
            raise UserError(f'{shown}: no picture in {split}, which training needs')
    _check_apart(listed, shown)
    return root, listed


def _of_row(row: dict[str, str]) -> Picture:
    known = {column: row.get(column, '') for column in COLUMNS}
    known['licence'] = known['licence'] or row.get('license', '')
    known['id'] = known['id'] or row['file']
    return Picture(row['file'], row['split'], row.get('sha256', '').lower(), **known)


def _check_apart(listed: list[Picture], shown: str) -> None:
    """No object and no file in two splits: what is tested on must be new to the networks."""
    first: dict[tuple[str, str], Picture] = {}
    for picture in listed:
        for kind, value in (('group', picture.group), ('sha256', picture.sha256)):
            other = first.setdefault((kind, value), picture)
            if value and other.split != picture.split:
                raise UserError(
                    f'{shown}: {other.file} in {other.split} and {picture.file} in {picture.split} have the same '
                    f'{kind} {value}; all pictures of one {kind} belong in one split'
                )
