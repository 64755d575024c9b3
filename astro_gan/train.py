"""The train step and the evaluation step: pure functions of a state and a batch, mapped over all devices.

The state is one unreplicated pytree (`in_axes=None`); everything that comes out is averaged over the devices, so it
is the same on each. Randomness derives from (seed, step, device); that of pictures from (seed, step,
sample).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from astro_gan.state import GANState, NetState
from astro_gan.task import Batch, Stage, Task, Terms

AXIS = 'batch'  # the name of the device axis; cross-replica batch norm averages over it too


def replicate(state: GANState) -> GANState:
    """Put a state (numpy arrays, or fresh) on all devices, as the train step returns it.

    Without it the step's second call meets another layout than its first, and compiles a second time.
    """
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), (AXIS,))
    return jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def _apply(
    module: Any, params: Any, batch_stats: Any, images: jax.Array, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """Forward pass in training mode: (output, new batch statistics)."""
    variables = {'params': params, 'batch_stats': batch_stats}
    rngs = {} if key is None else {'dropout': key}
    output, updates = module.apply(variables, images, train=True, mutable=['batch_stats'], rngs=rngs)
    return output, updates.get('batch_stats', {})


def _logits(module: Any, params: Any, batch_stats: Any, images: jax.Array) -> tuple[jax.Array, Any]:
    """The discriminator's logits for the batches of all devices (some losses average over them), new statistics."""
    logits, batch_stats = _apply(module, params, batch_stats, images)
    return jax.lax.all_gather(logits, AXIS, tiled=True), batch_stats


def _update(
    net: NetState, tx: optax.GradientTransformation, grads: Any, batch_stats: Any, stage_step: jax.Array
) -> NetState:
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, net.opt_state, net.params, stage_step=stage_step)
    return NetState(
        params=optax.apply_updates(net.params, updates),
        batch_stats=jax.lax.pmean(batch_stats, AXIS),
        opt_state=opt_state,
    )


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array], key: jax.Array, real: jax.Array, fake: jax.Array
) -> jax.Array:
    """Mean of (|gradient of the critic| - 1)^2 at random points between real and fake images `[n, H, W, C]`.

    The norm is over a whole sample (Gulrajani et al. 2017, WGAN-GP, equation 3). The value of a critic that gives a map
    of logits is their mean, as in the loss.
    """
    weight = jax.random.uniform(key, (real.shape[0], 1, 1, 1))
    between = real + weight * (fake - real)
    grads = jax.grad(lambda images: critic(images).reshape(real.shape[0], -1).mean(-1).sum())(between)
    # The epsilon keeps the root's slope finite where the critic is flat.
    norms = jnp.sqrt(jnp.square(grads).sum((1, 2, 3)) + 1e-12)
    return jnp.square(norms - 1.0).mean()


def _discriminator_grads(
    task: Task, stage: Stage, net: NetState, key: jax.Array, real: jax.Array, fake: jax.Array
) -> tuple[Any, Any, Terms]:
    """Gradients, new batch statistics and named terms of one discriminator update."""
    assert stage.discriminator_loss is not None
    discriminator_loss = stage.discriminator_loss

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[Any, Terms]]:
        real_logits, stats = _logits(task.discriminator, params, net.batch_stats, real)
        fake_logits, stats = _logits(task.discriminator, params, stats, fake)
        loss, terms = discriminator_loss(real_logits, fake_logits)
        if stage.gradient_penalty:
            penalty = gradient_penalty(
                lambda images: _apply(task.discriminator, params, net.batch_stats, images)[0], key, real, fake
            )
            loss = loss + stage.gradient_penalty * penalty
            terms = terms | {'discriminator/gradient_penalty': penalty}
        return loss, (stats, terms | {'discriminator/loss': loss})

    (_, (stats, terms)), grads = jax.value_and_grad(loss_fn, has_aux=True)(net.params)
    grads = jax.lax.pmean(grads, AXIS)
    return grads, stats, terms | {'discriminator/gradient_norm': optax.tree.norm(grads)}


