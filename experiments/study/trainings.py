"""The systems' exports: trained, found where an earlier study left them, or brought along."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.export import write_model
from astro_gan.foreign_weights import as_model
from astro_gan.model import Model, load_model
from astro_gan.workdir import flatten
from experiments import run as modes
from experiments.initial import STAGES
from experiments.study.systems import ASTRO, NATURAL, PUBLISHED, SYSTEMS, System, folder_of, make_config

FACTOR = 4  # of all super-resolution systems
# Settings in which a finished training may differ from what the study would do now: places, not meanings.
PLACES = ('dataset.folder', 'dataset.data_dir', 'dataset.cache_mib', 'init_from')


def provide(arguments: argparse.Namespace, task: str, system: System, seed: int) -> dict[str, Path]:
    """The exported models of a system by stage, trained first if that is wanted; {} if they are not to be had.

    Raises:
        UserError: its workdir has a training with other settings; one line.
    """
    runs = Path(arguments.runs)
    workdir = runs / folder_of(system.name, seed)
    finished = workdir / 'test.csv'
    config = config_of(arguments, task, system, seed)
    if finished.is_file():
        _check_same(config, workdir)
    elif not arguments.train:
        modes.log(f'{workdir.name}: not there (--train makes it)')
    elif system.pictures == NATURAL and not (arguments.natural or arguments.smoke):
        modes.log(f'{system.name}: left out, it needs natural pictures (--natural FOLDER)')
    elif system.start and not any((Path(config.init_from) / name).is_file() for name in ('test.csv', 'model.json')):
        modes.log(f'{system.name}: left out, it starts from {system.start}, which is not there')
    else:
        modes.train(config, str(workdir))
    if not finished.is_file():
        return {}
    trained = ConfigDict(json.loads((workdir / 'config.json').read_text()))
    exports = {name: workdir / 'export' / name for name in STAGES if trained[name].steps or trained[name].epochs}
    made = [path / 'model.json' for path in exports.values()]
    if not all(path.is_file() and path.stat().st_mtime >= finished.stat().st_mtime for path in made):
        # With the settings that it was trained with, wherever its pictures are now.
        modes.export(trained, str(workdir))
    jax.clear_caches()  # the next system has other networks
    return exports


def config_of(arguments: argparse.Namespace, task: str, system: System, seed: int) -> ConfigDict:
    folders = {ASTRO: arguments.astro, NATURAL: arguments.natural}
    return make_config(system, task, smoke=arguments.smoke, folders=folders, runs=Path(arguments.runs), seed=seed)


def published(arguments: argparse.Namespace) -> Model | None:
    """The published SRGAN of `--published`, as a model in the study's folder, from which `srgan_x4` starts."""
    if not arguments.published:
        return None
    folder = Path(arguments.runs) / PUBLISHED
    if not (folder / 'model.json').is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_model(as_model(arguments.published, name=PUBLISHED), folder)
    return load_model(folder)


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
