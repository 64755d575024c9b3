"""Frames through a network for frames: in units of their noise, and back to data values (see `astro_gan.noise_units`).

The output is the sky through a narrower, clean PSF. Seen through the PSF between the two and binned, it should be the
input again, but for the noise: that is its reobservation, and what is left is the residual.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from astropy.io import fits

from astro_gan.errors import UserError
from astro_gan.files.fits import Frame, Stretch
from astro_gan.inference import frames
from astro_gan.inference.blend import blended
from astro_gan.inference.fluxes import corrected
from astro_gan.inference.frames import FrameSource
from astro_gan.inference.measure import Measured, Mesh, measure
from astro_gan.inference.network import Network
from astro_gan.inference.refit import Psf
from astro_gan.inference.render import render
from astro_gan.noise_units import conditions, from_network, to_network

LARGEST = 1e25  # noise units: what is beyond is no measurement, and its sums would not be finite
MOST_FULL = 0.05  # share of saturated pixels beyond which a frame is unlike those of the training


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """A frame and what was measured of it, one plane after the other.

    Attributes:
        source: the frame.
        measured: of every plane.
        network: for frames.
        then: what enlarges its compressed output further.
        sharpen, denoise: how much of what the network does is kept, 0 to 1.
        refit: put the fluxes of sources right (see `refit`); without it the output is the network's alone.
        residual: a `residual.Residual`, which writes it; None: it is not written.
    """

    source: FrameSource
    measured: tuple[Measured, ...]
    network: Network
    then: tuple[Network, ...] = ()
    sharpen: float = 1.0
    denoise: float = 1.0
    refit: bool = True
    residual: Any = None

    @property
    def path(self) -> str:
        return self.source.path

    @property
    def height(self) -> int:
        return self.source.height

    @property
    def width(self) -> int:
        return self.source.width

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def factor(self) -> int:
        """Enlargement in all."""
        return math.prod(network.factor for network in (self.network, *self.then))

    def strips(self, *, tile: int | None = None, log: Callable[[str], None] = print) -> Iterator[np.ndarray]:
        """The output in noise units, float32 `[rows, W, planes]`, top to bottom; the residual is written meanwhile."""
        plain = self.sharpen == self.denoise == 1.0
        network: Any = self.network if plain else blended(self.network, self.sharpen, self.denoise)
        outputs = map(from_network, dataclasses.replace(self, network=network).outputs(tile, log))
        if not self.refit:
            yield from (values[:, :, 0] for values in outputs)
            return
        with contextlib.ExitStack() as stack:
            write = stack.enter_context(self.residual.open(self)) if self.residual else None
            for values, residual in self.corrected(outputs):
                if write:
                    write(residual)
                yield values[:, :, 0]

    def corrected(self, outputs: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Outputs in noise units with the fluxes of sources put right, and the residual; see `fluxes.corrected`."""
        psfs = [psf_of(self, index) for index in range(self.channels)]
        blend = {'sharpen': self.sharpen, 'denoise': self.denoise}
        return corrected(outputs, self.noise_units, self.height, psfs, **blend)

    def outputs(self, tile: int | None, log: Callable[[str], None]) -> Iterator[np.ndarray]:
        """What the networks give, compressed, float32 `[rows, W, channels, planes]`, top to bottom."""
        networks = (self.network, *self.then)
        planes = [render(networks, _Plane(self, index), tile=tile, log=log) for index in range(self.channels)]
        for parts in zip(*planes, strict=True):
            yield np.stack(parts, axis=-1)

    def pictures(self, *, tile: int | None = None, log: Callable[[str], None] = print) -> Iterator[np.ndarray]:
        """The output as a picture shows it, float32 `[rows, W, planes]`, nominally in [0, 1]."""
        top = 0
        for strip in self.strips(tile=tile, log=log):
            yield np.moveaxis(self.source.stretch.apply(self.to_data(strip, top, self.factor)), 0, -1)
            top += len(strip)

    @np.errstate(over='ignore', invalid='ignore')  # values at the end of float32 have no number
    def to_data(self, strip: np.ndarray, top: int, factor: int, *, sky: bool = True) -> np.ndarray:
        """Rows in noise units `[rows, W, planes]` to data values `[planes, rows, W]`, at `factor` times the size.

        Differences have no `sky`.
        """
        place = (top, len(strip), factor)
        data = np.moveaxis(strip, -1, 0).astype(np.float32)
        for plane, found in zip(data, self.measured, strict=True):
            plane *= self._rows(found.noise, *place)
            if sky:
                plane += self._rows(found.sky, *place)
        return data

    def noise_units(self, top: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the input in noise units `[planes, rows, w]`, 0 where they are not usable, and where they are."""
        values, bad = self.source.rows(top, rows)
        usable = np.isfinite(values) & ~bad
        z = np.zeros_like(values)
        with np.errstate(over='ignore', invalid='ignore'):
            for index, found in enumerate(self.measured):
                if found.saturation is not None:
                    usable[index] &= values[index] < found.saturation
                z[index] = (values[index] - self._rows(found.sky, top, rows, 1)) / self._rows(found.noise, top, rows, 1)
                usable[index] &= np.abs(z[index]) < LARGEST
        return np.where(usable, z, 0), usable

    def noise(self, top: int, rows: int) -> np.ndarray:
        """Of rows of the input, float32 `[planes, rows, w]`."""
        return np.stack([self._rows(found.noise, top, rows, 1) for found in self.measured])

    def _rows(self, mesh: Mesh, top: int, rows: int, factor: int) -> np.ndarray:
        mesh = dataclasses.replace(mesh, shape=(factor * self.height, factor * self.width))
        first = mesh.shape[0] - top - rows if self.source.turned else top
        values = mesh.window(first, 0, rows, mesh.shape[1])
        return values[::-1] if self.source.turned else values


@dataclasses.dataclass(frozen=True, eq=False)
class _Plane:
    """One plane as the network takes it: compressed noise units and two maps (see `render.Source`)."""

    observed: Observed
    index: int

    @property
    def channels(self) -> int:
        return 1 + len(self.observed.network.description['input']['conditions'])

    @property
    def height(self) -> int:
        return self.observed.height

    @property
    def width(self) -> int:
        return self.observed.width

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        found = self.observed.measured[self.index]
        window = self._compressed.read(top, left, height, width)
        return np.concatenate(
            [window, conditions(list(told(found, self.observed.network).values()), (height, width))], axis=-1
        )

    @functools.cached_property
    def _compressed(self) -> FrameSource:
        """The plane as a frame in noise units: gaps are filled as in every frame, with the sky where they are wide."""
        source, found = self.observed.source, self.observed.measured[self.index]
        data: Any = _NoiseUnits(_plane(source, self.index), found)
        stretch: Any = types.SimpleNamespace(apply=lambda z: to_network(np.asarray(z, np.float32)))
        return FrameSource(source.path, dataclasses.replace(source.frame, data=data), stretch, source.turned)


class _NoiseUnits:
    """Data `[H, W]` as z = (data - sky) / noise, made of it window by window."""

    ndim = 2

    def __init__(self, data: np.ndarray, measured: Measured):
        self.data, self.measured, self.shape = data, measured, data.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns = index[-2:]
        with np.errstate(over='ignore', invalid='ignore'):
            values = np.asarray(self.data[rows, columns], np.float32)
            place = (rows.start, columns.start, *values.shape)
            z = (values - self.measured.sky.window(*place)) / self.measured.noise.window(*place)
        return np.where(np.abs(z) < LARGEST, z, np.nan)


def _plane(source: FrameSource, index: int) -> np.ndarray:
    return source.frame.data if source.frame.data.ndim == 2 else source.frame.data[index]


def observe(
    network: Network,
    source: FrameSource,
    *,
    sky: float | None = None,
    noise: float | None = None,
    fwhm: float | None = None,
    correlation: float | None = None,
    concentration: float | None = None,
    **settings: Any,
) -> Observed:
    """Measure a frame, for a network.

    Args:
        sky, noise, fwhm, correlation, concentration: see `measure`.
        settings: of `Observed`.

    Raises:
        ValueError: there is nothing to measure.
    """
    planes = [_plane(source, index) for index in range(source.channels)]
    given = {'sky': sky, 'noise': noise, 'fwhm': fwhm, 'correlation': correlation, 'concentration': concentration}
    found = tuple(measure(plane, source.frame.bad, **given) for plane in planes)
    return Observed(source, found, network, **settings)


def told(measured: Measured, network: Network) -> dict[str, float]:
    """What the network is told of a frame (`noise_units.CONDITIONS`): measured, within the ranges of its training."""
    ranges = network.description['input']['conditions']
    return {name: float(np.clip(getattr(measured, name).value, *limits)) for name, limits in ranges.items()}


def psf_of(observed: Observed, index: int) -> Psf:
    """Of input and output of a plane, as the network takes them to be."""
    measured, psf = observed.measured[index], observed.network.description['output']['psf']
    fwhm = told(measured, observed.network)['fwhm']
    narrow = max(psf['ratio'] * fwhm, psf['least_fwhm_in_output_pixels'] / observed.network.factor)
    return Psf(fwhm, measured.concentration.value, narrow, observed.factor, max(measured.correlation.value, 0.0))


def unlike(observed: Observed) -> list[str]:
    """What of a frame is unlike those of the network's training; none: it is of their kind."""
    found = []
    ranges = observed.network.description['input']['conditions']
    for measured in observed.measured:
        fwhm, correlation = measured.fwhm, measured.correlation
        low, high = ranges['fwhm']
        if fwhm.value + fwhm.error < 0.95 * low or fwhm.value - fwhm.error > 1.05 * high:
            found.append(f'stars {fwhm.value:.2g} pixels wide ({low:g} to {high:g} were learned)')
        low, high = ranges['correlation']
        if measured.grain or not low - 0.15 <= correlation.value <= high + 0.05:
            kind = 'sharpened before' if correlation.value < low else 'grain, or pixels made finer'
            found.append(f'noise of neighbours correlated by {correlation.value:.2f}: {kind}')
        if measured.full > MOST_FULL:
            found.append(f'{measured.full:.0%} of the pixels saturated')
        if not measured.linear:
            found.append('at most 256 levels: values stretched for a screen, not proportional to light')
    return list(dict.fromkeys(found))


def to_data(observed: Observed, strip: np.ndarray, top: int, factor: int, conserve: str) -> np.ndarray:
    """Rows of the output to data values; see `frames.to_data`. The noise is gone, so nothing is conserved exactly."""
    planes = observed.to_data(strip, top, factor)
    if conserve == 'flux':
        planes /= np.float32(factor**2)
    first, last = top // factor, (top + strip.shape[0]) // factor
    missing = ~np.isfinite(observed.source.rows(first, last - first)[0])
    planes[missing.repeat(factor, axis=1).repeat(factor, axis=2)] = np.nan
    return planes


def output_header(observed: Observed, shape: tuple[int, ...], factor: int, made: dict[str, Any]) -> fits.Header:
    """As `frames.output_header`; what was measured stands in the place of a stretch."""
    header = frames.output_header(observed.source, shape, factor, made)
    for card in observed.source.stretch.to_cards():
        header.remove(card.keyword, ignore_missing=True)
    found = observed.measured[0]
    values = told(found, observed.network)
    header['AGSKY'] = (found.sky_level.value, 'sky that the network was told, median')
    header['AGNOISE'] = (found.noise_level.value, 'noise of a pixel, median')
    header['AGFWHM'] = (values['fwhm'], 'FWHM of stars, pixels of the input')
    header['AGCORR'] = (values['correlation'], 'correlation of the noise of neighbours')
    if 'concentration' in values:
        header['AGCONC'] = (values['concentration'], 'share of a star in 1 FWHM, of 3 FWHM')
    header['AGSHARP'] = (observed.sharpen, 'share of the sharpening')
    header['AGDENOIS'] = (observed.denoise, 'share of the denoising')
    return header


def enlarge(network: Network, data: np.ndarray, *, tile: int | None = None, **settings: Any) -> np.ndarray:
    """A frame `[H, W]` of data values through a network for frames: `[factor H, factor W]` float32.

    Args:
        data: NaN where there is no measurement; so is the output.
        settings: of `observe`.

    Raises:
        UserError: no single plane of numbers, or nothing to measure in it.
    """
    if data.ndim != 2 or not np.issubdtype(data.dtype, np.number):
        raise UserError(f'model: a frame is one plane of numbers [H, W], not {data.dtype} {data.shape}')
    source = FrameSource('frame', Frame(data, None, fits.Header(), '0'), Stretch('linear', 0.0, 1.0))
    observed = observe(network, source, **settings)
    top, parts = 0, []
    for strip in observed.strips(tile=tile):
        parts.append(to_data(observed, strip, top, observed.factor, 'surface_brightness')[0])
        top += len(strip)
    return np.concatenate(parts)
