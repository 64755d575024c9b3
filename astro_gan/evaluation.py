"""A state measured on a set of tiles, and pictures of what it does to some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from astro_gan.images import comparison_grid
from astro_gan.task import Batch, Task


def evaluate(
    eval_step: Callable[..., Any], params: Any, batch_stats: Any, batches: Iterable[Batch]
) -> dict[str, np.ndarray]:
    """Per-tile metrics `{name: [tiles, ...]}` over all batches, padding left out, in the tiles' own order."""
    parts = [jax.tree.map(np.asarray, eval_step(params, batch_stats, batch)) for batch in batches]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    real = table.pop('mask') > 0
    order = np.argsort(table.pop('index')[real], kind='stable')
    return {name: values[real][order] for name, values in table.items()}


def choose_samples(task: Task, batches: Iterable[Batch], count: int) -> dict[str, np.ndarray]:
    """The `count` tiles with the most structure (standard deviation of the target): 'input' and 'truth' `[n, ...]`."""
    prepare = jax.jit(lambda batch: task.prepare(batch, None))
    best: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    for batch in batches:
        flat = {name: np.asarray(values).reshape(-1, *values.shape[2:]) for name, values in batch.items()}
        flat = jax.tree.map(np.asarray, prepare(flat))
        names = ('mask', 'index', 'input', 'target', 'truth')
        for mask, index, given, target, truth in zip(*(flat[name] for name in names), strict=True):
            if mask:
                best.append((float(target.std()), -int(index), given, truth))
        best = sorted(best, key=lambda item: item[:2], reverse=True)[:count]
    return {'input': np.stack([item[2] for item in best]), 'truth': np.stack([item[3] for item in best])}


def make_predict(task: Task) -> Callable[[Any, Any, np.ndarray], np.ndarray]:
    """`(params, batch_stats, inputs [n, h, w, C]) -> [n, H, W, 3]` in [0, 1], on this host alone."""

    @jax.jit
    def apply(params: Any, batch_stats: Any, images: jax.Array) -> jax.Array:
        variables = {'params': params, 'batch_stats': batch_stats}
        return task.to_rgb(images, task.generator.apply(variables, images, train=False))

    return lambda params, batch_stats, images: np.asarray(apply(*jax.device_get((params, batch_stats)), images))


def sample_picture(task: Task, samples: dict[str, np.ndarray], outputs: list[np.ndarray]) -> np.ndarray:
    """Rows of input | baseline | outputs | truth, uint8 `[H, W, 3]`; a gray input is the baseline itself."""
    images = samples['input']
    columns = [task.baseline(images), *outputs, samples['truth']]
    if images.shape[-1] == 3:
        columns.insert(0, task.to_rgb(images, images))
    return comparison_grid([np.asarray(column) for column in columns])
