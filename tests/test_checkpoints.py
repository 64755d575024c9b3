"""Checkpoints: the latest two and the best, whole or absent."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from astro_gan import checkpoints
from astro_gan.errors import UserError
from tests import tiny


@pytest.fixture
def state():
    return tiny.fresh_state(tiny.task(), tiny.stage(adversarial=None))


def at(state, step):
    return state.replace(step=np.int32(step))


def test_round_trip_keeps_every_bit(state, tmp_path):
    """What is restored equals what was saved, optimizer and counters included; the progress comes along."""
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, at(state, 7), {'best': None, 'finished': False}, -0.5)
    with checkpoints.open_manager(tmp_path) as manager:
        restored, progress = checkpoints.restore(manager, state, 7)
    jax.tree.map(np.testing.assert_array_equal, restored, at(state, 7))
    assert progress == {'best': None, 'finished': False}


def test_latest_two_and_best_are_kept(state, tmp_path):
    """The best survives any number of later ones; a NaN or a save without a score never counts as the best."""
    scores = [-3.0, -1.0, -2.0, math.nan, None, -1.5]
    with checkpoints.open_manager(tmp_path) as manager:
        for step, score in enumerate(scores):
            checkpoints.save(manager, at(state, step), {}, score)
        assert manager.all_steps() == [1, 4, 5]
    assert not [path for path in tmp_path.rglob('metrics/*') if 'NaN' in path.read_text(errors='replace')]  # no JSON
    with checkpoints.open_manager(tmp_path) as manager:  # a new process finds the same best
        assert manager.best_step() == 1
        assert manager.latest_step() == 5


def test_a_checkpoint_from_before_averaged_statistics_is_read(tmp_path):
    """The latest statistics stand in for them; everything else is as it was saved."""
    state = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None))
    old = {field: getattr(state, field) for field in checkpoints.FIELDS if field != 'ema_batch_stats'}
    args = ocp.args.Composite(state=ocp.args.StandardSave(old), progress=ocp.args.JsonSave({'first_step': 0}))
    with checkpoints.open_manager(tmp_path) as manager:
        manager.save(0, args=args, force=True)
    assert checkpoints.latest_progress(tmp_path) == {'first_step': 0}
    with checkpoints.open_manager(tmp_path) as manager:
        restored, _ = checkpoints.restore(manager, state, 0)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    jax.tree.map(np.testing.assert_array_equal, restored.ema_batch_stats, state.generator.batch_stats)


def test_leftovers_of_a_killed_save_are_removed(state, tmp_path):
    """A half-written checkpoint is neither restored nor left lying about."""
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, at(state, 1), {}, -1.0)
    leftover = tmp_path / '2.orbax-checkpoint-tmp'
    (leftover / 'state').mkdir(parents=True)
    with checkpoints.open_manager(tmp_path) as manager:
        assert manager.all_steps() == [1]
        checkpoints.save(manager, at(state, 2), {}, -1.0)  # waits for the cleaning, and takes the leftover's place
        assert manager.all_steps() == [1, 2]
    assert not leftover.exists()


def test_another_networks_checkpoint_is_one_clear_line(state, tmp_path):
    """Restoring into networks of other shapes names the checkpoint and what to do."""
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, at(state, 1), {}, -1.0)
        other = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None))
        with pytest.raises(ValueError, match='choose another --workdir') as caught:
            checkpoints.restore(manager, other, 1)
    assert '\n' not in str(caught.value)


def test_a_full_disk_is_one_line_and_costs_nothing(state, tmp_path, monkeypatch):
    """Without room for a whole checkpoint none is begun; the earlier one is there for the next start."""
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, at(state, 1), {}, -1.0)
        monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=1000))
        with pytest.raises(UserError, match='make room'):
            checkpoints.save(manager, at(state, 2), {}, -1.0)
        assert manager.all_steps() == [1]
    assert not list(tmp_path.glob('2*'))
