"""Models applied to a user's files: which ones, where the results go, one after the other, errors one line each."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_gan.files import picture_source as pictures
from astro_gan.files.paths import printable
from astro_gan.files.picture_writer import write_picture
from astro_gan.inference import provenance
from astro_gan.inference.render import enlarged_window, render
from astro_gan.model import Model, to_levels

if TYPE_CHECKING:
    from astro_gan.inference.frames import FrameSource

FITS_SUFFIXES = tuple(f'.{name}{packed}' for name in ('fits', 'fit', 'fts') for packed in ('', '.gz', '.bz2', '.fz'))
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
        hdu: FITS extension; None: the science image.
        stretch: of FITS frames, one of STRETCHES.
        conserve: of FITS frames, 'surface_brightness' or 'flux'.
        mask: of FITS frames, what 1 in a MASK means ('bad', 'good'), or 'ignore'; None: bad, unless that is most of it.
        allow_mosaic: frames of colour sensors before debayering are taken as gray.
        ignore_checksum: frames that do not agree with their DATASUM are read.
        format: one of FORMATS; None: the input's.
        tile: pixels of the input on a side of a tile; None: the default.
        overwrite: replace outputs that are there.
        resume: leave outputs alone that were made from the same input by the same model and settings.
        maximum_pixels: of an input.
    """

    allow_color: bool = False
    reduction: int | None = None
    saturation: float = 1.0
    hdu: str | None = None
    stretch: str = 'asinh'
    conserve: str = 'surface_brightness'
    mask: str | None = None
    allow_mosaic: bool = False
    ignore_checksum: bool = False
    format: str | None = None
    tile: int | None = None
    overwrite: bool = False
    resume: bool = False
    maximum_pixels: int = pictures.MAXIMUM_PIXELS

    def deciding(self) -> dict[str, Any]:
        """Those that decide the output's values."""
        names = ('allow_color', 'reduction', 'hdu', 'stretch', 'conserve', 'format')
        newer = ('saturation', 'mask', 'allow_mosaic', 'ignore_checksum')  # than many results
        changed = [name for name in newer if getattr(self, name) != getattr(Settings, name)]
        return {name: getattr(self, name) for name in (*names, *changed)}


def find_jobs(inputs: Iterable[str], out: Path, format: str | None) -> list[tuple[str, Path]]:
    """Input files with their outputs: `m51.png` -> `OUT/m51.png`, a folder's files with their subfolders.

    Raises:
        ValueError: nothing there, or two inputs with one output; one line.
    """
    jobs: list[tuple[str, Path]] = []
    for name in inputs:
        for path, below in _expand(name, out):
            jobs.append((path, out / below / _output_name(path, format)))
    sources: dict[Path, str] = {}
    for path, target in dict(jobs).items():  # a file that was named twice counts once
        key = Path(os.path.abspath(target))
        if key in sources:
            raise ValueError(f'{printable(path)} and {printable(sources[key])} would both become {printable(target)}')
        if os.path.exists(target) and os.path.samefile(path, target):
            raise ValueError(f'{printable(path)}: its output would replace it; choose another folder than {out}')
        sources[key] = path
    return list(dict(jobs).items())


def _expand(name: str, out: Path) -> list[tuple[str, str]]:
    """Files that an argument stands for, each with its folder relative to a folder that was named; never results."""
    if os.path.isdir(name):
        found = []
        for folder, folders, files in os.walk(name):
            folders[:] = sorted(
                f for f in folders if not (f.startswith('.') or _is_below(os.path.join(folder, f), out))
            )
            below = os.path.relpath(folder, name)
            found += [
                (os.path.join(folder, file), '' if below == '.' else below)
                for file in sorted(files)
                if not file.startswith('.') and _is_image_name(file)
            ]
        if not found:
            raise ValueError(f'{printable(name)}: no JPEG, PNG, TIFF or FITS file in this folder')
        return found
    if not os.path.lexists(name) and glob.has_magic(name):
        matches = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
        if not matches:
            raise ValueError(f'{printable(name)}: no file matches')
        return [(path, '') for path in matches]
    return [(name, '')]


