"""Being asked to stop: SIGTERM and Ctrl-C are noted, and heeded where nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any

_SOON = 0.05  # seconds after which a signal is heeded that could not be


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
def ended_by_signals() -> Iterator[None]:
    """SIGTERM raises Terminated, and Ctrl-C, unless ignored, KeyboardInterrupt; a second SIGTERM ends at once.

    On the way out what is half written is removed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(signum: int, frame: types.FrameType | None) -> None:
        if _fragile(frame):
            again = threading.Timer(_SOON, _send, [signum])
            again.daemon = True
            again.start()
        elif signum == signal.SIGTERM:
            signal.signal(signum, signal.SIG_DFL)
            raise Terminated
        else:
            raise KeyboardInterrupt

    heeded = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fragile(frame: types.FrameType | None) -> bool:
    """Whether an exception would be lost (in a call of the garbage collector), or break a library's first steps."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in ('_xla_gc_callback', '__del__') or code.co_filename.startswith('<frozen importlib'):
            return True
        frame = frame.f_back
    return False


def _send(signum: int) -> None:
    """Send the main thread a signal, which wakes it from a wait (but for Windows)."""
    if hasattr(signal, 'pthread_kill'):
        signal.pthread_kill(threading.main_thread().ident or 0, signum)
    else:
        signal.raise_signal(signum)
