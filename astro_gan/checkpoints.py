"""Orbax checkpoints of one stage: the two latest and the best, whole or not there at all.

Orbax writes into a temporary directory and renames it when everything is on disk, so a kill in the middle of a save
leaves the earlier checkpoints as they were; the next start removes what was left half written.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from astro_gan import hosts
from astro_gan.state import GANState

SPARE_BYTES = 2**20  # for Orbax's own files, and the logs that a run writes besides


def _score(metrics: dict[str, float]) -> float:
    """Higher is better; a value that is not finite must never count as the best."""
    score = metrics['score']
    return score if math.isfinite(score) else -math.inf


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
    return ocp.CheckpointManager(Path(directory).absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: GANState, progress: dict[str, Any], score: float | None) -> None:
    """Save `state` and the small JSON dict `progress` under the state's step; a step that is there stays.

    Args:
        manager: from `open_manager`.
        state: on all hosts alike.
        progress: what the loop has to know to go on (not arrays).
        score: higher is better; None for a save without an evaluation, which never counts as the best.

    Raises:
        OSError: too little space is left on the disk; the earlier checkpoints are intact.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state)) + SPARE_BYTES
    # Asked first: Orbax would find a full disk out in the middle, and leave a page of tracebacks. All hosts raise, or
    # none: saving is a joint affair.
    free = min(hosts.gather(shutil.disk_usage(manager.directory).free))
    if free < needed:
        raise OSError(
            f'{manager.directory}: {free / 2**20:.1f} MiB are free and checkpoint {step} needs {needed / 2**20:.1f}; '
            'the earlier ones are kept: make room, and start the same command again'
        )
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
    manager.save(step, args=args, metrics=None if score is None else {'score': score}, force=True)


def latest_step(manager: ocp.CheckpointManager) -> int | None:
    """The latest step that is saved, None without any.

    Raises:
        ValueError: the hosts see different checkpoints.
    """
    latest = manager.latest_step()
    seen = hosts.gather(-1 if latest is None else latest)
    if len(set(seen)) > 1:
        raise ValueError(f'{manager.directory}: the hosts see different checkpoints; they need one shared --workdir')
    return latest


def restore(manager: ocp.CheckpointManager, like: GANState, step: int) -> tuple[GANState, dict[str, Any]]:
    """The state (as numpy arrays, so that any set of devices can take it) and the progress saved at `step`.

    Raises:
        ValueError: the checkpoint does not fit `like`: it comes from another config, or is damaged.
    """
    target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore())
    try:
        restored = manager.restore(step, args=args)
    except Exception as error:  # Orbax raises many kinds, each with a page of text
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f'{manager.directory}/{step}: this checkpoint cannot be read with these settings ({reason}); '
            'choose another --workdir, or the settings that it was made with'
        ) from error
    return restored.state, restored.progress
