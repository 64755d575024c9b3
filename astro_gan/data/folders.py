"""Folders of pictures: which files are there, which of them can be used, and which split each belongs to."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tqdm

from astro_gan.errors import UserError
from astro_gan.files import pictures
from astro_gan.files.manifest import inside, read_table
from astro_gan.files.paths import existing_folder, files_below, printable, read_bytes

_SPLIT_NAMES = {'train': 'train', 'val': 'validation', 'validation': 'validation', 'test': 'test'}
_NAMED_IN_LOG = 10
_BY_HASH = 'a hash of the file name, 80:10:10; write a manifest.csv if pictures show the same object'
NONE: Mapping[str, str] = MappingProxyType({})
_READERS = 8  # a header read waits for the disk, not for the processor


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Usable pictures of a folder: `ids` are their paths within it, `sizes` (height, width)."""

    root: Path
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def load(self, index: int) -> np.ndarray:
        """Decode one, uint8 `[H, W, 3]`; a ValueError if it cannot be read any more."""
        return pictures.read_picture(self.root / self.ids[index])

    def encoded(self, index: int) -> bytes:
        """The bytes of its file; a ValueError as for `load`."""
        return read_bytes(self.root / self.ids[index])


def open_folder(folder: str | os.PathLike[str], split: str, minimum_size: int, log: Callable[[str], None]) -> Pictures:
    """Find the usable pictures of one split ('train', 'validation' or 'test') of a folder.

    Raises:
        UserError: no such folder, a manifest that cannot be used, or nothing usable in that split; one line.
    """
    root = existing_folder(folder)
    shown = printable(root)
    if (root / 'manifest.csv').is_file():
        members: dict[str, list[str]] = {}
        rows, how = manifest_rows(root / 'manifest.csv')
        for row in rows:
            members.setdefault(row['split'], []).append(row['file'])
    else:
        members, how = members_by_split(root)
        if not any(members.values()):
            raise UserError(_nothing(shown, split, minimum_size))
    split, note = _stand_in(split, members, shown)
    usable = usable_pictures(root, members[split], minimum_size, log)
    if not usable.ids:
        raise UserError(_nothing(shown, split, minimum_size))
    log(f'{shown}: {len(usable.ids)} pictures in {split}{note} (split {how})')
    return usable


def members_by_split(root: Path, earlier: Mapping[str, str] = NONE) -> tuple[dict[str, list[str]], str]:
    """Files by split of a folder that has no manifest, and in words how they were split.

    `earlier`: as for `manifest_rows`.
    """
    members = _sub_folder_splits(root)
    if members:
        return members, 'by sub-folder'
    # Of all files, whatever their size: the splits ask for different sizes, and must agree on who is whose.
    return automatic_splits(tuple(files_below(root)), earlier), f'by {_BY_HASH}'


def _nothing(shown: str, split: str, minimum_size: int) -> str:
    return (
        f'no usable picture for {split} in {shown}: wanted {pictures.FORMATS} files of at least '
        f'{minimum_size}x{minimum_size} pixels, in {shown}/{_folder_name(split)} or listed in a manifest.csv'
    )


def _folder_name(split: str) -> str:
    return 'val' if split == 'validation' else split


def _stand_in(split: str, members: dict[str, list[str]], shown: str) -> tuple[str, str]:
    """The split to read, and what to say of it: validation pictures stand in for a missing test split."""
    if members.get(split):
        return split, ''
    if split == 'test' and members.get('validation'):
        return 'validation', ' used as test, as there is no test split'
    there = ', '.join(f'{name} ({len(files)})' for name, files in members.items() if files)
    raise UserError(
        f'no {split} split in {shown} (there is: {there or "no picture"}): add a folder {_folder_name(split)}/ '
        f'or rows with split={_folder_name(split)} in manifest.csv'
    )


def manifest_rows(path: Path, earlier: Mapping[str, str] = NONE) -> tuple[list[dict[str, str]], str]:
    """The rows of a manifest, in its order, one per file, and in words how they were split.

    Rows with an empty split are left out. Where the manifest has no column `split`, as those of `astro-gan fetch`, its
    files are shared out by a hash of `group`, or of the file's name, and those that could not be fetched are left out.

    `split` comes out as 'train', 'validation' or 'test', `file` as a normalised path within the manifest's folder, and
    every other column as its text without surrounding blanks.

    Args:
        path: of the manifest.
        earlier: splits by `id` (without one: by file) that stay as they are where files are shared out.

    Raises:
        UserError: it cannot be read, has no column `file`, names a file outside its folder or in two splits, or lists
            nothing; one line with the number of the line at fault.
    """
    found: dict[str, dict[str, str]] = {}
    shown = printable(path)
    columns, rows = read_table(path, ('file',))
    if 'split' not in columns:
        listed = {inside(row['file'], f'{shown}: line {number}'): row for number, row in rows if not _failed(row)}
        return _shared_out(listed, earlier, shown), f'of the files in {path.name} by {_BY_HASH}'
    for number, row in rows:
        where = f'{shown}: line {number}'
        split = row['split'].lower()
        if not split:
            continue
        if split not in _SPLIT_NAMES:
            raise UserError(f'{where}: split {split!r}; valid are train, val (validation), test')
        row |= {'file': inside(row['file'], where), 'split': _SPLIT_NAMES[split]}
        if found.setdefault(row['file'], row)['split'] != row['split']:
            raise UserError(f'{where}: {row["file"]!r} is in two splits')
    if not found:
        raise UserError(f'{shown}: lists no file with a split')
    return list(found.values()), f'by {path.name}'


