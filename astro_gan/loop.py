"""The loop over stages: each from the best weights of the one before, or on from where an earlier run stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from astro_gan import checkpoints, hosts
from astro_gan.evaluation import choose_samples, make_predict
from astro_gan.files import atomic
from astro_gan.interrupts import Interrupted, stop_signals
from astro_gan.logbook import Logbook
from astro_gan.stage_run import Settings, Shared, StageRun, TrainingError, finished
from astro_gan.state import GANState, create_state, start_stage
from astro_gan.task import Batch, Stage, Task
from astro_gan.train import make_eval_step

__all__ = ['Interrupted', 'Settings', 'TrainingError', 'train', 'weights_hash']


def train(
    task: Task,
    stages: list[Stage],
    *,
    initial_state: Callable[[GANState], GANState],
    train_batches: Callable[[Stage, int], Iterator[Batch]],
    eval_batches: Iterable[Batch],
    workdir: Path,
    settings: Settings,
    log: Callable[[str], None] = print,
) -> None:
    """Run the stages in order; a run that was interrupted goes on, one that is through is left as it is.

    Args:
        task: the networks, and how they are measured.
        stages: in order.
        initial_state: applied to the fresh state of the first stage (loads weights to start from, or is the identity).
        train_batches: (stage, step to start from) -> batches `[local devices, n, ...]`.
        eval_batches: validation batches, iterated at every evaluation.
        workdir: checkpoints, CSV, TensorBoard events, pictures.
        settings: see `Settings`.
        log: receives one line at a time.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; the state is saved.
        TrainingError: losses stay non-finite.
        OSError: the workdir cannot be written.
    """
    fresh = create_state(task, stages[0], jax.random.key(settings.seed))
    active = jax.process_index() == 0
    logbook = Logbook(workdir, log, active=active)
    samples = choose_samples(task, eval_batches, settings.samples) if active else None
    previous: GANState | None = None
    lost = False
    with stop_signals() as stop:
        # The stages differ in how they train, not in how they are measured: one compilation serves all.
        measure = make_eval_step(task), make_predict(task)
        shared = Shared(task, settings, workdir, logbook, eval_batches, samples, *measure, stop, log)
        try:
            for stage in stages:
                directory = workdir / 'checkpoints' / stage.name
                if previous is not None and not lost and _outdated(directory, weights_hash(previous)):
                    _put_aside(directory, log)
                    logbook.forget_after(stage.name, -1)
                state, progress = _start(stage, directory, fresh, previous, initial_state, settings, log)
                step = int(state.step)
                logbook.forget_after(stage.name, step)
                logbook.compare(stage.name, progress.get('rows'))
                if not finished(stage, step, progress, settings):
                    run = StageRun(shared, stage, state, progress)
                    run.run(train_batches(stage, step))
                    step = run.step
                best = checkpoints.restore(directory, fresh, log, best=True)
                best = best or checkpoints.restore(directory, fresh, log)
                if best is None:
                    raise TrainingError(f'{directory}: the checkpoints are gone')
                # The step goes on from the stage's last one, so that no batch is seen twice.
                previous = best[0].replace(step=np.int32(step))
                # Then the best that is left may be another than the next stage has started from; it goes on.
                lost = checkpoints.has_damaged(directory)
        finally:
            logbook.close()
    if signum := int(max(hosts.gather(stop[0] if stop else 0))):  # which came after the last step: all is saved
        raise Interrupted(signum, step)


def weights_hash(state: GANState) -> str:
    """SHA-256 of the weights that a further stage would start from."""
    digest = hashlib.sha256()
    nets = state.ema_params, state.ema_batch_stats, state.discriminator.params, state.discriminator.batch_stats
    for leaf in jax.tree.leaves(nets):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _outdated(directory: Path, origin: str) -> bool:
    """Whether the stage in `directory` started from other weights than it would start from now."""
    progress = checkpoints.latest_progress(directory)
    return progress is not None and progress.get('started_from') not in (None, origin)


def _put_aside(directory: Path, log: Callable[[str], None]) -> None:
    aside = atomic.free_name(directory.with_name(f'{directory.name}.old'))
    hosts.on_first(lambda: directory.rename(aside))
    log(
        f'{directory.name}: started from weights that are not the best of the stage before any more, so it starts '
        f'anew; what was trained is kept in {aside}'
    )


def _start(
    stage: Stage,
    directory: Path,
    fresh: GANState,
    previous: GANState | None,
    initial_state: Callable[[GANState], GANState],
    settings: Settings,
    log: Callable[[str], None],
) -> tuple[GANState, dict[str, Any]]:
    """The state that the stage goes on from: its own checkpoint, else the stage before, else a fresh one."""
    saved = checkpoints.restore(directory, fresh, log)
    if saved is not None:
        state, progress = saved
        latest = int(state.step)
        done = latest - progress['first_step']
        log(f'{stage.name}: going on from the checkpoint at step {latest} ({done} of {stage.steps} done)')
        if done < stage.steps and finished(stage, latest, progress, settings):
            count = progress['since_best']
            log(f'{stage.name}: ended there: no better {stage.best_metric} in {count} evaluations (patience)')
        return state, progress
    state = start_stage(previous, stage) if previous is not None else initial_state(fresh)
    state = jax.device_get(state)
    progress = {'first_step': int(state.step), 'best': None, 'since_best': 0, 'rollbacks': 0}
    progress['started_from'] = weights_hash(state)
    # Training has something to roll back to from its first step on, and an unwritable workdir shows at once.
    checkpoints.save(directory, state, progress, None, log)
    return state, progress
