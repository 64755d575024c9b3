"""The report's results chapter: train, or find, every system, measure all on the same tiles, write the comparison.

    python -m experiments.study --train                                      # embedded data, without the pre-trained
    python -m experiments.study --train --astro HUBBLE --natural NATURAL     # everything
    python -m experiments.study --astro HUBBLE                               # what is there, measured again
    python -m experiments.study --train --smoke                              # tiny networks on the embedded data
    python -m experiments.study --astro HUBBLE --models wdsr_x4 runs/wdsr    # shipped models, exports, workdirs too

Folders of pictures are as for `--config.dataset.folder`; without one the embedded data are used. Every system has its
workdir in `--runs` (a training can be stopped, and goes on); its exports are what is measured. The systems and their
settings are in `experiments/systems.py`, the tables, figures and text in `experiments/study_report.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from astro_gan import fidelity, images
from astro_gan.color import luma
from astro_gan.files.paths import existing_folder
from astro_gan.loop import Interrupted
from astro_gan.model import Model, load_model
from astro_gan.task import Batch, Task
from experiments import run as runner
from experiments import study_report
from experiments.initial import STAGES
from experiments.settings import flatten
from experiments.study_report import Results, Row
from experiments.systems import ASTRO, NATURAL, SYSTEMS, System, make_config

TILES_FROM = {'colorization': 'unet_rgb', 'super_resolution': 'wdsr'}  # gray and RGB; low and high resolution
FACTOR = 4  # of all super-resolution systems
# Settings in which a finished training may differ from what the study would do now: places, not meanings.
PLACES = ('dataset.folder', 'dataset.data_dir', 'dataset.cache_mib', 'init_from')


def provide(arguments: argparse.Namespace, task: str, system: System) -> dict[str, Path]:
    """The exported models of a system by stage, trained first if that is wanted; {} if they are not to be had.

    Raises:
        ValueError: its workdir has a training with other settings; one line.
    """
    runs = Path(arguments.runs)
    workdir, finished = runs / system.name, runs / system.name / 'test.csv'
    config = _config(arguments, task, system)
    if finished.is_file():
        _check_same(config, workdir)
    elif not arguments.train:
        runner.log(f'{system.name}: not there (--train makes it)')
    elif system.pictures == NATURAL and not (arguments.natural or arguments.smoke):
        runner.log(f'{system.name}: left out, it needs natural pictures (--natural FOLDER)')
    elif system.start and not (runs / system.start / 'test.csv').is_file():
        runner.log(f'{system.name}: left out, it starts from {system.start}, which is not there')
    else:
        runner.train(config, str(workdir))
    if not finished.is_file():
        return {}
    exports = {stage: workdir / 'export' / stage for stage in STAGES}
    made = [path / 'model.json' for path in exports.values()]
    if not all(path.is_file() and path.stat().st_mtime >= finished.stat().st_mtime for path in made):
        # With the settings that it was trained with, wherever its pictures are now.
        runner.export(ConfigDict(json.loads((workdir / 'config.json').read_text())), str(workdir))
    jax.clear_caches()  # the next system has other networks
    return exports


def _config(arguments: argparse.Namespace, task: str, system: System) -> ConfigDict:
    folders = {ASTRO: arguments.astro, NATURAL: arguments.natural}
    return make_config(system, task, smoke=arguments.smoke, folders=folders, runs=Path(arguments.runs))


def _check_same(config: ConfigDict, workdir: Path) -> None:
    before = flatten(json.loads((workdir / 'config.json').read_text()))
    now = flatten(json.loads(config.to_json()))
    for name in sorted(before.keys() & now.keys() - set(PLACES)):
        if before[name] != now[name]:
            raise ValueError(
                f'{workdir}: was trained with config.{name} = {before[name]!r}, not {now[name]!r}; choose another '
                '--runs, or remove it to train it again'
            )


def load_others(names: list[str]) -> dict[str, Model]:
    """Models that are to be compared too, by title: shipped ones, exported directories, all exports of workdirs.

    Raises:
        ValueError: no such model, or one that the study cannot measure; one line.
    """
    found: dict[str, Model] = {}
    for name in names:
        exports = sorted(path.parent for path in Path(name).expanduser().glob('export/*/model.json'))
        for path in exports or [name]:
            model = load_model(path)
            if model.task not in SYSTEMS or (model.channels == 3 and model.factor != FACTOR):
                what = f'{model.task}, factor {model.factor}'
                raise ValueError(f'--models {path}: is {what}; colorization and factor {FACTOR} are compared')
            found[model.name if model.name not in found else str(path)] = model
    return found


def tiles(arguments: argparse.Namespace, task: str) -> tuple[Task, Any]:
    """The task whose metrics and baseline are used, and the tiles on which all systems of a task are measured."""
    config = _config(arguments, task, next(s for s in SYSTEMS[task] if s.name == TILES_FROM[task]))
    record = runner.make_task(config)
    return record, runner.eval_batches(config, arguments.split, record)


def flat(batch: Batch) -> dict[str, np.ndarray]:
    """A batch without its device axis and without padding."""
    values = {name: np.asarray(value).reshape(-1, *value.shape[2:]) for name, value in batch.items()}
    return {name: value[values['mask'] > 0] for name, value in values.items()}


def measure(
    predict: Callable[[np.ndarray], Any], task: Task, batches: Any, chosen: list[int], title: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every metric of every tile.

    Args:
        predict: inputs `[n, h, w, C]` in [0, 1] -> `[n, H, W, 3]`, rounded to 8 bits.
        task: whose metrics are used.
        batches: the tiles.
        chosen: positions of the tiles whose outputs are kept.
        title: for the progress bar.

    Returns:
        `{metric: [tiles, ...]}`, and the outputs for the chosen tiles `[n, H, W, 3]`.
    """
    metrics, to_rgb = jax.jit(task.metrics), jax.jit(task.to_rgb)
    parts: list[dict[str, np.ndarray]] = []
    kept: dict[int, np.ndarray] = {}
    position = 0
    for batch in tqdm(map(flat, batches), desc=title, unit='batch', leave=False, total=len(batches), disable=None):
        inputs = batch['input']
        truth = np.asarray(to_rgb(inputs, batch['target']))
        outputs = np.asarray(predict(inputs))
        part = {name: np.asarray(value) for name, value in metrics(outputs, truth).items()}
        if inputs.shape[-1] == 3:  # enlarged
            part |= believable(outputs, truth, inputs)
        parts.append(part)
        kept |= {k: outputs[k - position] for k in chosen if position <= k < position + len(outputs)}
        position += len(outputs)
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return table, np.stack([kept[k] for k in chosen])


