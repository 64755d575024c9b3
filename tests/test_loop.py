"""The loop: resume to the same bits, early stopping, roll-backs, kills. Tiny networks, no TensorFlow data."""

import os
import pkgutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from astro_gan import checkpoints, interrupts, logbook, loop
from astro_gan.interrupts import Terminated
from astro_gan.tables import read_rows
from tests import tiny

SETTINGS = {
    'seed': 0,
    'log_every': 1,
    'patience': 100,
    'max_skipped': 2,
    'max_rollbacks': 1,
    'samples': 1,
}


@pytest.fixture(scope='module', autouse=True)
def _quick():
    """Steps are compiled once for all tests; curves.png, which takes most of an evaluation here, is not drawn.

    Whole runs that do all of it: test_main.py, and the kills below.
    """
    with tiny.compiled_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logbook, 'plot_curves', lambda rows, path: None)
        yield


def eval_batches():
    masks = {'mask': np.ones((2, 2), np.float32), 'index': np.arange(4, dtype=np.int32).reshape(2, 2)}
    return [tiny.batch(1000) | masks]


def batches(start, *, signal_at=None, nan_from=None, nan_to=10**9):
    """Endless batches by number; on the way a signal to this process, or broken pictures."""
    number = start
    while True:
        batch = tiny.batch(number)
        if nan_from is not None and nan_from <= number < nan_to:
            batch['target'][:] = np.nan
        if number == signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch
        number += 1


def stages(steps=(4, 4), rate=1e-3, eval_every=2, best_metric='l1'):
    options = {'rate': rate, 'eval_every': eval_every, 'best_metric': best_metric}
    return [
        tiny.stage(adversarial=adversarial, steps=count, **options)
        for adversarial, count in zip((None, 'minimax'), steps, strict=True)
    ]


def run(workdir, stages, faults=None, **changes):
    lines = []
    loop.train(
        tiny.task(),
        stages,
        initial_state=lambda state: state,
        train_batches=lambda stage, start: batches(start, **(faults or {})),
        eval_batches=eval_batches(),
        workdir=Path(workdir),
        settings=loop.Settings(**(SETTINGS | changes)),
        log=lines.append,
    )
    return lines


