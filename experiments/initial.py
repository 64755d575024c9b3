"""The weights that a fresh run starts from: another run's or export's (`config.init_from`), ImageNet's, or random."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
from ml_collections import ConfigDict

from astro_gan import checkpoints
from astro_gan.errors import UserError
from astro_gan.model import load_model
from astro_gan.models import DISCRIMINATORS, GENERATORS, insert_backbone
from astro_gan.state import GANState, state_shape
from astro_gan.task import Stage, Task

STAGES = ('supervised', 'adversarial')
NETS = ('generator', 'discriminator')
# Fields that two networks may differ in and still share weights; those of another factor share the layers that fit
# (EDSR starts x3 and x4 from x2, section 3.3).
NOT_IN_WEIGHTS = {'dropout', 'back_projection', 'factor'}

Variables = dict[str, Any]  # {'params', 'batch_stats'}


def initial_state(config: ConfigDict, task: Any, log: Callable[[str], None] = print) -> Callable[[GANState], GANState]:
    """Read the weights to start from; the function that comes back puts them into a fresh state.

    Raises:
        UserError: the weights cannot be had, or belong to another network.
    """
    found = _init_from(config, task, log) if config.init_from else {}
    backbones: dict[str, Variables] = {}
    for net in NETS:
        backbone = None if net in found else task.pretrained(config, net)
        if backbone is not None:
            backbones[net] = backbone
            log(f'{net}: encoder starts from ImageNet weights ({config.weights[net]})')

    def fill(state: GANState) -> GANState:
        for net in NETS:
            ours = getattr(state, net)
            if net in found:
                theirs = found[net]
                if net == 'generator':
                    theirs = {kind: _fitting(tree, getattr(ours, kind)) for kind, tree in theirs.items()}
                state = state.replace(**{net: ours.replace(**theirs)})
            elif net in backbones:
                variables = insert_backbone({'params': ours.params, 'batch_stats': ours.batch_stats}, backbones[net])
                state = state.replace(**{net: ours.replace(**variables)})
        return state.replace(ema_params=state.generator.params, ema_batch_stats=state.generator.batch_stats)

    return fill


def _afresh(factor: int | None, ours: dict[str, Any]) -> str:
    """What to say of a start from a network of another factor."""
    if factor in (None, ours['factor']):
        return ''
    return f' (factor {factor}, not {ours["factor"]}: layers that do not fit start afresh)'


def _fitting(theirs: Any, ours: Any) -> Any:
    """Their parameters where the shapes are ours, otherwise ours: only a factor makes shapes differ."""
    flat, mine = (flax.traverse_util.flatten_dict(tree) for tree in (theirs, ours))
    taken = {
        path: flat[path] if path in flat and flat[path].shape == value.shape else value for path, value in mine.items()
    }
    return flax.traverse_util.unflatten_dict(taken)


def _init_from(config: ConfigDict, task: Any, log: Callable[[str], None]) -> dict[str, Variables]:
    """The networks of an exported model (the generator) or of a workdir (both, once both are trained)."""
    path = Path(config.init_from).expanduser()
    ours = task.describe(config)
    if (path / 'config.json').is_file():
        return _from_workdir(config, task, path, log)
    try:
        model = load_model(path)
    except ValueError as error:
        raise UserError(f'config.init_from: {error}') from None
    _check_generator(model.description, ours, config.init_from)
    variables = model.networks[0].variables
    log(f'generator: starts from {config.init_from}' + _afresh(model.description.get('factor'), ours))
    return {'generator': {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}}


def _check_generator(theirs: dict[str, Any], ours: dict[str, Any], where: str) -> None:
    if theirs['task'] != ours['task']:
        raise UserError(f'config.init_from: {where} is of the task {theirs["task"]}, not {ours["task"]}')
    if different := _differences(theirs['generator'], ours['generator']):
        raise UserError(f'config.init_from: {where} holds another generator: {different}')
    told = [', '.join(description.get('input', {}).get('conditions', ())) for description in (theirs, ours)]
    if 'input' in theirs and told[0] != told[1]:
        raise UserError(f'config.init_from: {where} is a network that is told {told[0]}, not {told[1]}')


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """`name is 'edsr', not 'wdsr'; ...` for what decides the weights' shapes or meaning; '' if nothing differs."""
    theirs, ours = ({**net, **net.get('fields', {})} for net in (theirs, ours))
    keys = sorted((theirs.keys() | ours.keys()) - {'fields'} - NOT_IN_WEIGHTS)
    # What a description leaves out, as those of imported networks do, is the module's default.
    values = [(key, *(net.get(key, _default(net.get('name'), key)) for net in (theirs, ours))) for key in keys]
    return '; '.join(f'{key} is {their!r}, not {our!r}' for key, their, our in values if their != our)


def _default(network: str | None, field: str) -> Any:
    """Of a field of a generator or discriminator; None if there is no such field."""
    module = {**GENERATORS, **DISCRIMINATORS}.get(network or '')
    found = {entry.name: entry.default for entry in dataclasses.fields(module)} if module else {}
    return found.get(field)


def _from_workdir(config: ConfigDict, task: Any, workdir: Path, log: Callable[[str], None]) -> dict[str, Variables]:
    """The best weights of the last stage that the run in `workdir` has evaluated."""
    ours = task.describe(config)
    try:
        theirs = json.loads((workdir / 'config.json').read_text())
        task_name = ours['task'] if theirs['task'] == config.task else theirs['task']
        description = {'task': task_name, 'generator': dict(theirs['generator'])}
        if 'factor' in theirs:
            description['generator']['factor'] = theirs['factor']
        discriminator, dataset = dict(theirs['discriminator']), dict(theirs['dataset'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'config.init_from: {workdir}/config.json is not the config of a run ({error})') from error
    _check_generator(description, ours, str(workdir))
    # Their checkpoints: our settings, but for what decides the discriminator's shapes.
    like = config.copy_and_resolve_references()
    same_discriminator = not _differences(discriminator, config.discriminator.to_dict())
    with like.unlocked():
        like.discriminator = ConfigDict(discriminator)
        if 'factor' in theirs:
            like.factor = theirs['factor']
    for key in ('crop_size', 'eval_tile', 'reduction'):
        if key in dataset:
            like.dataset[key] = dataset[key]
    record = task.make_task(like)
    for stage in reversed(STAGES):
        best = best_state(workdir, record, task.make_stage(like, record, stage), log)
        if best is None:
            continue
        state, _ = best
        where = f'{workdir}, {stage} stage, step {int(state.step)}'
        log(f'generator: starts from {where}' + _afresh(theirs.get('factor'), ours))
        nets = {'generator': {'params': state.ema_params, 'batch_stats': state.ema_batch_stats}}
        # A discriminator that only a supervised run has carried along has learned nothing.
        if stage == 'adversarial' and same_discriminator:
            log(f'discriminator: starts from {where}')
            net = state.discriminator
            nets['discriminator'] = {'params': net.params, 'batch_stats': net.batch_stats}
        elif stage == 'adversarial':
            log(f'discriminator: another one than in {workdir}, so it starts afresh')
        return nets
    raise UserError(f'config.init_from: {workdir} has no evaluated checkpoint yet')


def best_state(
    workdir: Path, task: Task, stage: Stage, log: Callable[[str], None] = print
) -> tuple[GANState, dict[str, Any]] | None:
    """The best checkpoint of a stage, its state and progress; None if there is none that has been evaluated."""
    directory = workdir / 'checkpoints' / stage.name
    return checkpoints.restore(directory, state_shape(task, stage), log, best=True, read_only=True)
