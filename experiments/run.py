"""The modes of main.py that work: train, evaluate, export. Reads a config, wires the parts together."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from astro_gan import checkpoints, hosts, loop, workdir
from astro_gan.errors import UserError
from astro_gan.evaluation import choose_samples, make_predict, sample_picture
from astro_gan.evaluation import evaluate as evaluate_tiles
from astro_gan.export import export_model
from astro_gan.files import atomic
from astro_gan.logbook import save_picture
from astro_gan.state import GANState, state_shape
from astro_gan.tables import read_rows, write_rows
from astro_gan.task import Stage, Task
from astro_gan.train import make_eval_step
from experiments import batches, colorization, frames, guided, parts, super_resolution
from experiments.initial import STAGES, best_state, initial_state

TASKS = {'super_resolution': super_resolution, 'colorization': colorization, 'frames': frames, 'guided': guided}
# How a metric of a task's headline looks in a table: title (^ or v: which way is better) and digits.
COLUMNS = {
    'l1': ('L1 v', 5),
    'l2': ('L2 v', 6),
    'l1_ab': ('L1 a*b* v', 3),
    'psnr': ('PSNR ^', 2),
    'psnr_y': ('PSNR Y ^', 2),
    'ssim_y': ('SSIM Y ^', 4),
    'lpips': ('LPIPS v', 4),
    'colourfulness': ('colourful', 2),
    'colourfulness_truth': ('(truth)', 2),
}


def log(line: str) -> None:
    """A line for the user; only the first host speaks."""
    if jax.process_index() == 0:
        print(line, flush=True)


def make_task(config: ConfigDict) -> Task:
    """What the config's task is."""
    return parts.select(TASKS, config.task, 'task').make_task(config)


def make_stages(config: ConfigDict, task: Task) -> list[Stage]:
    """The stages that the config trains, in order."""
    names = [name for name in STAGES if config[name].steps > 0 or config[name].epochs > 0]
    if not names:
        raise UserError('config: steps and epochs of supervised and adversarial are all 0: nothing to train')
    return [TASKS[config.task].make_stage(config, task, name) for name in names]


def train(config: ConfigDict, folder: str | Path, *, profile: int = 0) -> None:
    """Train all stages, then evaluate them on the test split.

    Args:
        config: of the run.
        folder: its workdir.
        profile: steps of each stage to profile.
    """
    folder = Path(folder)
    log(f'astro_gan: {config.name} ({config.task}), {jax.device_count()} {jax.default_backend()} device(s), {folder}/')
    task = make_task(config)
    batches.check_devices(make_stages(config, task))
    with contextlib.ExitStack() as held:
        # Locked before anything is written; when one host has to leave, all do.
        hosts.on_first(lambda: held.enter_context(workdir.locked(folder)))
        settings = json.loads(config.to_json())
        for line in hosts.on_first(lambda: workdir.claim(folder, settings, write=True)) or ():
            log(line)
        _train(config, task, folder, profile)
    evaluate(config, folder, task)


def _train(config: ConfigDict, task: Task, folder: Path, profile: int) -> None:
    # Before anything slow: weights that are missing, or have to be downloaded. A begun run has its own.
    begun = workdir.begun(folder)
    if any(config[name].feature_weight for name in STAGES):
        parts.content_weights(config)
    initial = (lambda state: state) if begun else initial_state(config, TASKS[config.task], log)
    source, pictures = None, {}
    if config.task != 'frames':  # which are made as they are trained on
        source = batches.open_source(config, 'train', config.dataset.crop_size, log)
        config = batches.count_epochs(config, len(source), log)
    tiles = batches.eval_batches(config, 'validation', log)
    if source is not None:
        pictures = {'train': source, 'validation': tiles.source}
    environment = workdir.environment(pictures)
    for line in hosts.on_first(lambda: workdir.note_environment(folder, environment)) or ():
        log(line)
    stages = make_stages(config, task)
    _describe_networks(task, stages[0], folder)
    loop.train(
        task,
        stages,
        initial_state=initial,
        train_batches=batches.train_batches(config, source, log),
        eval_batches=tiles,
        workdir=folder,
        settings=loop.Settings(
            seed=config.seed,
            log_every=config.log_every,
            patience=config.patience,
            max_skipped=config.max_skipped,
            max_rollbacks=config.max_rollbacks,
            samples=config.sample_rows,
            profile=profile,
        ),
        log=log,
    )


def _describe_networks(task: Task, stage: Stage, folder: Path) -> None:
    """Both networks' parameters in <workdir>/parameters.txt, and their numbers in a line."""
    from clu import parameter_overview  # imports TensorFlow

    state = state_shape(task, stage)
    trees = [('generator', state.generator.params), ('discriminator', state.discriminator.params)]
    tables = [
        f'{name}\n{parameter_overview.get_parameter_overview(tree, include_stats=False)}\n' for name, tree in trees
    ]
    hosts.on_first(lambda: atomic.write(folder / 'parameters.txt', '\n'.join(tables)))
    counts = [f'{name}: {sum(leaf.size for leaf in jax.tree.leaves(tree)):,} parameters' for name, tree in trees]
    log(', '.join(counts))