def latest(workdir, stage):
    like = tiny.fresh_state(tiny.task(), tiny.stage())
    return checkpoints.restore(Path(workdir) / 'checkpoints' / stage, like)[0]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The workdir of a run that was never disturbed."""
    workdir = tmp_path_factory.mktemp('whole')
    run(workdir, stages())
    return workdir


def assert_same_end(a, b):
    for stage in ('supervised', 'adversarial'):
        jax.tree.map(np.testing.assert_array_equal, latest(a, stage), latest(b, stage))


@pytest.mark.parametrize('step', [0, 1, 2, 3, 4, 6])
def test_resume_after_sigterm_ends_with_the_same_bits(whole, tmp_path, step):
    """Stopped at any step, at an evaluation, or at the boundary of the stages, a run goes on to the same bits."""
    with pytest.raises(loop.Interrupted) as stopped:
        run(tmp_path, stages(), {'signal_at': step})
    assert stopped.value.signum == signal.SIGTERM
    assert stopped.value.step == step + 1
    lines = run(tmp_path, stages())
    assert any('going on from the checkpoint' in line for line in lines)
    assert_same_end(whole, tmp_path)
    rows = [(row['stage'], row['step']) for row in read_rows(tmp_path / 'evaluations.csv')]
    assert rows == [('supervised', 2), ('supervised', 4), ('adversarial', 6), ('adversarial', 8)]


PHASES = {  # what is called at each moment, and how often before
    'choosing samples': ('astro_gan.loop.choose_samples', 0),
    'compiling': ('astro_gan.stage_run.make_train_step', 0),
    'evaluating': ('astro_gan.stage_run.evaluate', 0),
    'recording': ('astro_gan.logbook.write_rows', 0),
    'saving the state': ('orbax.checkpoint.Checkpointer.save', 1),
    'summing up': ('astro_gan.files.sums.write', 1),
    'removing': ('astro_gan.checkpoints._prune', 2),
    'the next stage': ('astro_gan.loop.start_stage', 0),
    'the end': ('astro_gan.logbook.Logbook.close', 0),
}
TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize('phase', PHASES)
def test_signals_in_every_phase(whole, tmp_path, phase):
    """Asked to stop at any moment, once, twice or by both at once, a run has saved or leaves what was."""
    name, before = PHASES[phase]
    function, calls = pkgutil.resolve_name(name), []

    def struck(*args, **options):
        calls.append(name)
        if len(calls) == before + 1:
            for signum in signals:
                os.kill(os.getpid(), signum)
        return function(*args, **options)

    for signals in ((INT, INT), (TERM, INT), (TERM,), (TERM, INT, INT)):
        calls.clear()
        stopped, handlers = None, (signal.getsignal(INT), signal.getsignal(TERM))
        with pytest.MonkeyPatch.context() as patch, interrupts.ended_by_signals():
            patch.setattr(name, struck)
            try:
                run(tmp_path, stages())
            except (loop.Interrupted, KeyboardInterrupt) as error:
                stopped = error
        assert (signal.getsignal(INT), signal.getsignal(TERM)) == handlers
        if len(calls) > before:
            if phase == 'choosing samples':  # when there is nothing to save yet
                assert type(stopped) is (Terminated if signals[0] == TERM else KeyboardInterrupt)
            else:
                assert type(stopped) is (KeyboardInterrupt if signals.count(INT) > 1 else loop.Interrupted)
    run(tmp_path, stages())
    assert_same_end(whole, tmp_path)
    assert not [path for path in tmp_path.rglob('*') if '.tmp' in path.name]


def test_a_finished_run_is_left_as_it_is(whole):
    """Starting again a run that is through trains nothing."""
    before = latest(whole, 'adversarial')
    assert not any('compiling' in line for line in run(whole, stages()))
    jax.tree.map(np.testing.assert_array_equal, before, latest(whole, 'adversarial'))


def test_the_adversarial_stage_starts_from_the_best_average(tmp_path):
    """Its first state: averaged weights of the best supervised checkpoint, fresh optimizers, the step going on."""
    run(tmp_path, stages(steps=(4, 0), best_metric='l2'))
    like = tiny.fresh_state(tiny.task(), tiny.stage())
    assert latest(tmp_path, 'supervised').step == 4
    best, _ = checkpoints.restore(tmp_path / 'checkpoints' / 'supervised', like, best=True)
    assert best.step == 2
    start = latest(tmp_path, 'adversarial')
    assert start.step == 4
    jax.tree.map(np.testing.assert_array_equal, best.ema_params, start.generator.params)
    jax.tree.map(np.testing.assert_array_equal, best.ema_params, start.ema_params)
    assert start.generator.opt_state[0].count == 0
    assert best.generator.opt_state[0].count == 2


def test_critic_steps_resume_in_their_rhythm(tmp_path):
    """With two critic steps the generator moves at every other step, also after a stop in between."""

    critic = [tiny.stage(adversarial='wasserstein', penalty=10.0, critic_steps=2, steps=6, eval_every=3)]
    run(tmp_path / 'calm', critic)
    with pytest.raises(loop.Interrupted):
        run(tmp_path / 'disturbed', critic, {'signal_at': 2})
    run(tmp_path / 'disturbed', critic)
    calm, disturbed = latest(tmp_path / 'calm', 'adversarial'), latest(tmp_path / 'disturbed', 'adversarial')
    jax.tree.map(np.testing.assert_array_equal, calm, disturbed)
    assert calm.generator.opt_state[0].count == 3
    assert calm.discriminator.opt_state[0].count == 6


def test_early_stopping_counts_evaluations(tmp_path):
    """With a learning rate of zero nothing improves: the stage ends after `patience` further evaluations."""
    lines = run(tmp_path, stages(steps=(100, 2), rate=0.0, eval_every=1), patience=2)
    assert any('stopping early' in line for line in lines)
    rows = read_rows(tmp_path / 'evaluations.csv')
    assert [row['step'] for row in rows if row['stage'] == 'supervised'] == [1, 2, 3]
    assert [row['step'] for row in rows if row['stage'] == 'adversarial'] == [4, 5]


def test_more_patience_takes_up_an_early_stop(tmp_path):
    """`patience` is a setting of the present: raised, or 0, a stage that had stopped early goes on to its steps."""
    run(tmp_path, stages(steps=(6, 0), rate=0.0, eval_every=1)[:1], patience=2)
    assert latest(tmp_path, 'supervised').step == 3
    lines = run(tmp_path, stages(steps=(6, 0), rate=0.0, eval_every=1)[:1], patience=2)
    assert any('ended there: no better l1 in 2 evaluations' in line for line in lines)
    assert not any('compiling' in line for line in lines)
    run(tmp_path, stages(steps=(6, 0), rate=0.0, eval_every=1)[:1], patience=4)
    assert latest(tmp_path, 'supervised').step == 5
    run(tmp_path, stages(steps=(6, 0), rate=0.0, eval_every=1)[:1], patience=0)
    assert latest(tmp_path, 'supervised').step == 6


def test_a_stage_knows_what_it_started_from(tmp_path):
    """More steps of the first stage give better weights: the second one is put aside, and starts anew from those."""
    run(tmp_path, stages(steps=(2, 2)))
    lines = run(tmp_path, stages(steps=(2, 2)))
    assert not any('anew' in line for line in lines)
    old = latest(tmp_path, 'adversarial')
    lines = run(tmp_path, stages(steps=(4, 2)))
    assert any('adversarial: started from weights that are not the best' in line for line in lines)
    new = latest(tmp_path, 'adversarial')
    assert (old.step, new.step) == (4, 6)
    like = tiny.fresh_state(tiny.task(), tiny.stage())
    kept, _ = checkpoints.restore(tmp_path / 'checkpoints' / 'adversarial.old1', like)  # nothing is lost
    jax.tree.map(np.testing.assert_array_equal, kept, old)
    rows = [(row['stage'], row['step']) for row in read_rows(tmp_path / 'evaluations.csv')]
    assert rows == [('supervised', 2), ('supervised', 4), ('adversarial', 6)]
    whole = tmp_path / 'whole'  # a run that asked for all of them at once
    run(whole, stages(steps=(4, 2)))
    jax.tree.map(np.testing.assert_array_equal, new, latest(whole, 'adversarial'))


def test_a_profile_of_some_steps(tmp_path):
    """`profile` steps after the first ten leave a trace for TensorBoard, also where the stage ends before."""
    lines = run(tmp_path, stages(steps=(12, 0))[:1], profile=5)
    assert any('a profile is in' in line for line in lines)
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_bad_batches_roll_back_and_training_goes_on(tmp_path):
    """A run of broken batches brings the last checkpoint back, once, and the steps after them train again."""
    lines = run(tmp_path, stages(), {'nan_from': 2, 'nan_to': 4})
    assert sum('back to the weights of 2' in line for line in lines) == 1
    rows = read_rows(tmp_path / 'evaluations.csv')
    assert [row['skipped_steps'] for row in rows] == [0, 2, 0, 0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(latest(tmp_path, 'adversarial')))


def test_endless_bad_batches_stop_with_a_clear_message(tmp_path):
    """When roll-backs do not help, training says so and stops; the last good checkpoint is intact."""
    with pytest.raises(loop.TrainingError, match='roll-backs did not help'):
        run(tmp_path, stages(steps=(100, 0)), {'nan_from': 2})
    state = latest(tmp_path, 'supervised')
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_an_unknown_best_metric_lists_the_valid_ones():
    """A typing error in best_metric is found before training."""
    with pytest.raises(ValueError, match='valid are psnr'):
        tiny.stage(best_metric='beauty')


def test_kill_9_at_any_moment_resumes_to_the_same_bits(tmp_path):
    """Killed again and again while it saves at every step, a run still ends with an undisturbed run's bits."""
    disturbed, calm = tmp_path / 'disturbed', tmp_path / 'calm'
    kills = 0
    for pause in (0.0, 0.021, 0.057):
        process = start_run(disturbed)
        seen = checkpoint_count(disturbed)
        while process.poll() is None and checkpoint_count(disturbed) <= seen:
            time.sleep(0.002)
        time.sleep(pause)  # falls before, into or after one of the saves that follow
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    for workdir in (disturbed, calm):
        run(workdir, long_stages())
    assert_same_end(disturbed, calm)
    rows = [[row['step'] for row in read_rows(path / 'evaluations.csv')] for path in (disturbed, calm)]
    assert rows[0] == rows[1] == list(range(1, 19))


def long_stages():
    """A save at each of 18 steps."""
    return stages(steps=(16, 2), eval_every=1)


def start_run(workdir):
    """tests.test_loop as a script: long_stages."""
    environment = os.environ | {'PYTHONPATH': str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.test_loop', str(workdir)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def checkpoint_count(workdir):
    """The latest step that is saved or being saved."""
    names = [path.name.split('.')[0] for path in (workdir / 'checkpoints' / 'supervised').glob('[0-9]*')]
    return max(map(int, names), default=-1)


if __name__ == '__main__':
    run(sys.argv[1], long_stages())
