"""Checkpoints of one stage, a folder `<step>` each: the two latest and the best, whole or not there at all.

    <step>/state/               GANState, written by Orbax
    <step>/progress/metadata    JSON: what the loop has to know to go on
    <step>/metrics/metrics      JSON: the score, where there is one
    <step>/SHA256SUMS           of all these files
    <step>.damaged1             one whose files are not as they were saved: never read, never removed

A checkpoint is made under another name and renamed when everything is on the disk, its checksums too, so a kill in the
middle of a save leaves the earlier ones as they were; the next start removes what was left half written.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from astro_gan import hosts, interrupts
from astro_gan.errors import UserError
from astro_gan.files import atomic, sums
from astro_gan.state import GANState

FIELDS = tuple(field.name for field in dataclasses.fields(GANState))
SPARE_BYTES = 2**20  # for Orbax's own files, and the logs that a run writes besides
LATEST = 2  # so many are kept, and the best
# The manager of Orbax, which wrote checkpoints until version 0.9 of this package, without checksums, left this file.
_OLDER = '_CHECKPOINT_METADATA'

Log = Callable[[str], None]


class _Damaged(Exception):
    """What is wrong with a checkpoint's files."""


def steps(directory: Path) -> list[int]:
    """The steps that are saved below `directory`, whole or not, in order."""
    return sorted(int(path.name) for path in directory.glob('[0-9]*') if path.name.isascii() and path.name.isdigit())


@interrupts.held()  # Orbax's threads would go on, and leave tracebacks
def save(directory: Path, state: GANState, progress: dict[str, Any], score: float | None, log: Log = print) -> None:
    """Save `state` and the small JSON dict `progress` under the state's step; a step that is there stays.

    Afterwards those that are neither the best nor among the latest are removed, damaged ones aside.

    Args:
        directory: of the stage, made if missing.
        state: on all hosts alike.
        progress: what the loop has to know to go on (not arrays).
        score: higher is better; None for a save without an evaluation. That, or one that is not finite, never counts as
            the best.
        log: receives one line at a time.

    Raises:
        UserError: too little space is left on the disk; the earlier checkpoints are intact.
    """
    step = int(state.step)
    if step in steps(directory):
        return
    made = directory.absolute() / f'.{step}.tmp'
    hosts.on_first(lambda: _begin(made, sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))))
    with _orbax() as writer:
        writer.save(made / 'state', args=ocp.args.StandardSave(state))
    hosts.on_first(lambda: _finish(made, directory / str(step), progress, score))
    hosts.on_first(lambda: _prune(directory, log))


def restore(
    directory: Path, like: GANState, log: Log = print, *, best: bool = False, read_only: bool = False
) -> tuple[GANState, dict[str, Any]] | None:
    """The latest whole checkpoint's state (as numpy arrays, so that any set of devices can take it) and progress.

    Damaged ones are passed over: a line says so, and what that costs. A checkpoint from before there were averaged
    batch statistics has the latest ones in their place.

    Args:
        directory: of the stage.
        like: a state of the same shapes.
        log: receives one line at a time.
        best: the one with the best score, of those that have one.
        read_only: leave the folder as it is: another process may be training there. Otherwise damaged checkpoints are
            renamed, and what a killed save has left is removed.

    Returns:
        None where there is none.

    Raises:
        UserError: all of them are damaged; the chosen one does not fit `like`, as it comes from another config; the
            hosts see different ones.
    """
    if not read_only:
        hosts.on_first(lambda: _remove_leftovers(directory))
    faults = _faults(directory)
    found = None
    for step in _ranked(directory, [step for step in faults if not faults[step]], best=best):
        try:
            found = _read(directory.absolute() / str(step), like)
            break
        except _Damaged as error:
            faults[step] = str(error)
    # A training that goes on in the meantime removes some.
    faults = {step: fault for step, fault in faults.items() if (directory / str(step)).is_dir()}
    damaged = {step: fault for step, fault in faults.items() if fault}
    if damaged and len(damaged) == len(faults):
        told = '; '.join(f'{step}: {fault}' for step, fault in damaged.items())
        raise UserError(
            f'{directory}: all checkpoints are damaged ({told}); bring copies of them back, or rename the folder to '
            'begin this stage anew'
        )
    for step, fault in damaged.items():
        meaning = _cost(step, None if found is None else int(found[0].step), best=best)
        hosts.on_first(functools.partial(_tell, directory / str(step), fault + meaning, log, aside=not read_only))
    if found is not None and not (directory / str(int(found[0].step)) / sums.NAME).exists():
        log(f'{directory}/{int(found[0].step)}: a checkpoint of an earlier version, without checksums: taken as it is')
    return found


