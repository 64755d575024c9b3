"""Orbax checkpoints of one stage: the two latest and the best, whole or not there at all.

Orbax writes into a temporary directory and renames it when everything is on disk, so a kill in the middle of a save
leaves the earlier checkpoints as they were; the next start removes what was left half written.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from astro_gan.state import GANState


def _score(metrics: dict[str, float]) -> float:
    """Higher is better; a value that is not finite must never count as the best."""
    score = metrics['score']
    return score if math.isfinite(score) else -math.inf


def open_manager(directory: str | Path) -> ocp.CheckpointManager:
    """The checkpoints below `directory` (made if missing)."""
    policy = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(2),
            checkpoint_managers.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=_score,
        cleanup_tmp_directories=True,
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
        OSError: the checkpoint could not be written (a full disk, say); the earlier ones are intact.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress))
    try:
        manager.save(step, args=args, metrics=None if score is None else {'score': score}, force=True)
    except OSError:
        raise
    except Exception as error:  # tensorstore reports a full disk as a ValueError of several lines
        text = str(error)
        if 'No space left' in text or 'RESOURCE_EXHAUSTED' in text or 'Disk quota' in text:
            raise OSError(f'{manager.directory}: no space left for checkpoint {step}; earlier ones are kept') from error
        raise


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
