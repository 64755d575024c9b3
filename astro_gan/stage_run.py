"""One stage on its way: steps, evaluations, checkpoints, early stopping, roll-backs, signals."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from astro_gan import checkpoints, hosts
from astro_gan.errors import UserError
from astro_gan.evaluation import evaluate, sample_picture
from astro_gan.interrupts import Interrupted
from astro_gan.logbook import Logbook
from astro_gan.state import GANState
from astro_gan.task import HIGHER_IS_BETTER, Batch, Stage, Task
from astro_gan.train import make_train_step, replicate

PROFILE_AFTER = 10  # steps: the first ones compile


class TrainingError(UserError):
    """Training cannot go on; the message says why and what to try."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the loop goes about it; counts are in steps except `patience` (evaluations without a better score)."""

    seed: int
    log_every: int
    patience: int  # 0: a stage has all its steps
    max_skipped: int  # skipped steps in a row that bring the last checkpoint's weights back
    max_rollbacks: int  # roll-backs (with no clean evaluation between them) after which the next one stops training
    samples: int  # rows of the sample pictures
    profile: int = 0  # steps of each stage that are profiled into <workdir>/profile


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all stages of a run share."""

    task: Task
    settings: Settings
    workdir: Path
    logbook: Logbook
    eval_batches: Iterable[Batch]
    samples: dict[str, np.ndarray] | None  # None on other hosts than the first
    eval_step: Callable[..., Any]
    predict: Callable[..., np.ndarray]
    stop: list[int]  # signals that came
    log: Callable[[str], None]


def finished(stage: Stage, step: int, progress: dict[str, Any], settings: Settings) -> bool:
    """Whether a stage that is at `step` has had its steps, or enough evaluations without a better score."""
    patient = not settings.patience or progress['since_best'] < settings.patience
    return step >= progress['first_step'] + stage.steps or not patient


class _Window:
    """The scalars and times of the steps since the last evaluation."""

    def __init__(self) -> None:
        self.terms: list[dict[str, np.ndarray]] = []
        self.wait = 0.0
        self.start = time.perf_counter()

    def summary(self) -> dict[str, float]:
        """Means over the window (skipped steps left out of the losses), rates, and the count of skipped steps."""
        names = dict.fromkeys(name for terms in self.terms for name in terms)
        columns = {name: np.array([terms[name] for terms in self.terms if name in terms]) for name in names}
        skipped = float(columns.pop('skipped').sum())
        means = {
            name: float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else math.nan
            for name, values in columns.items()
        }
        elapsed = time.perf_counter() - self.start
        rates = {'time/steps_per_second': len(self.terms) / elapsed, 'time/data_wait': self.wait / elapsed}
        return means | rates | {'skipped_steps': skipped}


class StageRun:
    """A stage between its start and its end.

    Args:
        shared: what all stages share.
        stage: its record.
        state: numpy arrays; that of its latest checkpoint, as `progress` is.
        progress: `first_step`, `best` (score, higher is better), `since_best` (evaluations), `rollbacks`.
    """

    def __init__(self, shared: Shared, stage: Stage, state: GANState, progress: dict[str, Any]):
        self.shared, self.stage = shared, stage
        self.checkpoints = shared.workdir / 'checkpoints' / stage.name
        self.step, self.first, self.progress = int(state.step), progress['first_step'], progress
        self.last = self.first + stage.steps
        self.state = replicate(state)
        self.window = _Window()
        self.pending: list[dict[str, jax.Array]] = []
        options = {'seed': shared.settings.seed, 'first_step': self.first}
        self.full_step = make_train_step(shared.task, stage, **options)
        self.critic_step = self.full_step
        if stage.critic_steps > 1:
            self.critic_step = make_train_step(shared.task, stage, **options, update_generator=False)

    def run(self, batches: Iterator[Batch]) -> None:
        """Train to the end: of the steps, or of the patience; raises Interrupted or TrainingError."""
        shared, begun = self.shared, self.step
        shared.log(f'{self.stage.name}: steps {self.step} to {self.last}; compiling the first step ...')
        with self._bar() as bar, _Profile(shared) as profile:
            while not finished(self.stage, self.step, self.progress, shared.settings):
                self._train_step(batches)
                bar.update()
                profile(self.step - begun)
                at_eval = (self.step - self.first) % self.stage.eval_every == 0 or self.step == self.last
                at_log = (self.step - self.first) % shared.settings.log_every == 0
                if at_eval or at_log:
                    fetched = self._fetch()
                if at_log:
                    bar.set_postfix(loss=f'{self._log_scalars(fetched):.4f}')
                if at_eval:
                    self._evaluate()
                # A joint question of several hosts, so not at every step.
                if jax.process_count() == 1 or at_log or at_eval:
                    self._heed_signals(saved=at_eval)

    def _bar(self) -> Any:
        return tqdm(
            total=self.stage.steps,
            initial=self.step - self.first,
            desc=self.stage.name,
            unit='step',
            disable=not self.shared.logbook.active,
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
            dynamic_ncols=True,
        )

    def _train_step(self, batches: Iterator[Batch]) -> None:
        before = time.perf_counter()
        batch = next(batches)
        self.window.wait += time.perf_counter() - before
        # Counted from the stage's first step: a resume meets the same pattern.
        updates_generator = (self.step - self.first + 1) % self.stage.critic_steps == 0
        self.state, terms = (self.full_step if updates_generator else self.critic_step)(self.state, batch)
        if self.pending:  # never more than one step ahead of the device
            jax.block_until_ready(self.pending[-1])
        self.pending.append(terms)
        self.step += 1

    def _fetch(self) -> list[dict[str, np.ndarray]]:
        """The scalars of the steps since the last call; too many bad steps in a row bring earlier weights back."""
        fetched = [jax.tree.map(np.asarray, terms) for terms in self.pending]
        self.window.terms += fetched
        self.pending = []
        if int(self.state.skipped) >= self.shared.settings.max_skipped:
            self._roll_back()
        return fetched

    def _log_scalars(self, fetched: list[dict[str, np.ndarray]]) -> float:
        """Scalars for TensorBoard; the generator's loss comes back."""
        names = dict.fromkeys(name for terms in fetched for name in terms)
        scalars = {name: float(np.mean([t[name] for t in fetched if name in t])) for name in names}
        self.shared.logbook.scalars(self.step, scalars)
        return scalars.get('generator/loss', math.nan)

    def _evaluate(self) -> None:
        """Measure the averaged weights, keep the record and a checkpoint."""
        shared, stage, state = self.shared, self.stage, self.state
        row = {'stage': stage.name, 'step': self.step} | self.window.summary()
        variables = state.ema_params, state.ema_batch_stats
        summary, warnings = shared.task.summarize(evaluate(shared.eval_step, *variables, shared.eval_batches))
        value = summary[stage.best_metric]
        score = value if stage.best_metric in HIGHER_IS_BETTER else -value
        best, since = self.progress['best'], self.progress['since_best']
        better = math.isfinite(score) and (best is None or score > best)
        self.progress = self.progress | {
            'best': score if better else best,
            'since_best': 0 if better else since + 1,
            # After a clean window that trouble is over.
            'rollbacks': self.progress['rollbacks'] if row['skipped_steps'] else 0,
        }
        row |= {f'eval/{name}': value for name, value in summary.items()}
        # The record first: a kill in between repeats it, and never leaves a checkpoint without its row.
        if shared.samples is not None:
            outputs = shared.predict(*variables, shared.samples['input'])
            shared.logbook.evaluation(row, sample_picture(shared.task, shared.samples, [outputs]))
            self.progress |= {'rows': shared.logbook.digest(stage.name)}
        checkpoints.save(self.checkpoints, jax.device_get(state), self.progress, score, shared.log)
        with tqdm.external_write_mode():  # above the bar
            shared.log(self._line(row, better))
            for line in warnings:
                shared.log(f'warning: {line}')
            if self.step < self.last and finished(stage, self.step, self.progress, shared.settings):
                count = self.progress['since_best']
                shared.log(f'{stage.name}: stopping early, no better {stage.best_metric} in {count} evaluations')
        self.window = _Window()

    def _line(self, row: dict[str, Any], better: bool) -> str:
        shown = '  '.join(f'{name} {row["eval/" + name]:.4f}' for name in self.shared.task.headline)
        rate, wait = row['time/steps_per_second'], 100 * row['time/data_wait']
        mark = f'  best {self.stage.best_metric}' if better else ''
        return f'{self.stage.name} step {self.step}: {shown}  ({rate:.2f} steps/s, data wait {wait:.1f}%){mark}'

    def _heed_signals(self, *, saved: bool) -> None:
        signum = int(max(hosts.gather(self.shared.stop[0] if self.shared.stop else 0)))
        if not signum:
            return
        if not saved:
            checkpoints.save(self.checkpoints, jax.device_get(self.state), self.progress, None, self.shared.log)
        raise Interrupted(signum, self.step)

    def _roll_back(self) -> None:
        """The weights of the latest checkpoint at the present step: other batches follow than those that failed."""
        most = self.shared.settings.max_rollbacks
        self.progress = self.progress | {'rollbacks': self.progress['rollbacks'] + 1}
        if self.progress['rollbacks'] > most:
            raise TrainingError(
                f'step {self.step}: losses or gradients are not finite, and {most} roll-backs did not help; lower the '
                'learning rate, set gradient_clip, or look at the data. The checkpoints are intact'
            )
        saved = checkpoints.restore(self.checkpoints, self.state, self.shared.log)
        if saved is None:
            raise TrainingError(f'{self.checkpoints}: the checkpoints are gone')
        restored, _ = saved
        self.shared.log(
            f'step {self.step}: {int(self.state.skipped)} steps in a row were not finite and skipped; back to the '
            f'weights of {int(restored.step)}'
        )
        self.state = replicate(restored.replace(step=np.int32(self.step), skipped=np.int32(0)))


class _Profile:
    """Profiles some steps after the first ones into <workdir>/profile, for TensorBoard; on the first host."""

    def __init__(self, shared: Shared):
        self.steps = shared.settings.profile if shared.logbook.active else 0
        self.directory = str(shared.workdir / 'profile')
        self.log = shared.log
        self.running = False

    def __enter__(self) -> _Profile:
        return self

    def __call__(self, done: int) -> None:
        """After each step; `done`: how many this process has made in this stage."""
        if not self.steps:
            return
        if done == PROFILE_AFTER:
            from clu import profiler  # imports TensorFlow

            profiler.start(self.directory)
            self.running = True
        elif done == PROFILE_AFTER + self.steps:
            self._stop()

    def _stop(self) -> None:
        from clu import profiler

        profiler.stop()
        self.running = False
        self.log(f'a profile is in {self.directory}: tensorboard --logdir {self.directory}')

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._stop()
