"""`astro-gan colorize`, `upscale` and `enhance`: models applied to a user's pictures and FITS frames."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from astro_gan import commands
from astro_gan.commands import checks, guides

FRAME_SETTINGS = ('sky', 'noise', 'fwhm', 'correlation', 'concentration', 'sharpen', 'denoise', 'residual')
REFINEMENTS = ('self_ensemble', 'back_project', 'consistent', 'blend', 'trust')
MOST_STEPS = 20  # of back-projection: each widens what a tile has to see
HELP = {
    'colorize': 'gray pictures or frames to colour, same size',
    'upscale': 'pictures or frames made larger',
    'enhance': 'gray to colour and larger, in one pass',
}


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """The three commands."""
    for name, text in HELP.items():
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        parser.add_argument(
            'inputs',
            nargs='+',
            type=commands.expanded,
            metavar='IN',
            help='files, folders or patterns: JPEG, PNG, TIFF, FITS, XISF',
        )
        parser.add_argument(
            '-o',
            '--out',
            required=True,
            type=commands.expanded,
            metavar='DIR',
            help='folder for the results; made if missing',
        )
        parser.add_argument(
            '--model',
            action='append',
            default=[],
            type=commands.expanded,
            metavar='NAME|DIR',
            help='a shipped model (see `astro-gan models`) or an exported directory; again for a chain of models',
        )
        if name != 'colorize':
            parser.add_argument('--factor', type=int, metavar='N', help="enlargement; default: the model's own, or 4")
            parser.add_argument(
                '--conserve',
                choices=('surface_brightness', 'flux'),
                default='surface_brightness',
                help='FITS: keep the value of a pixel (default), or the sum over an area',
            )
        if name != 'colorize':
            _add_refinements(parser)
        if name == 'upscale':
            _add_frame_settings(parser)
        else:
            parser.add_argument('--allow-color', action='store_true', help='make colour pictures gray first')
            parser.add_argument(
                '--reduction',
                type=_positive,
                metavar='N',
                help='predict colours on a copy N times smaller; default: as in the training',
            )
            guides.add_to(parser)
            parser.add_argument(
                '--saturation',
                type=_number(0, 10),
                default=1.0,
                metavar='X',
                help='multiply the predicted colours by X, 0 to 10; default: 1',
            )
        parser.add_argument(
            '--format', choices=('png', 'jpg', 'tif', 'fits'), help="of the results; default: the input's"
        )
        parser.add_argument(
            '--depth', type=int, choices=(8, 16), help="bits of a picture's values; default: the input's"
        )
        parser.add_argument('--hdu', metavar='N|NAME', help='FITS: the extension; default: the science image')
        parser.add_argument(
            '--stretch',
            choices=('asinh', 'zscale', 'log', 'linear'),
            default='asinh',
            help='FITS: how values are shown',
        )
        parser.add_argument(
            '--mask',
            choices=('bad', 'good', 'ignore'),
            help='FITS: what 1 in an extension MASK means, or that MASK and DQ are not looked at',
        )
        parser.add_argument(
            '--allow-mosaic', action='store_true', help='FITS, XISF: take a mosaic of colour filters as gray'
        )
        parser.add_argument(
            '--ignore-checksum', action='store_true', help='FITS: read data that do not agree with their DATASUM'
        )
        checks.add_to(parser)
        parser.add_argument('--tile', type=_positive, metavar='PIXELS', help='side of a tile of the input; less memory')
        parser.add_argument('--overwrite', action='store_true', help='replace results that are there')
        parser.add_argument('--resume', action='store_true', help='leave results alone that are finished')
        parser.add_argument(
            '--max-megapixels', type=_positive, default=1000, metavar='N', help='refuse larger inputs (default: 1000)'
        )
        parser.add_argument(
            '--beam_runner', '--beam-runner', metavar='NAME', help='run as an Apache Beam pipeline: DirectRunner, ...'
        )
        parser.add_argument(
            '--beam_options', default='', metavar='"--key=value ..."', help='options of the Beam runner'
        )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 1')
    return int(text)


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_STEPS:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 0 to {MOST_STEPS}')
    return int(text)


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            limits = f'from {low:g} to {high:g}' if math.isfinite(high) else f'from {low:g}' * math.isfinite(low)
            raise argparse.ArgumentTypeError(f'{text} is no number {limits}'.strip())
        return value

    return parse


def _add_frame_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('frames', 'for models for frames (frames_x2, which FITS and float TIFF get)')
    any_number, share = _number(-sys.float_info.max, sys.float_info.max), _number(0, 1)
    group.add_argument('--sky', type=any_number, metavar='X', help='level of the sky, data values; default: measured')
    group.add_argument(
        '--noise',
        type=_number(sys.float_info.min, sys.float_info.max),
        metavar='X',
        help='standard deviation of a pixel, data values; default: measured',
    )
    group.add_argument(
        '--fwhm', type=_number(0.5, 50), metavar='PIXELS', help="width of a star; default: from the frame's own stars"
    )
    group.add_argument(
        '--correlation',
        type=_number(0, 0.7),
        metavar='X',
        help='of the noise of neighbouring pixels, 0 to 0.7; default: measured',
    )
    group.add_argument(
        '--concentration',
        type=share,
        metavar='X',
        help="share of a star's light within 1 FWHM, of that within 3; default: measured",
    )
    group.add_argument('--sharpen', type=share, default=1.0, metavar='X', help='share of the sharpening; default: 1')
    group.add_argument('--denoise', type=share, default=1.0, metavar='X', help='share of the denoising; default: 1')
    group.add_argument(
        '--residual', action='store_true', help='write the input less the reobserved output beside the output'
    )


def _add_refinements(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('refinements', 'of what enlarges; measured in docs/applying.md')
    group.add_argument('--self-ensemble', action='store_true', help='mean over 8 flips and turns; 8 times the work')
    group.add_argument(
        '--back-project',
        type=_steps,
        default=0,
        metavar='N',
        help='N steps towards what becomes the input when reduced',
    )
    group.add_argument(
        '--consistent', action='store_true', help='pictures: what becomes the input, exactly; best with --depth 16'
    )
    group.add_argument(
        '--blend',
        type=_number(0, 1),
        metavar='A',
        help='weights between two models, the supervised (0) and the GAN (1): the shipped ones, or two by --model',
    )
    group.add_argument(
        '--trust', action='store_true', help='write an interval that holds 90%% of the errors beside the output'
    )


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