def latest_progress(directory: Path) -> dict[str, Any] | None:
    """The progress saved with the latest whole checkpoint, without its arrays; None without any.

    All hosts have to call it.
    """
    whole = [step for step, fault in _faults(directory).items() if not fault]
    return _json(directory / str(whole[-1]) / 'progress' / 'metadata') if whole else None


def has_damaged(directory: Path) -> bool:
    """Whether a damaged checkpoint was found there, now or before."""
    return any(directory.glob('*.damaged*'))


def _orbax() -> ocp.Checkpointer:
    # Not the one that writes in the background: the step donates the state's buffers, so a save has to be done with
    # them before the next step starts.
    return ocp.Checkpointer(ocp.StandardCheckpointHandler())


def _begin(made: Path, size: int) -> None:
    """An empty folder for a checkpoint of `size` bytes."""
    made.parent.mkdir(parents=True, exist_ok=True)
    needed = size + SPARE_BYTES
    # Asked first: Orbax would find a full disk out in the middle, and leave a page of tracebacks.
    free = shutil.disk_usage(made.parent).free
    if free < needed:
        raise UserError(
            f'{made.parent}: {free / 2**20:.1f} MiB are free and checkpoint {made.stem[1:]} needs '
            f'{needed / 2**20:.1f}; the earlier ones are kept: make room, and start the same command again'
        )
    _remove_leftovers(made.parent)
    made.mkdir()


def _finish(made: Path, folder: Path, progress: dict[str, Any], score: float | None) -> None:
    """What stands beside the state, the checksums, and the name that makes it a checkpoint."""
    files = {'progress/metadata': progress}
    if score is not None and math.isfinite(score):
        files['metrics/metrics'] = {'score': score}
    for name, value in files.items():
        (made / name).parent.mkdir()
        (made / name).write_text(json.dumps(value))
    sums.write(made)
    made.rename(folder)
    atomic.flush(folder.parent)


def _prune(directory: Path, log: Log) -> None:
    """Remove all but the latest two and the best. Those that stay are known to be whole before another one goes."""
    faults = {step: _fault(directory / str(step)) for step in steps(directory)}
    for step, fault in faults.items():
        if fault:
            _tell(directory / str(step), fault, log, aside=True)
    whole = [step for step, fault in faults.items() if not fault]
    for step in set(whole) - {*whole[-LATEST:], *_ranked(directory, whole, best=True)[:1]}:
        gone = directory / f'.{step}.tmp'  # never half a checkpoint under its name
        (directory / str(step)).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _remove_leftovers(directory: Path) -> None:
    """What killed processes left half written or half removed; the workdir's lock keeps others away."""
    for pattern in ('.[0-9]*.tmp', '*.orbax-checkpoint-tmp*'):
        for path in directory.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _ranked(directory: Path, among: list[int], *, best: bool) -> list[int]:
    """The latest first; or those that have a score, the best first."""
    if not best:
        return sorted(among, reverse=True)
    metrics = {step: _json(directory / str(step) / 'metrics' / 'metrics') for step in among}
    scores = {step: found['score'] for step, found in metrics.items() if found}
    return sorted(scores, key=lambda step: (scores[step], step), reverse=True)


