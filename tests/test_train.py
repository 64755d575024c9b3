"""The train step on two simulated devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from astro_gan import losses
from astro_gan.state import start_stage
from astro_gan.train import gradient_penalty, make_eval_step, replicate
from experiments import parts
from tests import tiny

TASK = tiny.task()


def run(stage, steps=1, *, task=TASK, state=None, **options):
    step = tiny.train_step(task, stage, **options)
    state = replicate(tiny.fresh_state(task, stage) if state is None else state)
    for number in range(steps):
        state, terms = step(state, tiny.batch(number))
    return jax.device_get(state), jax.device_get(terms)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def differs(a, b):
    return any(not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_there_are_two_devices():
    """The suite means little if the simulated devices are missing."""
    assert jax.local_device_count() == 2


def test_two_devices_take_the_whole_batchs_gradient():
    """A step over two devices equals plain optax on the whole batch on one: loss and new parameters."""
    stage = tiny.stage(adversarial=None)
    before = tiny.fresh_state(TASK, stage)
    after, terms = run(stage)
    whole = {name: value.reshape(-1, *value.shape[2:]) for name, value in tiny.batch(0).items()}

    def loss_fn(params):
        return losses.l1(TASK.generator.apply({'params': params}, whole['input']), whole['target'])

    loss, grads = jax.value_and_grad(loss_fn)(before.generator.params)
    np.testing.assert_allclose(terms['generator/loss'], loss, rtol=1e-5)
    # Adam's first moment is a tenth of the gradient after one step.
    moment = after.generator.opt_state[0].mu
    jax.tree.map(lambda m, g: np.testing.assert_allclose(m, 0.1 * g, rtol=1e-3, atol=1e-6), moment, grads)


def test_supervised_stage_leaves_the_discriminator_alone():
    """Only the generator moves in a supervised stage, and the average follows it."""
    stage = tiny.stage(adversarial=None)
    before = tiny.fresh_state(TASK, stage)
    after, _ = run(stage)
    assert_equal(before.discriminator, after.discriminator)
    assert differs(before.generator.params, after.generator.params)
    # The warm-up makes the first decay 0.1.
    expected = jax.tree.map(lambda old, new: old + 0.9 * (new - old), before.generator.params, after.generator.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), expected, after.ema_params)


@pytest.mark.parametrize('name', losses.ADVERSARIAL)
def test_adversarial_step_moves_both_networks(name):
    """Every adversarial loss trains both networks with finite terms."""
    penalty = 10.0 if name == 'wasserstein' else 0.0
    stage = tiny.stage(adversarial=name, penalty=penalty)
    before = tiny.fresh_state(TASK, stage)
    after, terms = run(stage, steps=2)
    assert differs(before.generator.params, after.generator.params)
    assert differs(before.discriminator.params, after.discriminator.params)
    assert all(np.isfinite(value) for value in terms.values())
    assert ('discriminator/gradient_penalty' in terms) == (name == 'wasserstein')
    assert after.step == 2


@pytest.mark.parametrize('name', ['minimax', 'relativistic'])
def test_generator_gradient_comes_from_one_forward_pass(name):
    """Content and adversarial terms give the gradient that plain jax.grad gives for the whole batch on one device.

    The relativistic loss compares with the average logit: of the whole batch, not of a device's part.
    """
    stage = tiny.stage(adversarial=name, rate=0.0)  # the discriminator stands still, to be compared
    state = tiny.fresh_state(TASK, stage)
    _, terms = run(stage)
    whole = {key: value.reshape(-1, *value.shape[2:]) for key, value in tiny.batch(0).items()}

    def loss_fn(params):
        fake = TASK.generator.apply({'params': params}, whole['input'])
        variables = {'params': state.discriminator.params}
        real_logits, fake_logits = (
            TASK.discriminator.apply(variables, images, train=True) for images in (whole['target'], fake)
        )
        return losses.l1(fake, whole['target']) + 1e-2 * losses.ADVERSARIAL[name][1](real_logits, fake_logits)

    loss, grads = jax.value_and_grad(loss_fn)(state.generator.params)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(grads)))
    np.testing.assert_allclose(terms['generator/loss'], loss, rtol=1e-5)
    np.testing.assert_allclose(terms['generator/gradient_norm'], norm, rtol=1e-3)


def test_critic_step_leaves_the_generator_alone():
    """The extra discriminator updates of a Wasserstein GAN change neither the generator nor its average."""
    stage = tiny.stage(adversarial='wasserstein', penalty=10.0)
    before = tiny.fresh_state(TASK, stage)
    after, terms = run(stage, update_generator=False)
    assert_equal((before.generator, before.ema_params), (after.generator, after.ema_params))
    assert differs(before.discriminator.params, after.discriminator.params)
    assert 'generator/loss' not in terms


def test_gradient_penalty_of_a_linear_critic():
    """For critic(x) = <w, x> the penalty is (|w| - 1)^2, the norm taken over the whole sample."""
    weight = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    real, fake = (np.random.default_rng(i).random((5, 4, 4, 3), np.float32) for i in (1, 2))
    penalty = gradient_penalty(lambda x: (x * weight).sum((1, 2, 3)), jax.random.key(0), real, fake)
    np.testing.assert_allclose(penalty, (np.linalg.norm(weight) - 1) ** 2, rtol=1e-4)
    # A map of logits counts by its mean: nine equal ones are one.
    patches = gradient_penalty(
        lambda x: jnp.broadcast_to((x * weight).sum((1, 2, 3))[:, None, None, None], (5, 3, 3, 1)),
        jax.random.key(0),
        real,
        fake,
    )
    np.testing.assert_allclose(patches, penalty, rtol=1e-4)


def test_batch_statistics_cover_all_devices():
    """Cross-replica batch norm: the running mean moves towards the mean of the whole batch, not of a device's part."""
    task, stage = tiny.task(generator='srresnet'), tiny.stage(adversarial=None)
    state = tiny.fresh_state(task, stage)
    params = jax.device_get(state.generator.params)
    after, _ = run(stage, task=task)
    whole = tiny.batch(0)['input'].reshape(-1, 8, 8, 3)
    module = task.generator.clone(axis_name=None)
    fresh = state.generator.batch_stats
    _, updates = module.apply({'params': params, 'batch_stats': fresh}, whole, train=True, mutable=['batch_stats'])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        after.generator.batch_stats,
        updates['batch_stats'],
    )