def _best_states(config: ConfigDict, folder: Path, task: Task) -> dict[str, tuple[GANState, dict[str, Any]]]:
    """The best checkpoint of every stage that has one, with its step and score."""
    workdir.claim(folder, json.loads(config.to_json()), write=False)
    found: dict[str, tuple[GANState, dict[str, Any]]] = {}
    for stage in make_stages(config, task):
        best = best_state(folder, task, stage, log)
        if best is None:
            continue
        state, progress = best
        origin = loop.weights_hash(next(reversed(found.values()))[0]) if found else None
        lost = any(checkpoints.has_damaged(folder / 'checkpoints' / name) for name in found)
        if origin and not lost and progress.get('started_from') not in (None, origin):
            log(f'warning: {stage.name} started from older weights than the best of the stage before; train again')
        found[stage.name] = (state, {'stage': stage.name, 'step': int(state.step)})
    if not found:
        raise UserError(f'{folder}: no evaluated checkpoint there; train first, or name its --workdir')
    return found


def evaluate(config: ConfigDict, folder: str | Path, task: Task | None = None) -> dict[str, dict[str, float]]:
    """Measure the baseline and every stage's best weights on the test split; print and keep the table."""
    folder = Path(folder)
    task = task or make_task(config)
    states = _best_states(config, folder, task)
    tiles = batches.eval_batches(config, 'test', log)
    baseline = TASKS[config.task].BASELINE
    per_tile = {baseline: evaluate_tiles(make_eval_step(task, baseline=True), {}, {}, tiles)}
    eval_step, predict = make_eval_step(task), make_predict(task)  # compiled once: stages are measured alike
    for name, (state, _) in states.items():
        params, stats = state.ema_params, state.ema_batch_stats
        title = f'{config.name} {name}'
        per_tile[title] = evaluate_tiles(eval_step, params, stats, tiles)
    summaries = {name: task.summarize(values) for name, values in per_tile.items()}
    table = {name: row for name, (row, _) in summaries.items()}
    if jax.process_index() == 0:
        count = len(next(iter(per_tile[baseline].values())))
        log(format_table(table, task.headline, f'test split, {count} tiles of {config.dataset.eval_tile} px'))
        for name in states:
            for line in summaries[f'{config.name} {name}'][1]:
                log(f'warning: {config.name} {name}: {line}')
        steps = {f'{config.name} {name}': checkpoint['step'] for name, (_, checkpoint) in states.items()}
        data = config.dataset.folder or config.dataset.name
        rows = [{'system': name, 'step': steps.get(name, 0), 'data': data, **row} for name, row in table.items()]
        write_rows(folder / 'test.csv', rows)
        samples = choose_samples(task, tiles, config.sample_rows)
        outputs = [predict(state.ema_params, state.ema_batch_stats, samples['input']) for state, _ in states.values()]
        (folder / 'samples').mkdir(exist_ok=True)
        save_picture(folder / 'samples' / 'test.png', sample_picture(task, samples, outputs))
        log(f'pictures ({", ".join(table)}, truth): {folder}/samples/test.png; all metrics: {folder}/test.csv')
    return table


def format_table(table: dict[str, dict[str, float]], headline: tuple[str, ...], title: str) -> str:
    """The metrics of the headline, a row per system; arrows say which way is better."""
    width = max(map(len, table))
    lines = [title, ' ' * width + ''.join(f'{COLUMNS[key][0]:>10}' for key in headline)]
    for name, row in table.items():
        lines.append(f'{name:<{width}}' + ''.join(f'{row[key]:>10.{COLUMNS[key][1]}f}' for key in headline))
    return '\n'.join(lines)


def export(config: ConfigDict, folder: str | Path) -> None:
    """Write the best weights of every stage to <workdir>/export/<stage>."""
    folder = Path(folder)
    states = _best_states(config, folder, make_task(config))
    if jax.process_index() != 0:
        return
    dataset = config.dataset
    for name, (state, checkpoint) in states.items():
        description = TASKS[config.task].describe(config) | {
            'name': f'{config.name}_{name}',
            'training_data': {'name': dataset.folder or dataset.name, 'split': 'train'},
            'checkpoint': checkpoint,
            'metrics': _test_row(folder, f'{config.name} {name}', checkpoint['step']),
            'config': json.loads(config.to_json()),
        }
        directory, difference = export_model(
            state.ema_params, state.ema_batch_stats, description, folder / 'export' / name
        )
        log(
            f'{directory}/: weights.safetensors, model.json, model.stablehlo; '
            f'largest difference between live, reloaded and StableHLO: {difference:.1e}'
        )


def _test_row(folder: Path, system: str, step: int) -> dict[str, Any]:
    """The system's row of test.csv, if these weights have been measured; what is no number there is left out."""
    for row in read_rows(folder / 'test.csv'):
        if (row['system'], row['step']) == (system, step):
            told = {key: value for key, value in row.items() if key not in ('system', 'step')}
            return {'split': 'test'} | {k: v for k, v in told.items() if isinstance(v, str) or math.isfinite(v)}
    return {}