def believable(outputs: np.ndarray, truth: np.ndarray, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `astro_gan.fidelity` for `[n, H, W, 3]`: source counts and consistency."""
    border = truth.shape[1] // inputs.shape[1]
    rows = []
    for output, true, low_res in zip(outputs, truth, inputs, strict=True):
        levels = [255.0 * np.asarray(luma(x[border:-border, border:-border])) for x in (output, true)]
        rows.append(fidelity.source_counts(*levels) | {'consistency': fidelity.consistency(output, low_res)})
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def _predictor(model: Model) -> Callable[[np.ndarray], Any]:
    forward = jax.jit(model.forward)
    return lambda inputs: images.quantize(forward(model.variables, inputs))


def study_task(arguments: argparse.Namespace, task: str, others: dict[str, Model]) -> Results | None:
    """All systems of one task on the same tiles; None if there are none."""
    systems = [system for system in SYSTEMS[task] if not arguments.only or system.name in arguments.only]
    others = {title: model for title, model in others.items() if model.task == task}
    if not systems and not others:
        return None
    record, batches = tiles(arguments, task)  # before the training: a wrong folder is noticed at once
    rows = []
    for system in systems:
        exports = provide(arguments, task, system)
        rows += [
            Row(title, load_model(exports[stage]), stage, Path(arguments.runs) / system.name)
            for title, stage in zip(system.titles, STAGES, strict=True)
            if stage in exports
        ]
    rows += [Row(title, model) for title, model in others.items()]
    if not rows:
        return None
    parts = [flat(batch) for batch in batches]
    inputs, targets, index = (np.concatenate([part[name] for part in parts]) for name in ('input', 'target', 'index'))
    truth = np.asarray(jax.jit(record.to_rgb)(inputs, targets))
    pictures = [batches.names[k].rsplit(' at ', 1)[0] for k in index]
    chosen = study_report.choose(pictures, truth)
    baseline = Row(runner.TASKS[task].BASELINE)
    for row in (baseline, *rows):
        predict = _predictor(row.model) if row.model else jax.jit(record.baseline)
        row.table, row.pictures = measure(predict, record, batches, chosen, row.title)
        jax.clear_caches()
        means = record.summarize(row.table)[0]
        runner.log(f'{row.title}: L1 {means["l1"]:.5f}, LPIPS {means["lpips"]:.4f}')
    return Results(task, [baseline, *rows], record.summarize, pictures, chosen, inputs[chosen], truth[chosen])


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; None: the process's own."""
    parser = argparse.ArgumentParser(
        prog='python -m experiments.study',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--astro', default='', help='folder of astronomical pictures')
    parser.add_argument('--natural', default='', help='folder of natural pictures, for the systems pre-trained on them')
    parser.add_argument('--runs', default='', help='folder of the workdirs; default: runs/study, or runs/study_smoke')
    parser.add_argument('--train', action='store_true', help='train what is missing')
    parser.add_argument('--smoke', action='store_true', help='tiny networks, a few steps')
    parser.add_argument('--only', nargs='*', default=[], metavar='SYSTEM', help='these systems only')
    parser.add_argument('--models', nargs='*', default=[], help='shipped models, exports and workdirs to compare too')
    parser.add_argument('--split', default='test', choices=['validation', 'test'], help='default: test')
    parser.add_argument('-o', '--output', default='', help='folder of the result; default: docs/study, or RUNS/report')
    arguments = parser.parse_args(argv)
    arguments.runs = arguments.runs or ('runs/study_smoke' if arguments.smoke else 'runs/study')
    arguments.output = arguments.output or (f'{arguments.runs}/report' if arguments.smoke else 'docs/study')
    return arguments


def main() -> None:
    logging.set_verbosity(logging.FATAL)  # Orbax tells every detail
    try:
        run(parse())
    except Interrupted as stop:
        print(f'{stop}; everything is saved. The same command goes on', flush=True)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt:
        print('stopped; what was saved before is as it was. The same command goes on', flush=True)
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f'error: {" ".join(str(error).split())}')


def run(arguments: argparse.Namespace) -> None:
    """The whole study; raises ValueError, one line, if there is nothing to compare."""
    known = [system.name for systems in SYSTEMS.values() for system in systems]
    if unknown := sorted(set(arguments.only) - set(known)):
        raise ValueError(f'--only: {unknown[0]!r} is no system; there are {", ".join(known)}')
    output = Path(arguments.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f'{output}: is a file; -o names a folder')
    for folder in filter(None, (arguments.astro, arguments.natural)):
        existing_folder(folder)
    others = load_others(arguments.models)
    results = [found for task in SYSTEMS if (found := study_task(arguments, task, others)) is not None]
    if not results:
        raise ValueError(f'{arguments.runs}: no trained system there; --train trains them, --models names others')
    study_report.write(results, output, arguments)
    print(f'{output}/README.md: tables, figures and conclusions; {output}/*.csv: every number')


if __name__ == '__main__':
    main()
