"""Simulated star fields as files: FITS frames, their truth, and catalogues of what stands in them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.fits import read_frame
from astro_gan.files.paths import printable
from astro_gan.noise_units import REACHES
from astro_gan.simulation import detector, fields, psf, scenes

PSFS = ('gaussian', 'moffat', 'telescope', 'jwst')
GRID = 256  # fine pixels on a side on which a PSF is made


@dataclasses.dataclass(frozen=True)
class Sky:
    """What `star_field` simulates.

    Attributes:
        size: pixels on a side.
        factor: how many times finer the truth is, 1 or 2.
        stars, galaxies: how many.
        faintest, brightest: fluxes, in sigma of a star measured with its PSF on an empty sky.
        slope: of the power law of the fluxes, dN/dF ~ F^-slope.
        nebula: mean light of the nebulosity, noise units.
        psf: one of PSFS, or the path of a FITS image of one, before pixels integrate it.
        sampling: of that image, its pixels per pixel of the frame.
        fwhm: of the light before pixels integrate it, in pixels; not of a PSF's image.
        grain: see `detector.expose`; 0: no plate.
        correlation, gain, saturation: see `detector.expose`, noise units.
        cosmic_rays: tracks, and as many hot pixels.
        dead_columns: filled with NaN.
    """

    size: int = 256
    factor: int = 2
    stars: int = 300
    galaxies: int = 0
    faintest: float = 3.0
    brightest: float = 1e4
    slope: float = 1.8
    nebula: float = 0.0
    psf: str = 'moffat'
    sampling: float = 4.0
    fwhm: float = 2.5
    grain: float = 0.0
    correlation: float = 0.0
    gain: float = 100.0
    saturation: float = float('inf')
    cosmic_rays: int = 0
    dead_columns: int = 0


def transfer_of(sky: Sky) -> jax.Array:
    """The PSF on the fine grid of the whole field."""
    width, fine = jnp.asarray(sky.fwhm * fields.OVERSAMPLING), sky.size * fields.OVERSAMPLING
    if sky.psf not in PSFS:
        return psf.from_picture(jnp.asarray(psf_picture(sky.psf, sky.sampling, fine)))
    if sky.psf == 'gaussian':
        return psf.gaussian(width, fine)
    if sky.psf == 'moffat':
        return psf.moffat(width, jnp.asarray(3.0), fine)
    return psf.enlarged(psf.telescope(width, GRID, hexagons=sky.psf == 'jwst'), GRID, fine)


def psf_picture(path: str, sampling: float, size: int) -> np.ndarray:
    """A PSF's image on the fine grid, float32 `[size, size]`, its centroid on pixel (0, 0).

    Args:
        path: of a FITS image `[n, m]`.
        sampling: its pixels per pixel of the frame.
        size: of the grid.

    Raises:
        UserError: it is no image of a PSF, or larger than the grid.
    """
    name = printable(path)
    picture = np.nan_to_num(np.asarray(read_frame(path).data, np.float64))
    if picture.ndim != 2:
        raise UserError(f'{name}: planes of a picture; a PSF is one image')
    total = picture.sum()
    if not total > 0 or picture.max() < 3 * np.abs(picture.mean()):
        raise UserError(f'{name}: no image of a PSF, whose light is in its middle')
    if sampling < 1:
        raise UserError(f'{name}: {sampling:g} samples per pixel do not tell a PSF; at least 1')
    zoom = fields.OVERSAMPLING / sampling
    if max(picture.shape) * zoom > size:
        raise UserError(f'{name}: larger than the field; --size {math.ceil(max(picture.shape) / sampling)} or more')
    rows, columns = np.indices(picture.shape)
    bright = np.where(picture > 0.1 * picture.max(), picture, 0)  # far wings and noise have a centroid of their own
    centre = [(bright * at).sum() / bright.sum() for at in (rows, columns)]
    reach = [int(min(at, side - 1 - at) * zoom) for at, side in zip(centre, picture.shape, strict=True)]
    grid = np.meshgrid(*[np.arange(-n, n + 1) / zoom + at for n, at in zip(reach, centre, strict=True)], indexing='ij')
    fine = ndimage.map_coordinates(picture, grid, order=3, mode='constant')
    placed = np.zeros((size, size), np.float32)
    placed[: fine.shape[0], : fine.shape[1]] = fine / fine.sum()
    return np.roll(placed, [-n for n in reach], (0, 1))


def star_field(key: jax.Array, sky: Sky) -> fields.Field:
    """A field as `fields.random_field` gives it, but of what is asked for; dead columns are NaN in 'input'."""
    keys = jax.random.split(key, 12)
    size, fine, centre = sky.size, sky.size * fields.OVERSAMPLING, (fields.OVERSAMPLING - 1) / 2
    transfer = transfer_of(sky)
    seen = transfer * psf.pixel(fields.OVERSAMPLING, fine)
    fwhm = psf.measured_fwhm(seen, fine) / fields.OVERSAMPLING
    x, y = jax.random.uniform(keys[0], (2, sky.stars), minval=-0.5, maxval=size - 0.5)
    # Of a power law, cut off at both ends.
    power, u = 1 - sky.slope, jax.random.uniform(keys[1], (sky.stars,))
    ends = sky.faintest**power, sky.brightest**power
    flux = (ends[0] + u * (ends[1] - ends[0])) ** (1 / power) * fields.one_sigma(fwhm)
    light = scenes.points(x * fields.OVERSAMPLING + centre, y * fields.OVERSAMPLING + centre, flux, fine)
    for index in range(sky.galaxies):
        light += fields.one_galaxy(jax.random.fold_in(keys[2], index), fine)
    if sky.nebula:
        light += scenes.diffuse(keys[3], jnp.asarray(3.0), jnp.asarray(0.7), fine) * sky.nebula / fields.OVERSAMPLING**2
    clean, truth, fwhm = fields.observe(light, transfer, factor=sky.factor)
    frame = detector.expose(
        keys[4],
        clean,
        gain=jnp.asarray(sky.gain),
        hits=jnp.asarray(sky.cosmic_rays),
        correlation=jnp.asarray(sky.correlation),
        width=jnp.asarray(sky.grain),
        level=jnp.asarray(sky.saturation),
        most_hits=max(sky.cosmic_rays, 1),
    )
    dead = jax.random.choice(keys[5], size, (sky.dead_columns,), replace=False)
    frame = frame.at[:, dead].set(jnp.nan)
    return {
        'input': frame,
        'truth': truth,
        'clean': clean,
        'fwhm': fwhm,
        'correlation': detector.grain_correlation(sky.grain) if sky.grain else jnp.asarray(sky.correlation),
        'concentration': psf.concentration(seen, fwhm * fields.OVERSAMPLING, fine, radii=REACHES),
        'x': x,
        'y': y,
        'flux': flux,
    }


def write_field(
    field: fields.Field, sky: Sky, folder: Path, name: str, *, level: float, noise: float, seed: int
) -> None:
    """`name.fits`, `name_truth.fits` and `name_stars.csv`, in data units: level + noise x noise units.

    Raises:
        OSError: the folder cannot be written.
    """
    cards: dict[str, Any] = {
        'SKY': (level, 'simulated sky'),
        'NOISE': (noise, 'simulated noise of one pixel'),
        'FWHM': (round(float(field['fwhm']), 4), 'of a star, pixels of the frame'),
        'CORREL': (round(float(field['correlation']), 4), 'of the noise of neighbouring pixels'),
        'PSFTYPE': (Path(sky.psf).name.encode('ascii', 'backslashreplace').decode()[:60], 'point spread function'),
        'SEED': (seed, 'of the simulation'),
    }
    truth = {'TRUTHFW': (round(float(fields.truth_fwhm(field['fwhm'], sky.factor)), 4), 'FWHM, pixels of the frame')}
    for ending, key, more in (('', 'input', {}), ('_truth', 'truth', truth)):
        data = np.asarray(level + noise * np.asarray(field[key]), np.float32)
        header = fits.Header()
        header.update(cards | more)
        with atomic.replacing(folder / f'{name}{ending}.fits') as part:
            fits.PrimaryHDU(data, header).writeto(part, overwrite=True)
    flux, sigma = np.asarray(field['flux']), float(fields.one_sigma(field['fwhm']))
    columns = {
        'x': np.round(np.asarray(field['x'], float), 4),
        'y': np.round(np.asarray(field['y'], float), 4),
        'flux': np.round(flux * noise, 3),
        'sigma': np.round(flux / sigma, 3),
    }
    with atomic.replacing(folder / f'{name}_stars.csv') as part:
        Table(columns).write(part, format='ascii.csv', overwrite=True)
