"""Damaged files and settings of every kind, read as a user would have them read: a result, or one line that says what
is wrong. Wrong is a traceback, more than 20 s of a processor, more than 2 GiB, a word of a library on the screen, a
refusal in a library's words, a file outside of the output folder, and anything left behind.

    python -m tests.campaigns.fuzz --count 10000 --seed 0

A case is drawn by its number alone, from `--seed` on: `--count 1 --seed NUMBER --kind KIND` repeats one.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.campaigns import report
from tests.runs import ROOT, compiler_flags

LONGEST = 20.0  # seconds of a processor for a case
PATIENCE = 300.0  # for a process to be ready, and for a case where others use the processors, or one that only waits


class Child:
    """A process that runs cases; a new one takes the place of one that hangs or dies."""

    def __init__(self, folder: Path):
        environment = os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': compiler_flags(devices=1)}
        environment |= {'JAX_PLATFORMS': 'cpu', 'TF_CPP_MIN_LOG_LEVEL': '2', 'TF_ENABLE_ONEDNN_OPTS': '0'}
        self._folder, self._environment = folder, environment
        self._start()

    def _start(self) -> None:
        folder = tempfile.mkdtemp(dir=self._folder)
        command = [sys.executable, '-m', 'tests.campaigns.fuzz_child', folder]
        pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
        self._process = subprocess.Popen(command, env=self._environment, cwd=ROOT, **pipes)
        answer = self._answer(PATIENCE)
        if answer is None:
            raise RuntimeError('the process of the campaign does not start')
        self.kinds = answer['kinds']

    def run(self, kind: str, number: int) -> dict[str, Any]:
        """The outcome of a case."""
        self._process.stdin.write(json.dumps([kind, number]).encode() + b'\n')
        self._process.stdin.flush()
        answer = self._answer(LONGEST)
        if answer is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            status = self._process.returncode
            self._process.send_signal(signal.SIGABRT)  # it says where it is
            self.close()
            self._start()
            wrong = f'more than {LONGEST:.0f} s of a processor' if status is None else f'the process died ({status})'
            return {'wrong': wrong, 'seconds': LONGEST * (status is None), 'mib': 0.0}
        return answer

    def _answer(self, longest: float) -> dict[str, Any] | None:
        """What the process says; None if it takes more time of a processor, or more than PATIENCE."""
        began, used = time.monotonic(), self._used()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(1.0):
                if self._used() - used > longest or time.monotonic() - began > PATIENCE:
                    return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def _used(self) -> float:
        """Seconds that it has had of processors."""
        ticks = Path(f'/proc/{self._process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf('SC_CLK_TCK')

    def close(self) -> None:
        try:
            self._process.communicate(timeout=2)  # the end of its input is its end
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def run(count: int, seed: int, kinds: Sequence[str], verbose: bool) -> Iterator[dict[str, Any]]:
    """The outcomes of `count` cases, shared among the kinds (none: all)."""
    with tempfile.TemporaryDirectory() as name:
        child = Child(Path(name))
        kinds = kinds or child.kinds
        try:
            for number in range(seed, seed + count):
                kind = kinds[number % len(kinds)]
                found = child.run(kind, number)
                if verbose:
                    print(
                        f'{kind} {number}: {found["seconds"]:.2f} s: {found["wrong"] or found.get("said", "")}',
                        flush=True,
                    )
                where = f'--seed {number} --kind {kind!r}'
                yield report.case(kind, where, found['wrong'], seconds=found['seconds'], mib=found['mib'])
        finally:
            child.close()


def main(argv: Sequence[str] | None = None) -> int:
    """The campaign; 1 if anything was wrong."""
    flags = report.parser(__doc__, 1000, 'damaged inputs')
    flags.add_argument('--kind', action='append', default=[], help='only this kind; again for more')
    flags.add_argument('--verbose', action='store_true', help='a line for each case')
    arguments = flags.parse_args(argv)
    return report.conclude(run(arguments.count, arguments.seed, arguments.kind, arguments.verbose))


if __name__ == '__main__':
    sys.exit(main())
