"""Checkpoints: the latest two and the best, whole or absent; what becomes of damaged ones."""

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


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_round_trip_keeps_every_bit(state, tmp_path):
    """What is restored equals what was saved, optimizer and counters included; the progress comes along."""
    assert checkpoints.restore(tmp_path, state) is None
    checkpoints.save(tmp_path, at(state, 7), {'best': None, 'finished': False}, -0.5)
    restored, progress = checkpoints.restore(tmp_path, state)
    assert_equal(restored, at(state, 7))
    assert progress == {'best': None, 'finished': False}


def test_latest_two_and_best_are_kept(state, tmp_path):
    """The best survives any number of later ones; a NaN or a save without a score never counts as the best."""
    scores = [-3.0, -1.0, -2.0, math.nan, None, -1.5]
    for step, score in enumerate(scores):
        checkpoints.save(tmp_path, at(state, step), {}, score)
    assert checkpoints.steps(tmp_path) == [1, 4, 5]
    assert not [path for path in tmp_path.rglob('metrics/*') if 'NaN' in path.read_text()]  # no JSON
    assert checkpoints.restore(tmp_path, state, best=True)[0].step == 1
    assert checkpoints.restore(tmp_path, state)[0].step == 5
    assert {path.name for path in tmp_path.iterdir()} == {'1', '4', '5'}


def save_as_before(directory, state, progress, score):
    """As versions before checksums did it: Orbax's manager, and no SHA256SUMS."""
    handlers = {'state': ocp.StandardCheckpointHandler(), 'progress': ocp.JsonCheckpointHandler()}
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics['score'], enable_async_checkpointing=False)
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
    with ocp.CheckpointManager(directory, options=options, item_handlers=handlers) as manager:
        manager.save(int(state['step']), args=args, metrics={'score': score}, force=True)


@pytest.mark.parametrize('averaged', [True, False])
def test_checkpoints_of_earlier_versions_go_on(tmp_path, averaged):
    """Without checksums they are taken, and a line says so; from before averaged statistics with the latest ones."""
    state = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None))
    for step, score in ((3, -1.0), (6, -2.0)):
        names = set(checkpoints.FIELDS) - ({'ema_batch_stats'} if not averaged else set())
        old = {field: getattr(at(state, step), field) for field in names}
        save_as_before(tmp_path, old, {'first_step': 0}, score)
    assert checkpoints.latest_progress(tmp_path) == {'first_step': 0}
    lines = []
    restored, _ = checkpoints.restore(tmp_path, state, lines.append)
    assert_equal(restored, at(state, 6))
    assert_equal(restored.ema_batch_stats, state.generator.batch_stats)
    assert lines == [f'{tmp_path}/6: a checkpoint of an earlier version, without checksums: taken as it is']
    assert checkpoints.restore(tmp_path, state, best=True)[0].step == 3
    checkpoints.save(tmp_path, at(state, 9), {}, -3.0)
    checkpoints.save(tmp_path, at(state, 12), {}, -3.0)
    assert checkpoints.steps(tmp_path) == [3, 9, 12]


def test_a_damaged_checkpoint_of_an_earlier_version(state, tmp_path, capfd):
    """What Orbax cannot read is passed over without a word of its own; an unreadable score is noticed."""
    for step in (2, 4, 6):
        save_as_before(tmp_path, {f: getattr(at(state, step), f) for f in checkpoints.FIELDS}, {}, -step)
    (tmp_path / '6' / 'state' / '_METADATA').write_text('{')
    (tmp_path / '2' / 'metrics' / 'metrics').write_text('')
    lines = []
    assert checkpoints.restore(tmp_path, state, lines.append)[0].step == 4
    assert [line.split(': ')[0] for line in lines] == [f'{tmp_path}/{step}' for step in (2, 6, 4)]
    assert 'kept as 6.damaged1' in lines[1]
    assert '2 steps are lost' in lines[1]
    assert capfd.readouterr() == ('', '')


def test_leftovers_of_a_killed_save_are_removed(state, tmp_path):
    """A half-written checkpoint is neither restored nor left lying about; nor one of an earlier version."""
    checkpoints.save(tmp_path, at(state, 1), {}, -1.0)
    for leftover in ('.2.tmp', '2.orbax-checkpoint-tmp'):
        (tmp_path / leftover / 'state').mkdir(parents=True)
    assert checkpoints.steps(tmp_path) == [1]
    checkpoints.restore(tmp_path, state, read_only=True)
    assert (tmp_path / '.2.tmp').exists()  # where somebody trains
    checkpoints.restore(tmp_path, state)
    assert [path.name for path in tmp_path.iterdir()] == ['1']
    (tmp_path / '.2.tmp').mkdir()
    checkpoints.save(tmp_path, at(state, 2), {}, -1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['1', '2']


def test_another_networks_checkpoint_is_one_clear_line(state, tmp_path):
    """Restoring a whole checkpoint into networks of other shapes names the first difference and what to do."""
    checkpoints.save(tmp_path, at(state, 1), {}, -1.0)
    other = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None))
    with pytest.raises(UserError, match=r'with these settings \(ema_batch_stats/.* is not in it') as caught:
        checkpoints.restore(tmp_path, other)
    assert 'choose another --workdir' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert checkpoints.steps(tmp_path) == [1]  # where it is


def test_a_full_disk_is_one_line_and_costs_nothing(state, tmp_path, monkeypatch):
    """Without room for a whole checkpoint none is begun; the earlier one is there for the next start."""
    checkpoints.save(tmp_path, at(state, 1), {}, -1.0)
    monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r'checkpoint 2 needs .*make room'):
        checkpoints.save(tmp_path, at(state, 2), {}, -1.0)
    assert [path.name for path in tmp_path.iterdir()] == ['1']
