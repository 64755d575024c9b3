"""The loop over stages: train, evaluate, save, resume; and the evaluation of a state on a set of tiles."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from astro_gan import checkpoints, hosts
from astro_gan.evaluation import choose_samples, evaluate, make_predict, sample_picture
from astro_gan.experiment import Batch, Experiment
from astro_gan.logbook import Logbook
from astro_gan.state import GANState, create_state, start_stage
from astro_gan.train import make_eval_step, make_train_step, replicate

HIGHER_IS_BETTER = ('psnr', 'psnr_y', 'ssim_y')
LOWER_IS_BETTER = ('l1', 'l2', 'l1_lab', 'l2_lab', 'l1_ab', 'l2_ab', 'lpips', 'frechet_alex')


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: what is trained (`experiment`), for how many steps, and which validation metric names the best."""

    name: str
    experiment: Experiment
    steps: int
    ema_decay: float  # of the averaged generator weights
    eval_every: int  # steps between evaluations, each with a checkpoint
    best_metric: str
    train_batches: Callable[[int], Iterator[Batch]]  # start step -> batches [local devices, n, ...]

    def __post_init__(self) -> None:
        if self.best_metric not in HIGHER_IS_BETTER + LOWER_IS_BETTER:
            valid = ', '.join(HIGHER_IS_BETTER + LOWER_IS_BETTER)
            raise ValueError(f'{self.name}.best_metric: {self.best_metric!r} is unknown; valid are {valid}')


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to try."""


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM, Ctrl-C); everything is saved. `signum` says by what."""

    def __init__(self, signum: int, step: int):
        super().__init__(f'stopped at step {step}')
        self.signum = signum
        self.step = step


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second Ctrl-C dies as usual."""
    received: list[int] = []

    def handler(signum: int, frame: Any) -> None:
        del frame
        received.append(signum)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for signum, old in previous.items():
            signal.signal(signum, old)


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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the loop goes about it; counts are in steps except `patience` (evaluations without a better score)."""

    seed: int
    log_every: int
    patience: int
    max_skipped: int  # skipped steps in a row that bring the last checkpoint's weights back
    max_rollbacks: int  # roll-backs (with no clean evaluation between them) after which the next one stops training
    samples: int  # rows of the sample pictures


def train(
    stages: list[Stage],
    *,
    initial_state: Callable[[GANState], GANState],
    eval_batches: Iterable[Batch],
    workdir: Path,
    settings: Settings,
    log: Callable[[str], None] = print,
) -> None:
    """Run the stages in order, each from the best weights of the one before; go on where an earlier run stopped.

    Args:
        stages: in order; all share the networks, the metrics and what else belongs to evaluation.
        initial_state: applied to the fresh state of the first stage (loads weights to start from, or is the identity).
        eval_batches: validation batches, iterated at every evaluation.
        workdir: checkpoints, CSV, TensorBoard events, pictures.
        settings: see `Settings`.
        log: receives one line at a time.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; the state is saved.
        TrainingError: losses stay non-finite.
        OSError: the workdir cannot be written.
    """
    spec = jax.ShapeDtypeStruct((1, *stages[0].experiment.input_shape), np.float32)
    fresh = create_state(stages[0].experiment, jax.random.key(settings.seed), spec)
    active = jax.process_index() == 0
    logbook = Logbook(workdir, active=active)
    samples = choose_samples(eval_batches, settings.samples) if active else None
    # The stages differ in how they train, not in how they are measured: one compilation serves all.
    measure = make_eval_step(stages[0].experiment), make_predict(stages[0].experiment)
    previous: GANState | None = None
    with _stop_signals() as stop:
        try:
            for stage in stages:
                with checkpoints.open_manager(workdir / 'checkpoints' / stage.name) as manager:
                    state, progress = _start(stage, manager, fresh, previous, initial_state, log)
                    logbook.forget_after(stage.name, int(state.step))
                    if not progress['finished'] and int(state.step) < progress['first_step'] + stage.steps:
                        batches = stage.train_batches(int(state.step))
                        _run_stage(
                            stage,
                            state,
                            progress,
                            manager,
                            batches,
                            eval_batches,
                            measure,
                            samples,
                            logbook,
                            settings,
                            stop,
                            log,
                        )
                    best = manager.best_step()
                    previous, _ = checkpoints.restore(manager, fresh, manager.latest_step() if best is None else best)
                    # The step goes on from the stage's last one, so that no batch is seen twice.
                    previous = previous.replace(step=np.int32(manager.latest_step()))
        finally:
            logbook.close()


def _start(
    stage: Stage,
    manager: Any,
    fresh: GANState,
    previous: GANState | None,
    initial_state: Callable[[GANState], GANState],
    log: Callable[[str], None],
) -> tuple[GANState, dict[str, Any]]:
    """The state that the stage goes on from: its own checkpoint, else the stage before, else a fresh one."""
    latest = checkpoints.latest_step(manager)
    if latest is not None:
        state, progress = checkpoints.restore(manager, fresh, latest)
        done = latest - progress['first_step']
        log(f'{stage.name}: going on from the checkpoint at step {latest} ({done} of {stage.steps} done)')
        return state, progress
    state = start_stage(previous, stage.experiment) if previous is not None else initial_state(fresh)
    state = jax.device_get(state)
    progress = {'first_step': int(state.step), 'best': None, 'since_best': 0, 'rollbacks': 0, 'finished': False}
    # Training has something to roll back to from its first step on, and an unwritable workdir shows at once.
    checkpoints.save(manager, state, progress, None)
    return state, progress


