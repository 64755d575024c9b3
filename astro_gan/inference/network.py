"""One trained generator: from what a user has to what a user gets."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan import colorization, guides


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

    @property
    def guided(self) -> bool:
        """Whether it takes guides (`astro_gan.guides`) beside the picture."""
        return self.description.get('guides', 0) > 0

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, H, W, C]` in [0, 1] -> from what a user has to what a user gets, `[N, factor H, factor W, 3]`."""
        if not self.colorizes:
            return self.generator.apply(variables, images, train=False)  # type: ignore[return-value]
        x, prediction, space = self._predict(variables, images)
        return colorization.to_rgb(x, prediction, space)

    def chroma(self, variables: Any, gray: jax.Array) -> jax.Array:
        """Gray `[N, H, W, 1]` in [0, 1] -> a colorizer's a*b* `[N, H, W, 2]` in CIE units.

        A guided one's takes `guides.first_guess` as further channels; without them it is told nothing.
        """
        x, prediction, space = self._predict(variables, gray)
        if space == 'rgb':
            prediction = jnp.clip(prediction, 0.0, 1.0)
        return colorization.chromaticity(x, prediction, space)

    def _predict(self, variables: Any, gray: jax.Array) -> tuple[jax.Array, jax.Array, str]:
        space = self.description['generator']['fields']['space']
        planes = gray[..., 1:]
        x = told = colorization.network_input(gray[..., :1], space)
        if self.guided:
            missing = guides.PLANES - planes.shape[-1]
            told = jnp.concatenate([x, jnp.pad(planes, ((0, 0), (0, 0), (0, 0), (0, missing)))], axis=-1)
        prediction: Any = self.generator.apply(variables, told, train=False)
        return x, prediction, space
