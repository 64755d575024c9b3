"""Train steps per second: this library against the same networks and steps in PyTorch, side by side in one run.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --networks wdsr --stages adversarial --repeats 5
    python -m benchmarks.train_step --size paper --precision bfloat16      # on a GPU

Needs PyTorch: `pip install 'astro_gan[benchmarks]'`. Both sides use the same single device: JAX's GPU if it has one,
otherwise the CPU with all its cores. They take turns (JAX, PyTorch, JAX, ...), so that a machine that slows down slows
both; what is compared are neighbouring turns. A step includes the batch's way to the device; warm-up and compilation
are not counted. The result is a markdown table; a ratio above 1 means that JAX is faster.

PyTorch's CPU threads sleep while they wait (OMP_WAIT_POLICY=passive). On an idle machine compare with
`GOMP_SPINCOUNT=300000`, its own default where it comes with GNU OpenMP, and take what is better for PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import NamedTuple

# Two frameworks share the GPU's memory: JAX may not take most of it at the start.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
# PyTorch's CPU threads would otherwise wait for each other by spinning: where another process holds a core, 8 ms for
# every operation, a step 100 times slower. Read when PyTorch is loaded.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import jax
import numpy as np
from ml_collections import ConfigDict

from astro_gan import extras
from astro_gan.state import create_state
from astro_gan.train import make_train_step, replicate
from experiments import parts, super_resolution

CONFIGS = {'wdsr': 'configs.wdsr', 'edsr': 'configs.edsr', 'srresnet': 'configs.srgan'}
STAGES = ('supervised', 'adversarial')
# Sizes of the papers where they differ from the default configs: WDSR-B (1808.08718), EDSR's baseline (1707.02921),
# SRResNet and the discriminator of SRGAN (1609.04802).
PAPER = {
    'wdsr': {'variant': 'b', 'features': 32, 'blocks': 32, 'bicubic_start': False},
    'edsr': {'features': 64, 'blocks': 16, 'bicubic_start': False},
    'srresnet': {'features': 64, 'blocks': 16, 'bicubic_start': False},
}
PAPER_DISCRIMINATOR = {'features': 64, 'hidden': 1024, 'global_pool': False}

WARM_UP = 3  # steps: compilation, then two for the allocators
TURN_SECONDS = 0.5  # a turn has as many steps as fit, at least one
BATCHES = 4  # different ones, in turn

Turn = Callable[[int], float]  # runs so many steps, waits for the last and returns its generator loss


class Row(NamedTuple):
    """One line of the table; times are medians in ms per step, ratios PyTorch's time divided by JAX's."""

    network: str
    stage: str
    parameters: int
    jax_ms: float
    torch_ms: float
    ratios: list[float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.train_step', description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=list(STAGES))
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--crop-size', type=int, default=96, help='pixels of the high-resolution side')
    parser.add_argument('--repeats', type=int, default=15, help='pairs of turns')
    parser.add_argument('--precision', choices=parts.PRECISIONS, default='float32')
    parser.add_argument('--size', choices=('small', 'paper'), default='small', help='of the networks')
    args = parser.parse_args()
    if min(args.batch_size, args.crop_size, args.repeats) < 1:
        parser.error('--batch-size, --crop-size and --repeats must be at least 1')
    return args


def make_config(network: str, args: argparse.Namespace) -> ConfigDict:
    """The network's default config, with the size and the precision that were asked for."""
    config = import_module(CONFIGS[network]).get_config()
    config.dataset.crop_size = args.crop_size
    config.precision = args.precision
    for stage in STAGES:
        config[stage].decay = 'constant'
    if args.size == 'paper':
        config.generator.update(PAPER[network])
        config.discriminator.update(PAPER_DISCRIMINATOR)
    return config


