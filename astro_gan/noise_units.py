"""Frames in units of their noise: what a network for frames takes and gives.

A frame is first brought to noise units: z = (data - local sky) / local noise, the noise being the standard deviation of
one pixel. Sky is 0 and noise 1. Stars reach from 1 to 1e5 and beyond, so a fixed asinh compresses them for the network;
nothing is clipped, and no level depends on the frame.

What a frame is like besides, the network is told in constant maps (`conditions`): how wide a star is, how much
neighbouring pixels share their noise, and how much of a star's light is near its centre.

The output is compressed in the same way, and is surface brightness per pixel of the input: a flat sky keeps its value,
and the flux of a star is the sum over its pixels divided by factor^2.

All functions take numpy arrays or JAX's, and give the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SOFTENING = 3.0  # noise units: linear below, logarithmic above
SCALE = 4.0  # the compressed noise is 1/12, a pixel of 1e5 is 2.8
CONDITIONS = ('fwhm', 'correlation', 'concentration')  # maps beside the frame, in this order
FWHM_SCALE = 4.0  # pixels that become 1 in the map
TYPICAL = 0.75  # concentration where nothing tells
REACHES = (1.0, 3.0)  # FWHM: radii; concentration is the share of the light within the larger that the smaller holds


def _xp(x: Any) -> Any:
    return jnp if isinstance(x, jax.Array) else np


def to_network(z: Any) -> Any:
    """Noise units -> compressed: asinh(z / 3) / 4, any shape, not clipped."""
    return _xp(z).arcsinh(z / SOFTENING) / SCALE


def from_network(x: Any) -> Any:
    """Compressed -> noise units, the inverse of `to_network`."""
    return _xp(x).sinh(x * SCALE) * SOFTENING


def conditions(values: Sequence[Any], shape: tuple[int, int]) -> Any:
    """The constant maps `[n, h, w, k]` float32 (without `n` for plain numbers).

    Args:
        values: the first `k` of CONDITIONS, each a number or `[n]`: the full width at half maximum of a star, as the
            pixels show it, in pixels of the input; the correlation of the noise of neighbouring pixels, the mean of x
            and y, 0 for white noise; the share of a star's light within 3 FWHM that is within 1 FWHM.
        shape: `(h, w)`.
    """
    xp = jnp if any(isinstance(value, jax.Array) for value in values) else np
    scaled = [xp.asarray(value) * scale + shift for value, (scale, shift) in zip(values, _MAPS, strict=False)]
    maps = xp.stack(xp.broadcast_arrays(*scaled), -1).astype(xp.float32)[..., None, None, :]
    return xp.broadcast_to(maps, (*maps.shape[:-3], *shape, len(values)))


def condition_values(frame: Any) -> dict[str, float]:
    """What a network's input `[h, w, 1 + k]` says in its maps, by name: the inverse of `conditions`."""
    told = zip(CONDITIONS, _MAPS, frame[0, 0, 1:], strict=False)
    return {name: (float(value) - shift) / scale for name, (scale, shift), value in told}


_MAPS = ((1 / FWHM_SCALE, 0.0), (1.0, 0.0), (4.0, -4.0 * TYPICAL))


def network_input(z: Any, *values: Any) -> Any:
    """Frames in noise units `[n, h, w]` (or one, `[h, w]`) -> what the network takes, `[n, h, w, 1 + k]` float32.

    Args:
        z: the frames.
        values: see `conditions`.
    """
    xp = _xp(z)
    maps = xp.broadcast_to(conditions(values, z.shape[-2:]), (*z.shape, len(values)))
    return xp.concatenate([to_network(z)[..., None].astype(xp.float32), maps], -1)
