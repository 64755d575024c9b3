"""Training of the guided colorizer as a user runs it: to the end, and on after a kill."""

import jax
import numpy as np
import pytest

from astro_gan import checkpoints
from astro_gan.stage_run import StageRun
from astro_gan.state import create_state
from astro_gan.tables import read_rows
from configs import colorize
from experiments import run
from tests.runs import records


class Killed(BaseException):
    """Nothing catches it: what is on disk is all that is left, as after SIGKILL."""


def test_a_killed_training_resumes_to_the_same_bits(tmp_path, monkeypatch):
    """Guides, scales and crops are drawn from the step: after a kill the run ends with an undisturbed one's bits."""
    config = colorize.get_config('smoke')
    settings = {'supervised.steps': 4, 'supervised.eval_every': 2, 'adversarial.steps': 0, 'generator.stages': 1}
    config.update_from_flattened_dict(settings)
    step = StageRun._train_step

    def killed(self, batches):
        if self.step == 3:  # one step after the checkpoint
            raise Killed
        step(self, batches)

    monkeypatch.setattr(run, 'evaluate', lambda *_: None)  # of the test split, at the end
    with monkeypatch.context() as patch:
        patch.setattr(StageRun, '_train_step', killed)
        with pytest.raises(Killed):
            run.train(config, str(tmp_path / 'killed'))
    states, rows = [], []
    for name in ('killed', 'calm'):
        run.train(config, str(tmp_path / name))
        fresh = create_state(*records(config, 'supervised'), jax.random.key(1))
        states.append(checkpoints.restore(tmp_path / name / 'checkpoints' / 'supervised', fresh)[0])
        rows.append(read_rows(tmp_path / name / 'evaluations.csv'))
    assert states[0].step == 4
    jax.tree.map(np.testing.assert_array_equal, *states)
    scores = [[{key: row[key] for key in row if not key.startswith('time/')} for row in table] for table in rows]
    assert scores[0] == scores[1]
