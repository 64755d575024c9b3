"""The Experiment record: everything that the library needs to know of one stage of one training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

Batch = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A record of pure functions; `experiments/` fills it from a config, the library only reads it.

    Attributes:
        generator: module, `input` -> prediction.
        discriminator: module, what `discriminator_input` makes -> logits.
        generator_tx: optax transformation of the generator; the learning rate lives in it.
        discriminator_tx: the same for the discriminator.
        generator_loss: `(prediction, batch, real_logits | None, fake_logits | None) -> (loss, terms)`; logits are
            None in a supervised stage.
        discriminator_loss: `(real_logits, fake_logits) -> (loss, terms)`; None makes the stage supervised.
        discriminator_input: `(input, output) -> [n, H, W, C]`: what the discriminator sees of a target or a prediction
            (a conditional GAN adds the input).
        gradient_penalty: weight of the WGAN-GP penalty on the discriminator; 0 for none.
        critic_steps: discriminator updates per generator update.
        preprocess: tf function, `(crop uint8 [S, S, 3], seed int[2]) -> {'input', 'target'}` for one sample.
        to_rgb: `(input, prediction) -> [N, H, W, 3]` in [0, 1], for metrics and pictures.
        baseline: `input -> [N, H, W, 3]` in [0, 1]: what the network has to beat (bicubic enlargement, or gray).
        input_shape: `[h, w, C]` of one training input.
        metrics: `(prediction RGB, truth RGB) -> {name: [N] or [N, D]}`, both `[N, H, W, 3]` in [0, 1].
        summarize: `{name: all tiles' values} -> ({name: number}, warnings)`: one row for the whole evaluation, and
            lines that a person should read.
        headline: names of that row which log lines and tables show.
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    generator_loss: Callable[..., tuple[jax.Array, Terms]]
    discriminator_loss: Callable[..., tuple[jax.Array, Terms]] | None
    discriminator_input: Callable[[jax.Array, jax.Array], jax.Array]
    gradient_penalty: float
    critic_steps: int
    preprocess: Callable[..., Any]
    to_rgb: Callable[..., jax.Array]
    baseline: Callable[..., jax.Array]
    input_shape: tuple[int, int, int]
    metrics: Callable[..., Terms]
    summarize: Callable[[Mapping[str, np.ndarray]], tuple[dict[str, float], list[str]]]
    headline: tuple[str, ...]
