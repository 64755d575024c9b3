"""The splits of the press pictures with which everything here was trained and measured, laid out as a folder.

    python -m experiments.splits PICTURES -o FOLDER

PICTURES holds ESA/Hubble press pictures under any names, such as what `astro-gan fetch press` wrote; splits.csv names
each by the SHA-256 of its file. FOLDER gets copies in train/, val/ and test/ and a manifest.csv with page and licence:
`--config.dataset.folder=FOLDER`. How the splits were made: docs/data.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.hashes import sha256_of
from astro_gan.files.manifest import read_table, write_table
from astro_gan.files.paths import existing_folder, printable, regular_files

TABLE = Path(__file__).with_name('splits.csv')
FOLDERS = {'train': 'train', 'validation': 'val', 'test': 'test'}
COLUMNS = ('id', 'split', 'file', 'group', 'page', 'licence', 'sha256')


def rows() -> list[dict[str, str]]:
    """The pictures of the splits: id, split, group (pictures of the same sky), sha256."""
    return [row for _, row in read_table(TABLE, ('id', 'split', 'group', 'sha256'))[1]]


def lay_out(pictures: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Copy the pictures of the splits, found by their hashes below `pictures`, into the new folder; what to say of it.

    Raises:
        UserError: there is none of them, or `folder` is there already; one line.
    """
    root, target = existing_folder(pictures), Path(folder).expanduser()
    if target.exists():
        raise UserError(f'{printable(target)}: is there already; -o names a new folder')
    found = {sha256_of(root / name): root / name for name in regular_files(root) if os.path.getsize(root / name)}
    wanted = rows()
    there = [row for row in wanted if row['sha256'] in found]
    if not there:
        raise UserError(f'{printable(root)}: none of the {len(wanted)} pictures of the splits is there')
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(target) as part:
        for name in FOLDERS.values():
            (part / name).mkdir()
        for row in there:
            source = found[row['sha256']]
            row['file'] = f'{FOLDERS[row["split"]]}/{row["id"]}{source.suffix}'
            row['page'] = f'https://esahubble.org/images/{row["id"]}/'
            row['licence'] = 'CC BY 4.0 (ESA/Hubble)'
            shutil.copyfile(source, part / row['file'])
        write_table(part / 'manifest.csv', COLUMNS, there)
    counts = ', '.join(f'{sum(row["split"] == split for row in there)} {split}' for split in FOLDERS)
    missing = [row['id'] for row in wanted if row['sha256'] not in found]
    names = ', '.join(missing[:5]) + (', ...' if len(missing) > 5 else '')
    lost = f'; {len(missing)} are not below {printable(root)}: {names}' if missing else ''
    return f'{printable(target)}: {counts}{lost}'


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m experiments.splits', description=__doc__.splitlines()[0])
    parser.add_argument('pictures', help='folder with the press pictures, under any names')
    parser.add_argument('-o', '--output', required=True, metavar='FOLDER', help='made')
    arguments = parser.parse_args()
    try:
        print(lay_out(arguments.pictures, arguments.output))
    except (UserError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
