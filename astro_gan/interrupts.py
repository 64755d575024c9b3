"""Being asked to stop: SIGTERM and Ctrl-C are noted, and heeded where nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM came where nothing has to be saved first."""


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM, Ctrl-C); everything is saved. `signum` says by what."""

    def __init__(self, signum: int, step: int):
        super().__init__(f'stopped at step {step}')
        self.signum = signum
        self.step = step


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second Ctrl-C interrupts as usual.

    Where SIGINT is ignored already (`nohup`, a script's background jobs) it stays so.
    """
    received: list[int] = []
    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        heeded.append(signal.SIGINT)

    def handler(signum: int, frame: Any) -> None:
        if signum == signal.SIGINT and signum in received:
            signal.default_int_handler(signum, frame)
        received.append(signum)

    previous = {signum: signal.signal(signum, handler) for signum in heeded}
    try:
        yield received
    finally:
        for signum, old in previous.items():
            signal.signal(signum, old)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Ctrl-C waits until what is within is done; for what takes a second, and would leave a mess."""
    received: list[int] = []
    mine = threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, lambda signum, frame: received.append(signum)) if mine else None
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)
        for signum in received:
            signal.raise_signal(signum)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated, so that what is half written is removed on the way out; a second one ends at once."""

    def end(signum: int, frame: Any) -> None:
        signal.signal(signum, signal.SIG_DFL)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
