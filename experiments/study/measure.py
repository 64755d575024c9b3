"""Every system measured on the same tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from astro_gan import fidelity, images
from astro_gan.color import luma
from astro_gan.model import Model
from astro_gan.task import Batch, Task


def prepared(task: Task, batches: Iterable[Batch]) -> Iterator[dict[str, np.ndarray]]:
    """Batches as the task prepares them for evaluation, without their device axis and without padding."""
    prepare = jax.jit(lambda batch: task.prepare(batch, None))
    for batch in batches:
        values = {name: np.asarray(value).reshape(-1, *value.shape[2:]) for name, value in batch.items()}
        values = jax.tree.map(np.asarray, prepare(values))
        yield {name: value[values['mask'] > 0] for name, value in values.items()}


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
    metrics = jax.jit(task.metrics)
    parts: list[dict[str, np.ndarray]] = []
    kept: dict[int, np.ndarray] = {}
    position = 0
    for batch in tqdm(prepared(task, batches), desc=title, unit='batch', leave=False, total=len(batches), disable=None):
        inputs, truth = batch['input'], batch['truth']
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


def predictor(model: Model) -> Callable[[np.ndarray], Any]:
    forward = jax.jit(model.forward)
    return lambda inputs: images.quantize(forward(model.variables, inputs))
