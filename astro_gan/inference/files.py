"""Models applied to a user's files, one after the other, errors one line each."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_gan.errors import UserError
from astro_gan.files import atomic, locks
from astro_gan.files import picture_source as pictures
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import open_file, printable
from astro_gan.files.tiff import is_float_tiff
from astro_gan.inference import outputs, provenance, refine, tiling, trust
from astro_gan.inference.guide_options import read_guides
from astro_gan.inference.guides import Guides, origins, paler_hints, shares
from astro_gan.inference.jobs import Job
from astro_gan.inference.needs import require_memory
from astro_gan.inference.render import TILES
from astro_gan.inference.settings import Settings
from astro_gan.model import Model

if TYPE_CHECKING:
    pass

MADE, FINISHED, ELSEWHERE, FAILED = 'made', 'finished', 'elsewhere', 'failed'  # what a file came to
_PATIENCE = 4.0  # seconds
SMALLEST = 64  # pixels on a side; networks have nothing to go by in less
Progress = Callable[[float], Any]  # is told the megapixels of output that have been made since
Start = Callable[[str, float], Any]
Audited = Callable[[str, Path, Any, dict[str, Any]], Any]


def estimate_megapixels(path: str) -> float:
    """About how many megapixels a file has, from its header; 0 if it cannot be told."""
    try:
        kind = kind_of(path)
        if kind == 'fits':
            return os.path.getsize(path) / 4e6  # most are plain float32
        if not kind:
            return 0.0
        height, width = pictures.picture_size(path)
        return height * width / 1e6
    except (UserError, OSError):
        return 0.0


def apply_files(
    model: Model,
    jobs: list[Job],
    settings: Settings,
    *,
    frame_model: Model | None = None,
    fail: Callable[[str], None],
    progress: Progress,
    start: Start = lambda source, megapixels: None,
    log: Callable[[str], None] = print,
    audited: Audited = lambda source, target, found, made: None,
) -> Counter[str]:
    """Apply a model to files; a file that fails does not stop the others.

    Args:
        frame_model: for frames in place of `model`, if they are like those that it learned.
        fail: is told one line for each file that fails, or, if the program itself has failed, where.
        progress: is told the megapixels that have been made.
        start: is told each input, as it is opened, and how many megapixels it will make.
        log: is told other things worth knowing.
        audited: is given what `settings.check` finds: input, output, `audit.auditor.Audit`, description.

    Returns:
        How many were MADE, FINISHED before, made ELSEWHERE, and FAILED.
    """
    since = time.time()
    remove_stale({target.parent for _, target in jobs}, log)
    counts: Counter[str] = Counter()
    for source, target in jobs:
        try:
            with _patience(source, log, start) as started:
                outcome = apply_file(
                    model,
                    source,
                    target,
                    settings,
                    frame_model,
                    progress=progress,
                    start=started,
                    log=log,
                    since=since,
                    audited=audited,
                )
        except Exception as error:
            outcome = FAILED
            fail(explain(error, source, target))
        counts[outcome] += 1
    return counts


@contextlib.contextmanager
def _patience(source: str, log: Callable[[str], None], start: Start) -> Iterator[Start]:
    """Say of a file that is not open after a while that it is being read; gives `start`, which ends the waiting."""
    waiting = threading.Timer(_PATIENCE, log, [f'{printable(source)}: being read; large and packed files take a while'])
    waiting.daemon = True
    waiting.start()

    def started(source: str, megapixels: float) -> None:
        waiting.cancel()
        start(source, megapixels)

    try:
        yield started
    finally:
        waiting.cancel()


def remove_stale(folders: Iterable[Path], log: Callable[[str], None]) -> None:
    """Remove what killed runs have left in the folders of results."""
    for folder in sorted(folders):
        locks.remove_unclaimed(folder)
        removed = atomic.remove_stale(folder)
        if removed:
            log(
                f'{printable(folder)}: removed {removed} unfinished file{"s" * (removed != 1)} of a run that was killed'
            )


def explain(error: Exception, source: str, target: Path) -> str:
    """What to tell a user of an error: a line that names the file, or the traceback of a bug."""
    name = printable(source)
    if tiling.out_of_memory(error):
        line = f'out of memory; --tile with fewer pixels than {TILES["cpu"]} needs less'
    elif isinstance(error, UserError | OSError):
        line = ' '.join(str(error).split())
    else:
        return f'{name}: a fault of this program:\n{"".join(traceback.format_exception(error))}'
    names = (name, printable(target), os.path.basename(target))
    return line if any(name in line for name in names) else f'{name}: {line}'


def apply_file(
    model: Model,
    source: str,
    target: Path,
    settings: Settings,
    frame_model: Model | None = None,
    *,
    progress: Progress = lambda megapixels: None,
    start: Start = lambda source, megapixels: None,
    log: Callable[[str], None] = print,
    since: float = math.inf,
    audited: Audited = lambda source, target, found, made: None,
) -> str:
    """Apply a model to one file: MADE, FINISHED if `settings.resume` finds it so, ELSEWHERE if another run makes it.

    The output and the description beside it are one: whatever a crash leaves of them, a run with `settings.resume`
    makes whole.

    Args:
        since: when this run began, in seconds of `time.time`; what has been finished since then another run has made.
        audited: see `apply_files`.

    Raises:
        UserError: the input cannot be used, or the output exists already; one line that names it.
        OSError: the output cannot be written.
    """
    name = printable(source)
    with open_file(source):
        kind = kind_of(source)
    float_tiff = kind == 'tif' and is_float_tiff(source)
    is_frame = kind in ('fits', 'xisf') or float_tiff
    becomes = settings.format or ('fits' if kind == 'xisf' else kind)
    used = frame_model if frame_model and is_frame else model
    opened = _open(used, source, settings, is_frame=is_frame, upright=becomes != 'fits')
    # Colour, and values that a screen shows, are a picture's, whatever the file is: one stretch, one network for all.
    if used is frame_model and (opened.channels == 3 or opened.frame.display):
        used = model
    if becomes == 'fits' and not is_frame:
        raise UserError(f'{name}: a picture has no data values to write as FITS; choose another --format')
    floats = becomes == 'fits' or (becomes == 'tif' and float_tiff)
    if settings.depth and (floats or (becomes == 'jpg' and settings.depth > 8)):
        holds = 'floats' if floats else '8 bits'
        raise UserError(f'{name}: becomes a {becomes} file, which holds {holds}; --depth is for PNG and TIFF pictures')
    if settings.consistent and becomes == 'jpg':
        raise UserError(f'{name}: a jpg file changes what --consistent makes exact; add --format png --depth 16')
    if settings.consistent and is_frame:
        raise UserError(f'{name}: is a frame, with noise or with means that are kept; --consistent is for pictures')
    if min(opened.height, opened.width) < SMALLEST:
        raise UserError(f'{name}: {opened.width}x{opened.height} pixels; at least {SMALLEST}x{SMALLEST} are needed')
    notes = list(getattr(opened, 'notes', ()))
    if settings.consistent and (settings.depth or 8 * np.dtype(opened.dtype).itemsize) == 8:
        notes.append('8 bits round what is consistent away; --depth 16 holds it')
    for note in notes:
        log(f'{name}: {note}')
    stretch = opened.stretch if is_frame else None
    more = {'stretch': dataclasses.asdict(stretch), 'hdu': opened.frame.hdu} if stretch else {}
    if used.task == 'frames':
        from astro_gan.inference import suited

        if not is_frame:
            raise UserError(
                f'{name}: is a picture, and {used.name} enlarges frames with data values; leave --model out'
            )
        refined, forced = _refined(used, settings), used is model
        model, opened, found = suited.prepare(refined, opened, target, settings, forced=forced, log=log)
        more |= found
        plain = used if model is refined else model
    else:
        plain, model = used, _refined(used, settings)
    if settings.trust:
        more['trust'] = trust.promise(plain, opened, target, settings)
    megapixels = model.factor**2 * opened.height * opened.width / 1e6
    start(source, megapixels)
    require_memory(model, opened, settings)
    guides = _read_guides(model, opened, settings, log)
    origin = None if guides is None else origins(guides)
    if origin is not None:
        more['colours'] = shares(origin)
    made = provenance.describe(model, source, settings.deciding(), notes=notes, **more)
    if target.is_dir():
        raise UserError(f'{printable(target)}: is a folder, and the output would have its name')
    target.parent.mkdir(parents=True, exist_ok=True)

    def checked(written: Path) -> dict[str, Any]:
        if not settings.check:
            return {}
        from astro_gan.audit.check import check

        return check(
            source,
            written,
            target,
            settings,
            stretch=stretch if becomes != 'fits' else None,
            lightness=model.networks[0].colorizes,
            origin=origin if guides is not None and guides.given else None,
            log=log,
            audited=lambda found: audited(source, target, found, made),
        )

    with locks.claimed(target) as ours:
        state = provenance.state(target, made) if ours else ''
        elsewhere = not ours or (state == provenance.FINISHED and _finished_at(target) >= since)
        if elsewhere or (settings.resume and state == provenance.FINISHED):
            progress(megapixels)
            if not elsewhere:
                checked(target)
            return ELSEWHERE if elsewhere else FINISHED
        if not settings.overwrite:
            _check_free(target, state, settings.resume)
        untold = state == provenance.UNTOLD and not settings.overwrite
        describe = provenance.seal_same if untold else provenance.seal

        def seal(written: Path) -> None:
            describe(target, made | checked(written), written)

        write = outputs.write_as_picture
        if becomes == 'fits' or (becomes == 'tif' and float_tiff):
            write = outputs.write_fits if becomes == 'fits' else outputs.write_float_as_tiff
        if settings.trust:
            trust.write_trust(plain, opened, target, settings, made['trust'], log)
        write(model, opened, target, settings, guides, made, seal, progress, log)
    return MADE


def _refined(model: Model, settings: Settings) -> Model:
    options = {name: getattr(settings, name) for name in ('self_ensemble', 'back_project', 'consistent')}
    return refine.refined(model, **options)


def _finished_at(target: Path) -> float:
    return provenance.sidecar(target).stat().st_mtime


def _check_free(target: Path, state: str, resume: bool) -> None:
    """UserError unless there is nothing, or what `resume` makes whole."""
    if state == provenance.NOTHING or (resume and state in (provenance.STALE, provenance.UNTOLD)):
        return
    path = target if os.path.lexists(target) else provenance.sidecar(target)
    ways = {provenance.FINISHED: '--resume keeps it, ', provenance.STALE: '--resume completes it, '}
    hint = 'it was made otherwise; ' if resume else ways.get(state, '')
    raise UserError(f'{printable(path)}: exists already; {hint}--overwrite replaces it')


def _open(model: Model, source: str, settings: Settings, *, is_frame: bool, upright: bool) -> Any:
    if is_frame:
        from astro_gan.inference import frames

        return frames.open_frame(
            source,
            hdu=settings.hdu,
            stretch=settings.stretch,
            upright=upright,
            maximum_pixels=settings.maximum_pixels,
            gray=model.channels == 1,
            allow_color=settings.allow_color,
            mask=settings.mask,
            allow_mosaic=settings.allow_mosaic,
            ignore_checksum=settings.ignore_checksum,
        )
    picture = pictures.open_picture(source, maximum_pixels=settings.maximum_pixels)
    return picture.to_gray(allow_color=settings.allow_color) if model.channels == 1 else picture


def _read_guides(model: Model, opened: Any, settings: Settings, log: Callable[[str], None]) -> Guides | None:
    """The guides of a colorizer; None for another model."""
    if not model.networks[0].colorizes:
        return None
    guides = read_guides(settings.guides, opened)
    if not model.networks[0].guided and (settings.guides.given or settings.guides.variant):
        raise UserError(f'{model.name}: takes no guides; the shipped colorizer does, without --model')
    if guides.hints is not None and (paler := paler_hints(guides, opened.read)):
        log(
            f'{opened.path}: {paler} of {len(guides.hints)} hints come out paler than asked: '
            'their pixels are too dark or too bright for so much colour'
        )
    if guides.complete:
        log(f'{opened.path}: all colours were measured; nothing was guessed')
    return guides
