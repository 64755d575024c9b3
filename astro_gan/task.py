"""The two records that carry a training: what is the task's, and what is the stage's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import numpy as np
import optax

from astro_gan.errors import UserError

Batch = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]

HIGHER_IS_BETTER = ('psnr', 'psnr_y', 'ssim_y')
LOWER_IS_BETTER = ('l1', 'l2', 'l1_lab', 'l2_lab', 'l1_ab', 'l2_ab', 'lpips', 'frechet_alex')


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned and how it is measured, the same for all stages: a record of pure functions.

    `experiments/` fills it from a config, the library only reads it.

    Attributes:
        generator: module, `input` -> prediction.
        discriminator: module, what `discriminator_input` makes -> logits.
        input_shape: `[h, w, C]` of one training input.
        discriminator_input: `(input, output) -> [n, H, W, C]`: what the discriminator sees of a target or a prediction
            (a conditional GAN adds the input).
        prepare: on the device, `(batch, keys [n] or None) -> batch`: adds 'input', 'target' and 'truth' (the target as
            RGB `[n, H, W, 3]` in [0, 1]) to what the data source gives, mostly 'crop' uint8 `[n, S, S, 3]`. A key for
            each sample draws flips and noise; None, for evaluation, draws nothing.
        to_rgb: `(input, prediction) -> [N, H, W, 3]` in [0, 1], for metrics and pictures.
        baseline: `input -> [N, H, W, 3]` in [0, 1]: what the network has to beat (bicubic enlargement, or gray).
        metrics: `(prediction RGB, truth RGB) -> {name: [N] or [N, D]}`, both `[N, H, W, 3]` in [0, 1].
        summarize: `{name: all tiles' values} -> ({name: number}, warnings)`: one row for the whole evaluation, and
            lines that a person should read.
        headline: names of that row which log lines and tables show.
    """

    generator: nn.Module
    discriminator: nn.Module
    input_shape: tuple[int, int, int]
    discriminator_input: Callable[[jax.Array, jax.Array], jax.Array]
    prepare: Callable[[Batch, jax.Array | None], Batch]
    to_rgb: Callable[..., jax.Array]
    baseline: Callable[..., jax.Array]
    metrics: Callable[..., Terms]
    summarize: Callable[[Mapping[str, np.ndarray]], tuple[dict[str, float], list[str]]]
    headline: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the networks are trained for a while.

    Attributes:
        name: of its folder of checkpoints.
        steps: how many; the stage before it ends with the best of its own.
        batch_size: over all devices and hosts.
        eval_every: steps between evaluations, each with a checkpoint.
        best_metric: the validation metric that names the best weights.
        ema_decay: of the averaged generator weights, which are measured and handed on.
        generator_tx: optax transformation of the generator; the learning rate lives in it. It is told `stage_step`, the
            steps of this stage before this one, which drives its schedule.
        discriminator_tx: the same for the discriminator. The trees of both states are the same in all stages of a run.
        generator_loss: `(prediction, batch, real_logits | None, fake_logits | None) -> (loss, terms)`; logits are
            None in a supervised stage.
        discriminator_loss: `(real_logits, fake_logits) -> (loss, terms)`; None makes the stage supervised.
        gradient_penalty: weight of the WGAN-GP penalty on the discriminator; 0 for none.
        critic_steps: discriminator updates per generator update.

    Raises:
        UserError: `best_metric` is unknown.
    """

    name: str
    steps: int
    batch_size: int
    eval_every: int
    best_metric: str
    ema_decay: float
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    generator_loss: Callable[..., tuple[jax.Array, Terms]]
    discriminator_loss: Callable[..., tuple[jax.Array, Terms]] | None = None
    gradient_penalty: float = 0.0
    critic_steps: int = 1

    def __post_init__(self) -> None:
        if self.best_metric not in HIGHER_IS_BETTER + LOWER_IS_BETTER:
            valid = ', '.join(HIGHER_IS_BETTER + LOWER_IS_BETTER)
            raise UserError(f'config.{self.name}.best_metric: {self.best_metric!r} is unknown; valid are {valid}')