def make_train_step(
    task: Task, stage: Stage, *, seed: int, first_step: int = 0, update_generator: bool = True
) -> Callable[[GANState, Batch], tuple[GANState, Terms]]:
    """The training step `(state, batch [devices, n, ...]) -> (state, scalars)`; the given state is donated.

    The generator runs forward once. Its output trains the discriminator first and then, through the updated
    discriminator, the generator itself (the alternating scheme of Goodfellow et al. 2014, algorithm 1).

    A step whose loss or gradient is not finite changes nothing but `step` and `skipped`.

    Args:
        task: its networks.
        stage: its losses and optimizers; `ema_decay` warms up as min(decay, (1 + step) / (10 + step)).
        seed: together with the step and the device it determines all randomness.
        first_step: of the stage; its optimizers get `stage_step`, how many came before in the stage, skipped or not.
        update_generator: False makes the extra critic steps of a Wasserstein GAN.
    """
    adversarial = stage.discriminator_loss is not None

    def step_fn(state: GANState, batch: Batch) -> tuple[GANState, Terms]:
        device, samples = jax.lax.axis_index(AXIS), len(jax.tree.leaves(batch)[0])
        step_key, sample_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
        generator_key, penalty_key = jax.random.split(jax.random.fold_in(step_key, device))
        # By a sample's number in the whole batch: on however many devices, it is prepared alike.
        numbers = device * samples + jnp.arange(samples)
        batch = task.prepare(batch, jax.vmap(jax.random.fold_in, (None, 0))(sample_key, numbers))
        generator, discriminator = state.generator, state.discriminator
        stage_step = state.step - first_step
        terms: Terms = {}

        def generate(params: Any) -> tuple[jax.Array, Any]:
            return _apply(task.generator, params, generator.batch_stats, batch['input'], generator_key)

        if update_generator:
            prediction, pullback, generator_stats = jax.vjp(generate, generator.params, has_aux=True)
        else:
            prediction, _ = generate(generator.params)

        if adversarial:
            real = task.discriminator_input(batch['input'], batch['target'])
            fake = task.discriminator_input(batch['input'], jax.lax.stop_gradient(prediction))
            grads, stats, new_terms = _discriminator_grads(task, stage, discriminator, penalty_key, real, fake)
            discriminator = _update(discriminator, stage.discriminator_tx, grads, stats, stage_step)
            terms |= new_terms

        if update_generator:

            def loss_fn(prediction: jax.Array) -> tuple[jax.Array, Terms]:
                real_logits = fake_logits = None
                if adversarial:
                    net = discriminator
                    fake = task.discriminator_input(batch['input'], prediction)
                    fake_logits, _ = _logits(task.discriminator, net.params, net.batch_stats, fake)
                    # Most losses ignore the real logits; the compiler then drops this pass.
                    real_logits, _ = _logits(task.discriminator, net.params, net.batch_stats, real)
                return stage.generator_loss(prediction, batch, real_logits, fake_logits)

            (loss, new_terms), cotangent = jax.value_and_grad(loss_fn, has_aux=True)(prediction)
            grads = jax.lax.pmean(pullback(cotangent)[0], AXIS)
            generator = _update(generator, stage.generator_tx, grads, generator_stats, stage_step)
            terms |= new_terms | {'generator/loss': loss, 'generator/gradient_norm': optax.tree.norm(grads)}

        decay = jnp.minimum(stage.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = state.ema_params, state.ema_batch_stats
        if update_generator:
            now = generator.params, generator.batch_stats
            ema = jax.tree.map(lambda a, b: a + (1.0 - decay) * (b - a), ema, now)

        terms = jax.lax.pmean(terms, AXIS)
        finite = jnp.isfinite(sum(terms.values(), start=jnp.zeros(())))
        candidate = state.replace(
            generator=generator, discriminator=discriminator, ema_params=ema[0], ema_batch_stats=ema[1]
        )
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), candidate, state)
        skipped = jnp.where(finite, 0, state.skipped + 1)
        return kept.replace(step=state.step + 1, skipped=skipped), terms | {'skipped': 1.0 - finite}

    return jax.pmap(step_fn, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0)


def make_eval_step(task: Task, *, baseline: bool = False) -> Callable[[Any, Any, Batch], Terms]:
    """The evaluation step `(params, batch_stats, batch [devices, n, ...]) -> dict of per-tile arrays [devices n, ...]`.

    Besides the metrics the result holds the batch's 'mask' and 'index', in the same order; it is the same on every
    host. `baseline` measures what the network has to beat (the parameters are then not looked at).
    """

    def step_fn(variables: dict[str, Any], batch: Batch) -> Terms:
        batch = task.prepare(batch, None)
        if baseline:
            prediction = task.baseline(batch['input'])
        else:
            output: Any = task.generator.apply(variables, batch['input'], train=False)
            prediction = task.to_rgb(batch['input'], output)
        result = task.metrics(prediction, batch['truth'])
        result |= {'mask': batch['mask'], 'index': batch['index']}
        return jax.lax.all_gather(result, AXIS, tiled=True)

    # Not donated: the same parameters serve the next batch. One argument for all of them: jax 0.10 takes in_axes for
    # those of the leaves where there are as many, which three arguments are of a batch of three without parameters.
    step = jax.pmap(step_fn, axis_name=AXIS, in_axes=(None, 0), out_axes=None)
    return lambda params, batch_stats, batch: step({'params': params, 'batch_stats': batch_stats}, batch)
