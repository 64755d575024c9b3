"""Folders of pictures: which files are there, which of them can be used, and which split each belongs to."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tqdm

from astro_gan.errors import UserError
from astro_gan.files import pictures
from astro_gan.files.manifest import inside, read_table
from astro_gan.files.paths import existing_folder, files_below, printable, read_bytes

_SPLIT_NAMES = {'train': 'train', 'val': 'validation', 'validation': 'validation', 'test': 'test'}
_NAMED_IN_LOG = 10
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
        ValueError: no such folder, a manifest that cannot be used, or nothing usable in that split; one line.
    """
    root = existing_folder(folder)
    shown = printable(root)
    if (root / 'manifest.csv').is_file():
        members: dict[str, list[str]] = {}
        for row in manifest_rows(root / 'manifest.csv'):
            members.setdefault(row['split'], []).append(row['file'])
        how = 'by manifest.csv'
    else:
        members, how = members_by_split(root)
        if not any(members.values()):
            raise ValueError(_nothing(shown, split, minimum_size))
    split, note = _stand_in(split, members, shown)
    usable = usable_pictures(root, members[split], minimum_size, log)
    if not usable.ids:
        raise ValueError(_nothing(shown, split, minimum_size))
    log(f'{shown}: {len(usable.ids)} pictures in {split}{note} (split {how})')
    return usable


def members_by_split(root: Path) -> tuple[dict[str, list[str]], str]:
    """Files by split of a folder that has no manifest, and in words how they were split."""
    members = _sub_folder_splits(root)
    if members:
        return members, 'by sub-folder'
    # Of all files, whatever their size: the splits ask for different sizes, and must agree on who is whose.
    members = automatic_splits(tuple(files_below(root)))
    return members, 'by a hash of the file name, 80:10:10; write a manifest.csv if pictures show the same object'


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
    raise ValueError(
        f'no {split} split in {shown} (there is: {there or "no picture"}): add a folder {_folder_name(split)}/ '
        f'or rows with split={_folder_name(split)} in manifest.csv'
    )


def manifest_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a manifest, in its order, one per file; rows with an empty split are left out.

    `split` comes out as 'train', 'validation' or 'test', `file` as a normalised path within the manifest's folder, and
    every other column as its text without surrounding blanks.

    Raises:
        ValueError: it cannot be read, has no columns `file` and `split`, names a file outside its folder or in two
            splits, or lists nothing; one line with the number of the line at fault.
    """
    found: dict[str, dict[str, str]] = {}
    shown = printable(path)
    for number, row in read_table(path, ('file', 'split'))[1]:
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
    return list(found.values())


def _sub_folder_splits(root: Path) -> dict[str, list[str]]:
    """Files by split from train/, val/ or validation/, and test/; empty if none of these is there."""
    members: dict[str, list[str]] = {}
    for name, split in _SPLIT_NAMES.items():
        if (root / name).is_dir():
            members.setdefault(split, []).extend(files_below(root, name))
    return members


def automatic_splits(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Share file names out 80 : 10 : 10 by their hash, so that adding files moves none of the others.

    Few files can leave a split empty: the one whose hash is nearest is then moved there, so that three files or more
    fill every split. Only such a file can change its split when files are added.
    """
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


def usable_pictures(root: Path, names: list[str], minimum_size: int, log: Callable[[str], None]) -> Pictures:
    """Those of the named files whose headers are of pictures that are large enough; the others are logged."""
    shown = printable(root)

    def check(name: str) -> tuple[int, int] | str:
        try:
            size = pictures.picture_size(root / name)
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
