"""The command line of the study, and what it does in order."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

import experiments.study
from astro_gan.errors import UserError
from astro_gan.files.paths import existing_folder
from astro_gan.interrupts import Interrupted, Terminated, ended_by_signals
from astro_gan.model import Model, load_model
from astro_gan.task import Task
from experiments import run as modes
from experiments.batches import eval_batches
from experiments.command import user_line
from experiments.initial import STAGES
from experiments.study import report
from experiments.study.measure import measure, predictor, prepared
from experiments.study.results import Results, Row, choose
from experiments.study.systems import SYSTEMS
from experiments.study.trainings import config_of, load_others, provide, published

TILES_FROM = {'colorization': 'unet_rgb', 'super_resolution': 'wdsr'}  # gray and RGB; low and high resolution


def tiles(arguments: argparse.Namespace, task: str) -> tuple[Task, Any]:
    """The task whose metrics and baseline are used, and the tiles on which all systems of a task are measured."""
    config = config_of(arguments, task, next(s for s in SYSTEMS[task] if s.name == TILES_FROM[task]), 0)
    record = modes.make_task(config)
    return record, eval_batches(config, arguments.split, modes.log)


def study_task(arguments: argparse.Namespace, task: str, others: dict[str, Model]) -> Results | None:
    """All systems of one task on the same tiles; None if there are none."""
    systems = [system for system in SYSTEMS[task] if not arguments.only or system.name in arguments.only]
    others = {title: model for title, model in others.items() if model.task == task}
    if not systems and not others:
        return None
    record, batches = tiles(arguments, task)  # before the training: a wrong folder is noticed at once
    rows = []
    if task == 'super_resolution' and (model := published(arguments)) is not None:
        rows.append(Row('SRGAN pre-trained', [model]))
    for system in systems:
        exports = [provide(arguments, task, system, seed) for seed in range(arguments.seeds)]
        rows += [
            Row(title, [load_model(made[stage]) for made in exports if made], stage, Path(arguments.runs) / system.name)
            for title, stage in zip(system.titles, STAGES, strict=True)
            if any(stage in made for made in exports)
        ]
    rows += [Row(title, [model]) for title, model in others.items()]
    if not rows:
        return None
    parts = list(prepared(record, batches))
    inputs, truth, index = (np.concatenate([part[name] for part in parts]) for name in ('input', 'truth', 'index'))
    pictures = [batches.names[k].rsplit(' at ', 1)[0] for k in index]
    chosen = choose(pictures, truth)
    baseline = Row(modes.TASKS[task].BASELINE)
    for row in (baseline, *rows):
        for model in row.models or [None]:
            predict = predictor(model) if model else jax.jit(record.baseline)
            table, shown = measure(predict, record, batches, chosen, row.title)
            row.pictures = row.pictures if row.tables else shown
            row.tables.append(table)
            jax.clear_caches()
            means = record.summarize(table)[0]
            modes.log(f'{row.title}: L1 {means["l1"]:.5f}, LPIPS {means["lpips"]:.4f}')
    return Results(task, [baseline, *rows], record.summarize, pictures, chosen, inputs[chosen], truth[chosen])


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; None: the process's own."""
    parser = argparse.ArgumentParser(
        prog='python -m experiments.study',
        description=experiments.study.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--astro', default='', help='folder of astronomical pictures')
    parser.add_argument('--natural', default='', help='folder of natural pictures, for the systems pre-trained on them')
    parser.add_argument('--published', default='', help="weights of the published SRGAN: 'pre-trained' in the tables")
    parser.add_argument('--seeds', type=int, default=1, help='trainings of every system; default: 1')
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
    arguments.runs, arguments.output = (str(Path(place).expanduser()) for place in (arguments.runs, arguments.output))
    return arguments


def main() -> None:
    logging.set_verbosity(logging.FATAL)  # Orbax tells every detail
    try:
        with ended_by_signals():
            run(parse())
    except Interrupted as stop:
        print(f'{stop}; everything is saved. The same command goes on', flush=True)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt as stop:
        print('stopped; what was saved before is as it was. The same command goes on', flush=True)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    except (UserError, OSError) as error:
        if not (line := user_line(error)):
            raise
        sys.exit(f'error: {line}')


def run(arguments: argparse.Namespace) -> None:
    """The whole study; raises UserError, one line, if there is nothing to compare."""
    known = [system.name for systems in SYSTEMS.values() for system in systems]
    if unknown := sorted(set(arguments.only) - set(known)):
        raise UserError(f'--only: {unknown[0]!r} is no system; there are {", ".join(known)}')
    if arguments.seeds < 1:
        raise UserError(f'--seeds: {arguments.seeds} is too small; it must be at least 1')
    output = Path(arguments.output)
    report.check_folder(output)  # before anything is measured
    for folder in filter(None, (arguments.astro, arguments.natural)):
        existing_folder(folder)
    others = load_others(arguments.models)
    results = [found for task in SYSTEMS if (found := study_task(arguments, task, others)) is not None]
    if not results:
        raise UserError(f'{arguments.runs}: no trained system there; --train trains them, --models names others')
    report.write(results, output, arguments)
    print(f'{output}/README.md: tables, figures and conclusions; {output}/*.csv: every number')
