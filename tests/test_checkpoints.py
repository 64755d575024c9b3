"""Checkpoints: the latest two and the best, whole or absent; what becomes of damaged ones."""

import hashlib
import math
import os
import pathlib
import shutil
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


@pytest.fixture
def saved(state, tmp_path):
    """Checkpoints 2 (the best), 4 and 6."""
    for step, score in ((2, -1.0), (4, -3.0), (6, -2.0)):
        checkpoints.save(tmp_path, at(state, step), {'first_step': 0}, score)
    return tmp_path


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return bytes(data)


def test_the_checksums_are_those_of_sha256sum(saved):
    """SHA256SUMS lists every file, as `sha256sum --check` reads it."""
    lines = (saved / '6' / 'SHA256SUMS').read_text().splitlines()
    listed = dict(reversed(line.split('  ')) for line in lines)
    files = {path.relative_to(saved / '6').as_posix(): path for path in (saved / '6').rglob('*') if path.is_file()}
    del files['SHA256SUMS']
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert {'progress/metadata', 'metrics/metrics', 'state/manifest.ocdbt'} <= listed.keys()


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(saved, state):
    """A flipped bit: the one before is taken, a line says what that costs, the damaged one is kept; once."""
    name = 'state/manifest.ocdbt'
    damaged = flip(saved / '6' / name)
    lines = []
    restored, progress = checkpoints.restore(saved, state, lines.append)
    assert_equal(restored, at(state, 4))
    assert progress == {'first_step': 0}
    assert lines == [
        f"{saved}/6: a damaged checkpoint, kept as 6.damaged1: '{name}' was changed; back to 4: 2 steps are lost"
    ]
    assert (saved / '6.damaged1' / name).read_bytes() == damaged
    assert checkpoints.restore(saved, state, lines.append)[0].step == 4
    assert len(lines) == 1
    checkpoints.save(saved, at(state, 6), {}, -2.0)  # its name is free
    assert checkpoints.restore(saved, state, lines.append)[0].step == 6


@pytest.mark.parametrize(
    ('spoil', 'fault'),
    [
        (lambda folder: (folder / 'SHA256SUMS').unlink(), 'SHA256SUMS is missing or damaged'),
        (lambda folder: (folder / 'SHA256SUMS').write_bytes(b''), 'is not in SHA256SUMS'),
        (lambda folder: (folder / 'progress' / 'metadata').write_text('[1'), "'progress/metadata' was changed"),
        (lambda folder: (folder / 'metrics' / 'metrics').unlink(), "'metrics/metrics' is missing"),
        (lambda folder: os.truncate(folder / 'state' / '_METADATA', 99), "'state/_METADATA' was changed"),
        (lambda folder: shutil.rmtree(folder / 'state'), "' is missing"),
        (lambda folder: [path.unlink() for path in folder.rglob('*') if path.is_file()], 'SHA256SUMS is missing'),
    ],
)
def test_evaluation_and_export_pass_over_a_damaged_best(saved, state, spoil, fault):
    """They take the next best and say so in a line; the folder stays as it is, as somebody may be training there."""
    spoil(saved / '2')
    before = sorted(saved.rglob('*'))
    lines = []
    assert checkpoints.restore(saved, state, lines.append, best=True, read_only=True)[0].step == 6
    (line,) = lines
    assert line.startswith(f'{saved}/2: a damaged checkpoint: ')
    assert fault in line
    assert line.endswith('; the best that is left is 6')
    assert sorted(saved.rglob('*')) == before


def test_when_all_are_damaged_nothing_is_begun_or_moved(saved, state):
    """One line names them all; copies can be brought back."""
    for step in (2, 4, 6):
        flip(saved / str(step) / 'progress' / 'metadata')
    with pytest.raises(UserError, match=r'all checkpoints are damaged \(2: .*; 4: .*; 6: .*bring copies') as caught:
        checkpoints.restore(saved, state)
    assert '\n' not in str(caught.value)
    assert checkpoints.steps(saved) == [2, 4, 6]


def test_a_good_checkpoint_is_not_removed_for_a_damaged_one(saved, state, capsys):
    """Those that stay are looked at before another one goes: 4 stays, as 6 has been damaged since it was saved."""
    flip(saved / '6' / 'progress' / 'metadata')
    checkpoints.save(saved, at(state, 8), {}, -4.0)
    assert checkpoints.steps(saved) == [2, 4, 8]
    assert (saved / '6.damaged1').is_dir()
    assert capsys.readouterr().out.startswith(f'{saved}/6: a damaged checkpoint, kept as 6.damaged1: ')


def test_a_file_that_may_not_be_read_is_not_damaged(saved, state, monkeypatch):
    """Permissions are not content: the error names the file, and nothing is put aside."""
    path = saved / '6' / 'progress' / 'metadata'
    opened = pathlib.Path.open

    def refuse(self, *args, **options):
        if self == path:
            raise PermissionError(13, 'Permission denied', str(path))
        return opened(self, *args, **options)

    monkeypatch.setattr(pathlib.Path, 'open', refuse)
    with pytest.raises(PermissionError, match='metadata'):
        checkpoints.restore(saved, state)
    assert checkpoints.steps(saved) == [2, 4, 6]


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
