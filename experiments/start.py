"""The weights that a fresh run starts from: another run's or export's (`config.init_from`), ImageNet's, or random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from astro_gan import checkpoints
from astro_gan.experiment import Experiment
from astro_gan.export import load_model
from astro_gan.models import insert_backbone
from astro_gan.state import GANState, state_shape

STAGES = ('supervised', 'adversarial')


def initial_state(config: ConfigDict, task: Any) -> Callable[[GANState], GANState]:
    """A function that fills a fresh state's networks with the weights to start from; nothing is read before its call.

    The function raises ValueError when the weights cannot be had or belong to another network.
    """

    def fill(state: GANState) -> GANState:
        found = _init_from(config, task) if config.init_from else {}
        for net in ('generator', 'discriminator'):
            ours = getattr(state, net)
            variables = found.get(net)
            if variables is None:
                backbone = task.pretrained(config, net)
                if backbone is None:
                    continue
                variables = insert_backbone({'params': ours.params, 'batch_stats': ours.batch_stats}, backbone)
            state = state.replace(**{net: ours.replace(**variables)})
        return state.replace(ema_params=state.generator.params)

    return fill


def _init_from(config: ConfigDict, task: Any) -> dict[str, dict[str, Any]]:
    """`{'generator': {'params', 'batch_stats'}, ...}` of an exported model or of a workdir (both networks)."""
    path = Path(config.init_from).expanduser()
    if (path / 'config.json').is_file():
        return _from_workdir(config, task, path)
    model = load_model(path)
    _check('generator', model.description['generator'], task.describe(config)['generator'], config.init_from)
    return {'generator': {'params': model.variables['params'], 'batch_stats': model.variables.get('batch_stats', {})}}


def _check(net: str, theirs: Any, ours: Any, where: str) -> None:
    if theirs != ours:
        raise ValueError(f'config.init_from: {where} holds another {net}: {theirs}, not {ours}')


def _from_workdir(config: ConfigDict, task: Any, workdir: Path) -> dict[str, dict[str, Any]]:
    """The best weights of the last stage that the run in `workdir` has evaluated."""
    try:
        theirs = ConfigDict(json.loads((workdir / 'config.json').read_text()))
        settings = (theirs.task, theirs.generator, theirs.discriminator, task.describe(theirs)['generator'])
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(f'config.init_from: {workdir}/config.json is not the config of a run ({error})') from error
    name, _, discriminator, generator = settings
    if name != config.task:
        raise ValueError(f'config.init_from: {workdir} holds a run of {name}, not {config.task}')
    _check('generator', generator, task.describe(config)['generator'], str(workdir))
    for stage in reversed(STAGES):
        try:
            found = best_state(workdir, stage, lambda stage=stage: task.make(theirs, stage, training=False))
        except (AttributeError, KeyError) as error:
            raise ValueError(f'config.init_from: {workdir} is the run of another version ({error})') from error
        if found is not None:
            state, _ = found
            generator = {'params': state.ema_params, 'batch_stats': state.generator.batch_stats}
            nets = {'generator': generator}
            # A discriminator that only a supervised run has carried along has learned nothing.
            if stage == 'adversarial' and discriminator == config.discriminator:
                net = state.discriminator
                nets['discriminator'] = {'params': net.params, 'batch_stats': net.batch_stats}
            return nets
    raise ValueError(f'config.init_from: {workdir} has no evaluated checkpoint yet')


def best_state(workdir: Path, stage: str, make: Callable[[], Experiment]) -> tuple[GANState, int] | None:
    """The best checkpoint of a stage and its step; None if there is none that has been evaluated."""
    directory = workdir / 'checkpoints' / stage
    if not directory.is_dir():
        return None
    experiment = make()
    spec = jax.ShapeDtypeStruct((1, *experiment.input_shape), np.float32)
    with checkpoints.open_manager(directory, read_only=True) as manager:
        step = manager.best_step()
        if step is None or manager.metrics(step) is None:
            return None
        state, _ = checkpoints.restore(manager, state_shape(experiment, spec), step)
        return state, step
