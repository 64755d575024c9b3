"""Orbax checkpoints of one stage: the two latest and the best, whole or not there at all.

Orbax writes into a temporary directory and renames it when everything is on disk, so a kill in the middle of a save
leaves the earlier checkpoints as they were; the next start removes what was left half written.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from astro_gan import hosts
from astro_gan.errors import UserError
from astro_gan.state import GANState

FIELDS = tuple(field.name for field in dataclasses.fields(GANState))
SPARE_BYTES = 2**20  # for Orbax's own files, and the logs that a run writes besides


def _score(metrics: dict[str, float]) -> float:
    """Higher is better."""
    return metrics['score']


def open_manager(directory: str | Path, *, read_only: bool = False) -> ocp.CheckpointManager:
    """The checkpoints below `directory` (made if missing); `read_only` leaves a running training's saves alone."""
    policy = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(2),
            checkpoint_managers.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=_score,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
        # The step donates the state's buffers, so a save has to be done with them before the next step starts.
        enable_async_checkpointing=False,
    )
    # Named here, so that a checkpoint can be asked what it holds before it is read.
    handlers = {'state': ocp.StandardCheckpointHandler(), 'progress': ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(Path(directory).absolute(), options=options, item_handlers=handlers)


def save(manager: ocp.CheckpointManager, state: GANState, progress: dict[str, Any], score: float | None) -> None:
    """Save `state` and the small JSON dict `progress` under the state's step; a step that is there stays.

    Args:
        manager: from `open_manager`.
        state: on all hosts alike.
        progress: what the loop has to know to go on (not arrays).
        score: higher is better; None for a save without an evaluation. That, or one that is not finite, never counts as
            the best.

    Raises:
        UserError: too little space is left on the disk; the earlier checkpoints are intact.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state)) + SPARE_BYTES
    # Asked first: Orbax would find a full disk out in the middle, and leave a page of tracebacks. All hosts raise, or
    # none: saving is a joint affair.
    free = min(hosts.gather(shutil.disk_usage(manager.directory).free))
    if free < needed:
        raise UserError(
            f'{manager.directory}: {free / 2**20:.1f} MiB are free and checkpoint {step} needs {needed / 2**20:.1f}; '
            'the earlier ones are kept: make room, and start the same command again'
        )
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
    metrics = None if score is None or not math.isfinite(score) else {'score': score}
    manager.save(step, args=args, metrics=metrics, force=True)


def latest_step(manager: ocp.CheckpointManager) -> int | None:
    """The latest step that is saved, None without any.

    Raises:
        UserError: the hosts see different checkpoints.
    """
    latest = manager.latest_step()
    seen = hosts.gather(-1 if latest is None else latest)
    if len(set(seen)) > 1:
        raise UserError(f'{manager.directory}: the hosts see different checkpoints; they need one shared --workdir')
    return latest


def restore(manager: ocp.CheckpointManager, like: GANState, step: int) -> tuple[GANState, dict[str, Any]]:
    """The state (as numpy arrays, so that any set of devices can take it) and the progress saved at `step`.

    A checkpoint from before there were averaged batch statistics has the latest ones in their place.

    Raises:
        UserError: the checkpoint does not fit `like`: it comes from another config, or is damaged.
    """
    target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), {f: getattr(like, f) for f in FIELDS})
    try:
        if not (averaged := 'ema_batch_stats' in manager.item_metadata(step)['state']):
            del target['ema_batch_stats']
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore())
        restored = manager.restore(step, args=args)
    except Exception as error:  # Orbax raises many kinds, each with a page of text
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f'{manager.directory}/{step}: this checkpoint cannot be read with these settings ({reason}); '
            'choose another --workdir, or the settings that it was made with'
        ) from error
    state = restored.state
    latest = {} if averaged else {'ema_batch_stats': state['generator'].batch_stats}
    return GANState(**state, **latest), restored.progress


def latest_progress(directory: Path) -> dict[str, Any] | None:
    """The progress saved with the latest checkpoint below `directory`, without its arrays; None without any.

    All hosts have to call it.
    """
    # A joint question: a host that has its answer goes on, and may make the folder before another one looks.
    if not min(hosts.gather(directory.is_dir())):
        return None
    with open_manager(directory, read_only=True) as manager:
        step = latest_step(manager)
        if step is None:
            return None
        return manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())).progress
