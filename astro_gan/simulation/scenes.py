"""What stands in the sky, on a fine grid: flux per fine pixel `[size, size]`, on a torus.

Positions are in fine pixels, of pixel centres, from 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def wrapped(size: int, centre: Array) -> Array:
    """Distances of all pixels from `centre`, the short way round: `[..., size]`."""
    pixels = jnp.expand_dims(jnp.arange(size), tuple(range(centre.ndim)))
    return (pixels - centre[..., None] + size / 2) % size - size / 2


def _impulse(at: Array, size: int) -> Array:
    """A unit impulse between pixels, `[k]` -> `[k, size]`: the periodic sinc, exact for any PSF the grid can hold."""
    distance = wrapped(size, at)
    near = jnp.abs(distance) < 1e-4
    safe = jnp.where(near, 0.5, distance)
    return jnp.where(near, 1.0, jnp.sin(jnp.pi * safe) / (size * jnp.tan(jnp.pi * safe / size)))


def points(x: Array, y: Array, flux: Array, size: int) -> Array:
    """Stars: positions and fluxes `[k]`, before any blurring. A matrix product, as impulses are separable."""
    rows, columns = _impulse(y, size) * flux[:, None], _impulse(x, size)
    return jnp.matmul(rows.T, columns, precision=jax.lax.Precision.HIGHEST)


def sersic(
    x: Array, y: Array, flux: Array, radius: Array, index: Array, ratio: Array, angle: Array, size: int
) -> Array:
    """Galaxies with a Sersic profile, each a number or `[k]`: the sum of them.

    Args:
        x, y: centres.
        flux: in all.
        radius: half-light radius on the major axis, fine pixels.
        index: Sersic's n: 1 a disk, 4 an elliptical.
        ratio: of the axes, minor / major.
        angle: of the major axis, radians from x to y.
        size: of the grid.
    """
    x, y, flux, radius, index, ratio, angle = jnp.broadcast_arrays(
        *map(jnp.atleast_1d, (x, y, flux, radius, index, ratio, angle))
    )
    dx, dy = wrapped(size, x)[:, None, :], wrapped(size, y)[:, :, None]
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / ratio[:, None, None]
    # Half a fine pixel of softening: the cusp of a high index is narrower than the grid.
    distance = jnp.sqrt(along**2 + across**2 + 0.25) / radius[:, None, None]
    b = (2 * index - 1 / 3 + 4 / (405 * index))[:, None, None]  # Ciotti and Bertin 1999
    profile = jnp.exp(-b * (distance ** (1 / index[:, None, None]) - 1))
    return jnp.sum(profile * (flux / profile.sum((1, 2)))[:, None, None], 0)


def arc(x: Array, y: Array, radius: Array, width: Array, ratio: Array, angle: Array, length: Array, size: int) -> Array:
    """A part of a ring, as lenses, shells and bubbles show them; 1 on its ridge, numbers throughout.

    Args:
        x, y: centre of the ring.
        radius, width: of the ring; the width is a standard deviation.
        ratio: of the ring's axes.
        angle: of the arc's middle, radians from x to y.
        length: 0 a whole ring, 10 a short piece: exp(length (cos - 1)) of the angle from the middle.
        size: of the grid.
    """
    dx, dy = wrapped(size, x)[None, :], wrapped(size, y)[:, None]
    distance = jnp.hypot(dx, dy / ratio) - radius
    return jnp.exp(-0.5 * (distance / width) ** 2 + length * (jnp.cos(jnp.arctan2(dy, dx) - angle) - 1))


def diffuse(key: Array, slope: Array, contrast: Array, size: int) -> Array:
    """Nebulosity: exp(contrast g), g a Gaussian random field of variance 1 with a power spectrum k^-slope; mean 1."""
    white = jnp.fft.rfft2(jax.random.normal(key, (size, size)))
    fy, fx = jnp.fft.fftfreq(size)[:, None] * size, jnp.fft.rfftfreq(size)[None] * size
    frequency = jnp.hypot(fy, fx)
    field = jnp.fft.irfft2(white * jnp.where(frequency > 0, jnp.maximum(frequency, 1) ** (-slope / 2), 0), (size, size))
    light = jnp.exp(contrast * field / field.std())
    return light / light.mean()
