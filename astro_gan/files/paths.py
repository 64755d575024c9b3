"""Names and places: paths as text, regular files opened once, folders walked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from astro_gan.errors import UserError

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


def without_controls(text: str) -> str:
    """Text in which what would act on a terminal is escaped; line breaks stay."""
    if text.isprintable():
        return text
    return ''.join(letter if letter.isprintable() or letter == '\n' else ascii(letter)[1:-1] for letter in text)


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str]]:
    """Open a regular file once, for all that is read of it; yields it with its name for messages.

    Raises:
        UserError: it is empty, no regular file, or cannot be opened; one line that names it.
    """
    name = printable(path)
    try:
        # Without waiting: a pipe that nobody writes to would block for ever. What was opened is what is looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0))
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):
            raise UserError(f'{name}: a link that leads to no file') from error
        if isinstance(error, FileNotFoundError):
            raise UserError(f'{name}: no such file') from error
        raise UserError(f'{name}: {_not_regular(path) or (error.strerror or str(error)).lower()}') from error
    except ValueError:
        raise UserError(f'{name}: no file can have that name') from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        os.close(descriptor)
        raise UserError(f'{name}: {_not_regular(path) or "the file is empty"}')
    with open(path, 'rb', opener=lambda *_: descriptor) as file:  # with its path as its name, which readers look at
        yield file, name


def _not_regular(path: str | os.PathLike[str]) -> str:
    """What is there instead of a file's bytes; '' if it is a file, or nothing can be said."""
    kinds = {'a folder': stat.S_ISDIR, 'a pipe': stat.S_ISFIFO, 'a socket': stat.S_ISSOCK}
    kinds |= {'a device': lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode)}
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ''
    return next((f'not a regular file but {kind}' for kind, test in kinds.items() if test(mode)), '')


def read_bytes(path: Path) -> bytes:
    """A file's bytes; a UserError of one line if there is no such file, or it is larger than `MAXIMUM_FILE_BYTES`."""
    with open_file(path) as (file, name):
        data = file.read(MAXIMUM_FILE_BYTES + 1)
    if len(data) > MAXIMUM_FILE_BYTES:
        raise UserError(f'{name}: a file of more than {MAXIMUM_FILE_BYTES / 2**30:.0f} GiB')
    return data


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The path of a folder that is there; a UserError of one line if it is not."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = 'is not a folder' if root.exists() else 'does not exist'
        raise UserError(f'data folder {printable(root)} {what}')
    return root


def regular_files(
    root: str | os.PathLike[str],
    skip: Callable[[str], bool] = lambda folder: False,
    passed: Callable[[str], Any] = lambda path: None,
) -> Iterator[str]:
    """Relative paths of the files below a folder, sorted within each; links are followed, but never round in circles.

    Hidden files and folders are passed over, and all that is neither file nor folder: pipes, devices, sockets, links
    that lead to nothing.

    Args:
        root: where to begin.
        skip: says of a folder's path whether to stay out of it.
        passed: is told the paths of what is neither file nor folder.
    """
    visited: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:  # a link back up would lead round for ever
            names.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        names[:] = sorted(name for name in names if not name.startswith('.') and not skip(os.path.join(folder, name)))
        for name in sorted(name for name in files if not name.startswith('.')):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, root)
            else:
                passed(path)


def files_below(root: Path, start: str = '') -> list[str]:
    """Sorted relative paths of what could be a picture, searched recursively; hidden files are passed over.

    What is neither file nor folder is among them: whoever reads them says why it cannot be used, and counts it.
    """
    others: list[str] = []
    found = [*regular_files(root / start, passed=others.append)]
    found += [os.path.relpath(path, root / start) for path in others]
    return sorted(Path(start, name).as_posix() for name in found if Path(name).suffix.lower() not in _NOT_PICTURES)
