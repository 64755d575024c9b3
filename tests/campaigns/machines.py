"""Odd machines: `astro-gan upscale` and `main.py` where a home, a cache, memory, streams, signals or folders are not as
they usually are. Right is the result of a usual machine and what the exit status and at most one line have to tell; or,
where nothing can be made, one line that says why.

    python -m tests.campaigns.machines --count 30 --seed 0
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.campaigns import report
from tests.runs import ROOT, compiler_flags
from tests.small_models import saved, upscaler

LONGEST = 200.0  # seconds of a case
Case = Callable[['Machine'], str]  # what is wrong; '' if nothing is


class Machine:
    """A folder with a picture, a model and a home of its own, and a way to run the program in it.

    Attributes:
        folder: which is empty but for `a.png` and `model`.
        env: the environment, as on a usual machine.
    """

    def __init__(self, folder: Path, model: Path):
        self.folder = folder
        (folder / 'home').mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (64, 66), np.uint8)
        Image.fromarray(pixels).save(folder / 'a.png')
        self.model = model
        kept = ('PATH', 'LANG', 'VIRTUAL_ENV', 'LD_LIBRARY_PATH')
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env |= {'HOME': str(folder / 'home'), 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}
        self.env |= {'XLA_FLAGS': compiler_flags(devices=1)}

    def script(self, way: str = '', before: str = '', out: str = 'out') -> str:
        """A line for sh: the program, told to make `out`, with redirections `way` and what comes `before`."""
        paths = f"'{self.folder}/a.png' --model '{self.model}' -o '{self.folder}/{out}'"
        return f"{before}'{sys.executable}' -m astro_gan upscale {paths} {way}"

    def run(self, script: str, **options: Any) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a script for sh."""
        options = {'env': self.env, 'cwd': self.folder, 'timeout': LONGEST} | options
        done = subprocess.run(['sh', '-c', script], capture_output=True, text=True, **options)
        return done.returncode, done.stdout, done.stderr

    def made(self, out: str = 'out') -> str:
        """What is wrong with the result."""
        path = self.folder / out / 'a.png'
        if not path.is_file():
            return 'no result'
        with Image.open(path) as picture:
            if picture.size != (132, 128):
                return f'a result of {picture.size}'
        left = sorted(set(os.listdir(path.parent)) - {'a.png', 'a.png.json'})
        return f'left behind: {left}' if left else ''


def judged(status: int, said: str, *, wanted: int, lines: int, words: str = '', result: str = '') -> str:
    """What is wrong: the result, the exit status, or what was said on standard error (at most `lines`)."""
    told = [line for line in said.splitlines() if line.strip() and '%|' not in line and 'being read' not in line]
    if result:
        return f'{result} (status {status}: {said[-400:]})'
    if status != wanted:
        return f'status {status}, not {wanted}: {said[-400:]}'
    if len(told) > lines or 'Traceback' in said or 'Warning' in said:
        return f'{len(told)} lines said: {said[-400:]}'
    return '' if words in said else f'{words!r} is not said: {said[-400:]}'


def _works(way: str = '', *, before: str = '', lines: int = 0, words: str = '', status: int = 0, **env: str) -> Case:
    """The usual run in another environment ('' takes a variable away; {0} is the machine's folder)."""

    def case(machine: Machine) -> str:
        for name, value in env.items():
            machine.env[name] = value.format(machine.folder)
        machine.env = {name: value for name, value in machine.env.items() if value}
        found, _, err = machine.run(machine.script(way, before.format(machine.folder)))
        return judged(found, err, wanted=status, lines=lines, words=words, result=machine.made())

    return case


def _home_is_a_file(machine: Machine) -> str:
    (machine.folder / 'file').write_text('')
    return _works(lines=1, words='not kept', HOME='{0}/file')(machine)


