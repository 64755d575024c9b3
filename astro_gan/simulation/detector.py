"""What a detector adds to the light, in noise units; frames `[h, w]`.

The noise has standard deviation 1 on an empty sky. Where there is light it has more: variance 1 + flux / gain, the
Poisson distribution by its Gaussian limit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def correlate(noise: Array, correlation: Array) -> Array:
    """White noise -> noise of the same variance whose neighbours share `correlation` (0 to 0.7), as drizzling gives.

    Taps (a, 1, a) along both axes: lag 1 has 2a / (1 + 2a^2), the diagonal its square, lag 2 a^2 / (1 + 2a^2).
    """
    a = correlation / (1 + jnp.sqrt(jnp.maximum(1 - 2 * correlation**2, 0)))
    for axis in (0, 1):
        noise = (noise + a * (jnp.roll(noise, 1, axis) + jnp.roll(noise, -1, axis))) / jnp.sqrt(1 + 2 * a**2)
    return noise


def grain(noise: Array, width: Array | float) -> Array:
    """White noise -> that of a photographic plate: smooth over a Gaussian of standard deviation `width`, pixels."""
    fy, fx = jnp.fft.fftfreq(noise.shape[0])[:, None], jnp.fft.rfftfreq(noise.shape[1])[None]
    transfer = jnp.exp(-2 * jnp.pi**2 * width**2 * (fy**2 + fx**2))
    smooth = jnp.fft.irfft2(jnp.fft.rfft2(noise) * transfer, noise.shape)
    full = jnp.concatenate([transfer, transfer[:, 1 : (noise.shape[1] + 1) // 2]], 1)
    return smooth / jnp.sqrt(jnp.square(full).mean())


def grain_correlation(width: Array | float) -> Array:
    """Of neighbouring pixels of `grain`."""
    return jnp.exp(-1 / (4 * jnp.maximum(width, 0.1) ** 2))


def cosmic_rays(key: Array, shape: tuple[int, ...], count: Array, *, most: int = 4) -> Array:
    """`count` tracks, at most `most`, and as many hot pixels: what was missed when they were cleaned away."""
    keys = jax.random.split(key, 6)
    y, x = (jax.random.uniform(keys[i], (most, 1, 1), maxval=side) for i, side in enumerate(shape))
    angle = jax.random.uniform(keys[2], (most, 1, 1), maxval=2 * jnp.pi)
    length = jnp.exp(jax.random.uniform(keys[3], (most, 1, 1), minval=jnp.log(0.3), maxval=jnp.log(10.0)))
    height = jnp.exp(jax.random.uniform(keys[4], (2 * most,), minval=jnp.log(6.0), maxval=jnp.log(3e3)))
    dy, dx = jnp.arange(shape[0])[None, :, None] - y, jnp.arange(shape[1])[None, None] - x
    along, across = dx * jnp.cos(angle) + dy * jnp.sin(angle), dy * jnp.cos(angle) - dx * jnp.sin(angle)
    beyond = jnp.maximum(jnp.abs(along) - length / 2, 0)
    real = jnp.arange(most) < count
    tracks = jnp.where(real, height[:most], 0)[:, None, None] * jnp.exp(-(across**2 + beyond**2) / (2 * 0.35**2))
    rows = jax.random.randint(keys[5], (2, most), 0, jnp.asarray(shape)[:, None])
    return tracks.sum(0).at[rows[0], rows[1]].add(jnp.where(real, height[most:], 0))


def saturate(light: Array, level: Array) -> Array:
    """Pixels hold up to `level`; half of what is beyond bleeds up the column, half down."""
    beyond = jnp.maximum(light - level, 0) / 2

    def spill(carry: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        held, own = row
        after = jnp.minimum(held + carry, level)
        return carry - (after - held) + own, after

    held = jnp.minimum(light, level)
    _, held = jax.lax.scan(spill, jnp.zeros(light.shape[1]), (held, beyond))
    _, held = jax.lax.scan(spill, jnp.zeros(light.shape[1]), (held, beyond), reverse=True)
    return held


def expose(
    key: Array,
    clean: Array,
    *,
    gain: Array,
    hits: Array,
    correlation: Array,
    level: Array,
    width: Array | float = 0.0,
    most_hits: int = 4,
) -> Array:
    """A frame of the light `clean`: noise, cosmic rays, saturation.

    Args:
        key: PRNG key.
        clean: noise units `[h, w]`.
        gain: light of a pixel at which its Poisson noise is as large as all other noise.
        hits: cosmic rays and hot pixels, as many of each, at most `most_hits`.
        correlation: of the noise of neighbouring pixels, 0 to 0.7.
        level: that a pixel can hold; infinity for no saturation.
        width: of a plate's grain (see `grain`), in place of `correlation`; 0: no plate.
    """
    noise_key, hit_key = jax.random.split(key)
    white = jax.random.normal(noise_key, clean.shape) + cosmic_rays(hit_key, clean.shape, hits, most=most_hits)
    noise = jnp.where(width > 0, grain(white, width), correlate(white, correlation))
    noise = noise * jnp.sqrt(1 + jnp.maximum(clean, 0) / gain)
    held = saturate(clean, level)
    return jnp.where(held >= level, held, held + noise)
