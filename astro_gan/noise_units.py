"""Frames in units of their noise: what a network for frames takes and gives.

A frame is first brought to noise units: z = (data - local sky) / local noise, the noise being the standard deviation of
one pixel. Sky is 0 and noise 1. Stars reach from 1 to 1e5 and beyond, so a fixed asinh compresses them for the network;
nothing is clipped, and no level depends on the frame.

What a frame is like besides, the network is told in constant maps (`conditions`): how wide a star is, and how much
neighbouring pixels share their noise.

The output is compressed in the same way, and is surface brightness per pixel of the input: a flat sky keeps its value,
and the flux of a star is the sum over its pixels divided by factor^2.

All functions take numpy arrays or JAX's, and give the same kind.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SOFTENING = 3.0  # noise units: linear below, logarithmic above
SCALE = 4.0  # the compressed noise is 1/12, a pixel of 1e5 is 2.8
CONDITIONS = 2  # maps beside the frame: width of a star, correlation of the noise
FWHM_SCALE = 4.0  # pixels that become 1 in the map


def _xp(x: Any) -> Any:
    return jnp if isinstance(x, jax.Array) else np


def to_network(z: Any) -> Any:
    """Noise units -> compressed: asinh(z / 3) / 4, any shape, not clipped."""
    return _xp(z).arcsinh(z / SOFTENING) / SCALE


def from_network(x: Any) -> Any:
    """Compressed -> noise units, the inverse of `to_network`."""
    return _xp(x).sinh(x * SCALE) * SOFTENING


def conditions(fwhm: Any, correlation: Any, shape: tuple[int, int]) -> Any:
    """The constant maps `[n, h, w, 2]` float32 (without `n` for plain numbers).

    Args:
        fwhm: full width at half maximum of a star, as the pixels show it, in pixels of the input; a number or `[n]`.
        correlation: of the noise of neighbouring pixels, the mean of x and y; 0 for white noise; a number or `[n]`.
        shape: `(h, w)`.
    """
    xp = jnp if isinstance(fwhm, jax.Array) or isinstance(correlation, jax.Array) else np
    values = xp.stack(xp.broadcast_arrays(xp.asarray(fwhm) / FWHM_SCALE, xp.asarray(correlation)), -1)
    values = values.astype(xp.float32)[..., None, None, :]
    return xp.broadcast_to(values, (*values.shape[:-3], *shape, CONDITIONS))


def network_input(z: Any, fwhm: Any, correlation: Any) -> Any:
    """Frames in noise units `[n, h, w]` (or one, `[h, w]`) -> what the network takes, `[n, h, w, 1 + 2]` float32."""
    xp = _xp(z)
    maps = xp.broadcast_to(conditions(fwhm, correlation, z.shape[-2:]), (*z.shape, CONDITIONS))
    return xp.concatenate([to_network(z)[..., None].astype(xp.float32), maps], -1)
