"""Damage: a file of a run or of a model is cut, emptied, deleted, overwritten, or one of its bits flipped. What is
restored is what was saved, or a line says what is wrong; a run that goes on ends with an undisturbed run's bits.

    python -m tests.campaigns.damage --count 200 --seed 0
"""

import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from unittest import mock

from tests.runs import compiler_flags

os.environ.setdefault('XLA_FLAGS', compiler_flags(devices=2))  # before anything imports JAX

import jax
import numpy as np

from astro_gan import checkpoints, logbook, loop
from astro_gan.errors import UserError
from astro_gan.model import load_model
from astro_gan.tables import read_rows
from tests import tiny
from tests.campaigns import report
from tests.small_models import saved, upscaler
from tests.test_loop import latest, run, stages

STAGES = ('supervised', 'adversarial')


def flip(data: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(data)
    spoiled[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, max(len(data), 2))]


DAMAGES = {  # name: (share, bytes of a file -> what is there instead, None for nothing)
    'a bit flipped': (4, flip),
    'cut': (2, cut),
    'emptied': (1, lambda data, rng: b''),
    'full of NUL': (1, lambda data, rng: bytes(len(data))),
    'another file': (1, lambda data, rng: b'{"a": [1, "b"]}\n'),
    'deleted': (1, lambda data, rng: None),
}


def spoil(path: Path, rng: random.Random) -> str:
    """Damage a file; how."""
    name = rng.choices(list(DAMAGES), [share for share, _ in DAMAGES.values()])[0]
    data = DAMAGES[name][1](path.read_bytes(), rng)
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    return name


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


class Wrong(Exception):
    """What should not have been."""


def demand(true: bool, text: str) -> None:
    if not true:
        raise Wrong(text)


class Run:
    """A run of two stages that was stopped two steps before its end, and one that never was."""

    def __init__(self, folder: Path):
        self.whole, self.stopped, self.work = folder / 'whole', folder / 'stopped', folder / 'work'
        self.stages = stages(steps=(4, 6), eval_every=1, best_metric='l2')  # by which the best is the first
        run(self.whole, self.stages)
        with contextlib.suppress(loop.Interrupted):
            run(self.stopped, self.stages, {'signal_at': 7})
        self.saved = {}
        like = tiny.fresh_state(tiny.task(), tiny.stage())
        for stage in STAGES:
            folder = self.stopped / 'checkpoints' / stage
            self.saved[stage] = {
                step: checkpoints._read(folder / str(step), like)[0] for step in checkpoints.steps(folder)
            }

    def start(self) -> Path:
        shutil.rmtree(self.work, ignore_errors=True)
        return Path(shutil.copytree(self.stopped, self.work))

    def end(self) -> list[str]:
        """The run goes on to its end, with the same bits; its lines on damage."""
        lines = run(self.work, self.stages)
        for stage in STAGES:
            demand(same(latest(self.work, stage), latest(self.whole, stage)), f'other bits at the end of {stage}')
        return [line for line in lines if 'damaged' in line or 'gone' in line]


def of_checkpoint(tried: Run, rng: random.Random) -> tuple[str, int]:
    """(what was done, steps lost)."""
    work, stage = tried.start(), rng.choice(STAGES)
    folder = work / 'checkpoints' / stage
    step = rng.choice([max(checkpoints.steps(folder)), *checkpoints.steps(folder)])
    path = rng.choice(sorted(path for path in (folder / str(step)).rglob('*') if path.is_file()))
    done = f'{path.relative_to(work)} {spoil(path, rng)}'
    damaged, before = contents(folder / str(step)), contents(work)
    lines: list[str] = []
    state, _ = checkpoints.restore(
        folder, tiny.fresh_state(tiny.task(), tiny.stage()), lines.append, best=True, read_only=True
    )
    demand(same(state, tried.saved[stage].get(int(state.step))), f'{done}: evaluation has other weights')
    demand(int(state.step) != step and len(lines) == 1, f'{done}: evaluation says {lines}')
    demand(contents(work) == before, f'{done}: evaluation has changed files')
    lines = tried.end()
    demand(len(lines) == 1 and '\n' not in lines[0], f'{done}: {lines}')
    demand(contents(folder / f'{step}.damaged1') == damaged, f'{done}: not kept aside')
    lost = [int(word) for word in lines[0].split(': ')[-1].split() if word.isdigit()]
    return done, lost[0] if 'are lost' in lines[0] else 0


def of_table(tried: Run, rng: random.Random) -> str:
    work = tried.start()
    path = work / 'evaluations.csv'
    before = path.read_bytes()
    done = f'evaluations.csv {spoil(path, rng)}'
    damaged = path.read_bytes() if path.exists() else None
    lines = tried.end()
    if damaged is not None and read_as(damaged, work) != read_as(before, work):
        demand(len(lines) == 1 and 'evaluations.csv' in lines[0], f'{done}: {lines}')
        demand((work / 'evaluations.csv.damaged1').read_bytes() == damaged, f'{done}: not kept aside')
    elif damaged is None:
        demand(len(lines) == 1 and 'gone' in lines[0], f'{done}: {lines}')
    rows = [(row['stage'], row['step']) for row in read_rows(path)]
    whole = [(row['stage'], row['step']) for row in read_rows(tried.whole / 'evaluations.csv')]
    demand(rows == [row for row in whole if row in rows], f'{done}: rows {rows}')
    return done


def read_as(data: bytes, folder: Path) -> object:
    """The rows in a table's bytes; None for none that can be read."""
    path = folder / 'looked_at.csv'
    path.write_bytes(data)
    try:
        return read_rows(path)
    except UserError:
        return None


def of_export(directory: Path, rng: random.Random) -> str:
    kept = contents(directory)
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    expected = load_model(directory)(picture)
    path = directory / rng.choice(['model.json', 'weights.safetensors'])
    done = f'export/{path.name} {spoil(path, rng)}'
    try:
        result = load_model(directory)(picture)
        # A letter of its name or of what is told of its data: the networks are the same.
        demand(path.name == 'model.json' and np.array_equal(result, expected), f'{done}: another model')
    except UserError as error:
        demand('\n' not in str(error) and path.name in str(error), f'{done}: {error}')
    finally:
        for name, data in kept.items():
            (directory / name).write_bytes(data)
    return done


def main(argv: list[str] | None = None) -> int:
    arguments = report.parser(__doc__ or '', 200, 'damages').parse_args(argv)
    rng = random.Random(arguments.seed)
    cases, worst = [], ('nothing', 0)
    no_curves = mock.patch.object(logbook, 'plot_curves')  # which takes most of an evaluation
    with tempfile.TemporaryDirectory() as name, tiny.compiled_once(), no_curves:
        tested, model = Run(Path(name)), saved(upscaler(2), Path(name) / 'export')
        for number in range(arguments.count):
            kind = rng.choices(['checkpoint', 'evaluations.csv', 'export'], [7, 1, 2])[0]
            done, wrong, began = f'number {number}', '', time.monotonic()
            try:
                if kind == 'checkpoint':
                    done, lost = of_checkpoint(tested, rng)
                    worst = max(worst, (done, lost), key=lambda case: case[1])
                else:
                    done = of_table(tested, rng) if kind == 'evaluations.csv' else of_export(model, rng)
            except Exception as error:
                wrong = str(error) if isinstance(error, Wrong) else traceback.format_exc()
            cases.append(report.case(kind, done, wrong, seconds=time.monotonic() - began))
    status = report.conclude(cases)
    print(f'most steps lost: {worst[1]}, {worst[0]}')
    return status


if __name__ == '__main__':
    sys.exit(main())
