"""One process at a time: locks that the system lets go when their process ends, however it does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from astro_gan.errors import UserError


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
