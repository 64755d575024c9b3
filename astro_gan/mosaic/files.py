"""A mosaic as a file: FITS with what it was made of, the description beside it, and a picture to look at."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from PIL import Image, PngImagePlugin

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.fits import choose_stretch, open_writer
from astro_gan.files.fits_writer import STRUCTURE
from astro_gan.files.hashes import sha256_of
from astro_gan.files.paths import printable
from astro_gan.files.wcs import WCS_KEYWORD
from astro_gan.inference import provenance
from astro_gan.inference.frames import color_extensions
from astro_gan.mosaic.coadd import BAND_VALUES, coadded, matched, noises, sampled
from astro_gan.mosaic.grid import Grid, find_grid
from astro_gan.mosaic.tiles import Tile, open_tiles

PREVIEW = 1600  # pixels on the longer side of the picture, at most


def make_mosaic(
    paths: Sequence[str],
    target: Path,
    *,
    weights: Sequence[str] = (),
    match: bool = True,
    rays: bool = False,
    rim: int | None = None,
    hdu: str | None = None,
    maximum_pixels: int = 10**9,
    overwrite: bool = False,
    log: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Co-add frames into `target` (FITS), with a description and a preview (PNG) beside it; what the description says.

    Args:
        paths: FITS frames.
        weights: maps of the inverse variance for each; none: the inverse square of each frame's measured noise.
        match: bring the backgrounds to one level.
        rays: leave out cosmic rays, where three frames or more overlap.
        rim, hdu: see `open_tiles`.
        maximum_pixels: of each frame and of the mosaic.
        overwrite: replace what is there.
        log: is told what is worth knowing.

    Raises:
        UserError: frames that do not go together, or a mosaic that is too large; one line.
        OSError: no place for it.
    """
    preview = preview_path(target)
    _check_places(paths, (target, provenance.sidecar(target), preview), overwrite)
    tiles = open_tiles(paths, weights, hdu=hdu, rim=rim, maximum_pixels=maximum_pixels)
    grid, corners = find_grid([tile.wcs for tile in tiles], [(tile.frame.height, tile.frame.width) for tile in tiles])
    height, width = grid.shape
    if height * width > maximum_pixels:
        raise UserError(
            f'the frames span {width}x{height} pixels, more than {maximum_pixels / 1e6:.0f} megapixels: they lie far '
            f'apart on the sky; --max-megapixels {height * width // 10**6 + 1} co-adds them all the same'
        )
    tiles = [tile.placed(grid, corner) for tile, corner in zip(tiles, corners, strict=True)]
    step, values, samples = sampled(tiles, grid)
    noise = noises(values)
    offsets, group = matched(tiles, step, values, samples) if match else (np.zeros_like(noise), [0] * len(tiles))
    del values, samples
    if len(set(group)) > 1:
        log(f'{len(set(group))} groups of frames do not overlap: their backgrounds are not matched with each other')
    if note := _filters(tiles):
        log(note)
    variances = np.ones_like(noise) if weights else noise**2
    made = _describe(tiles, weights, offsets, noise, corners, match=match, rays=rays, rim=rim, hdu=hdu)
    planes = tiles[0].frame.planes
    shape = (height, width) if planes == 1 else (planes, height, width)
    header = _header(tiles, grid, made)
    reduction = math.ceil(max(grid.shape) / PREVIEW)
    band = max(1, BAND_VALUES // (planes * width * reduction)) * reduction
    small: list[np.ndarray] = []
    rejected: list[int] = []
    if rays:  # all frames' rows are held at a time
        band = max(1, band // (reduction * len(tiles))) * reduction

    def seal(written: Path) -> None:
        if rays:
            made['cosmic_rays'] = sum(rejected)
        provenance.seal(target, made, written)

    extensions = color_extensions(header) if planes == 3 else ()
    with open_writer(target, shape, header, extensions=extensions, overwrite=True, seal=seal) as write:
        told: dict[str, Any] = {'noise': noise, 'rejected': rejected} if rays else {}
        for rows in coadded(tiles, grid, offsets, variances, band, **told):
            write(rows if planes == 3 else rows[0])
            small.append(_reduced(rows, reduction))
    write_preview(preview, np.concatenate(small, axis=1), made)
    return made


def preview_path(target: Path) -> Path:
    """`m51.png` for `m51.fits` and `m51.fits.gz`."""
    name = target.name
    for suffix in ('.gz', '.fits', '.fit', '.fts'):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) and len(name) > len(suffix) else name
    return target.with_name(f'{name}.png')


def _check_places(paths: Sequence[str], targets: Sequence[Path], overwrite: bool) -> None:
    target = targets[0]
    if not target.name.lower().endswith(('.fits', '.fit', '.fts', '.fits.gz')):
        raise UserError(f'{printable(target)}: a mosaic is a FITS file; -o names one that ends in .fits')
    for path in targets:
        if any(os.path.exists(source) and path.exists() and os.path.samefile(source, path) for source in paths):
            raise UserError(f'{printable(path)}: is one of the frames; choose another name for the mosaic')
        if path.is_dir():
            raise UserError(f'{printable(path)}: is a folder; -o names a file')
        if os.path.lexists(path) and not overwrite:
            raise UserError(f'{printable(path)}: exists already; --overwrite replaces it')


def _filters(tiles: Sequence[Tile]) -> str:
    """A line where frames were taken through different filters; ''."""
    found = {str(tile.frame.header['FILTER']).strip() for tile in tiles if 'FILTER' in tile.frame.header}
    return f'frames of different filters are co-added: {", ".join(sorted(found))}' if len(found) > 1 else ''


def _describe(
    tiles: Sequence[Tile],
    weights: Sequence[str],
    offsets: np.ndarray,
    noise: np.ndarray,
    corners: Sequence[tuple[int, int] | None],
    *,
    match: bool,
    rays: bool,
    rim: int | None,
    hdu: str | None,
) -> dict[str, Any]:
    inputs, history = [], [f'{provenance.SOFTWARE}: mosaic of {len(tiles)} frames']
    for index, tile in enumerate(tiles):
        facts: dict[str, Any] = {'file': os.path.basename(tile.path), 'sha256': sha256_of(tile.path)}
        facts |= {'hdu': tile.frame.hdu, 'noise': noise[index].tolist(), 'offset': offsets[index].tolist()}
        facts |= {'rim': tile.rim, 'interpolated': corners[index] is None}
        if weights:
            facts['weights'] = {'file': os.path.basename(weights[index]), 'sha256': sha256_of(weights[index])}
        inputs.append(facts)
        told = '/'.join(f'{value:.6g}' for value in offsets[index])
        history.append(f'{facts["file"]} SHA-256 {facts["sha256"]}')
        history.append(
            f'  noise {"/".join(f"{value:.4g}" for value in noise[index])}, offset {told}, '
            + ('interpolated' if corners[index] is None else 'pixels as they are')
        )
    if rays:
        history.append('cosmic rays left out: what sticks out of the median where three frames or more overlap')
    enhanced = any('AGNOTICE' in tile.frame.header for tile in tiles)
    if enhanced:
        history.append(provenance.NOTICE)
    return {
        **({'notice': provenance.NOTICE} if enhanced else {}),
        'software': provenance.SOFTWARE,
        'task': 'mosaic',
        'inputs': inputs,
        'settings': {
            'match': match,
            'cosmic_rays': rays,
            'rim': rim,
            'hdu': hdu,
            'weights': 'maps' if weights else 'measured noise',
        },
        'history': history,
    }


def _header(tiles: Sequence[Tile], grid: Grid, made: dict[str, Any]) -> fits.Header:
    """Cards that all frames have alike, the grid's coordinates, and what was done."""
    header = fits.Header()
    others = [tile.frame.header for tile in tiles[1:]]
    told = ('HISTORY', 'COMMENT', '')
    for card in tiles[0].frame.header.cards:
        word = card.keyword
        plain = word not in STRUCTURE and word not in told and not word.startswith('NAXIS')
        same = all(other.get(word) == card.value for other in others)
        # Physical coordinates (LTV) count from a frame's own corner.
        if plain and same and not WCS_KEYWORD.fullmatch(word) and not word.startswith(('LTV', 'LTM', 'ROWORDER')):
            header.append(card, end=True)
    if 'ROWORDER' in tiles[0].frame.header and tiles[0].corner is not None:
        header['ROWORDER'] = tiles[0].frame.header['ROWORDER']
    header.update(grid.header())
    header['NCOMBINE'] = (len(tiles), 'frames co-added')
    header['AGVERS'] = (made['software'], 'program')
    if 'notice' in made:
        header['AGNOTICE'] = made['notice']
    for line in made['history']:
        header.add_history(line.encode('ascii', 'backslashreplace').decode())
    return header


def _reduced(rows: np.ndarray, step: int) -> np.ndarray:
    """Means of blocks of `step` x `step` pixels, NaN where there is no value in one."""
    if step == 1:
        return rows
    edges = [np.arange(0, side, step) for side in rows.shape[1:]]
    total = np.add.reduceat(np.add.reduceat(np.nan_to_num(rows), edges[0], axis=1), edges[1], axis=2)
    count = np.add.reduceat(np.add.reduceat(np.isfinite(rows).astype(np.float32), edges[0], axis=1), edges[1], axis=2)
    with np.errstate(invalid='ignore'):
        return total / np.where(count > 0, count, np.nan)


def write_preview(path: Path, data: np.ndarray, made: dict[str, Any]) -> None:
    """`[planes, h, w]` as a PNG, stretched, the first row at the bottom, black where there is nothing."""
    try:
        shown = choose_stretch(data).apply(data)
    except ValueError:  # one value, or none
        shown = np.nan_to_num(data * 0)
    levels = np.round(255 * np.clip(np.nan_to_num(shown), 0.0, 1.0)).astype(np.uint8)[:, ::-1]
    text = PngImagePlugin.PngInfo()
    text.add_text('Software', provenance.SOFTWARE)
    text.add_text('Comment', json.dumps(made, allow_nan=False))
    with atomic.replacing(path, '.png') as temporary:
        Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)).save(temporary, pnginfo=text)