def make_batches(config: ConfigDict, batch_size: int) -> list[dict[str, np.ndarray]]:
    """Random pictures `[n, h, w, 3]` in [0, 1]."""
    rng = np.random.default_rng(config.seed)
    high = config.dataset.crop_size
    sizes = {'input': high // config.factor, 'target': high}
    return [
        {key: rng.random((batch_size, side, side, 3), np.float32) for key, side in sizes.items()}
        for _ in range(BATCHES)
    ]


def jax_side(config: ConfigDict, stage: str, batches: list[dict[str, np.ndarray]]) -> tuple[Turn, dict[str, int]]:
    """The library's own step: its turn, and the numbers of parameters."""
    task = super_resolution.make_task(config)
    record = super_resolution.make_stage(config, task, stage)
    state = replicate(create_state(task, record, jax.random.key(config.seed)))
    step = make_train_step(task, record, seed=config.seed)
    feed = itertools.cycle([{key: value[None] for key, value in batch.items()} for batch in batches])

    def turn(steps: int) -> float:
        nonlocal state
        for _ in range(steps):
            state, terms = step(state, next(feed))
        jax.block_until_ready((state, terms))
        return float(terms['generator/loss'])

    nets = {'generator': state.generator, 'discriminator': state.discriminator}
    return turn, {name: sum(leaf.size for leaf in jax.tree.leaves(net.params)) for name, net in nets.items()}


def torch_side(
    config: ConfigDict, stage: str, batches: list[dict[str, np.ndarray]], device: str
) -> tuple[Turn, dict[str, int]]:
    """The same in PyTorch; in the supervised stage it has no discriminator."""
    import torch

    from benchmarks.torch_models import Trainer

    torch.compiler.reset()  # compiled code belongs to classes: earlier networks would count against the limit
    trainer = Trainer(config, stage, device)
    tensors = [{key: torch.from_numpy(value) for key, value in batch.items()} for batch in batches]
    if device == 'cuda':
        tensors = [{key: value.pin_memory() for key, value in batch.items()} for batch in tensors]
    feed = itertools.cycle(tensors)

    def turn(steps: int) -> float:
        for _ in range(steps):
            terms = trainer.step(next(feed))
        if device == 'cuda':
            torch.cuda.synchronize()
        return float(terms['generator/loss'])

    nets = {'generator': trainer.generator, 'discriminator': trainer.discriminator}
    return turn, {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items() if net is not None}


def time_step(turn: Turn, steps: int) -> float:
    """Seconds per step over one turn; RuntimeError if the training has diverged, which changes the timing."""
    start = time.perf_counter()
    loss = turn(steps)
    seconds = (time.perf_counter() - start) / steps
    if not math.isfinite(loss):
        raise RuntimeError(f'the loss is {loss}: the networks diverged')
    return seconds


def compare(network: str, stage: str, args: argparse.Namespace, device: str) -> Row:
    """Times both sides in turns and prints a line per pair."""
    config = make_config(network, args)
    batches = make_batches(config, args.batch_size)
    jax_turn, jax_counts = jax_side(config, stage, batches)
    torch_turn, torch_counts = torch_side(config, stage, batches, device)
    for name, count in torch_counts.items():
        assert count == jax_counts[name], f'{network} {name}: {jax_counts[name]} parameters in JAX, {count} in PyTorch'

    steps = []
    for turn in (jax_turn, torch_turn):
        turn(WARM_UP)
        steps.append(max(1, round(TURN_SECONDS / time_step(turn, 1))))
    pairs = []
    for number in range(1, args.repeats + 1):
        jax_ms, torch_ms = (1e3 * time_step(*side) for side in zip((jax_turn, torch_turn), steps, strict=True))
        pairs.append((jax_ms, torch_ms))
        times = f'JAX {jax_ms:.2f} ms, PyTorch {torch_ms:.2f} ms, ratio {torch_ms / jax_ms:.2f}'
        print(f'{network} {stage} {number}/{args.repeats}: {times}', flush=True)
    jax_times, torch_times = zip(*pairs, strict=True)
    ratios = [torch_ms / jax_ms for jax_ms, torch_ms in pairs]
    return Row(network, stage, jax_counts['generator'], median(jax_times), median(torch_times), ratios)


def table(rows: list[Row]) -> str:
    """The result in markdown."""
    lines = [
        '| network | stage | parameters, JAX and PyTorch | JAX, ms per step | PyTorch, ms per step | ratio (min-max) |',
        '|---|---|---:|---:|---:|---:|',
    ]
    for row in rows:
        ratio = f'{median(row.ratios):.2f} ({min(row.ratios):.2f}-{max(row.ratios):.2f})'
        times = f'{row.jax_ms:.2f} | {row.torch_ms:.2f}'
        lines.append(f'| {row.network} | {row.stage} | {row.parameters:,} | {times} | {ratio} |')
    return '\n'.join(lines)


def cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def prepare() -> tuple[str, str]:
    """Sets PyTorch up as JAX is: (its device, the line about the machine). Leaves if that cannot be."""
    try:
        import torch
    except ModuleNotFoundError as error:
        sys.exit(f'error: {extras.explain("this benchmark", error)}')

    backend = jax.default_backend()
    if backend not in ('cpu', 'gpu') or (backend == 'gpu' and not torch.cuda.is_available()):
        sys.exit(f'error: JAX runs on {backend}, PyTorch cannot; JAX_PLATFORMS=cpu compares on the CPU')
    if jax.device_count() > 1:
        sys.exit('error: one device is compared, JAX sees more; CUDA_VISIBLE_DEVICES=0 shows it one')
    # XLA takes all the cores that the process may use.
    threads = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    # JAX's default on GPUs is TF32.
    torch.set_float32_matmul_precision('high')
    torch.backends.cudnn.allow_tf32 = True
    device = 'cuda' if backend == 'gpu' else 'cpu'
    name = torch.cuda.get_device_name() if device == 'cuda' else cpu_name()
    versions = f'Python {platform.python_version()}, JAX {jax.__version__}, PyTorch {torch.__version__}'
    waiting = {key: os.environ[key] for key in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT') if key in os.environ}
    openmp = ', '.join(f'{key}={value}' for key, value in waiting.items())
    return device, f'{name}; {os.cpu_count()} cores, {threads} threads on both sides, {openmp}; {versions}'


def main() -> None:
    args = parse_args()
    device, machine = prepare()
    try:
        rows = [compare(network, stage, args, device) for network in args.networks for stage in args.stages]
    except (ValueError, RuntimeError) as error:
        sys.exit(f'error: {error}')
    settings = f'batches of {args.batch_size}, crops of {args.crop_size} px, {args.precision}, size {args.size}'
    print(f'\n{table(rows)}\n\n{machine}; {settings}; {args.repeats} pairs')


if __name__ == '__main__':
    main()
