"""Crash points of every writer: it is stopped just before, or after, any step that opens, flushes, renames or removes a
file, as by SIGKILL (nothing more happens, not even what a `finally` would do); then the same command comes again, and
the files have to be those of an undisturbed run, with nothing else beside them.

    python -m tests.campaigns.crashes --count 400 --seed 0
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from astro_gan import cli
from astro_gan.files import atomic, manifest
from astro_gan.inference import render
from tests.campaigns import fuzz_kinds, report, samples

# What writers do to files.
STEPS = ((os, ('open', 'fsync', 'replace', 'rename', 'unlink', 'mkdir', 'rmdir')), (atomic, ('_exchange',)))


class Killed(BaseException):
    """The end of a process."""


@contextlib.contextmanager
def killed_at(number: int, after: bool) -> Iterator[list[str]]:
    """Stop what happens inside just before, or after, its `number`-th step on a file, and at all that follow.

    Gives the names of the steps so far; the context ends by `Killed` if it came that far.
    """
    steps: list[str] = []

    def dying(step: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(step)
        def call(*positional: Any, **named: Any) -> Any:
            steps.append(name)
            if len(steps) == number and after:
                step(*positional, **named)
            if len(steps) >= number:
                raise Killed
            return step(*positional, **named)

        return call

    with contextlib.ExitStack() as stack:
        for module, names in STEPS:
            for name in names:
                stack.enter_context(mock.patch.object(module, name, dying(getattr(module, name), name)))
        yield steps


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for locks, which stay."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith('.lock')}


def quietly(arguments: list[str]) -> int:
    """The command line, without what it says."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return cli.main(arguments)


Writer = Callable[[Path, bool], Any]  # into a folder; the second time with what replaces or completes


def writers(folder: Path) -> dict[str, Writer]:
    """Every writer, by what it makes."""
    models = fuzz_kinds.make_models(folder)
    given = folder / 'in'
    given.mkdir()
    for files in (*samples.PICTURES.values(), *samples.FRAMES.values()):
        for name in ('a.jpg', 'a.png', 'a.tif', 'a.fits', 'a.xisf'):
            if name in files:
                (given / ('floats.tif' if files is samples.PICTURES['float tiff'] else name)).write_bytes(files[name]())

    def applied(name: str, *flags: str, command: str = 'upscale') -> Writer:
        model = models['upscale' if command == 'upscale' else 'guided']
        arguments = [command, str(given / name), '--model', str(model), *flags]
        return lambda out, again: quietly([*arguments, '-o', str(out), *['--resume'] * again])

    tree = pictures(folder / 'tree')

    def exported(out: Path, again: bool) -> int:
        return quietly(['export', str(models['upscale']), '-o', str(out / 'model'), *['--overwrite'] * again])

    def curated(out: Path, again: bool) -> int:
        flags = ['--tile', '64', '--minimum-size', '64', '--jobs', '1', *['--overwrite'] * again]
        return quietly(['curate', str(tree), '-o', str(out / 'set'), *flags])

    def built(out: Path, again: bool) -> int:
        flags = ['--name', 'sky', '--data-dir', str(out), *['--overwrite'] * again]
        return quietly(['dataset', 'build', str(tree), *flags])

    return {
        'PNG': applied('a.png'),
        'JPEG': applied('a.jpg'),
        'TIFF': applied('a.tif'),
        'FITS': applied('a.fits'),
        'float TIFF': applied('floats.tif'),
        'XISF to FITS': applied('a.xisf'),
        'colour': applied('a.png', '--allow-color', command='colorize'),
        'variants and their sheet': applied('a.png', '--allow-color', '--variants', '2', command='colorize'),
        'export': exported,
        'simulate': lambda out, again: quietly(['simulate', '-o', str(out), '--size', '64', '--stars', '5']),
        'curated folder': curated,
        'data set': built,
        'manifest': lambda out, again: manifest.write_table(out / 'manifest.csv', ['file'], [{'file': 'a.png'}] * 9),
    }


def pictures(folder: Path) -> Path:
    """A few different pictures in train/ and val/."""
    for number, split in enumerate(('train', 'train', 'val')):
        (folder / split).mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[:160, :192]
        rng = np.random.default_rng(number)
        light = sum(200 * np.exp(-(np.hypot(x - a, y - b) ** 2) / 90) for a, b in rng.uniform(20, 140, (12, 2)))
        pixels = np.clip(light[..., None] * [1.0, 0.7, 0.4 + 0.2 * number] + rng.normal(20, 3, (160, 192, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f'{number}.png')
    return folder


@contextlib.contextmanager
def instant() -> Iterator[None]:
    """Networks that are done at once, exports without a compiler; the killed process, which is this one, is gone."""
    from astro_gan import export

    def weights_only(model: Any, folder: Path, weights: bytes) -> list[Any]:
        (folder / 'weights.safetensors').write_bytes(weights)
        return []

    networks = {'_enlarging_networks': fuzz_kinds.enlarging, '_chroma_network': fuzz_kinds.colouring}
    with (
        mock.patch.multiple(render, **networks),
        mock.patch.dict(export.FORMS, safetensors=weights_only),
        mock.patch.object(atomic, '_alive', return_value=False),
        mock.patch.dict(os.environ, JAX_COMPILATION_CACHE_DIR=''),
    ):
        yield


def crash(write: Writer, folder: Path, expected: dict[str, bytes], number: int, after: bool) -> tuple[str, str]:
    """One crash and what comes after it: the step's name ('' if there are fewer), and what is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with killed_at(number, after) as steps:
            write(folder, False)
        return '', ''
    except Killed:
        pass
    if status := write(folder, True):
        return steps[number - 1], f'the next run ends with status {status}'
    found = contents(folder)
    changed = sorted(name for name in set(found) | set(expected) if found.get(name) != expected.get(name))
    return steps[number - 1], f'other than undisturbed: {changed}' if changed else ''


def undisturbed(write: Writer, folder: Path) -> dict[str, bytes]:
    """What a run makes that nothing stops; what is different each time (a time of day) counts as empty."""
    runs = []
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        assert not write(folder, False), 'the writer fails by itself'
        runs.append(contents(folder))
    assert set(runs[0]) == set(runs[1])
    assert runs[0] == runs[1], [name for name in runs[0] if runs[0][name] != runs[1][name]]
    return runs[0]


def main(argv: list[str] | None = None) -> int:
    """The campaign; 1 if anything was wrong."""
    flags = report.parser(__doc__, 10_000, 'crashes; fewer than there are points are drawn, evenly over the writers')
    flags.add_argument('--kind', action='append', default=[], help='only this writer; again for more')
    arguments = flags.parse_args(argv)
    cases = []
    with tempfile.TemporaryDirectory() as name, instant():
        folder = Path(name, 'out')
        table = writers(Path(name))
        chosen = {kind: table[kind] for kind in arguments.kind or table}
        for kind, write in chosen.items():
            expected = undisturbed(write, folder)
            shutil.rmtree(folder)
            folder.mkdir()
            with killed_at(10**9, False) as steps:
                write(folder, False)
            points = [(number, after) for number in range(1, len(steps) + 1) for after in (False, True)]
            share = -(-arguments.count // len(chosen))
            for number, after in sorted(random.Random(arguments.seed).sample(points, min(share, len(points)))):
                began = time.monotonic()
                step, wrong = crash(write, folder, expected, number, after)
                where = f'{"after" if after else "before"} step {number}, {step}'
                cases.append(report.case(kind, where, wrong, seconds=time.monotonic() - began))
    return report.conclude(cases)


if __name__ == '__main__':
    sys.exit(main())
