"""The network that grows: what is in at which step, resume to the same bits, and a whole run."""

import jax
import numpy as np
import pytest

import astro_gan
from astro_gan.models import make_generator
from astro_gan.models.enlarging import bicubic_upsample
from astro_gan.state import create_state
from astro_gan.tables import read_rows
from astro_gan.train import make_train_step, replicate
from configs import growing_edsr
from experiments import run
from tests.networks import apply, pictures, randomise, training_pass
from tests.runs import records

FIELDS = {'factor': 4, 'features': 4, 'blocks': 1, 'grow_steps': 4}


def at(variables, growth):
    return {**variables, 'batch_stats': {'growth': np.float32([growth])}}


def test_levels_come_in_one_after_the_other():
    """First the picture is that of x2, enlarged; x4's detail is half in at the middle of its fade, then all of it."""
    module, x = make_generator('growing_edsr', **FIELDS), pictures(2, 9, 8, 3)
    variables = randomise(module, x)
    outputs = {growth: apply(module, at(variables, growth), x) for growth in (0.0, 1.0, 1.25, 1.5, 2.0)}
    twice = make_generator('growing_edsr', **FIELDS | {'factor': 2})
    part = {name: tree for name, tree in variables['params'].items() if not name.startswith('level1')}
    small = apply(twice, at({'params': part}, 0.0), x)
    for growth in (0.0, 1.0):
        np.testing.assert_allclose(outputs[growth], bicubic_upsample(small, 2), atol=1e-5)
    assert np.abs(outputs[1.5] - outputs[1.0]).max() > 1e-3
    np.testing.assert_allclose(outputs[1.25], (outputs[1.0] + outputs[1.5]) / 2, atol=1e-6)
    np.testing.assert_array_equal(outputs[2.0], outputs[1.5])


def test_a_level_learns_once_it_is_in():
    """Before its time a level has no gradient; the count of steps moves in training only, to the last level."""
    module, x = make_generator('growing_edsr', **FIELDS), pictures(2, 9, 8, 3)
    variables = randomise(module, x)
    for growth, later, alive in ((0.5, 0.75, False), (1.25, 1.5, True), (2.0, 2.0, True)):
        _, stats, gradient = training_pass(module, at(variables, growth), x)
        assert stats['growth'] == later
        for name, tree in gradient.items():
            assert np.abs(tree['kernel']).max() > 0 if alive or name[:6] != 'level1' else not tree['kernel'].any(), name
    _, same = apply(module, at(variables, 0.5), x, mutable=['batch_stats'])
    assert same['batch_stats']['growth'] == 0.5


def test_growth_resumes_to_the_same_bits():
    """Stopped while a level fades in and begun again, training ends with the bits of an undisturbed run."""
    config = growing_edsr.get_config('smoke')
    config.factor, config.dataset.crop_size = 4, 32
    task, stage = records(config, 'supervised')
    batches = [{'crop': np.random.default_rng(seed).integers(0, 256, (2, 1, 32, 32, 3), np.uint8)} for seed in range(4)]
    results = []
    for restart in (False, True):
        state = replicate(create_state(task, stage, jax.random.key(0)))
        step = make_train_step(task, stage, seed=0)
        for number, batch in enumerate(batches):
            if restart and number == 3:
                assert jax.device_get(state.generator.batch_stats)['growth'] == 1.5  # 2 steps to a level
                state = replicate(jax.device_get(state))
            state, _ = step(state, batch)
        results.append(jax.device_get(state))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_run_grows_and_exports(smoke_run, hubble):
    """main.py on the config: one run through all levels; the export enlarges 8 times, all levels in."""
    _, workdir, _ = smoke_run('growing_edsr')
    rows = read_rows(workdir / 'evaluations.csv')
    assert [(row['stage'], row['step']) for row in rows] == [
        ('supervised', 3), ('supervised', 6), ('adversarial', 9), ('adversarial', 12)
    ]  # fmt: skip
    run.export(growing_edsr.get_config('smoke'), str(workdir))
    model = astro_gan.load_model(workdir / 'export' / 'adversarial')
    assert 2.5 < model.networks[0].variables['batch_stats']['growth'] <= 3.0  # all levels are wholly in
    assert model(hubble[:20, :24]).shape == (160, 192, 3)


def test_steps_of_growth_are_checked():
    """None would divide by zero: the line names the setting."""
    config = growing_edsr.get_config('smoke')
    config.generator.grow_steps = 0
    with pytest.raises(ValueError, match=r'config\.generator\.grow_steps: 0 is'):
        run.make_task(config)