def _spoiled_cache(machine: Machine) -> str:
    """Entries of the compilation cache emptied, cut, or full of noise, and a folder in the place of one."""
    machine.run(machine.script(out='first'))
    entries = sorted(path for path in (machine.folder / 'home/.cache').rglob('*') if path.is_file())
    if not entries:
        return 'nothing was kept'
    for number, path in enumerate(entries):
        data = path.read_bytes()
        path.write_bytes([b'', data[: len(data) // 2], os.urandom(1000), data[:-1] + b'\1'][number % 4])
    entries[-1].unlink()
    entries[-1].mkdir()
    return _works()(machine)


def _cache_of_another(machine: Machine) -> str:
    """A cache folder that cannot be written: for the superuser, a file in its place."""
    place = machine.folder / 'home/.cache/astro_gan'
    place.parent.mkdir()
    place.write_text('')
    return _works(lines=1, words='not kept')(machine)


def _little_memory(kib: int) -> Case:
    """A limit on addresses: what is needed is said, or it is enough; never a crash of the process."""

    def case(machine: Machine) -> str:
        status, _, err = machine.run(machine.script(before=f'ulimit -v {kib}; '))
        if status == 0:
            return judged(status, err, wanted=0, lines=0, result=machine.made())
        result = 'a result, and an error' if (machine.folder / 'out/a.png').exists() else ''
        return judged(status, err, wanted=1, lines=1, words='(ulimit -v)', result=result)

    return case


def _signal(number: int, *, ignored: bool, ends: bool, phase: float) -> Case:
    """A signal after a share `phase` of the run's time ends the run, without half results, or changes nothing."""

    def case(machine: Machine) -> str:
        began = time.monotonic()
        machine.run(machine.script(out='first'))
        took = time.monotonic() - began
        shutil.rmtree(machine.folder / 'home')
        start = (
            'import os, signal, sys; signal.signal(signal.SIGINT, signal.{0}); os.execv(sys.executable, sys.argv[1:])'
        )
        start = start.format('SIG_IGN' if ignored else 'default_int_handler')
        command = [
            sys.executable,
            '-c',
            start,
            sys.executable,
            '-m',
            'astro_gan',
            'upscale',
            str(machine.folder / 'a.png'),
        ]
        command += ['--model', str(machine.model), '-o', str(machine.folder / 'out')]
        with subprocess.Popen(
            command, env=machine.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            time.sleep(took * phase)
            process.send_signal(number)
            err = process.communicate(timeout=LONGEST)[1]
        status = process.returncode
        whole = machine.made() if (machine.folder / 'out/a.png').exists() or status == 0 else ''
        if (machine.folder / 'out').is_dir() and not whole and status:
            left = [name for name in os.listdir(machine.folder / 'out') if name not in ('a.png', 'a.png.json')]
            whole = f'left behind: {left}' if left else ''
        if whole or (status == 0 and not ends):
            return judged(status, err, wanted=0, lines=0, result=whole)
        if status == 0:
            return ''  # it was done before the signal came
        if status in (130, -number, -signal.SIGINT):  # before and after all of Python is there nobody can catch one
            return (
                judged(status, err, wanted=status, lines=1 if status == 130 else 30)
                if ends
                else f'it ended: {err[-300:]}'
            )
        return f'status {status}: {err[-400:]}'

    return case


def _folder_is_gone(machine: Machine) -> str:
    """The working folder was deleted: absolute paths work, relative ones are told so."""
    found, _, err = machine.run(
        machine.script(before=f'mkdir {machine.folder}/gone; cd {machine.folder}/gone; rmdir {machine.folder}/gone; ')
    )
    if found:
        return judged(found, err, wanted=1, lines=1, words='working folder is gone')
    return judged(found, err, wanted=0, lines=1, result=machine.made())


def _stdout_is_full(machine: Machine) -> str:
    return _works('> /dev/full', status=1)(machine)


def _training(machine: Machine, *, lines: int = 0, words: str = '', **env: str) -> str:
    """The smallest run of main.py, with the embedded data set."""
    machine.env |= {name: value.format(machine.folder) for name, value in env.items()}
    machine.env = {name: value for name, value in machine.env.items() if value}
    flags = f"--config={ROOT}/configs/wdsr.py:smoke --config.supervised.steps=2 --workdir='{machine.folder}/run'"
    status, out, err = machine.run(f"'{sys.executable}' main.py {flags}", cwd=ROOT)
    result = '' if 'psnr' in out.lower() else f'no table of the test split: {out[-300:]}'
    return judged(status, err, wanted=0, lines=lines, words='', result=result) or (
        '' if words in out + err else f'{words!r} is not said'
    )


CASES: dict[str, dict[str, Case]] = {
    'home and cache': {
        'home missing, cannot be made': _works(lines=1, words='not kept', HOME='/proc/nowhere'),
        'home is a file': _home_is_a_file,
        'home is relative': _works(lines=1, words='not kept', HOME='here'),
        'a spoiled cache': _spoiled_cache,
        'a cache that cannot be written': _cache_of_another,
        'a cache of JAX that cannot be written': _works(lines=1, JAX_COMPILATION_CACHE_DIR='/proc/nowhere'),
    },
    'memory': {
        f'ulimit -v {gib} GiB': _little_memory(int(gib * 2**20)) for gib in (0.05, 0.25, 0.6, 1, 1.5, 2, 2.5, 4)
    },
    'streams': {
        'stdout closed': _works('>&-'),
        'stderr closed': _works('2>&-'),
        'all closed': _works('>&- 2>&- <&-'),
        'a full disk behind stdout': _stdout_is_full,
        'a full disk behind both': _works('> /dev/full 2> /dev/full', status=1),
        'a reader that has left': _works('| true'),
    },
    'signals': {
        **{
            f'SIGTERM at {phase:.0%}': _signal(signal.SIGTERM, ignored=False, ends=True, phase=phase)
            for phase in (0.1, 0.5, 0.9)
        },
        **{
            f'SIGTERM at {phase:.0%}, SIGINT ignored': _signal(signal.SIGTERM, ignored=True, ends=True, phase=phase)
            for phase in (0.2, 0.7)
        },
        **{
            f'SIGINT at {phase:.0%}': _signal(signal.SIGINT, ignored=False, ends=True, phase=phase)
            for phase in (0.5, 0.9)
        },
        **{
            f'SIGINT at {phase:.0%}, ignored': _signal(signal.SIGINT, ignored=True, ends=False, phase=phase)
            for phase in (0.1, 0.6, 0.9)
        },
    },
    'folders': {
        'the working folder is gone': _folder_is_gone,
        'TMPDIR with spaces': _works(before="mkdir -p '{0}/a b  c'; ", TMPDIR='{0}/a b  c'),
        'TMPDIR is long': _works(
            before='mkdir -p {0}/' + '/'.join(['x' * 200] * 6) + '; ', TMPDIR='{0}/' + '/'.join(['x' * 200] * 6)
        ),
        'TMPDIR is missing': _works(TMPDIR='/nowhere'),
    },
    'training': {
        'home missing': lambda machine: _training(machine, HOME='/proc/nowhere', lines=1),
        'TMPDIR with spaces': lambda machine: _training(machine, TMPDIR='{0}/home'),
    },
}


def main(argv: list[str] | None = None) -> int:
    """The campaign; 1 if anything was wrong."""
    every = [(kind, name, case) for kind, cases in CASES.items() for name, case in cases.items()]
    flags = report.parser(__doc__, len(every), 'cases; fewer are drawn')
    flags.add_argument(
        '--kind', action='append', default=[], choices=list(CASES), help='only this kind; again for more'
    )
    arguments = flags.parse_args(argv)
    every = [case for case in every if not arguments.kind or case[0] in arguments.kind]
    drawn = random.Random(arguments.seed).sample(every, min(arguments.count, len(every)))
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        model = saved(upscaler(2), Path(folder, 'model'))
        for number, (kind, name, case) in enumerate(sorted(drawn, key=every.index)):
            began = time.monotonic()
            try:
                wrong = case(Machine(Path(folder, str(number)), model))
            except subprocess.TimeoutExpired:
                wrong = f'more than {LONGEST:.0f} s'
            cases.append(report.case(kind, name, wrong, seconds=time.monotonic() - began))
    return report.conclude(cases)


if __name__ == '__main__':
    sys.exit(main())
