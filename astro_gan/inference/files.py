"""Models applied to a user's files, one after the other, errors one line each."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
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
from astro_gan.files.picture_writer import write_picture
from astro_gan.files.tiff import is_float_tiff
from astro_gan.inference import provenance, tiling
from astro_gan.inference.guide_options import GuideOptions, read_guides
from astro_gan.inference.guides import Guides, paler_hints, shares
from astro_gan.inference.jobs import Job
from astro_gan.inference.render import TILES, enlarged_window, render
from astro_gan.model import Model, to_levels

if TYPE_CHECKING:
    from astro_gan.inference.frames import FrameSource

MADE, FINISHED, ELSEWHERE, FAILED = 'made', 'finished', 'elsewhere', 'failed'  # what a file came to
FORMATS = ('png', 'jpg', 'tif', 'fits')
SMALLEST = 64  # pixels on a side; networks have nothing to go by in less
STRETCHES = ('asinh', 'zscale', 'log', 'linear')
Progress = Callable[[float], Any]  # is told the megapixels of output that have been made since
Start = Callable[[str, float], Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How files are read and written. `deciding` names those that make the output's values.

    Attributes:
        allow_color: colour pictures are made gray where gray is meant.
        reduction: working scale of a colorizer; None: that of its training.
        saturation: multiplies the colours that a colorizer predicts.
        guides: of a colorizer.
        hdu: FITS extension; None: the science image.
        stretch: of FITS frames, one of STRETCHES.
        conserve: of FITS frames, 'surface_brightness' or 'flux'.
        mask: of FITS frames, what 1 in a MASK means ('bad', 'good'), or 'ignore'; None: bad, unless that is most of it.
        allow_mosaic: frames of colour sensors before debayering are taken as gray.
        ignore_checksum: frames that do not agree with their DATASUM are read.
        sky, noise, fwhm: of frames, for models for frames, in place of what is measured; data values and pixels.
        sharpen, denoise: how much of what a model for frames does is kept, 0 to 1.
        residual: write what a model for frames leaves unexplained beside its output.
        format: one of FORMATS; None: the input's.
        tile: pixels of the input on a side of a tile; None: the default.
        overwrite: replace outputs that are there.
        resume: leave outputs alone that were made from the same input by the same model and settings.
        maximum_pixels: of an input.
    """

    allow_color: bool = False
    reduction: int | None = None
    saturation: float = 1.0
    guides: GuideOptions = dataclasses.field(default_factory=GuideOptions)
    hdu: str | None = None
    stretch: str = 'asinh'
    conserve: str = 'surface_brightness'
    mask: str | None = None
    allow_mosaic: bool = False
    ignore_checksum: bool = False
    sky: float | None = None
    noise: float | None = None
    fwhm: float | None = None
    sharpen: float = 1.0
    denoise: float = 1.0
    residual: bool = False
    format: str | None = None
    tile: int | None = None
    overwrite: bool = False
    resume: bool = False
    maximum_pixels: int = pictures.MAXIMUM_PIXELS

    def deciding(self) -> dict[str, Any]:
        """Those that decide the output's values."""
        names = ('allow_color', 'reduction', 'hdu', 'stretch', 'conserve', 'format')
        newer = (
            'saturation',
            'mask',
            'allow_mosaic',
            'ignore_checksum',
            'sky',
            'noise',
            'fwhm',
            'sharpen',
            'denoise',
        )  # than many results
        changed = [name for name in newer if getattr(self, name) != getattr(Settings, name)]
        told = self.guides.deciding()
        return {name: getattr(self, name) for name in (*names, *changed)} | ({'guides': told} if told else {})


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
) -> Counter[str]:
    """Apply a model to files; a file that fails does not stop the others.

    Args:
        frame_model: for frames in place of `model`, if they are like those that it learned.
        fail: is told one line for each file that fails, or, if the program itself has failed, where.
        progress: is told the megapixels that have been made.
        start: is told each input, as it is opened, and how many megapixels it will make.
        log: is told other things worth knowing.

    Returns:
        How many were MADE, FINISHED before, made ELSEWHERE, and FAILED.
    """
    since = time.time()
    remove_stale({target.parent for _, target in jobs}, log)
    counts: Counter[str] = Counter()
    for source, target in jobs:
        try:
            outcome = apply_file(
                model, source, target, settings, frame_model, progress=progress, start=start, log=log, since=since
            )
        except Exception as error:
            outcome = FAILED
            fail(explain(error, source, target))
        counts[outcome] += 1
    return counts


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
) -> str:
    """Apply a model to one file: MADE, FINISHED if `settings.resume` finds it so, ELSEWHERE if another run makes it.

    The output and the description beside it are one: whatever a crash leaves of them, a run with `settings.resume`
    makes whole.

    Args:
        since: when this run began, in seconds of `time.time`; what has been finished since then another run has made.

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
    if min(opened.height, opened.width) < SMALLEST:
        raise UserError(f'{name}: {opened.width}x{opened.height} pixels; at least {SMALLEST}x{SMALLEST} are needed')
    notes = list(getattr(opened, 'notes', ()))
    for note in notes:
        log(f'{name}: {note}')
    more = {'stretch': dataclasses.asdict(opened.stretch), 'hdu': opened.frame.hdu} if is_frame else {}
    if used.task == 'frames':
        from astro_gan.inference import observed

        if not is_frame:
            raise UserError(
                f'{name}: is a picture, and {used.name} enlarges frames with data values; leave --model out'
            )
        used, opened, found = observed.prepare(used, opened, target, settings, forced=used is model, log=log)
        more |= found
    model = used
    megapixels = model.factor**2 * opened.height * opened.width / 1e6
    start(source, megapixels)
    guides = _read_guides(model, opened, settings, log)
    if guides is not None:
        more['colours'] = shares(guides)
    made = provenance.describe(model, source, settings.deciding(), notes=notes, **more)
    if target.is_dir():
        raise UserError(f'{printable(target)}: is a folder, and the output would have its name')
    target.parent.mkdir(parents=True, exist_ok=True)
    with locks.claimed(target) as ours:
        state = provenance.state(target, made) if ours else ''
        elsewhere = not ours or (state == provenance.FINISHED and _finished_at(target) >= since)
        if elsewhere or (settings.resume and state == provenance.FINISHED):
            progress(megapixels)
            return ELSEWHERE if elsewhere else FINISHED
        if not settings.overwrite:
            _check_free(target, state, settings.resume)
        untold = state == provenance.UNTOLD and not settings.overwrite
        seal = functools.partial(provenance.seal_same if untold else provenance.seal, target, made)
        write = _write_picture
        if becomes == 'fits' or (becomes == 'tif' and float_tiff):
            write = _write_fits if becomes == 'fits' else _write_float_tiff
        write(model, opened, target, settings, guides, made, seal, progress, log)
    return MADE


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


def _write_fits(
    model: Model,
    source: FrameSource,
    target: Path,
    settings: Settings,
    guides: Guides | None,
    made: dict[str, Any],
    seal: Callable[[Path], None],
    progress: Progress,
    log: Callable[[str], None],
) -> None:
    from astro_gan.files.fits import open_writer
    from astro_gan.inference import frames, observed

    kind: Any = observed if model.task == 'frames' else frames
    factor = model.factor
    shape: tuple[int, ...] = (factor * source.height, factor * source.width)
    shape = (3, *shape) if model.channels == 1 or source.channels == 3 else shape
    header = kind.output_header(source, shape, factor, made | {'conserve': settings.conserve})
    extensions = frames.color_extensions(header) if len(shape) == 3 else ()
    with open_writer(target, shape, header, extensions=extensions, overwrite=True, seal=seal) as write:
        for planes in _data_rows(model, source, settings, guides, progress, log):
            write(planes if len(shape) == 3 else planes[0])


def _write_float_tiff(
    model: Model,
    source: FrameSource,
    target: Path,
    settings: Settings,
    guides: Guides | None,
    made: dict[str, Any],
    seal: Callable[[Path], None],
    progress: Progress,
    log: Callable[[str], None],
) -> None:
    from astro_gan.files.float_tiff import write_float_tiff

    factor = model.factor
    channels = 3 if model.channels == 1 or source.channels == 3 else 1
    write_float_tiff(
        target,
        (factor * source.height, factor * source.width, channels),
        (np.moveaxis(planes, 0, -1) for planes in _data_rows(model, source, settings, guides, progress, log)),
        like=source.path,
        factor=factor,
        description=f'{provenance.NOTICE}\n{json.dumps(made | {"conserve": settings.conserve}, allow_nan=False)}',
        software=provenance.SOFTWARE,
        seal=seal,
    )


def _data_rows(
    model: Model,
    source: FrameSource,
    settings: Settings,
    guides: Guides | None,
    progress: Progress,
    log: Callable[[str], None],
) -> Iterator[np.ndarray]:
    """The output as data values, float32 `[planes, rows, W]`, some rows at a time."""
    from astro_gan.inference import frames, observed

    kind: Any = observed if model.task == 'frames' else frames
    factor, top = model.factor, 0
    for strip in _render(model, source, settings, guides, log):
        for first in range(0, len(strip), 64 * factor):  # in float64, so a few rows at a time
            planes = kind.to_data(source, strip[first : first + 64 * factor], top, factor, settings.conserve)
            yield planes
            top += planes.shape[1]
        progress(strip.shape[0] * strip.shape[1] / 1e6)


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


def _render(
    model: Model,
    source: Any,
    settings: Settings,
    guides: Guides | None,
    log: Callable[[str], None],
    *,
    shown: bool = False,
) -> Iterator[np.ndarray]:
    if model.task == 'frames':
        return (source.pictures if shown else source.strips)(tile=settings.tile, log=log)
    return render(
        model.networks,
        source,
        tile=settings.tile,
        reduction=settings.reduction,
        saturation=settings.saturation,
        guides=guides,
        log=log,
    )


def _write_picture(
    model: Model,
    source: Any,
    target: Path,
    settings: Settings,
    guides: Guides | None,
    made: dict[str, Any],
    seal: Callable[[Path], None],
    progress: Progress,
    log: Callable[[str], None],
) -> None:
    factor = model.factor
    like = source if isinstance(source, pictures.PictureSource) else None
    suffix = os.path.splitext(target.name)[1].lower()
    kind = settings.format or pictures.SUFFIXES.get(suffix) or (like.kind if like else 'png')
    dtype = source.dtype if like and kind != 'jpg' else np.uint8 if kind == 'jpg' else np.uint16
    alpha = like.alpha if like and kind != 'jpg' else None
    if like and like.alpha is not None and alpha is None:
        log(f'{source.path}: a jpg file has no transparency; the picture is laid on black')

    def strips() -> Iterator[np.ndarray]:
        top = 0
        for strip in _render(model, source, settings, guides, log, shown=True):
            if like and like.alpha is not None:
                opacity = np.clip(_alpha(like, strip, top, factor), 0.0, 1.0)
                strip = strip * opacity if alpha is None else np.concatenate([strip, opacity], axis=-1)
            yield to_levels(strip, dtype)
            top += strip.shape[0]
            progress(strip.shape[0] * strip.shape[1] / 1e6)

    bands = (3 if model.channels == 1 or source.channels == 3 else 1) + (alpha is not None)
    write_picture(
        target,
        kind,
        (factor * source.height, factor * source.width, bands),
        dtype,
        strips(),
        like=like,
        comment=json.dumps(made, allow_nan=False),
        notice=provenance.NOTICE,
        software=provenance.SOFTWARE,
        seal=seal,
    )


def _alpha(source: pictures.PictureSource, strip: np.ndarray, top: int, factor: int) -> np.ndarray:
    """Rows of the enlarged alpha channel, float32 `[rows, W, 1]`."""
    rows, width = strip.shape[:2]
    size = (factor * source.height, factor * source.width)
    return enlarged_window(source.read_alpha, (source.height, source.width), size, top, 0, rows, width)
