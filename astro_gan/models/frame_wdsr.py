"""WDSR for frames in units of their noise, with the frame seen at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.models.wdsr import WDSR
from astro_gan.noise_units import from_network, to_network

_WIDEST = 100  # pixels


class FrameWDSR(nn.Module):
    """`[N, h, w, 1 + k]`, see `noise_units.network_input` -> `[N, factor h, factor w, 1]`, compressed, float32.

    A faint star is many pixels, none of which stands out. Therefore the network also sees the frame through Gaussian
    filters, in units of what they leave of white noise: in the one that is as wide as the star, the star is what it is
    worth in sigma. What a network of a few narrow layers would have to learn first is given to it, and it sees further.

    Fields:
      factor: enlargement, any integer from 1.
      features, blocks, variant, expansion, low_rank, bicubic_start, dtype: of the `WDSR` that does the rest.
      scales: standard deviations of the filters, pixels of the input.
    """

    factor: int = 2
    features: int = 32
    blocks: int = 8
    variant: str = 'b'
    expansion: int | None = None
    low_rank: float = 0.8
    bicubic_start: bool = True
    scales: Sequence[float] = (0.7, 1.4, 2.8)
    dtype: Any = jnp.float32

    @property
    def radius(self) -> float:
        """Pixels of the input around an output pixel that it depends on."""
        return self._body(0, parent=None).radius + max(map(reach, self.scales), default=0)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        for sigma in self.scales:
            if not 0 < sigma <= _WIDEST:
                raise UserError(f'a filter of {sigma} pixels; above 0 and up to {_WIDEST} are wanted')
        frame = from_network(x[..., :1])
        smooth = [to_network(gaussian(frame, sigma)) for sigma in self.scales]
        return self._body(x.shape[-1] - 1, name='body')(jnp.concatenate([x, *smooth], -1), train=train)

    def _body(self, conditions: int, **more: Any) -> WDSR:
        return WDSR(
            factor=self.factor,
            channels=1,
            conditions=conditions + len(self.scales),
            features=self.features,
            blocks=self.blocks,
            variant=self.variant,
            expansion=self.expansion,
            low_rank=self.low_rank,
            bicubic_start=self.bicubic_start,
            dtype=self.dtype,
            **more,
        )


def reach(sigma: float) -> int:
    """Pixels that a filter of that standard deviation reaches."""
    return int(np.ceil(2.5 * sigma))


def gaussian(x: jax.Array, sigma: float) -> jax.Array:
    """`[N, h, w, C]` smoothed, and scaled so that white noise keeps its standard deviation; 0 beyond the border."""
    radius = reach(sigma)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= np.sqrt(np.sum(taps**2))
    for axis in (1, 2):
        size = x.shape[axis]
        padded = jnp.pad(x, [(radius, radius) if at == axis else (0, 0) for at in range(4)])
        shifted = [jax.lax.slice_in_dim(padded, at, at + size, axis=axis) for at in range(2 * radius + 1)]
        # Weighted sums of slices: convolutions of one channel are slow on the CPU.
        products = [part * np.float32(tap) for part, tap in zip(shifted, taps, strict=True)]
        x = sum(products[1:], products[0])
    return x
