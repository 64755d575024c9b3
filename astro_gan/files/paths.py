"""Names and places: paths as text, regular files opened once, folders walked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Files that nobody means as pictures. Anything else that cannot be read as one is named in the log.
_NOT_PICTURES = frozenset(
    ('.csv', '.tsv', '.txt', '.json', '.jsonl', '.md', '.rst', '.html', '.htm', '.xml', '.yaml', '.yml', '.toml')
    + ('.ini', '.cfg', '.bib', '.log', '.pdf', '.py', '.sh', '.ipynb', '.db', '.zip', '.tar', '.gz', '.tgz', '.bz2')
    + ('.xz', '.sha256', '.md5', '.npy', '.npz', '.url')
)
# A data set's record, one protocol buffer message, ends at 2 GiB.
MAXIMUM_FILE_BYTES = 2**30


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text of one line: escaped where it holds line breaks or undecodable bytes."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str]]:
    """Open a regular file once, for all that is read of it; yields it with its name for messages.

    Raises:
        ValueError: it is empty, no regular file, or cannot be opened; one line that names it.
    """
    name = printable(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could block for ever
            raise ValueError(f'{name}: not a regular file')
        if not status.st_size:
            raise ValueError(f'{name}: the file is empty')
        file = open(path, 'rb')  # noqa: SIM115 (closed below; only opening is explained here)
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):
            raise ValueError(f'{name}: a link that leads to no file') from error
        raise ValueError(f'{name}: {(error.strerror or str(error)).lower()}') from error
    with file:
        yield file, name


def read_bytes(path: Path) -> bytes:
    """A file's bytes; a ValueError of one line if there is no such file, or it is larger than `MAXIMUM_FILE_BYTES`."""
    shown = printable(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could block for ever
            raise ValueError(f'{shown}: not a regular file')
        if status.st_size > MAXIMUM_FILE_BYTES:
            raise ValueError(f'{shown}: a file of more than {MAXIMUM_FILE_BYTES / 2**30:.0f} GiB')
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f'{shown}: {(error.strerror or str(error)).lower()}') from error


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The path of a folder that is there; a ValueError of one line if it is not."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = 'is not a folder' if root.exists() else 'does not exist'
        raise ValueError(f'data folder {printable(root)} {what}')
    return root


def files_below(root: Path, start: str = '') -> list[str]:
    """Sorted relative paths of what could be a picture, searched recursively; hidden files are passed over."""
    found: list[str] = []
    visited: set[str] = set()
    for folder, names, files in os.walk(root / start, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up would lead round for ever
            names.clear()
            continue
        visited.add(real)
        names[:] = sorted(name for name in names if not name.startswith('.'))
        for name in files:
            if not name.startswith('.') and Path(name).suffix.lower() not in _NOT_PICTURES:
                found.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(found)
