"""One trained generator: from what a user has to what a user gets."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan import colorization


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Network:
    """One trained generator.

    Attributes:
        description: what model.json says of it: task, factor, generator, input, output ...
        generator: the flax module.
        variables: {'params': ..., 'batch_stats': ...}, float32.
    """

    description: dict[str, Any]
    generator: nn.Module
    variables: dict[str, Any]

    @property
    def factor(self) -> int:
        """How many times larger the output is."""
        return int(self.description['factor'])

    @property
    def colorizes(self) -> bool:
        """Whether it takes one channel and gives three."""
        return self.description['task'] == 'colorization'

    @property
    def smallest(self) -> int:
        """Pixels on a side that an input must have."""
        return int(self.description['input'].get('smallest', 1))

    @property
    def reduction(self) -> int:
        """How many times smaller than the pictures its training examples were made (colorizers)."""
        return int(self.description.get('reduction', 1))

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, H, W, C]` in [0, 1] -> from what a user has to what a user gets, `[N, factor H, factor W, 3]`."""
        if not self.colorizes:
            return self.generator.apply(variables, images, train=False)  # type: ignore[return-value]
        x, prediction, space = self._predict(variables, images)
        return colorization.to_rgb(x, prediction, space)

    def chroma(self, variables: Any, gray: jax.Array) -> jax.Array:
        """Gray `[N, H, W, 1]` in [0, 1] -> a colorizer's a*b* `[N, H, W, 2]` in CIE units."""
        x, prediction, space = self._predict(variables, gray)
        if space == 'rgb':
            prediction = jnp.clip(prediction, 0.0, 1.0)
        return colorization.chromaticity(x, prediction, space)

    def _predict(self, variables: Any, gray: jax.Array) -> tuple[jax.Array, jax.Array, str]:
        space = self.description['generator']['fields']['space']
        x = colorization.network_input(gray, space)
        prediction: Any = self.generator.apply(variables, x, train=False)
        return x, prediction, space