def _run_stage(
    stage: Stage,
    state: GANState,
    progress: dict[str, Any],
    manager: Any,
    batches: Iterator[Batch],
    eval_batches: Iterable[Batch],
    measure: tuple[Callable[..., Any], Callable[..., Any]],
    samples: dict[str, np.ndarray] | None,
    logbook: Logbook,
    settings: Settings,
    stop: list[int],
    log: Callable[[str], None],
) -> None:
    """Train one stage to its end: its steps, early stopping, a signal (raises Interrupted) or TrainingError."""
    experiment = stage.experiment
    full_step = make_train_step(experiment, ema_decay=stage.ema_decay, seed=settings.seed)
    critic_step = full_step
    if experiment.critic_steps > 1:
        critic_step = make_train_step(experiment, ema_decay=stage.ema_decay, seed=settings.seed, update_generator=False)
    eval_step, predict = measure
    step, first = int(state.step), progress['first_step']
    state = replicate(state)
    last = first + stage.steps
    window = _Window()
    pending: list[dict[str, jax.Array]] = []
    log(f'{stage.name}: steps {step} to {last}; compiling the first step ...')
    bar = tqdm(
        total=stage.steps,
        initial=step - first,
        desc=stage.name,
        unit='step',
        disable=not logbook.active,
        mininterval=0.5 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
    )
    with bar:
        while step < last:
            before = time.perf_counter()
            batch = next(batches)
            window.wait += time.perf_counter() - before
            # Counted from the stage's first step: a resume meets the same pattern.
            updates_generator = (step - first + 1) % experiment.critic_steps == 0
            state, terms = (full_step if updates_generator else critic_step)(state, batch)
            if pending:  # never more than one step ahead of the device
                jax.block_until_ready(pending[-1])
            pending.append(terms)
            step += 1
            bar.update()

            at_eval = (step - first) % stage.eval_every == 0 or step == last
            at_log = (step - first) % settings.log_every == 0
            if at_eval or at_log:
                fetched = [jax.tree.map(np.asarray, terms) for terms in pending]
                window.terms += fetched
                pending = []
                if int(state.skipped) >= settings.max_skipped:
                    progress = progress | {'rollbacks': progress['rollbacks'] + 1}
                    state = _roll_back(state, manager, step, progress['rollbacks'], settings, log)
                if at_log:
                    names = dict.fromkeys(name for terms in fetched for name in terms)
                    scalars = {name: float(np.mean([t[name] for t in fetched if name in t])) for name in names}
                    logbook.scalars(step, scalars)
                    bar.set_postfix(loss=f'{scalars.get("generator/loss", math.nan):.4f}')
            if at_eval:
                row = {'stage': stage.name, 'step': step} | window.summary()
                table = evaluate(eval_step, state.ema_params, state.generator.batch_stats, eval_batches)
                summary, warnings = experiment.summarize(table)
                metrics = {f'eval/{name}': value for name, value in summary.items()}
                value = metrics[f'eval/{stage.best_metric}']
                score = value if stage.best_metric in HIGHER_IS_BETTER else -value
                better = math.isfinite(score) and (progress['best'] is None or score > progress['best'])
                if not row['skipped_steps']:
                    progress = progress | {'rollbacks': 0}  # that trouble is over
                if better:
                    progress = progress | {'best': score, 'since_best': 0}
                else:
                    progress = progress | {'since_best': progress['since_best'] + 1}
                progress['finished'] = progress['since_best'] >= settings.patience
                # The record first: a kill in between repeats it, and never leaves a checkpoint without its row.
                if samples is not None:
                    outputs = predict(state.ema_params, state.generator.batch_stats, samples['input'])
                    logbook.evaluation(row | metrics, sample_picture(experiment, samples, [outputs]))
                checkpoints.save(manager, jax.device_get(state), progress, score)
                with tqdm.external_write_mode():  # above the bar
                    log(_evaluation_line(stage, step, row, metrics, better))
                    for line in warnings:
                        log(f'warning: {line}')
                if progress['finished']:
                    count = settings.patience
                    log(f'{stage.name}: stopping early, no better {stage.best_metric} in {count} evaluations')
                    return
                window = _Window()

            asked = jax.process_count() == 1 or at_log or at_eval  # a joint question, so not at every step
            signum = int(max(hosts.gather(stop[0] if stop else 0))) if asked else 0
            if signum:
                if not at_eval:
                    checkpoints.save(manager, jax.device_get(state), progress, None)
                raise Interrupted(signum, step)


def _roll_back(
    state: GANState, manager: Any, step: int, rollbacks: int, settings: Settings, log: Callable[[str], None]
) -> GANState:
    """The weights of the latest checkpoint at the present step: other batches follow than those that failed."""
    if rollbacks > settings.max_rollbacks:
        raise TrainingError(
            f'step {step}: losses or gradients are not finite, and {settings.max_rollbacks} roll-backs did not help; '
            'lower the learning rate, set gradient_clip, or look at the data. The checkpoints are intact'
        )
    source = manager.latest_step()
    log(
        f'step {step}: {int(state.skipped)} steps in a row were not finite and skipped; back to the weights of {source}'
    )
    restored, _ = checkpoints.restore(manager, state, source)
    return replicate(restored.replace(step=np.int32(step), skipped=np.int32(0)))


def _evaluation_line(stage: Stage, step: int, row: dict[str, Any], metrics: dict[str, float], better: bool) -> str:
    shown = '  '.join(f'{name} {metrics["eval/" + name]:.4f}' for name in stage.experiment.headline)
    rate, wait = row['time/steps_per_second'], 100 * row['time/data_wait']
    mark = f'  best {stage.best_metric}' if better else ''
    return f'{stage.name} step {step}: {shown}  ({rate:.2f} steps/s, data wait {wait:.1f}%){mark}'