def _failed(row: dict[str, str]) -> bool:
    """Whether `astro-gan fetch` says that the file is not there."""
    return row.get('status') == 'failed'


def _shared_out(listed: dict[str, dict[str, str]], earlier: Mapping[str, str], shown: str) -> list[dict[str, str]]:
    """Rows with the splits of their groups; what has no group is one of its own."""
    if not listed:
        raise UserError(f'{shown}: lists no file')
    group_of = {file: row.get('group') or file for file, row in listed.items()}
    ids = {file: row.get('id') or file for file, row in listed.items()}
    inherited = {group_of[file]: earlier[ids[file]] for file in listed if ids[file] in earlier}
    members = automatic_splits(tuple(dict.fromkeys(group_of.values())), inherited)
    split_of = {group: split for split, groups in members.items() for group in groups}
    return [row | {'file': file, 'split': split_of[group_of[file]]} for file, row in listed.items()]


def _sub_folder_splits(root: Path) -> dict[str, list[str]]:
    """Files by split from train/, val/ or validation/, and test/; empty if none of these is there."""
    members: dict[str, list[str]] = {}
    for name, split in _SPLIT_NAMES.items():
        if (root / name).is_dir():
            members.setdefault(split, []).extend(files_below(root, name))
    return members


def automatic_splits(names: tuple[str, ...], earlier: Mapping[str, str] = NONE) -> dict[str, list[str]]:
    """Share file names out 80 : 10 : 10 by their hash, so that adding files moves none of the others.

    Few files can leave a split empty: the one whose hash is nearest is then moved there, so that three files or more
    fill every split. Only such a file can change its split when files are added, and none whose split is in `earlier`.
    """
    kept = {split: [name for name in names if earlier.get(name) == split] for split in ('train', 'validation', 'test')}
    if any(kept.values()):
        fresh = automatic_splits(tuple(name for name in names if name not in earlier))
        return {split: sorted(kept[split] + fresh[split]) for split in kept}
    rank = {name: hashlib.sha256(os.fsencode(name)).digest() for name in names}
    ordered = sorted(names, key=lambda name: rank[name])
    share = [int.from_bytes(rank[name][:8], 'big') / 2**64 for name in ordered]
    first = sum(value < 0.8 for value in share)
    last = sum(value < 0.9 for value in share)
    if len(ordered) >= 3:
        first = min(max(first, 1), len(ordered) - 2)
        last = min(max(last, first + 1), len(ordered) - 1)
    elif len(ordered) == 2:
        first, last = 1, 2
    else:
        first = last = len(ordered)
    parts = (ordered[:first], ordered[first:last], ordered[last:])
    return {split: sorted(part) for split, part in zip(('train', 'validation', 'test'), parts, strict=True)}


def usable_pictures(
    root: Path,
    names: list[str],
    minimum_size: int,
    log: Callable[[str], None],
    measure: Callable[[Path], tuple[int, int]] = pictures.picture_size,
) -> Pictures:
    """Those of the named files that are pictures and large enough; the others are logged.

    Args:
        measure: gives a picture's height and width, or raises a ValueError that says why it cannot be used; by default
            headers are read, which is fast.
    """
    shown = printable(root)

    def check(name: str) -> tuple[int, int] | str:
        try:
            size = measure(root / name)
        except ValueError as error:
            return str(error)
        if min(size) < minimum_size:
            return f'{printable(root / name)}: {size[1]}x{size[0]} is smaller than {minimum_size} pixels'
        return size

    with ThreadPoolExecutor(_READERS) as pool:
        results = tqdm.tqdm(pool.map(check, names), shown, len(names), leave=False, delay=2, unit=' pictures')
        checked = dict(zip(names, results, strict=True))
    problems = [result for result in checked.values() if isinstance(result, str)]
    if problems:
        log(f'{shown}: {len(problems)} of {len(names)} files are left out:')
        for line in problems[:_NAMED_IN_LOG]:
            log(f'  {line}')
        if len(problems) > _NAMED_IN_LOG:
            log(f'  and {len(problems) - _NAMED_IN_LOG} more')
    sizes = {name: result for name, result in checked.items() if not isinstance(result, str)}
    return Pictures(root, tuple(sizes), tuple(sizes.values()))
