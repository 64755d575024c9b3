"""From a config to batches: which pictures, in what tiles and crops, for how many steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.task import Batch, Stage
from experiments import frames
from experiments.initial import STAGES

if TYPE_CHECKING:
    from astro_gan.data.sources import Source

Log = Callable[[str], None]


def open_source(config: ConfigDict, split: str, minimum_size: int, log: Log) -> Source:
    """The pictures of one split."""
    # TensorFlow feeds data, the GPUs belong to JAX.
    import tensorflow as tf

    tf.config.set_visible_devices([], 'GPU')
    from astro_gan.data import sources

    dataset = config.dataset
    return sources.open_source(
        split,
        folder=dataset.folder,
        name=dataset.name,
        data_dir=dataset.data_dir or None,
        minimum_size=minimum_size,
        log=log,
    )


def eval_batches(config: ConfigDict, split: str, log: Log) -> Any:
    """The tiles of one split, or its simulated fields, iterated anew at every evaluation."""
    if config.task == 'frames':
        return frames.EvalFields(config, split)
    from astro_gan.data.pipeline import EvalBatches

    dataset, devices = config.dataset, jax.device_count()
    return EvalBatches(
        open_source(config, split, dataset.eval_tile, log),
        tile=dataset.eval_tile,
        batch_size=-(-dataset.eval_batch_size // devices) * devices,
        maximum_tiles_per_image=dataset.eval_tiles_per_image,
        **_place(),
        log=log,
    )


def _place() -> dict[str, int]:
    """Which part of every batch this process makes."""
    return {
        'process_index': jax.process_index(),
        'process_count': jax.process_count(),
        'local_device_count': jax.local_device_count(),
    }


def train_batches(config: ConfigDict, source: Source | None, log: Log) -> Callable[[Stage, int], Iterator[Batch]]:
    """`(stage, step to start from) -> batches` of this process; frames are simulated, without a source."""
    if source is None:
        return lambda stage, start_step: frames.train_batches(config, stage.batch_size, start_step)
    from astro_gan.data import pipeline

    def batches(stage: Stage, start_step: int) -> Iterator[Batch]:
        return pipeline.train_batches(
            source,
            batch_size=stage.batch_size,
            crop_size=config.dataset.crop_size,
            seed=config.seed,
            start_step=start_step,
            cache_bytes=config.dataset.cache_mib * 2**20,
            **_place(),
            log=log,
        )

    return batches


def check_devices(stages: Iterable[Stage]) -> None:
    """Raise UserError unless every stage's batches divide among the devices."""
    devices = jax.device_count()
    for stage in stages:
        size = stage.batch_size
        if size % devices:
            near = max(devices, size // devices * devices)
            raise UserError(
                f'config.{stage.name}.batch_size: {size} does not divide among {devices} devices; {near} does'
            )


def count_epochs(config: ConfigDict, pictures: int, log: Log) -> ConfigDict:
    """A copy in which every stage's epochs have become steps, with an evaluation after each epoch."""
    config = config.copy_and_resolve_references()
    for name in STAGES:
        stage = config[name]
        if stage.epochs > 0:
            at_least = stage.critic_steps if 'critic_steps' in stage else 1  # the generator moves once in so many
            stage.eval_every = max(at_least, round(pictures / stage.batch_size))
            stage.steps = stage.epochs * stage.eval_every
            log(f'{name}: {stage.epochs} epochs of {stage.eval_every} steps ({pictures} pictures)')
    return config
