"""One process at a time: locks that the system lets go when their process ends, however it does."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from astro_gan.errors import UserError

_CLAIM = '.claim'  # at the end of the names of locks for one file


@contextlib.contextmanager
def only_one(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file `path`, which is made if missing and stays.

    Args:
        busy: what to say when another process holds it; '': wait for that process instead.

    Raises:
        UserError: `busy`.
        OSError: the file cannot be made.
    """
    try:
        held = filelock.FileLock(path, timeout=0 if busy else -1).acquire()
    except filelock.Timeout:
        raise UserError(busy) from None
    with held:
        yield


@contextlib.contextmanager
def claimed(target: Path) -> Iterator[bool]:
    """Whether `target` is for this process alone to make; False while another one is at it.

    The lock file lies hidden beside `target` and is removed while it is still held: who waits for it and finds it
    without a name begins anew (filelock looks).
    """
    path = _claim(target)
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()


def remove_unclaimed(folder: Path) -> None:
    """Remove the lock files of `claimed` whose process is gone."""
    for path in folder.glob(f'.*{_CLAIM}'):
        with contextlib.suppress(OSError, filelock.Timeout), filelock.FileLock(path, timeout=0):
            path.unlink()


def _claim(target: Path) -> Path:
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f'.{mark}{_CLAIM}')
