"""Random fields with their truth: what a network for frames is trained on; all of it from (seed, step).

A field is a dict, of arrays in noise units and numbers:

    input       [h, w]          as the telescope gives it: sky 0, noise 1
    truth       [f h, f w]      the same scene through a narrow Gaussian PSF, without noise, in surface brightness per
                                pixel of the input
    clean       [h, w]          the input without noise, cosmic rays and saturation
    fwhm        of the input's PSF, pixels included, in pixels of the input
    correlation of the noise of neighbours
    concentration of a star's light, see `noise_units.conditions`
    x, y, flux  [k]             the stars: pixels of the input, of pixel centres, from 0; those with flux 0 are none
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.noise_units import REACHES, TYPICAL, network_input, to_network
from astro_gan.simulation import detector, psf, scenes

Array = jax.Array
Field = dict[str, Array]

OVERSAMPLING = 4  # fine pixels per pixel of the input on a side
FWHM = (1.2, 6.0)  # pixels of the input
CORRELATION = (0.0, 0.6)  # of what resampling leaves
GRAIN = (0.45, 1.6)  # standard deviation of a plate's grain, pixels of the input
MOST_CORRELATION = float(detector.grain_correlation(GRAIN[1]))
CONCENTRATION = (0.5, 0.95)
PSF_RATIO = 0.6  # FWHM of the truth's PSF over that of the input's ...
LEAST_FWHM = 2.0  # ... and at least so many pixels of the output
MOST_DENSITY = 0.25  # stars per pixel of the input
GALAXIES = 3


def truth_fwhm(fwhm: Any, factor: int) -> Any:
    """Width of the truth's PSF, in pixels of the input."""
    return jnp.maximum(PSF_RATIO * fwhm, LEAST_FWHM / factor)


