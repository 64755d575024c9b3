"""Train steps per second and peak memory of the colorization configs, at 64 and 256 pixels.

    python -m benchmarks.colorization
    python -m benchmarks.colorization --configs unet_rgb --sizes 64 --stages adversarial

The default configs' networks on random pictures; at 256 px the patch discriminator has its three halvings, as in the
report. Every case runs in a process of its own, so that the peak is its own: on the CPU the largest resident set of the
process, of which the imports take some 0.4 GB; on a GPU what JAX had allocated. Compilation is counted in the memory
but not in the rate. The result is a markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from importlib import import_module
from typing import Any

CONFIGS = ('unet_rgb', 'resnet18_unet_rgb', 'resnet18_unet_lab')
STAGES = ('supervised', 'adversarial')
BATCH_SIZES = {64: 16, 256: 4}
WARM_UP = 2  # steps: compilation, then one for the allocators
SECONDS = 10.0  # of measuring, at least 3 steps


def measure(name: str, size: int, stage: str) -> dict[str, Any]:
    """Steps per second and peak bytes of one case, in this process."""
    import jax
    import numpy as np

    from astro_gan.state import create_state
    from astro_gan.train import make_train_step, replicate
    from experiments import colorization
    from experiments.initial import initial_state

    config = import_module(f'configs.{name}').get_config()
    config.dataset.reduction, config.dataset.crop_size, config.dataset.eval_tile = 1, size, size
    if 'halvings' in config.discriminator:
        config.discriminator.halvings = 1 if size == 64 else 3
    task = colorization.make_task(config)
    record = colorization.make_stage(config, task, stage)
    state = create_state(task, record, jax.random.key(config.seed))
    state = replicate(initial_state(config, colorization)(state))
    counts = {
        net: sum(leaf.size for leaf in jax.tree.leaves(getattr(state, net).params))
        for net in ('generator', 'discriminator')
    }
    step = make_train_step(task, record, seed=config.seed)
    devices, rng = jax.device_count(), np.random.default_rng(0)
    shape = (devices, max(1, BATCH_SIZES[size] // devices), size, size)
    channels = 3 if config.generator.space == 'rgb' else 2
    batch = {'input': rng.random((*shape, 1), np.float32), 'target': rng.random((*shape, channels), np.float32)}

    def run(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(steps):
            state, terms = step(state, batch)
        jax.block_until_ready((state, terms))
        return time.perf_counter() - start

    run(WARM_UP)
    steps = max(3, round(SECONDS / run(1)))
    seconds = run(steps)
    stats = jax.local_devices()[0].memory_stats()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    peak = stats['peak_bytes_in_use'] if stats else resident
    return {**counts, 'batch_size': shape[0] * shape[1], 'rate': steps / seconds, 'peak': peak}


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.colorization', description=__doc__.splitlines()[0])
    parser.add_argument('--configs', nargs='+', choices=CONFIGS, default=CONFIGS)
    parser.add_argument('--sizes', nargs='+', type=int, choices=BATCH_SIZES, default=list(BATCH_SIZES))
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=STAGES)
    parser.add_argument('--one', action='store_true', help='measure the first of each here, and print JSON')
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.configs[0], args.sizes[0], args.stages[0])))
        return
    print('| config | pixels | batch | stage | parameters (G / D) | steps per second | peak memory, GB |')
    print('|---|---:|---:|---|---:|---:|---:|', flush=True)
    for name in args.configs:
        for size in args.sizes:
            for stage in args.stages:
                command = ['--one', '--configs', name, '--sizes', str(size), '--stages', stage]
                run = subprocess.run(
                    [sys.executable, '-m', 'benchmarks.colorization', *command], capture_output=True, text=True
                )
                if run.returncode:
                    sys.exit(f'error: {name} {size} {stage}: {(run.stderr.strip().splitlines() or ["killed"])[-1]}')
                row = json.loads(run.stdout.splitlines()[-1])
                parameters = f'{row["generator"]:,} / {row["discriminator"]:,}'
                print(
                    f'| {name} | {size} | {row["batch_size"]} | {stage} | {parameters} '
                    f'| {row["rate"]:.2f} | {row["peak"] / 1e9:.2f} |',
                    flush=True,
                )


if __name__ == '__main__':
    main()
