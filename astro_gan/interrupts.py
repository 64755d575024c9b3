"""Being asked to stop: SIGTERM and Ctrl-C are noted, and heeded where nothing is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM, Ctrl-C); everything is saved. `signum` says by what."""

    def __init__(self, signum: int, step: int):
        super().__init__(f'stopped at step {step}')
        self.signum = signum
        self.step = step


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second Ctrl-C dies as usual.

    Where SIGINT is ignored already (`nohup`, a script's background jobs) it stays so.
    """
    received: list[int] = []
    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        heeded.append(signal.SIGINT)

    def handler(signum: int, frame: Any) -> None:
        del frame
        received.append(signum)
        if signal.SIGINT in heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {signum: signal.signal(signum, handler) for signum in heeded}
    try:
        yield received
    finally:
        for signum, old in previous.items():
            signal.signal(signum, old)
