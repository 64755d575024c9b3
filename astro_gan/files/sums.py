"""A folder whose files carry checksums: SHA256SUMS lists them all, as `sha256sum --check SHA256SUMS` reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from astro_gan.files import atomic

NAME = 'SHA256SUMS'


def write(folder: Path) -> None:
    """Write SHA256SUMS, the last file of a folder that is to be renamed to its final name; all of it is on the disk."""
    lines = []
    for name in _names(folder):
        lines.append(f'{_digest(folder / name)}  {name}\n')
        atomic.flush(folder / name)
    atomic.write(folder / NAME, ''.join(lines))
    for path in folder.rglob('*'):
        if path.is_dir():
            atomic.flush(path)


def fault(folder: Path) -> str:
    """The first file that is not as `write` met it, and what is wrong with it; '' where all are.

    Raises:
        PermissionError: a file may not be read, which says nothing of its content.
    """
    try:
        # Not by lines of any kind: a damaged file may hold each of them.
        lines = (folder / NAME).read_bytes().decode('ascii').split('\n')
        digests = {name: digest for digest, name in (line.split('  ', 1) for line in lines[:-1])}
    except PermissionError:
        raise
    except (OSError, ValueError):
        return f'{NAME} is missing or damaged'
    for name in digests.keys() | _names(folder):
        try:
            if name not in digests:
                return f'{name!r} is not in {NAME}'
            if not (folder / name).is_file():
                return f'{name!r} is missing'
            if _digest(folder / name) != digests[name]:
                return f'{name!r} was changed'
        except PermissionError:
            raise
        except (OSError, ValueError) as error:  # a name that is none
            return f'{name!r} cannot be read ({error})'
    return ''


def _names(folder: Path) -> list[str]:
    """The files that count: not hidden ones, which systems make by themselves."""
    paths = sorted(path for path in folder.rglob('*') if path.is_file() and path.name != NAME)
    return [path.relative_to(folder).as_posix() for path in paths if not path.name.startswith('.')]


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
