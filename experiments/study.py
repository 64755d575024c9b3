"""The report's results chapter: train, or find, every system, measure all on the same tiles, write the comparison.

    python -m experiments.study --train                                      # embedded data, without the pre-trained
    python -m experiments.study --train --astro HUBBLE --natural NATURAL     # everything
    python -m experiments.study --astro HUBBLE                               # what is there, measured again
    python -m experiments.study --train --smoke                              # tiny networks on the embedded data
    python -m experiments.study --astro HUBBLE --models wdsr_x4 colorize_lab # shipped models and exports too

Folders of pictures are as for `--config.dataset.folder`; without one the embedded data are used. Every system has its
workdir in `--runs` (it can be stopped, and goes on); its exports are what is measured. `experiments/systems.py` has the
systems and their settings, `experiments/study_report.py` the tables, figures and text.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from astro_gan import fidelity, images
from astro_gan.color import luma
from astro_gan.experiment import Batch, Experiment
from astro_gan.loop import Interrupted
from astro_gan.model import Model, load_model
from experiments import runner, study_report
from experiments.systems import ASTRO, NATURAL, STAGES, SYSTEMS, System, make_config

TILES_FROM = {'colorization': 'unet_rgb', 'super_resolution': 'wdsr'}  # gray and RGB; low and high resolution


@dataclasses.dataclass(frozen=True)
class Measured:
    """One row of the tables.

    Attributes:
        title: of the row.
        table: `{metric: [tiles, ...]}`, the tiles in their own order.
        pictures: outputs for the chosen tiles, `[n, H, W, 3]` in [0, 1].
        workdir: of its training, if the study knows it.
        stage: of its training; ''.
    """

    title: str
    table: dict[str, np.ndarray]
    pictures: np.ndarray
    workdir: Path | None = None
    stage: str = ''


def provide(arguments: argparse.Namespace, task: str, system: System) -> list[Path | None]:
    """The exported models of both stages of a system, trained and exported first if need be; None where missing."""
    workdir = Path(arguments.runs) / system.name
    exports = [workdir / 'export' / stage for stage in STAGES]
    if all((path / 'model.json').is_file() for path in exports):
        return list(exports)
    folders = {ASTRO: arguments.astro, NATURAL: arguments.natural}
    config = make_config(system, task, smoke=arguments.smoke, folders=folders, runs=Path(arguments.runs))
    if arguments.train and (system.pictures == NATURAL or system.start) and not (arguments.natural or arguments.smoke):
        runner.log(f'{system.name}: left out, it needs natural pictures (--natural FOLDER)')
    elif arguments.train:
        runner.train(config, str(workdir))
    if (workdir / 'test.csv').is_file():
        runner.export(config, str(workdir))
    jax.clear_caches()  # the next system has other networks
    return [path if (path / 'model.json').is_file() else None for path in exports]


def tiles(arguments: argparse.Namespace, task: str) -> tuple[Experiment, Any]:
    """The experiment whose metrics and baseline are used, and the tiles on which all systems of a task are measured."""
    system = next(s for s in SYSTEMS[task] if s.name == TILES_FROM[task])
    folders = {ASTRO: arguments.astro, NATURAL: ''}
    config = make_config(system, task, smoke=arguments.smoke, folders=folders, runs=Path(arguments.runs))
    experiment = runner.TASKS[task].make(config, 'supervised', training=False)
    return experiment, runner.eval_batches(config, arguments.split, experiment)


def flat(batch: Batch) -> dict[str, np.ndarray]:
    """A batch without its device axis and without padding."""
    values = {name: np.asarray(value).reshape(-1, *value.shape[2:]) for name, value in batch.items()}
    return {name: value[values['mask'] > 0] for name, value in values.items()}


def measure(
    title: str, predict: Any, experiment: Experiment, batches: Iterable[Batch], chosen: list[int], **origin: Any
) -> Measured:
    """Every metric of every tile.

    Args:
        title: of the row.
        predict: inputs `[n, h, w, C]` in [0, 1] -> `[n, H, W, 3]`, rounded to 8 bits.
        experiment: whose metrics are used.
        batches: the tiles.
        chosen: indices of the tiles whose outputs are kept.
        origin: `workdir` and `stage`.
    """
    metrics, to_rgb = jax.jit(experiment.metrics), jax.jit(experiment.to_rgb)
    parts: list[dict[str, np.ndarray]] = []
    kept: dict[int, np.ndarray] = {}
    for batch in tqdm(map(flat, batches), desc=title, unit='batch', leave=False, total=len(batches), disable=None):
        inputs = batch['input']
        truth = np.asarray(to_rgb(inputs, batch['target']))
        outputs = np.asarray(predict(inputs))
        part = {name: np.asarray(value) for name, value in metrics(outputs, truth).items()}
        if inputs.shape[-1] == 3:  # enlarged
            part |= believable(outputs, truth, inputs)
        parts.append(part)
        kept |= {int(i): output for i, output in zip(batch['index'], outputs, strict=True) if int(i) in chosen}
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Measured(title, table, np.stack([kept[index] for index in chosen]), **origin)


def believable(outputs: np.ndarray, truth: np.ndarray, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `astro_gan.fidelity` for `[n, H, W, 3]`: source counts and consistency."""
    border = truth.shape[1] // inputs.shape[1]
    rows = []
    for output, true, low_res in zip(outputs, truth, inputs, strict=True):
        levels = [255.0 * np.asarray(luma(x[border:-border, border:-border])) for x in (output, true)]
        rows.append(fidelity.source_counts(*levels) | {'consistency': fidelity.consistency(output, low_res)})
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def predictor(model: Model) -> Any:
    """The model as `measure` wants it."""
    forward = jax.jit(model.forward)
    return lambda inputs: images.quantize(forward(model.variables, inputs))


