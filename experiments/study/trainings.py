"""The systems' exports: trained, found where an earlier study left them, or brought along."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.model import Model, load_model
from astro_gan.workdir import flatten
from experiments import run as modes
from experiments.initial import STAGES
from experiments.study.systems import ASTRO, NATURAL, SYSTEMS, System, make_config

FACTOR = 4  # of all super-resolution systems
# Settings in which a finished training may differ from what the study would do now: places, not meanings.
PLACES = ('dataset.folder', 'dataset.data_dir', 'dataset.cache_mib', 'init_from')


def provide(arguments: argparse.Namespace, task: str, system: System) -> dict[str, Path]:
    """The exported models of a system by stage, trained first if that is wanted; {} if they are not to be had.

    Raises:
        UserError: its workdir has a training with other settings; one line.
    """
    runs = Path(arguments.runs)
    workdir, finished = runs / system.name, runs / system.name / 'test.csv'
    config = config_of(arguments, task, system)
    if finished.is_file():
        _check_same(config, workdir)
    elif not arguments.train:
        modes.log(f'{system.name}: not there (--train makes it)')
    elif system.pictures == NATURAL and not (arguments.natural or arguments.smoke):
        modes.log(f'{system.name}: left out, it needs natural pictures (--natural FOLDER)')
    elif system.start and not (runs / system.start / 'test.csv').is_file():
        modes.log(f'{system.name}: left out, it starts from {system.start}, which is not there')
    else:
        modes.train(config, str(workdir))
    if not finished.is_file():
        return {}
    exports = {stage: workdir / 'export' / stage for stage in STAGES}
    made = [path / 'model.json' for path in exports.values()]
    if not all(path.is_file() and path.stat().st_mtime >= finished.stat().st_mtime for path in made):
        # With the settings that it was trained with, wherever its pictures are now.
        modes.export(ConfigDict(json.loads((workdir / 'config.json').read_text())), str(workdir))
    jax.clear_caches()  # the next system has other networks
    return exports


def config_of(arguments: argparse.Namespace, task: str, system: System) -> ConfigDict:
    folders = {ASTRO: arguments.astro, NATURAL: arguments.natural}
    return make_config(system, task, smoke=arguments.smoke, folders=folders, runs=Path(arguments.runs))


def _check_same(config: ConfigDict, workdir: Path) -> None:
    before = flatten(json.loads((workdir / 'config.json').read_text()))
    now = flatten(json.loads(config.to_json()))
    for name in sorted(before.keys() & now.keys() - set(PLACES)):
        if before[name] != now[name]:
            raise UserError(
                f'{workdir}: was trained with config.{name} = {before[name]!r}, not {now[name]!r}; choose another '
                '--runs, or remove it to train it again'
            )


def load_others(names: list[str]) -> dict[str, Model]:
    """Models that are to be compared too, by title: shipped ones, exported directories, all exports of workdirs.

    Raises:
        UserError: no such model, or one that the study cannot measure; one line.
    """
    found: dict[str, Model] = {}
    for name in names:
        exports = sorted(path.parent for path in Path(name).expanduser().glob('export/*/model.json'))
        for path in exports or [name]:
            model = load_model(path)
            if model.task not in SYSTEMS or (model.channels == 3 and model.factor != FACTOR):
                what = f'{model.task}, factor {model.factor}'
                raise UserError(f'--models {path}: is {what}; colorization and factor {FACTOR} are compared')
            found[model.name if model.name not in found else str(path)] = model
    return found
