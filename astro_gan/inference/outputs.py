"""Results into files: what a model makes of an opened picture or frame, strip by strip, as FITS, TIFF or a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_gan.files import picture_source as pictures
from astro_gan.files.picture_writer import write_picture
from astro_gan.inference import provenance
from astro_gan.inference.guides import Guides
from astro_gan.inference.render import enlarged_window, render
from astro_gan.inference.settings import Settings
from astro_gan.model import Model, to_levels

if TYPE_CHECKING:
    from astro_gan.inference.frames import FrameSource

Progress = Callable[[float], Any]  # is told the megapixels of output that have been made since


def write_fits(
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


def write_float_as_tiff(
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


def write_as_picture(
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
    dtype = {None: dtype, 8: np.uint8, 16: np.uint16}[settings.depth]
    alpha = like.alpha if like and kind != 'jpg' else None
    if like and like.alpha is not None and alpha is None:
        log(f'{source.path}: a jpg file has no transparency; the picture is laid on black')

    def strips() -> Iterator[np.ndarray]:
        top, beyond = 0, 0.5 / np.iinfo(dtype).max
        for strip in _render(model, source, settings, guides, log, shown=True):
            if settings.consistent:  # is told in the description: there the file is not what it should be
                clipped = int((np.abs(strip - 0.5) > 0.5 + beyond).any(-1).sum())
                made['clipped_pixels'] = made.get('clipped_pixels', 0) + clipped
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