def study_task(arguments: argparse.Namespace, task: str, others: dict[str, Model]) -> study_report.Results | None:
    """All systems of one task on the same tiles; None if there are none."""
    found: list[tuple[str, Path, dict[str, Any]]] = []
    for system in SYSTEMS[task]:
        if arguments.only and system.name not in arguments.only:
            continue
        for title, stage, path in zip(system.titles, STAGES, provide(arguments, task, system), strict=True):
            if path is not None:
                found.append((title, path, {'workdir': path.parents[1], 'stage': stage}))
    models = [(title, load_model(path), origin) for title, path, origin in found]
    models += [(title, model, {}) for title, model in others.items() if model.task == task]
    if not models:
        return None
    experiment, batches = tiles(arguments, task)
    inputs, truth = (
        np.concatenate(parts)
        for parts in zip(
            *((b['input'], experiment.to_rgb(b['input'], b['target'])) for b in map(flat, batches)), strict=True
        )
    )
    pictures = [name.rsplit(' at ', 1)[0] for name in batches.names]
    chosen = study_report.choose(pictures, truth, count=arguments.rows)
    baseline = runner.TASKS[task].BASELINE
    rows = [measure(baseline, jax.jit(experiment.baseline), experiment, batches, chosen)]
    for title, model, origin in models:
        rows.append(measure(title, predictor(model), experiment, batches, chosen, **origin))
        jax.clear_caches()
        row = experiment.summarize(rows[-1].table)[0]
        runner.log(f'{title}: L1 {row["l1"]:.5f}, LPIPS {row["lpips"]:.4f}')
    return study_report.Results(task, rows, experiment.summarize, pictures, chosen, inputs[chosen], truth[chosen])


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
    parser.add_argument(
        '--models', nargs='*', default=[], help='shipped models and exported directories to compare too'
    )
    parser.add_argument('--split', default='validation', choices=['validation', 'test'], help='default: validation')
    parser.add_argument('--rows', type=int, default=3, help='pictures per task; default: 3')
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
    if arguments.rows < 1:
        raise ValueError(f'--rows: {arguments.rows} is too small; it must be at least 1')
    others = {Path(name).name: load_model(name) for name in arguments.models}
    results = [study_task(arguments, task, others) for task in SYSTEMS]
    there = [result for result in results if result is not None]
    if not there:
        raise ValueError(f'{arguments.runs}: no trained system there; --train trains them, --models names others')
    folder = Path(arguments.output)
    data = {'astro': arguments.astro, 'natural': arguments.natural, 'split': arguments.split, 'smoke': arguments.smoke}
    study_report.write(there, folder, data)
    print(f'{folder}/README.md: tables, figures and conclusions; {folder}/*.csv: every number')


if __name__ == '__main__':
    main()
