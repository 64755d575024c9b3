"""A tiny training that saves at every step, for the campaigns: of super-resolution or of colorization.

python -m tests.campaigns.training super_resolution WORKDIR
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from astro_gan import checkpoints, interrupts, logbook, loop
from astro_gan.state import state_shape
from astro_gan.tables import read_rows
from astro_gan.task import Batch, Stage, Task
from configs import unet_rgb, wdsr
from experiments import run

CONFIGS = {'super_resolution': wdsr, 'colorization': unet_rgb}
STOPPED = 3  # exit status
STEPS = {'supervised': 6, 'adversarial': 3}


def config(task: str):
    """The smallest networks of that task; an evaluation and a save after each step."""
    chosen = CONFIGS[task].get_config('smoke')
    for stage, steps in STEPS.items():
        chosen[stage].update({'steps': steps, 'eval_every': 1, 'batch_size': 2})
    chosen.dataset.eval_tile = 64
    return chosen


def batch(number: int, size: int) -> Batch:
    """Two random crops, on one device."""
    return {'crop': np.random.default_rng(number).integers(0, 256, (1, 2, size, size, 3), np.uint8)}


def train(task: str, workdir: Path) -> None:
    """Run it to its end, or on to it; result.json holds what it has to leave, whatever came between."""
    settings = config(task)
    record = run.make_task(settings)
    stages = run.make_stages(settings, record)
    size = settings.dataset.crop_size

    def batches(stage: Stage, start: int):
        number = start
        while True:
            yield batch(number, size)
            number += 1

    masks = {'mask': np.ones((1, 2), np.float32), 'index': np.arange(2, dtype=np.int32).reshape(1, 2)}
    loop.train(
        record,
        stages,
        initial_state=lambda state: state,
        train_batches=batches,
        eval_batches=[batch(10**6, settings.dataset.eval_tile) | masks],
        workdir=workdir,
        settings=loop.Settings(seed=0, log_every=5, patience=0, max_skipped=9, max_rollbacks=1, samples=1),
    )
    result = {stage.name: _digest(workdir / 'checkpoints' / stage.name, record, stage) for stage in stages}
    rows = [{k: v for k, v in row.items() if 'time/' not in k} for row in read_rows(workdir / 'evaluations.csv')]
    (workdir / 'result.json').write_text(json.dumps(result | {'rows': rows}))


def _digest(directory: Path, task: Task, stage: Stage) -> list[object]:
    """The latest checkpoint's bits and progress, and what lies there."""
    saved = checkpoints.restore(directory, state_shape(task, stage), read_only=True)
    state, progress = saved
    digest = hashlib.sha256(b''.join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))).hexdigest()
    names = sorted(path.name for path in directory.iterdir())
    return [digest, {key: value for key, value in progress.items() if key != 'rows'}, names]  # which know times


def main(task: str, workdir: str) -> int:
    # They take most of the time, and leave nothing that a training goes on from.
    logbook.plot_curves = lambda rows, path: None
    logbook.Logbook._tensorboard = lambda self: mock.Mock()
    try:
        with interrupts.ended_by_signals():
            train(task, Path(workdir))
    except (interrupts.Interrupted, KeyboardInterrupt) as stop:
        print(f'stopped: {type(stop).__name__}')
        return STOPPED
    return 0


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    sys.exit(main(*sys.argv[1:]))
