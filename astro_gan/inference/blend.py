"""Less of what a network for frames does: its output blended with the frame, and seen again through its PSF."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from typing import Any

import jax
import jax.numpy as jnp

from astro_gan.inference.network import Network
from astro_gan.models.enlarging import bicubic_upsample, edge_pad
from astro_gan.noise_units import FWHM_SCALE, from_network, to_network

_PER_SIGMA = math.sqrt(8 * math.log(2))
_BLUR = 16  # pixels of the output that the blur between the PSFs reaches


@dataclasses.dataclass(frozen=True, eq=False)
class Blended:
    """A network whose output is blended with less of it; the last channel is its own output.

    With S the network's output, R the same through the PSF between the two, and B the frame enlarged by bicubic
    interpolation, S - R is what was sharpened, and B - R what was taken for noise: R + sharpen (S - R) + (1 - denoise)
    (B - R). In light, not in compressed values.
    """

    network: Network
    sharpen: float
    denoise: float
    colorizes: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """The network's; the generator is told by all that decides what is computed."""
        own = self.network.description
        generator = {**own['generator'], 'blend': [self.sharpen, self.denoise, own['output']['psf']]}
        return own | {'generator': generator}

    @property
    def factor(self) -> int:
        return self.network.factor

    @property
    def variables(self) -> Any:
        return self.network.variables

    @property
    def generator(self) -> Any:
        return types.SimpleNamespace(radius=self.network.generator.radius + _BLUR / self.factor)

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, h, w, 3]` -> `[N, factor h, factor w, 2]`."""
        sharp = from_network(self.network.forward(variables, images))
        psf = self.network.description['output']['psf']
        again = _blur(sharp, _between(images[0, 0, 0, 1] * FWHM_SCALE, self.factor, psf))
        plain = bicubic_upsample(from_network(images[..., :1]), self.factor) if self.denoise < 1 else again
        made = again + self.sharpen * (sharp - again) + (1 - self.denoise) * (plain - again)
        return to_network(jnp.concatenate([made, sharp], -1))


@functools.lru_cache(maxsize=4)
def blended(network: Network, sharpen: float, denoise: float) -> Blended:
    return Blended(network, sharpen, denoise)


def _between(fwhm: jax.Array, factor: int, psf: dict[str, Any]) -> jax.Array:
    """Standard deviation, in pixels of the output, of the Gaussian that takes the output's PSF to the input's."""
    narrow = jnp.maximum(psf['ratio'] * fwhm, psf['least_fwhm_in_output_pixels'] / factor)
    # Pixels of the output are summed to those of the input: that widens too.
    square = (fwhm**2 - narrow**2) / _PER_SIGMA**2 - (1 - 1 / factor**2) / 12
    return factor * jnp.sqrt(jnp.maximum(square, 1e-4))


def _blur(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """`[N, H, W, 1]` through a Gaussian whose width is known when it runs; borders repeated."""
    taps = jnp.exp(-0.5 * jnp.square(jnp.arange(-_BLUR, _BLUR + 1) / sigma))
    taps = taps / taps.sum()
    height, width = images.shape[1:3]
    images = edge_pad(images, _BLUR)
    rows: Any = sum(taps[i] * images[:, i : i + height] for i in range(2 * _BLUR + 1))
    columns: Any = sum(taps[i] * rows[:, :, i : i + width] for i in range(2 * _BLUR + 1))
    return columns
