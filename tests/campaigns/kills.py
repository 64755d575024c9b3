"""Kills: SIGKILL at a random moment, then the same command again, until it ends. `astro-gan upscale` must leave the
files of an undisturbed run and nothing else beside them; a training must end with an undisturbed run's bits, rows and
checkpoints, also where SIGTERM and Ctrl-C stopped it, alone, twice or both at once.

    python -m tests.campaigns.kills --count 30 --training 200 --stops 40 --seed 0
"""

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image

from tests.campaigns.training import STOPPED
from tests.runs import ROOT, compiler_flags
from tests.small_models import saved, upscaler

TASKS = ('super_resolution', 'colorization')
KILL = (signal.SIGKILL,)
STOPS = ((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT,) * 2, (signal.SIGTERM, signal.SIGINT))
QUIET = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL, 'cwd': ROOT}


def inputs(folder: Path) -> Path:
    """Pictures and a frame, which take longer to write than to compute."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (500, 600, 3), np.uint8)).save(folder / 'a.png')
    Image.fromarray(rng.integers(0, 256, (400, 700), np.uint8)).save(folder / 'b.jpg')
    tifffile.imwrite(folder / 'c.tif', rng.integers(0, 65536, (600, 500, 3), np.uint16))
    fits.PrimaryHDU(rng.normal(100, 5, (500, 500)).astype(np.float32)).writeto(folder / 'd.fits')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def struck(command: list[str], environment: dict[str, str], after: float, signals: tuple[int, ...] = KILL) -> bool:
    """Whether the signals, sent after so many seconds, ended the command; otherwise it has ended well."""
    process = subprocess.Popen(command, env=environment, **QUIET)
    try:
        status = process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        for number in signals:
            process.send_signal(number)
        status = process.wait(timeout=120)
    if status not in (0, STOPPED, *(-number for number in signals)):
        raise RuntimeError(f'exit status {status}')
    return status != 0


def of_upscale(count: int, rng: random.Random, folder: Path) -> int:
    """Kills of `astro-gan upscale`; how many folders are wrong."""
    model = saved(upscaler(2), folder / 'model')
    command = [sys.executable, '-m', 'astro_gan', 'upscale', str(inputs(folder / 'in')), '--model', str(model)]
    environment = os.environ | {'XDG_CACHE_HOME': str(folder / 'cache')}
    for name in ('cold', 'whole'):
        began = time.monotonic()
        struck([*command, '-o', str(folder / name)], environment, 600)
        took = time.monotonic() - began
    expected = contents(folder / 'whole')
    kills = wrong = worst = 0
    while kills < count:
        out, here = folder / f'out{kills}', 0
        # Half of the moments early, as a run that is resumed has less to do.
        try:
            flags: list[str] = []
            while struck(
                [*command, '-o', str(out), *flags], environment, took * rng.uniform(0.2, 1.1) if here < 4 else 600
            ):
                here, flags = here + 1, ['--resume']
            different = sorted(set(contents(out)) ^ set(expected)) or contents(out) != expected
        except RuntimeError as error:
            different = str(error)
        kills, worst = kills + max(here, 1), max(worst, here)
        if different:
            wrong += 1
            print(f'wrong after {here} kills: {different}', flush=True)
    print(f'{kills} kills of runs of {took:.1f} s, {worst} of one folder at most: {wrong} folders wrong', flush=True)
    return wrong


def of_training(count: int, rng: random.Random, folder: Path, *, choices: tuple[tuple[int, ...], ...] = (KILL,)) -> int:
    """Kills, or stops, of a tiny training of both stages; how many end otherwise than an undisturbed one."""
    flags = {'XLA_FLAGS': compiler_flags(devices=1), 'JAX_PLATFORMS': 'cpu'}
    caches = {'JAX_COMPILATION_CACHE_DIR': str(folder), 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1'}
    environment = caches | os.environ | flags
    expected: dict[str, str] = {}
    tasks = TASKS[:count]
    took = dict.fromkeys(tasks, 600.0)

    def start(task: str, name: str, after: float) -> bool:
        command = [sys.executable, '-m', 'tests.campaigns.training', task, str(folder / name)]
        return struck(command, environment, after, rng.choice(choices))

    kills = wrong = worst = runs = 0
    while kills < count:
        task, here = tasks[runs % len(tasks)], 0
        name, most = f'{task}_{runs}', min(count - kills, 8) if task in expected else 0  # the first one is undisturbed
        began = time.monotonic()
        try:
            while start(task, name, took[task] * rng.uniform(0.1, 1.1) if here < most else 600):
                here += 1
            found = (folder / name / 'result.json').read_text()
            differing = '' if found == expected.setdefault(task, found) else 'other bits, rows or files'
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            differing = str(error)
        if not here:
            took[task] = min(took[task], time.monotonic() - began)
        kills, worst, runs = kills + here, max(worst, here), runs + 1
        if differing:
            wrong += 1
            print(f'wrong: {task} after {here} kills: {differing}', flush=True)
            if not here:
                break
    times = ' and '.join(f'{took[task]:.0f} s ({task})' for task in expected)
    kind = 'kills' if choices == (KILL,) else 'stops'
    print(f'{kills} {kind} in {runs} trainings of {times}, {worst} in one at most: {wrong} trainings wrong', flush=True)
    return wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=30, help='kills of upscale')
    parser.add_argument('--training', type=int, default=0, help='kills of a training')
    parser.add_argument('--stops', type=int, default=0, help='SIGTERMs and SIGINTs of a training')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    wrong = 0
    stops = functools.partial(of_training, choices=STOPS)
    for campaign, count in (
        (of_upscale, arguments.count),
        (of_training, arguments.training),
        (stops, arguments.stops),
    ):
        with tempfile.TemporaryDirectory() as name:
            wrong += campaign(count, rng, Path(name)) if count else 0
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
