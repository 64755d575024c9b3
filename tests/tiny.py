"""A tiny super-resolution experiment, made from the library alone, for the tests of state, step, loop and export."""

import contextlib
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from astro_gan import images, loop, losses, stage_run, summary
from astro_gan.evaluation import make_predict
from astro_gan.models import make_discriminator, make_generator
from astro_gan.state import create_state
from astro_gan.task import Stage, Task
from astro_gan.train import AXIS, make_eval_step, make_train_step

FIELDS = {'factor': 2, 'features': 4, 'blocks': 1}


@functools.cache
def stage(*, adversarial='minimax', penalty=0.0, critic_steps=1, rate=1e-3, **fields) -> Stage:
    """`adversarial=None` makes a supervised stage; `fields` are those of `Stage`."""

    def generator_loss(prediction, batch, real_logits, fake_logits):
        terms = {'generator/pixel': losses.l1(prediction, batch['target'])}
        if fake_logits is not None:
            terms['generator/adversarial'] = 1e-2 * losses.ADVERSARIAL[adversarial][1](real_logits, fake_logits)
        return sum(terms.values()), terms

    def discriminator_loss(real_logits, fake_logits):
        terms = {'discriminator/real': real_logits.mean(), 'discriminator/fake': fake_logits.mean()}
        return losses.ADVERSARIAL[adversarial][0](real_logits, fake_logits, 1.0), terms

    defaults = {
        'name': 'adversarial' if adversarial else 'supervised',
        'steps': 4,
        'batch_size': 4,
        'eval_every': 2,
        'best_metric': 'l1',
        'ema_decay': 0.9,
    }
    return Stage(
        **(defaults | fields),
        generator_tx=optax.adam(rate),
        discriminator_tx=optax.adam(rate),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss if adversarial else None,
        gradient_penalty=penalty,
        critic_steps=critic_steps,
    )


@functools.cache
def task(*, generator='wdsr', norm='none', dtype=jnp.float32) -> Task:
    """Tiny networks, cheap metrics."""
    axis = {'axis_name': AXIS} if generator == 'srresnet' else {}

    def cheap_metrics(prediction, truth):
        l1 = jnp.abs(prediction - truth).mean((1, 2, 3))
        # By 'l2' the best is the worst: for tests that need the best not to be the latest.
        return {'l1': l1, 'l2': -l1, 'psnr_y': -l1, 'ssim_y': -l1, 'lpips': l1}

    return Task(
        generator=make_generator(generator, **FIELDS, **axis, dtype=dtype),
        discriminator=make_discriminator(
            'srgan', features=4, hidden=4, norm=norm, global_pool=True, axis_name=AXIS, dtype=dtype
        ),
        input_shape=(8, 8, 3),
        discriminator_input=lambda low_res, image: image,
        prepare=lambda batch, keys: {**batch, 'truth': jnp.clip(batch['target'], 0, 1)},  # the batches are made ready
        to_rgb=lambda low_res, prediction: jnp.clip(prediction, 0, 1),
        baseline=lambda low_res: jnp.clip(images.upsample(low_res, 2), 0, 1),
        metrics=cheap_metrics,
        summarize=lambda table: (summary.summarize(table), []),
        headline=('l1', 'psnr_y'),
    )


@functools.cache
def train_step(task: Task, stage: Stage, **options):
    """A step is compiled once for all tests that take the same task and stage."""
    return make_train_step(task, stage, seed=0, **options)


@functools.cache
def fresh_state(task: Task, stage: Stage):
    """The initial state, as numpy arrays (a step donates its state)."""
    return create_state(task, stage, jax.random.key(0))


def batch(step: int = 0, *, devices: int = 2, per_device: int = 2) -> dict[str, np.ndarray]:
    """Random pictures, another for every step."""
    target = np.random.default_rng(step).random((devices * per_device, 16, 16, 3), np.float32)
    low_res = np.asarray(images.downsample(target, 2))
    shape = (devices, per_device)
    return {'input': low_res.reshape(*shape, 8, 8, 3), 'target': target.reshape(*shape, 16, 16, 3)}


@contextlib.contextmanager
def compiled_once():
    """Within, loops of the same task and stages compile their steps once, as those of one process do anyway."""
    with (
        mock.patch.object(stage_run, 'make_train_step', _make_train_step),
        mock.patch.object(loop, 'make_eval_step', _make_eval_step),
        mock.patch.object(loop, 'make_predict', _make_predict),
        mock.patch.object(loop, 'create_state', lambda task, stage, key: fresh_state(task, stage)),  # seed 0
    ):
        yield


_make_train_step, _make_eval_step, _make_predict = map(functools.cache, (make_train_step, make_eval_step, make_predict))