@pytest.mark.parametrize('adversarial', [None, 'minimax'])
def test_a_bad_batch_never_reaches_the_weights(adversarial):
    """A NaN in one device's part skips the step everywhere: only the counters move; the next good step goes on."""
    stage = tiny.stage(adversarial=adversarial)
    before, _ = run(stage)
    step = tiny.train_step(TASK, stage)
    bad = tiny.batch(1)
    bad['target'][1, 0, 0, 0, 0] = np.nan
    state, terms = step(replicate(before), bad)
    state = jax.device_get(state)
    assert terms['skipped'] == 1
    assert (state.step, state.skipped) == (2, 1)
    assert_equal(
        (before.generator, before.discriminator, before.ema_params),
        (state.generator, state.discriminator, state.ema_params),
    )
    state, terms = step(replicate(state), tiny.batch(2))
    assert (int(state.skipped), float(terms['skipped'])) == (0, 0)
    assert differs(before.generator.params, state.generator.params)


def test_statistics_are_averaged_with_the_weights():
    """The weights that are measured have batch statistics of their own: averaged by the same rule, and handed on."""
    task, stage = tiny.task(generator='srresnet'), tiny.stage(adversarial=None)
    before, _ = run(stage, steps=1, task=task)
    after, _ = run(stage, task=task, state=before)
    decay = 2 / 11  # (1 + step) / (10 + step), step 1
    expected = jax.tree.map(
        lambda old, new: old + (1 - decay) * (new - old), before.ema_batch_stats, after.generator.batch_stats
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), expected, after.ema_batch_stats)
    assert differs(after.ema_batch_stats, after.generator.batch_stats)
    following = start_stage(after, stage)
    assert_equal(following.generator.params, after.ema_params)
    assert_equal(following.generator.batch_stats, after.ema_batch_stats)


def test_skipped_steps_do_not_shift_the_schedule():
    """7 skipped steps of 20: the cosine is where it is without them, at its last step, and 0 after it."""
    steps, peak, first = 20, 0.1, 3
    config = ConfigDict(
        {'steps': steps, 'decay': 'cosine', 'decay_every': 1, 'decay_rate': 1.0, 'beta1': 0.0, 'beta2': 0.0}
    )
    tx = parts.transformation(config, 'supervised', peak=peak, clip=0.0)
    stage = dataclasses.replace(tiny.stage(adversarial=None), generator_tx=tx, discriminator_tx=tx)
    step = tiny.train_step(TASK, stage, first_step=first)
    state = replicate(tiny.fresh_state(TASK, stage).replace(step=np.int32(first)))
    for number in range(steps):
        batch = tiny.batch(number)
        if 4 <= number < 11:
            batch['target'][:] = np.nan
        before = jax.device_get(state.generator.params)
        state, _ = step(state, batch)
    # Without momentum Adam moves every weight that has a gradient by the rate.
    moved = max(
        np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before, state.generator.params)), strict=True)
    )
    np.testing.assert_allclose(moved, peak * 0.5 * (1 + np.cos(np.pi * 19 / 20)), rtol=1e-3)
    assert int(state.generator.opt_state[2].count) == steps
    before = jax.device_get(state.generator.params)
    assert_equal(step(state, tiny.batch(0))[0].generator.params, before)


def test_bfloat16_keeps_float32_parameters():
    """Computing in bfloat16 leaves parameters, statistics and optimizer in float32, and trains alike."""
    networks = {'generator': 'srresnet', 'norm': 'batch'}
    exact, exact_terms = run(tiny.stage(), steps=2, task=tiny.task(**networks))
    rough, rough_terms = run(tiny.stage(), steps=2, task=tiny.task(**networks, dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(rough)} == {leaf.dtype for leaf in jax.tree.leaves(exact)}
    np.testing.assert_allclose(rough_terms['generator/pixel'], exact_terms['generator/pixel'], rtol=0.02)


def test_same_seed_same_bits():
    """Two runs from the same seed end with the same bits."""
    stage = tiny.stage(adversarial='wasserstein', penalty=10.0)
    assert_equal(run(stage, steps=3)[0], run(stage, steps=3)[0])


def test_eval_step_gathers_every_tile():
    """Metrics come back per image, in the order of the batch, from both devices, with their masks."""
    stage = tiny.stage(adversarial=None)
    state = tiny.fresh_state(TASK, stage)
    data = tiny.batch(0) | {
        'mask': np.array([[1, 1], [1, 0]], np.float32),
        'index': np.array([[0, 1], [2, -1]], np.int32),
    }
    result = make_eval_step(TASK)(state.ema_params, {}, data)
    assert result['index'].tolist() == [0, 1, 2, -1]
    low, high = (data[name].reshape(4, *data[name].shape[2:]) for name in ('input', 'target'))
    output = np.clip(TASK.generator.apply({'params': state.ema_params}, low), 0, 1)
    np.testing.assert_allclose(result['l1'], np.abs(output - high).mean((1, 2, 3)), rtol=1e-4)
