"""Whole files and folders or none: written under a temporary name beside their place, made durable, then renamed.

A temporary name says which process on which machine it belongs to: a later run can remove what a killed one left.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

_LONGEST_NAME = 255  # bytes, on the file systems in use
_TEMPORARY = re.compile(
    r'\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}\.tmp(\.[A-Za-z0-9.]{1,24})?', re.DOTALL
)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def temporary_path(target: Path, suffix: str = '') -> Path:
    """A hidden name beside `target` that nobody else uses, ending with `suffix` ('.png'); nothing is made."""
    mark = f'.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp{suffix}'
    stem = os.fsencode(target.name)[: _LONGEST_NAME - len(mark) - 1]
    return target.with_name('.' + stem.decode('ascii', 'ignore') + mark)  # which any file system can hold


@contextlib.contextmanager
def scratch(target: Path, suffix: str = '') -> Iterator[Path]:
    """A new, empty temporary file beside `target`, made with O_EXCL, so that no link is followed; gone at the end.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    temporary = temporary_path(target, suffix)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(target: Path, suffix: str = '') -> Iterator[Path]:
    """As `scratch`; but at the end, if all went well, the file takes the place of `target`.

    It and its folder are flushed around the rename: after a power cut there is the old file or the new one.
    """
    with scratch(target, suffix) as temporary:
        yield temporary
        flush(temporary)
        os.replace(temporary, target)
        flush(target.parent)


def write(target: Path, data: bytes | str) -> None:
    """Write a file (text as UTF-8), whole or not at all."""
    with replacing(target) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A new temporary folder that takes the place of the folder `target` at the end, or disappears."""
    temporary = temporary_path(target)
    temporary.mkdir()
    try:
        yield temporary
        place_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_folder(made: Path, target: Path) -> None:
    """Give a finished folder its name, in place of an earlier one, which is removed.

    The two are exchanged in one step where the system can (Linux); elsewhere the earlier one is first renamed aside.
    """
    if not target.exists():
        os.rename(made, target)
    elif _exchange(made, target):
        shutil.rmtree(made, ignore_errors=True)  # what is there now is the earlier one
    else:
        aside = temporary_path(target)
        os.rename(target, aside)
        try:
            os.rename(made, target)
        except BaseException:  # an interruption between the two must not cost the earlier one
            os.rename(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    flush(target.parent)


def free_name(path: Path) -> Path:
    """`path` with a number behind its name, the first from 1 on that nothing has."""
    names = (path.with_name(f'{path.name}{number}') for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def remove_stale(folder: Path) -> int:
    """Remove the temporary files and folders in `folder` whose process on this machine is gone; how many there were."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if not match or match['host'] != _host() or _alive(int(match['pid'])):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
                removed += 1
    return removed


def flush(path: Path) -> None:
    """Have a file's or folder's content on the disk (fsync); file systems that cannot do it for folders are let be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


@functools.cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's process
        return True
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot (renameat2 of Linux 3.15, glibc 2.28)."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0