def _json(path: Path) -> Any:
    """The content of a JSON file; None where there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _faults(directory: Path) -> dict[int, str]:
    """What is wrong with the files of each step, '' where nothing is; all hosts get the first one's opinion."""
    found = steps(directory)
    if len(set(hosts.gather(max(found, default=-1)))) > 1:
        raise UserError(f'{directory}: the hosts see different checkpoints; they need one shared --workdir')
    faults = hosts.on_first(lambda: {step: _fault(directory / str(step)) for step in found}) or {}
    damaged = {step: max(hosts.gather(bool(faults.get(step)))) for step in found}
    return {step: faults.get(step, 'damaged') if damaged[step] else '' for step in found}


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint's files, '' where nothing is known to be."""
    if (folder / sums.NAME).exists() or not (folder / _OLDER).exists():
        return sums.fault(folder)
    try:
        metrics = _json(folder / 'metrics' / 'metrics')
        if not isinstance(_json(folder / 'progress' / 'metadata'), dict) or not isinstance(metrics, dict | None):
            return 'progress or metrics are missing'
        return '' if metrics is None or math.isfinite(metrics['score']) else 'the score is no number'
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'progress or metrics cannot be read ({error})'


def _tell(folder: Path, text: str, log: Log, *, aside: bool) -> None:
    """A line on a damaged checkpoint, which gets another name where `aside`."""
    new = atomic.free_name(folder.with_name(f'{folder.name}.damaged'))
    log(f'{folder}: a damaged checkpoint' + (f', kept as {new.name}' if aside else '') + f': {text}')
    if aside:
        folder.rename(new)


def _cost(step: int, chosen: int | None, *, best: bool) -> str:
    """What it means that `step` cannot be read."""
    if chosen is None:
        return ''
    if best:
        return f'; the best that is left is {chosen}'
    if chosen > step:
        return f'; {chosen} is later: nothing is lost'
    return f'; back to {chosen}: {step - chosen} steps are lost'


@interrupts.held()
def _read(folder: Path, like: GANState) -> tuple[GANState, dict[str, Any]]:
    target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), {f: getattr(like, f) for f in FIELDS})
    try:
        progress = _json(folder / 'progress' / 'metadata')
        with _orbax() as reader:
            saved = reader.metadata(folder / 'state').item_metadata.tree
            if not (averaged := 'ema_batch_stats' in saved):
                del target['ema_batch_stats']
            difference = _difference(_shapes(saved), _shapes(target))
            state = None if difference else reader.restore(folder / 'state', args=ocp.args.StandardRestore(target))
    except Exception as error:  # Orbax raises many kinds, each with a page of text
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if not (folder / sums.NAME).exists():
            raise _Damaged(reason) from error
        raise UserError(f'{folder}: this checkpoint is whole, and cannot be read ({reason})') from error
    if state is None:
        raise UserError(
            f'{folder}: this checkpoint cannot be read with these settings ({difference}); choose another --workdir, '
            'or the settings that it was made with'
        )
    latest = {} if averaged else {'ema_batch_stats': state['generator'].batch_stats}
    return GANState(**state, **latest), progress


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = ((jax.tree_util.keystr(path, simple=True, separator='/'), leaf) for path, leaf in leaves)
    return {name: f'{np.dtype(leaf.dtype)}{list(leaf.shape)}' for name, leaf in named if hasattr(leaf, 'dtype')}


def _difference(saved: dict[str, str], ours: dict[str, str]) -> str:
    """The first array that is of another shape or type in a checkpoint than in this network; '' for none."""
    for name in sorted(saved.keys() | ours.keys()):
        if saved.get(name) != ours.get(name):
            return f'{name} is {saved.get(name, "not in it")}, and {ours.get(name, "not")} in this network'
    return ''