def _is_below(path: str, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _is_image_name(file: str) -> bool:
    lower = file.lower()
    return lower.endswith(FITS_SUFFIXES) or os.path.splitext(lower)[1] in pictures.SUFFIXES


def _output_name(path: str, format: str | None) -> str:
    name = os.path.basename(path)
    fits_suffix = next((s for s in sorted(FITS_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), None)
    stem = name[: -len(fits_suffix)] if fits_suffix else os.path.splitext(name)[0]
    if format:
        return f'{stem}.{format}'
    return f'{stem}.fits' if fits_suffix else name


def estimate_megapixels(path: str) -> float:
    """About how many megapixels a file has, from its header; 0 if it cannot be told."""
    try:
        if _is_fits(path):
            return os.path.getsize(path) / 4e6  # most are plain float32
        source = pictures.open_picture(path, maximum_pixels=2**62)
        return source.height * source.width / 1e6
    except (ValueError, OSError):
        return 0.0


def _is_fits(path: str) -> bool:
    """Whether a file is FITS; astropy is imported (half a second) only if it is no picture."""
    if pictures.is_picture(path):
        return False
    from astro_gan.files.fits import is_fits

    return is_fits(path)


def apply_files(
    model: Model,
    jobs: list[tuple[str, Path]],
    settings: Settings,
    *,
    fail: Callable[[str], None],
    progress: Progress,
    start: Start = lambda source, megapixels: None,
    log: Callable[[str], None] = print,
) -> tuple[int, int, int]:
    """Apply a model to files; a file that fails does not stop the others.

    Args:
        fail: is told one line for each file that fails.
        progress: is told the megapixels that have been made.
        start: is told each input, as it is opened, and how many megapixels it will make.
        log: is told other things worth knowing.

    Returns:
        How many were made, found finished, and failed.
    """
    made = finished = failed = 0
    for source, target in jobs:
        try:
            if apply_file(model, source, target, settings, progress=progress, start=start, log=log):
                made += 1
            else:
                finished += 1
        except (ValueError, OSError, RuntimeError, MemoryError) as error:  # RuntimeError: the device is out of memory
            failed += 1
            line = ' '.join((str(error) or 'out of memory').split())
            names = (printable(source), printable(target), os.path.basename(target))
            fail(line if any(name in line for name in names) else f'{printable(source)}: {line}')
    return made, finished, failed


def apply_file(
    model: Model,
    source: str,
    target: Path,
    settings: Settings,
    *,
    progress: Progress = lambda megapixels: None,
    start: Start = lambda source, megapixels: None,
    log: Callable[[str], None] = print,
) -> bool:
    """Apply a model to one file; False if `settings.resume` finds it finished.

    Raises:
        ValueError: the input cannot be used; one line that names it.
        OSError: the output exists already or cannot be written.
    """
    name = printable(source)
    if not os.path.lexists(source):
        raise ValueError(f'{name}: no such file')
    fits_input = _is_fits(source)
    to_fits = settings.format == 'fits' or (settings.format is None and fits_input)
    opened = _open(model, source, settings, fits_input=fits_input, upright=not to_fits)
    if to_fits and not fits_input:
        raise ValueError(f'{name}: a picture has no data values to write as FITS; choose another --format')
    if min(opened.height, opened.width) < SMALLEST:
        raise ValueError(f'{name}: {opened.width}x{opened.height} pixels; at least {SMALLEST}x{SMALLEST} are needed')
    megapixels = model.factor**2 * opened.height * opened.width / 1e6
    start(source, megapixels)
    for note in opened.notes if fits_input else ():
        log(f'{name}: {note}')
    more = {'stretch': dataclasses.asdict(opened.stretch), 'hdu': opened.frame.hdu} if fits_input else {}
    made = provenance.describe(model, source, settings.deciding(), **more)
    if settings.resume and provenance.is_finished(target, made):
        progress(megapixels)
        return False
    if target.exists() and not settings.overwrite:
        hint = '; it was made otherwise' if settings.resume else ''
        raise FileExistsError(f'{printable(target)}: exists already{hint}; --overwrite replaces it')
    if not settings.overwrite and provenance.sidecar(target).exists():
        raise FileExistsError(f'{printable(provenance.sidecar(target))}: exists already; --overwrite replaces it')
    target.parent.mkdir(parents=True, exist_ok=True)
    write = _write_fits if to_fits else _write_picture
    write(model, opened, target, settings, made, progress, log)
    provenance.write_sidecar(target, made)
    return True


def _open(model: Model, source: str, settings: Settings, *, fits_input: bool, upright: bool) -> Any:
    if fits_input:
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
    made: dict[str, Any],
    progress: Progress,
    log: Callable[[str], None],
) -> None:
    from astro_gan.files.fits import open_writer
    from astro_gan.inference import frames

    factor = model.factor
    shape: tuple[int, ...] = (factor * source.height, factor * source.width)
    shape = (3, *shape) if model.channels == 1 or source.channels == 3 else shape
    header = frames.output_header(source, shape, factor, made | {'conserve': settings.conserve})
    top = 0
    extensions = frames.color_extensions(header) if len(shape) == 3 else ()
    with open_writer(target, shape, header, extensions=extensions, overwrite=settings.overwrite) as write:
        for strip in _render(model, source, settings, log):
            for first in range(0, len(strip), 64 * factor):  # in float64, so a few rows at a time
                planes = frames.to_data(source, strip[first : first + 64 * factor], top, factor, settings.conserve)
                write(planes if len(shape) == 3 else planes[0])
                top += planes.shape[1]
            progress(strip.shape[0] * strip.shape[1] / 1e6)


def _render(model: Model, source: Any, settings: Settings, log: Callable[[str], None]) -> Iterator[np.ndarray]:
    return render(
        model.networks,
        source,
        tile=settings.tile,
        reduction=settings.reduction,
        saturation=settings.saturation,
        log=log,
    )


def _write_picture(
    model: Model,
    source: Any,
    target: Path,
    settings: Settings,
    made: dict[str, Any],
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
        log(f'{source.path}: a jpg file has no transparency; it is left out')

    def strips() -> Iterator[np.ndarray]:
        top = 0
        for strip in _render(model, source, settings, log):
            levels = to_levels(strip, dtype)
            if alpha is not None:
                levels = np.concatenate([levels, to_levels(_alpha(source, strip, top, factor), dtype)], axis=-1)
            yield levels
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
        comment=json.dumps(made),
        notice=provenance.NOTICE,
        software=provenance.SOFTWARE,
    )


def _alpha(source: pictures.PictureSource, strip: np.ndarray, top: int, factor: int) -> np.ndarray:
    """Rows of the enlarged alpha channel, float32 `[rows, W, 1]`."""
    rows, width = strip.shape[:2]
    size = (factor * source.height, factor * source.width)
    return enlarged_window(source.read_alpha, (source.height, source.width), size, top, 0, rows, width)
