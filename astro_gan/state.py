"""GANState: one pytree that holds all that a resume needs."""

from __future__ import annotations

import functools
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from astro_gan.task import Stage, Task


class NetState(flax.struct.PyTreeNode):
    """One network: its parameters, its batch statistics ({} without batch norm) and its optimizer's state."""

    params: Any
    batch_stats: Any
    opt_state: Any


class GANState(flax.struct.PyTreeNode):
    """Both networks from step 0, so that every stage has the same tree; a supervised stage leaves one alone.

    `skipped` counts the steps in a row, up to now, whose loss or gradient was not finite. `ema_params` are the averaged
    weights of the generator, which are measured and handed on, `ema_batch_stats` its statistics averaged alike.
    """

    step: jax.Array
    skipped: jax.Array
    generator: NetState
    discriminator: NetState
    ema_params: Any
    ema_batch_stats: Any


def _create_net(module: Any, tx: optax.GradientTransformation, key: jax.Array, spec: jax.ShapeDtypeStruct) -> NetState:
    variables = dict(module.init(key, jnp.zeros(spec.shape, spec.dtype), train=False))
    params = variables.pop('params')
    return NetState(params=params, batch_stats=variables.pop('batch_stats', {}), opt_state=tx.init(params))


def _create_state(task: Task, stage: Stage, key: jax.Array) -> GANState:
    generator_key, discriminator_key = jax.random.split(key)
    input_spec = jax.ShapeDtypeStruct((1, *task.input_shape), jnp.float32)
    generator = _create_net(task.generator, stage.generator_tx, generator_key, input_spec)
    variables = {'params': generator.params, 'batch_stats': generator.batch_stats}

    def discriminator_input(x: jax.Array) -> jax.Array:
        output: Any = task.generator.apply(variables, x, train=False)
        return task.discriminator_input(x, output)

    return GANState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=_create_net(
            task.discriminator,
            stage.discriminator_tx,
            discriminator_key,
            jax.eval_shape(discriminator_input, input_spec),
        ),
        ema_params=generator.params,
        ema_batch_stats=generator.batch_stats,
    )


def create_state(task: Task, stage: Stage, key: jax.Array) -> GANState:
    """A fresh state.

    Args:
        task: its networks, and the shape of their input.
        stage: that training starts with.
        key: PRNG key; both networks' initial weights derive from it.

    Returns:
        The state as numpy arrays: no buffer is shared, as donating it demands.
    """
    # Runs once: optimizing the code of the random numbers takes the compiler ten times longer than running them.
    options = {'xla_backend_optimization_level': 0}
    create = jax.jit(functools.partial(_create_state, task, stage), compiler_options=options)
    return jax.device_get(create(key))


def state_shape(task: Task, stage: Stage) -> GANState:
    """The shapes and dtypes of `create_state`'s result, without computing it."""
    return jax.eval_shape(functools.partial(_create_state, task, stage), jax.random.key(0))


def start_stage(state: GANState, stage: Stage) -> GANState:
    """The state (numpy arrays) that a further stage starts from: averaged generator weights, both optimizers afresh."""
    return state.replace(
        skipped=jnp.zeros((), jnp.int32),
        generator=state.generator.replace(
            params=state.ema_params,
            batch_stats=state.ema_batch_stats,
            opt_state=stage.generator_tx.init(state.ema_params),
        ),
        discriminator=state.discriminator.replace(opt_state=stage.discriminator_tx.init(state.discriminator.params)),
    )