def blocks(light: Array, side: int) -> Array:
    """Sums over `side` x `side` fine pixels."""
    h, w = light.shape
    return light.reshape(h // side, side, w // side, side).sum((1, 3))


def observe(light: Array, transfer: Array, *, factor: int) -> tuple[Array, Array, Array]:
    """A scene on the fine grid through a PSF: `(input without noise, truth, FWHM in pixels of the input)`."""
    size = light.shape[0]
    fwhm = psf.measured_fwhm(transfer * psf.pixel(OVERSAMPLING, size), size) / OVERSAMPLING
    spectrum = jnp.fft.rfft2(light)
    clean = blocks(jnp.fft.irfft2(spectrum * transfer, light.shape), OVERSAMPLING)
    # Summing to pixels of the output widens a little; the Gaussian has that much less.
    side = OVERSAMPLING // factor
    width = truth_fwhm(fwhm, factor) * OVERSAMPLING
    width = jnp.sqrt(width**2 - (side**2 - 1) / 12 / psf.SIGMA**2)
    truth = blocks(jnp.fft.irfft2(spectrum * psf.gaussian(width, size), light.shape), side) * factor**2
    return clean, truth, fwhm


def one_sigma(fwhm: Any) -> Any:
    """The flux of a star that is one sigma when measured with its (Gaussian) PSF on white noise."""
    return float(np.sqrt(4 * np.pi) * psf.SIGMA) * fwhm


def _uniform(key: Array, low: Any, high: Any, shape: tuple[int, ...] = ()) -> Array:
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _log_uniform(key: Array, low: Any, high: Any, shape: tuple[int, ...] = ()) -> Array:
    return jnp.exp(_uniform(key, jnp.log(low), jnp.log(high), shape))


def random_psf(key: Array, size: int) -> Array:
    """Gaussian (a seventh), seeing (a third) or a telescope in space (half), of a width within FWHM."""
    keys = jax.random.split(key, 12)
    # Of the light alone; with the integration over pixels 0.75 becomes 1.1.
    width = _log_uniform(keys[0], 0.75, FWHM[1] - 0.05) * OVERSAMPLING
    ratio, angle = _uniform(keys[1], 0.8, 1), _uniform(keys[2], 0, 2 * jnp.pi)
    plain = psf.gaussian(width, size, ratio=ratio, angle=angle)
    seeing = psf.moffat(width, _uniform(keys[3], 2.2, 5), size, ratio=ratio, angle=angle)
    sharp = jnp.clip(width, 1.03 * size / (psf.WINDOW - 8) / 0.9, 4 * OVERSAMPLING)
    space = psf.telescope(
        sharp,
        size,
        obstruction=_uniform(keys[4], 0, 0.4),
        vanes=jax.random.choice(keys[5], jnp.array([0, 3, 4, 4])),
        width=_log_uniform(keys[6], 0.01, 0.05),
        hexagons=jax.random.bernoulli(keys[7], 0.3),
        aberrations=_uniform(keys[8], 0, 0.05) * jax.random.normal(keys[9], (5,)),
        angle=angle,
    )
    jitter = psf.gaussian(_uniform(keys[10], 0.0, 0.4) * sharp, size, ratio=ratio, angle=angle)
    kind = _uniform(keys[11], 0, 1)
    return jnp.where(kind < 0.15, plain, jnp.where(kind < 0.5, seeing, space * jitter))


def random_stars(key: Array, most: int, size: int, fwhm: Array) -> tuple[Array, Array, Array]:
    """`(x, y, flux)`, each `[most]`, of up to `most` stars on `size` pixels; flux 0 where there is none.

    A power law of fluxes over up to five decades from about the noise; from no star to a globular cluster's density;
    in a third of the fields every second star stands close to the one before.
    """
    keys = jax.random.split(key, 12)
    beams = size**2 / jnp.maximum(fwhm, 2) ** 2
    count = jnp.where(_uniform(keys[0], 0, 1) < 0.1, 0, beams * _log_uniform(keys[1], 0.003, 1.0))
    slope = _uniform(keys[2], 1.3, 2.2)
    unit = one_sigma(fwhm)
    faintest, brightest = unit * _log_uniform(keys[3], 0.7, 20), unit * _log_uniform(keys[4], 100, 1e5)
    flux = jnp.minimum(faintest * _uniform(keys[5], 1e-7, 1, (most,)) ** (-1 / (slope - 1)), brightest)
    flux = jnp.where(jnp.arange(most) < count, flux, 0)
    even = _uniform(keys[6], 0, size, (2, most))
    spread = _uniform(keys[7], 0.05, 0.3) * size
    cluster = size / 2 + spread * jax.random.normal(keys[8], (2, most))
    at = jnp.where(_uniform(keys[9], 0, 1) < 0.25, cluster, even)
    angle = _uniform(keys[10], 0, 2 * jnp.pi, (most,))
    distance = fwhm * _uniform(keys[11], 0.4, 1.8, (most,))
    apart = jnp.stack([distance * jnp.cos(angle), distance * jnp.sin(angle)])
    beside = jnp.roll(at, 1, axis=1) + apart
    paired = (jnp.arange(most) % 2 == 1) & (_uniform(jax.random.fold_in(key, 1), 0, 1) < 0.3)
    x, y = (jnp.where(paired[None], beside, at) + 0.5) % size - 0.5
    return x, y, flux


def one_galaxy(key: Array, size: int) -> Array:
    """A galaxy on the fine grid: flux 30 to 1e5, half-light radius 0.5 to 10 pixels of the input, n 0.6 to 5."""
    keys = jax.random.split(key, 6)
    x, y = _uniform(keys[0], 0, size, (2,))
    radius = _log_uniform(keys[1], 0.5, 10) * OVERSAMPLING
    index, ratio, angle = _uniform(keys[2], 0.6, 5), _uniform(keys[3], 0.2, 1), _uniform(keys[4], 0, jnp.pi)
    return scenes.sersic(x, y, _log_uniform(keys[5], 30, 1e5), radius, index, ratio, angle, size)


def _random_galaxies(key: Array, size: int) -> Array:
    """Up to three galaxies in half of the fields, on the fine grid."""
    keys = jax.random.split(key, 2 + GALAXIES)
    count = jnp.where(_uniform(keys[0], 0, 1) < 0.5, 0, jax.random.randint(keys[1], (), 1, GALAXIES + 1))
    there = jnp.arange(GALAXIES) < count
    galaxies = (there[index] * one_galaxy(own, size) for index, own in enumerate(keys[2:]))
    return sum(galaxies, jnp.zeros((size, size)))


def _random_diffuse(key: Array, size: int) -> Array:
    """Nebulosity in three tenths of the fields, 0.3 to 100 noise units, less a part of what is everywhere (the sky)."""
    keys = jax.random.split(key, 6)
    level = jnp.where(_uniform(keys[0], 0, 1) < 0.7, 0, _log_uniform(keys[1], 0.3, 100))
    light = scenes.diffuse(keys[2], _uniform(keys[3], 2, 3.6), _uniform(keys[4], 0.2, 1.5), size)
    return level * (light - _uniform(keys[5], 0, 1) * light.min()) / OVERSAMPLING**2


def _random_arc(key: Array, size: int) -> Array:
    """In two tenths of the fields an arc or a ring, 1 to 100 noise units on its ridge, on the fine grid.

    A network that knows only points and smooth light makes a chain of stars of a faint thin line.
    """
    keys = jax.random.split(key, 8)
    level = jnp.where(_uniform(keys[0], 0, 1) < 0.8, 0, _log_uniform(keys[1], 1, 100))
    x, y = _uniform(keys[2], 0, size, (2,))
    radius, width = _log_uniform(keys[3], 3, 20) * OVERSAMPLING, _log_uniform(keys[4], 0.3, 3) * OVERSAMPLING
    ratio, angle, length = _uniform(keys[5], 0.6, 1), _uniform(keys[6], 0, 2 * jnp.pi), _uniform(keys[7], 0, 8)
    return level * scenes.arc(x, y, radius, width, ratio, angle, length, size) / OVERSAMPLING**2


def _plane(tilt: Array, size: int, pixels: int) -> Array:
    """A sky that rises by `tilt` `[2]` over the field and is off by `tilt[2]`, on `pixels` pixels a side."""
    at = (jnp.arange(pixels) + 0.5) / pixels - 0.5
    return tilt[0] * at[:, None] + tilt[1] * at[None] + tilt[2]


def random_field(key: Array, *, size: int, factor: int) -> Field:
    """One field, `size` pixels of the input on a side; see above."""
    keys = jax.random.split(key, 24)
    fine, most = size * OVERSAMPLING, round(MOST_DENSITY * size**2)
    transfer = random_psf(keys[0], fine)
    seen = transfer * psf.pixel(OVERSAMPLING, fine)
    fwhm = psf.measured_fwhm(seen, fine) / OVERSAMPLING
    concentration = psf.concentration(seen, fwhm * OVERSAMPLING, fine, radii=REACHES)
    x, y, flux = random_stars(keys[1], most, size, fwhm)
    centre = (OVERSAMPLING - 1) / 2
    light = scenes.points(x * OVERSAMPLING + centre, y * OVERSAMPLING + centre, flux, fine)
    light = light + _random_galaxies(keys[2], fine) + _random_diffuse(keys[3], fine)
    light = light + _random_arc(keys[18], fine)
    clean, truth, fwhm = observe(light, transfer, factor=factor)
    # The sky was subtracted, but not quite; it is no part of the scene, and input and truth have the same.
    tilt = 0.3 * jax.random.normal(keys[4], (3,))
    clean, truth = clean + _plane(tilt, size, size), truth + _plane(tilt, size, size * factor)

    some = jnp.where(_uniform(keys[5], 0, 1) < 0.3, _log_uniform(keys[6], 300, 1e5), jnp.inf)
    correlation = jnp.where(_uniform(keys[12], 0, 1) < 0.5, 0, _uniform(keys[13], *CORRELATION))
    # Rare: where stars are sharp, a network that meets many of them takes bright stars for more.
    hits = jnp.where(_uniform(keys[9], 0, 1) < 0.1, jax.random.randint(keys[10], (), 1, 3), 0)
    grain = jnp.where(_uniform(keys[16], 0, 1) < 0.1, _uniform(keys[17], *GRAIN), 0)
    correlation = jnp.where(grain > 0, detector.grain_correlation(grain), correlation)
    gain = _log_uniform(keys[7], 3, 300)
    frame = detector.expose(keys[8], clean, gain=gain, hits=hits, correlation=correlation, level=some, width=grain)
    truth = jnp.minimum(truth, some)
    # A dead column, filled from both sides as the product does it.
    dead = jax.random.randint(keys[14], (), 0, size)
    filled = (jnp.roll(frame, 1, 1) + jnp.roll(frame, -1, 1)) / 2
    frame = jnp.where((jnp.arange(size) == dead)[None] & (_uniform(keys[15], 0, 1) < 0.1), filled, frame)
    return {
        'input': frame,
        'truth': truth,
        'clean': clean,
        'fwhm': fwhm,
        'correlation': correlation,
        'concentration': concentration,
        'x': x,
        'y': y,
        'flux': flux,
    }


@functools.partial(jax.jit, static_argnums=(1, 2))
def make_batch(keys: Array, size: int, factor: int) -> dict[str, Array]:
    """Fields of a key `[n]` each: 'input' `[n, h, w, 3]` and 'target' `[n, f h, f w, 1]` as `noise_units` has them.

    What a user's frame is measured to be is never quite true; neither is what the network is told here.
    """

    def one(key: Array) -> tuple[Array, Array]:
        own, *more = jax.random.split(key, 6)
        field = random_field(own, size=size, factor=factor)
        scale = jnp.exp(0.04 * jax.random.normal(more[0]))
        fwhm = field['fwhm'] * jnp.exp(0.05 * jax.random.normal(more[1]))
        correlation = jnp.maximum(field['correlation'] + 0.02 * jax.random.normal(more[2]), 0)
        near = field['concentration'] + 0.02 * jax.random.normal(more[3])
        near = jnp.where(_uniform(more[4], 0, 1) < 0.1, TYPICAL, jnp.clip(near, *CONCENTRATION))  # not known
        return network_input(scale * field['input'], fwhm, correlation, near), to_network(scale * field['truth'])[
            ..., None
        ]

    input, target = jax.vmap(one)(keys)
    return {'input': input, 'target': target}


def batch_key(seed: int, step: int) -> Array:
    """The randomness of a step."""
    return jax.random.fold_in(jax.random.key(seed), step)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Batches of fields for training and for measuring, made on the device; every field has a key of its own.

    Attributes:
        count: fields of a batch over all devices and hosts, a multiple of the devices.
        size: pixels of the input on a side.
        factor: of the enlargement.
    """

    count: int
    size: int
    factor: int

    def training(self, seed: int, start_step: int) -> Iterator[dict[str, Array]]:
        """'input' and 'target' `[local devices, n, ...]` from a step on, from seed, step and number in the batch."""
        for step in itertools.count(start_step):
            yield self._batch(batch_key(seed, step), self._numbers())

    def held_out(self, split: int, total: int) -> Iterator[dict[str, Any]]:
        """`total` fields that no training sees, the same each time; with 'index', and 'mask' 0 where filled up."""
        key = jax.random.fold_in(batch_key(0, 2**31 - 1), split)  # trainings count from 0
        for start in range(0, total, self.count):
            index = start + self._numbers()
            mask = (index < total).astype(np.float32)
            yield {**self._batch(key, index), 'index': _devices(index), 'mask': _devices(mask)}

    def _numbers(self) -> np.ndarray:
        """Of this host's fields in the batch."""
        return np.array_split(np.arange(self.count, dtype=np.int32), jax.process_count())[jax.process_index()]

    def _batch(self, key: Array, numbers: np.ndarray) -> dict[str, Array]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
        return jax.tree.map(_devices, make_batch(keys, self.size, self.factor))


def _devices(values: Any) -> Any:
    return values.reshape(jax.local_device_count(), -1, *values.shape[1:])
