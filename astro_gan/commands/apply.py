"""`astro-gan colorize`, `upscale` and `enhance`: models applied to a user's pictures and FITS frames."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from astro_gan import commands
from astro_gan.commands import apply_options, checks, guides

FRAME_SETTINGS = ('sky', 'noise', 'fwhm', 'correlation', 'concentration', 'sharpen', 'denoise', 'residual')
REFINEMENTS = ('self_ensemble', 'back_project', 'consistent', 'blend', 'trust')


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """The three commands."""
    apply_options.add_to(subparsers, run)


def prepare(arguments: argparse.Namespace, log: Callable[[str], Any]) -> tuple[Any, Any, list[Any], Any]:
    """What the command line asks for: the model, the one for frames or None, the jobs and the settings.

    Raises:
        UserError: options or files that cannot be; one line.
    """
    from pathlib import Path

    from astro_gan.inference import files
    from astro_gan.inference.choose import choose_frame_model, choose_model
    from astro_gan.inference.jobs import find_jobs

    given = vars(arguments)
    settings = files.Settings(
        allow_color=given.get('allow_color', False),
        reduction=given.get('reduction'),
        saturation=given.get('saturation', 1.0),
        hdu=arguments.hdu,
        stretch=arguments.stretch,
        conserve=given.get('conserve', 'surface_brightness'),
        mask=arguments.mask,
        allow_mosaic=arguments.allow_mosaic,
        ignore_checksum=arguments.ignore_checksum,
        **{name: given[name] for name in (*FRAME_SETTINGS, *REFINEMENTS) if name in given},
        depth=arguments.depth,
        check=arguments.check or arguments.report is not None,
        format=arguments.format,
        tile=arguments.tile,
        overwrite=arguments.overwrite,
        resume=arguments.resume,
        maximum_pixels=arguments.max_megapixels * 10**6,
    )
    jobs = find_jobs(arguments.inputs, Path(arguments.out), arguments.format, log=log)
    settings = dataclasses.replace(settings, guides=guides.options(arguments, jobs))
    chosen = (arguments.command, arguments.model, given.get('factor'))
    model = choose_model(*chosen, settings.blend)
    frame_model = choose_frame_model(*chosen) if settings.blend is None else None
    return model, frame_model, jobs, settings


def run(arguments: argparse.Namespace) -> int:
    """Apply the models; 1 if a file failed, or if standard output took nothing."""
    from pathlib import Path

    from astro_gan.errors import UserError
    from astro_gan.files.paths import printable
    from astro_gan.inference import files

    use_compilation_cache()
    model, frame_model, jobs, settings = prepare(arguments, _note)
    out, variants = Path(arguments.out), vars(arguments).get('variants')
    if out.exists() and not out.is_dir():
        raise UserError(f'{printable(out)}: is a file; -o names a folder')
    out.mkdir(parents=True, exist_ok=True)
    names = f'{model.name} ({frame_model.name} for frames)' if frame_model else model.name
    heard = commands.say(f'{names}: {len(jobs)} file{"s" * (len(jobs) != 1)} to {printable(out)}/')
    counts: Counter[str] = Counter()
    sections = checks.Sections(arguments)
    for own, named in guides.runs(settings, jobs, variants):
        counts += _apply(model, frame_model, named, own, arguments, sections.add)
    words = {
        files.MADE: 'made',
        files.FINISHED: 'already finished',
        files.ELSEWHERE: 'left to another run',
        files.FAILED: 'failed',
    }
    parts = [f'{counts[outcome]} {word}' for outcome, word in words.items() if counts[outcome] or outcome == files.MADE]
    heard &= commands.say(', '.join(parts))
    for path in guides.write_sheets(jobs, variants) if variants else []:
        heard &= commands.say(f'{printable(path)}: all variants')
    for line in sections.write():
        heard &= commands.say(line)
    return 1 if counts[files.FAILED] or not heard else 0


def _apply(
    model: Any, frame_model: Any, jobs: list[Any], settings: Any, arguments: argparse.Namespace, audited: Any
) -> Counter[str]:
    """The work, here or in a Beam pipeline: how many files came to what."""
    if not arguments.beam_runner:
        return _with_progress(model, frame_model, jobs, settings, audited)
    from astro_gan.inference import beam

    return beam.run(
        arguments.command,
        arguments.model,
        vars(arguments).get('factor'),
        jobs,
        settings,
        runner=arguments.beam_runner,
        options=arguments.beam_options,
        fail=lambda line: _note(f'error: {line}'),
    )


def _note(line: str) -> None:
    commands.say(line, sys.stderr)


def _with_progress(model: Any, frame_model: Any, jobs: list[Any], settings: Any, audited: Any) -> Any:
    from tqdm import tqdm

    from astro_gan.inference import files

    estimates = {source: model.factor**2 * files.estimate_megapixels(source) for source, _ in jobs}
    form = '{desc}{percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MP [{elapsed}<{remaining}, {rate_noinv_fmt}]'
    bar = tqdm(total=sum(estimates.values()), unit='MP', bar_format=form, desc=model.name, disable=None)

    def start(source: str, megapixels: float) -> None:
        bar.total += megapixels - estimates[source]
        bar.set_description(os.path.basename(source))

    def note(line: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            _note(line)

    try:
        return files.apply_files(
            model,
            jobs,
            settings,
            frame_model=frame_model,
            fail=_unless_deaf(lambda line: note(f'error: {line}')),
            progress=_unless_deaf(bar.update),
            start=_unless_deaf(start),
            log=_unless_deaf(note),
            audited=audited,
        )
    finally:
        _unless_deaf(bar.close)()


def _unless_deaf(show: Callable[..., Any]) -> Callable[..., Any]:
    """What shows something, without an error where the terminal has gone: the results do not need it."""

    def shown(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            show(*arguments)

    return shown


def use_compilation_cache() -> None:
    """Keep compiled networks for the next start, unless the user has said where or that none is wanted.

    Where that cannot be, one line says so, and it works without.
    """
    from pathlib import Path

    from astro_gan.inference import compiled

    # As JAX itself puts it, a damaged entry in a folder of the user's takes half a page.
    warnings.filterwarnings('ignore', r'Error (reading|writing) persistent compilation cache', UserWarning)
    if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
        return
    folder = Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'astro_gan', 'compiled')
    try:
        if not folder.is_absolute():
            raise OSError('there is no home folder')
        compiled.keep_in(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _note(f'note: compiled networks are not kept for the next start: {folder}: {reason}')
