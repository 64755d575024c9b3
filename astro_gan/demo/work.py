"""What the page does: a request becomes a command line, and that is run as `astro-gan` runs it."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from astro_gan.audit.auditor import Audit
from astro_gan.commands import apply
from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.inference import files, provenance
from astro_gan.inference.guide_options import shipped_palettes
from astro_gan.model import load_model, shipped_models

EXAMPLES = Path(__file__).with_name('examples')
PICTURE, FRAME = EXAMPLES / 'hubble_deep_field.jpg', EXAMPLES / 'simulated_field.fits'
TASKS = ('upscale', 'colorize', 'enhance')
FACTORS = ('2', '3', '4', '6', '8')
STRETCHES = ('asinh', 'zscale', 'log', 'linear')
REFINEMENTS = ('self-ensemble', 'consistent', 'trust')
DEFAULT = 'default'
ONE_AT_A_TIME = threading.Lock()  # two requests at once would only be slower, and would compile everything twice


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a request.

    Attributes:
        output: the file, in the folder of the request, with its description beside it.
        made: that description.
        notes: lines that a terminal would have shown.
        found: the audit, if it was asked for.
    """

    output: Path
    made: dict[str, Any]
    notes: tuple[str, ...]
    found: Audit | None = None

    @property
    def description(self) -> Path:
        """Where it lies."""
        return provenance.sidecar(self.output)

    @property
    def files(self) -> list[str]:
        """All that was written: the output, its description, and what audit and trust map have to say."""
        first = (self.output, self.description)
        more = sorted(path for path in self.output.parent.rglob('[!.]*') if path.is_file() and path not in first)
        return [str(path) for path in (*first, *more)]

    @property
    def trust(self) -> Path | None:
        """Its trust map, if it was asked for."""
        return next(self.output.parent.glob('*.trust.*'), None)


@functools.cache
def models(task: str) -> tuple[str, ...]:
    """What can be chosen as a model: shipped ones that do the task, joined by '+' where it takes two."""
    tasks = {name: load_model(name).task for name in shipped_models()}
    colorizers = tuple(name for name, does in tasks.items() if does == 'colorization')
    upscalers = tuple(name for name, does in tasks.items() if does == 'super_resolution')
    frames = tuple(name for name, does in tasks.items() if does == 'frames')
    pairs = tuple(f'{colorizer}+{upscaler}' for colorizer in colorizers for upscaler in upscalers)
    return (DEFAULT, *{'upscale': upscalers + frames, 'colorize': colorizers, 'enhance': pairs}[task])


def palettes() -> tuple[str, ...]:
    """Names of the palettes that ship."""
    return tuple(shipped_palettes())


def command(
    task: str,
    path: str,
    *,
    model: str = DEFAULT,
    factor: str = DEFAULT,
    stretch: str = STRETCHES[0],
    palette: str = '',
    hints: Iterable[str] = (),
    gray: bool = True,
    check: bool = True,
    refinements: Iterable[str] = (),
    back_project: int = 0,
    blend: float = 0.0,
) -> list[str]:
    """The command line, without `-o`, that does what the page asks for.

    Args:
        factor: for the default model; others have their own.
        hints: 'X,Y=#rrggbb' each.
        gray: a colorizer takes colour pictures as gray.
        check: audit the result.
        refinements: some of REFINEMENTS; these and the next are of what enlarges.
        back_project: steps.
        blend: share of the GAN, of the default models; 0: none.

    Raises:
        UserError: a choice that the page does not offer; it may come from elsewhere.
    """
    for name, value, offered in (
        ('task', task, TASKS),
        ('factor', factor, (DEFAULT, *FACTORS)),
        ('stretch', stretch, STRETCHES),
        ('palette', palette, ('', *palettes())),
        *(('refinement', name, REFINEMENTS) for name in refinements),
    ):
        if value not in offered:
            raise UserError(f'{name} {printable(value)!r}: there are {", ".join(filter(None, offered))}')
    if model not in models(task):
        raise UserError(f'model {printable(model)!r}: for {task} there are {", ".join(models(task))}')
    line = [task, path]
    if model != DEFAULT:
        line += [part for name in model.split('+') for part in ('--model', name)]
    elif task != 'colorize' and factor != DEFAULT:
        line += ['--factor', factor]
    if stretch != STRETCHES[0]:
        line += ['--stretch', stretch]
    if task != 'colorize':
        line += [f'--{name}' for name in refinements]
        line += ['--back-project', str(int(back_project))] if back_project else []
        line += ['--blend', f'{blend:g}'] if blend and model == DEFAULT else []
    if task != 'upscale':
        line += ['--palette', palette] if palette else []
        line += [f'--hint={hint.strip()}' for hint in hints if hint.strip()]
        line += ['--allow-color'] if gray else []
    return line + ['--check'] if check else line


def process(
    line: list[str], folder: Path, *, megapixels: int, progress: Callable[[float], Any] = lambda share: None
) -> Result:
    """Run a command line of `command` with `-o folder`.

    Args:
        megapixels: largest input.
        progress: is told the share that is done.

    Raises:
        UserError: what the command would have said in its one line.
    """
    parser = argparse.ArgumentParser()
    apply.add_to(parser.add_subparsers(dest='command'))
    arguments = parser.parse_args([*line, '-o', str(folder), '--max-megapixels', str(megapixels)])
    notes: list[str] = []
    failed: list[str] = []
    audits: list[Audit] = []
    total, done = [1.0], [0.0]

    def start(source: str, share: float) -> None:
        total[0] = max(share, 1e-6)

    def step(share: float) -> None:
        done[0] += share
        progress(min(1.0, done[0] / total[0]))

    model, frame_model, jobs, settings = apply.prepare(arguments, notes.append)
    folder.mkdir(parents=True, exist_ok=True)
    files.apply_files(
        model,
        jobs,
        settings,
        frame_model=frame_model,
        fail=failed.append,
        progress=step,
        start=start,
        log=notes.append,
        audited=lambda source, target, found, made: audits.append(found),
    )
    if failed:
        raise UserError(_plain(failed[0], jobs[0]))
    output = jobs[0][1]
    made = json.loads(provenance.sidecar(output).read_text())
    return Result(output, made, tuple(_plain(note, jobs[0]) for note in notes), audits[0] if audits else None)


def _plain(line: str, job: tuple[str, Path]) -> str:
    """A line with the names of the files and without their folders, which are this program's own."""
    source, target = job
    if 'Traceback' in line:
        return f'{Path(source).name}: a fault of this program; the terminal that it runs in shows more'
    return line.replace(printable(source), Path(source).name).replace(printable(target), target.name)


def preload(folder: Path) -> None:
    """Have ready what the examples need: networks are read and compiled, and kept for the next start."""
    apply.use_compilation_cache()
    with ONE_AT_A_TIME:  # a request for the same waits, and is there at once
        process(command('upscale', str(PICTURE)), folder / 'first', megapixels=1)
    for task, path in (('upscale', FRAME), ('colorize', PICTURE)):
        process(command(task, str(path)), folder / task, megapixels=1)
