"""An audit in a folder: maps (FITS for frames, else PNG), sources.csv, summary.json."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image
from scipy import ndimage

from astro_gan.audit.align import Plane
from astro_gan.audit.auditor import Audit
from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.fits import enlarged_header, open_writer
from astro_gan.files.paths import printable
from astro_gan.files.picture_writer import write_picture
from astro_gan.inference.provenance import NOTICE, SOFTWARE

MAPS = ('residual', 'detail')
ORIGIN = 'colours.png'  # a map of where they come from, for results of colorizers that were told something
LIMIT = 5.0  # noise units: the colours of a map end there
_ROWS = 512
# Blue below zero, red above, dark at zero: from one end to the other.
_COLORS = np.array([(120, 200, 255), (35, 90, 200), (14, 14, 18), (200, 60, 25), (255, 205, 110)], np.float64)
MISSING = (64, 64, 64)
ORIGIN_COLORS = np.array([(64, 64, 64), (230, 159, 0), (86, 180, 233)], np.uint8)  # of guessed, guided, given
_DOT = 5  # pixels on a side of a hint


def audit_folder(target: Path) -> Path:
    """Where the audit of an output lies: `m51.png.audit/` beside `m51.png`."""
    return target.with_name(f'{target.name}.audit')


def write_audit(
    found: Audit,
    folder: Path,
    *,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Write what was found into a new folder, all of it or nothing; `input` and `output` are the files.

    Raises:
        UserError: the folder exists already and holds something, unless `overwrite` and it is an audit's.
        OSError: it cannot be written.
    """
    check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(folder) as part:
        for name in MAPS:
            _write_map(part, name, found)
        if found.origin is not None:
            shown = origin_picture(found.origin)[:: -1 if bottom_first(found.pair.after) else 1]
            Image.fromarray(shown).save(part / ORIGIN)
        with open(part / 'sources.csv', 'w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(found.sources)
            writer.writerows(zip(*(_texts(column) for column in found.sources.values()), strict=True))
        facts = {'software': SOFTWARE, 'input': os.path.basename(input), 'output': os.path.basename(output)}
        (part / 'summary.json').write_text(json.dumps(facts | found.summary, indent=2, allow_nan=False) + '\n')


def check_free(folder: Path, overwrite: bool) -> None:
    """UserError where an audit would replace something that it may not."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise UserError(f'{printable(folder)}: is a file; the audit is a folder')
    names = {path.name for path in folder.iterdir()}
    known = {ORIGIN, 'sources.csv', 'summary.json', *(f'{name}.{kind}' for name in MAPS for kind in ('fits', 'png'))}
    if not overwrite:
        raise UserError(f'{printable(folder)}: exists already; --overwrite replaces it')
    if not names <= known:
        raise UserError(f'{printable(folder)}: holds {sorted(names - known)[0]}, which is no part of an audit')


def _texts(column: np.ndarray) -> list[str]:
    return [str(value) for value in column] if column.dtype.kind == 'U' else [f'{value:.6g}' for value in column]


def _write_map(folder: Path, name: str, found: Audit) -> None:
    values = getattr(found, name)
    if found.pair.is_frame:
        header = _header(found, name, values.shape)
        with open_writer(folder / f'{name}.fits', values.shape, header) as write:
            for top in range(0, len(values), _ROWS):
                write(np.asarray(values[top : top + _ROWS]))
        return
    comment = json.dumps({'map': name, 'unit': 'noise of the input', 'colours': [-LIMIT, LIMIT]})
    write_picture(
        folder / f'{name}.png',
        'png',
        (*values.shape, 3),
        np.uint8,
        _strips(values),
        like=None,
        comment=comment,
        notice=NOTICE,
        software=SOFTWARE,
    )


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(values), _ROWS):
        yield colored(np.asarray(values[top : top + _ROWS]))


def colored(values: np.ndarray, limit: float = LIMIT) -> np.ndarray:
    """A map `[h, w]` in colours, uint8 `[h, w, 3]`: blue below zero, red above, full at `limit`; gray for NaN."""
    at = (np.clip(np.nan_to_num(values) / limit, -1, 1) + 1) / 2
    ends = np.linspace(0, 1, len(_COLORS))
    table = np.stack([np.interp(np.linspace(0, 1, 1024), ends, column) for column in _COLORS.T], -1).astype(np.uint8)
    picture = table[np.round(1023 * at).astype(int)]
    picture[np.isnan(values)] = MISSING
    return picture


def _header(found: Audit, name: str, shape: tuple[int, ...]) -> fits.Header:
    """Coordinates of the file whose pixels the map has."""
    pair = found.pair
    plane = pair.before if name == 'residual' else pair.after
    header = fits.Header()
    if plane.header is not None and shape == (plane.height, plane.width):
        header = enlarged_header(plane.header, 1, shape)
        for card in [card for card in header if card.startswith('AG')]:
            header.remove(card)
    header['BUNIT'] = ('noise', 'standard deviations of a pixel of the input')
    words = {
        'residual': 'the output at the size of the input, less the input',
        'detail': 'the output less the enlarged input',
    }
    header.add_history(f'{SOFTWARE}: {words[name]}')
    return header


def origin_picture(origin: np.ndarray) -> np.ndarray:
    """`Audit.origin` in colours, uint8 `[h, w, 3]`: gray guessed, orange guided, blue given; hints are drawn larger."""
    given = origin == len(ORIGIN_COLORS) - 1
    return ORIGIN_COLORS[np.where(ndimage.maximum_filter(given, _DOT), np.uint8(len(ORIGIN_COLORS) - 1), origin)]


def bottom_first(plane: Plane) -> bool:
    """Whether the first row is the bottom of the picture."""
    return plane.header is not None and str(plane.header.get('ROWORDER', '')).strip().upper() != 'TOP-DOWN'


def thumbnail(values: np.ndarray, size: int, method: Any = Image.Resampling.BOX) -> np.ndarray:
    """A map no larger than `size` on either side, by whole pixels; each keeps the most extreme value it covers."""
    step = max(1, -(-max(values.shape) // size))
    if step == 1:
        return np.asarray(values)
    h, w = (n // step for n in values.shape)
    blocks = np.asarray(values[: h * step, : w * step]).reshape(h, step, w, step).swapaxes(1, 2).reshape(h, w, -1)
    which = np.nanargmax(np.nan_to_num(np.abs(blocks), nan=-1.0), axis=-1)
    return np.take_along_axis(blocks, which[..., None], -1)[..., 0]
