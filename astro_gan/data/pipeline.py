"""Batches of uint8 crops for training and evaluation, numpy arrays with a leading axis for this process's devices.

What is made of a crop (flips, the reduction, colours) is the task's `prepare`, on the device. Training is addressed by
sample number and keeps no state: sample `i` of the run decides its picture and its crop from (seed, i) alone. So a run
that starts at step k gets the batches that it would have got, without reading those before, and processes share the
work by computing different numbers.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from astro_gan.data import storage
from astro_gan.data.sources import Source
from astro_gan.errors import UserError

Batch = dict[str, np.ndarray]

_THREADS = max(2, (os.cpu_count() or 2) // 2)  # the rest is for the training, where it runs on the same processor
_KEPT_TILE_BYTES = 256 * 2**20


def train_batches(
    source: Source,
    *,
    batch_size: int,
    crop_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    local_device_count: int = 1,
    cache_bytes: int = 2 * 2**30,
    log: Callable[[str], None] = print,
) -> Iterator[Batch]:
    """Batches without end: shuffled pictures, a random crop of each.

    Every epoch shows each picture once, in an order of its own. A picture that cannot be read (any more) is replaced by
    the next one, and named in the log once.

    Args:
        source: pictures, all at least `crop_size` high and wide.
        batch_size: samples per step over all processes.
        seed: decides all randomness, together with the number of the sample.
        start_step: number of the first step; the batches are those that a run from 0 has from there on.
        process_index, process_count, local_device_count: which part of every batch is made here.
        cache_bytes: pictures that fit, decoded, are read once and kept; more are read again for every crop.
        log: receives one line at a time.

    Returns:
        Iterator of {'crop': uint8 `[local_device_count, batch_size / process_count / local_device_count, S, S, 3]`}.

    Raises:
        UserError: sizes that do not fit together, or pictures that are too small or unreadable; one line.
    """
    per_process = _per_process(batch_size, process_index, process_count, local_device_count)
    if start_step < 0:
        raise ValueError(f'start_step {start_step} is negative')
    _check_crop(source, crop_size)
    crop_at = storage.crop_reader(source, crop_size, cache_bytes, log)
    count = len(source)

    def sample(local: tf.Tensor) -> tf.Tensor:
        step, place = local // per_process, local % per_process
        number = step * batch_size + process_index * per_process + place
        picture = tf.random.experimental.index_shuffle(
            number % count, seed=[seed, number // count], max_index=tf.constant(count - 1, tf.int64)
        )
        return crop_at(picture, tf.stack([tf.constant(seed, tf.int64), number]))

    with tf.device('CPU:0'):
        numbers = tf.data.Dataset.range(start_step * per_process, 2**62)
        samples = numbers.map(sample, num_parallel_calls=_THREADS, deterministic=True)
        batches = samples.batch(per_process, drop_remainder=True).prefetch(2).with_options(_options())
    return (_by_device({'crop': batch}, local_device_count) for batch in batches.as_numpy_iterator())


class EvalBatches:
    """Every picture as a centred grid of tiles that do not overlap, in a fixed order.

    Iterate as often as needed. All processes have the same number of batches, all of one shape: 'crop' uint8
    `[..., tile, tile, 3]`, 'mask' float32 (1 for a tile, 0 for padding and for tiles of an unreadable picture) and
    'index' int32 (the tile's number over all processes, -1 for padding), each `[local_device_count, n, ...]`.

    Args:
        source: pictures.
        tile: side of a tile in pixels; smaller pictures are left out, and named in the log.
        batch_size: tiles per batch over all processes.
        maximum_tiles_per_image: at most so many tiles, spread over the picture; None for all.

    Attributes:
        source: the pictures.
        names: what each tile is called, by its index: picture id, and row and column of its upper left pixel.

    Raises:
        UserError: sizes that do not fit together, or every picture is smaller than a tile; one line.
    """

    def __init__(
        self,
        source: Source,
        *,
        tile: int,
        batch_size: int,
        process_index: int = 0,
        process_count: int = 1,
        local_device_count: int = 1,
        maximum_tiles_per_image: int | None = None,
        log: Callable[[str], None] = print,
    ):
        self._per_process = _per_process(batch_size, process_index, process_count, local_device_count)
        self.source, self._tile = source, tile
        self._local_device_count, self._log = local_device_count, log
        self._places = _tile_places(source, tile, maximum_tiles_per_image, log)
        self.names = tuple(f'{source.ids[k]} at {y},{x}' for k, y, x in self._places)
        # Whole batches for every process: the last one is filled up with padding, -1.
        steps = -(-len(self._places) // batch_size)
        padded = np.full(steps * batch_size, -1, np.int32)
        padded[: len(self._places)] = np.arange(len(self._places))
        self._indices = padded.reshape(steps, process_count, self._per_process)[:, process_index]
        self._kept: list[tuple[np.ndarray, int, float]] | None = None
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        """Batches in one pass, the same in every process."""
        return len(self._indices)

    def __iter__(self) -> Iterator[Batch]:
        small = self._indices.size * self._tile**2 * 3 <= _KEPT_TILE_BYTES
        if small and self._kept is None:
            self._kept = list(self._read())
        tiles = iter(self._kept) if self._kept is not None else self._read()
        for _ in range(len(self)):
            crops, index, mask = zip(*itertools.islice(tiles, self._per_process), strict=True)
            batch = {
                'crop': np.stack(crops),
                'mask': np.asarray(mask, np.float32),
                'index': np.asarray(index, np.int32),
            }
            yield _by_device(batch, self._local_device_count)

    def _read(self) -> Iterator[tuple[np.ndarray, int, float]]:
        """Tiles of this process, their indices and masks; every picture is decoded once, one ahead of its use."""
        local = [int(index) for index in self._indices.ravel()]
        wanted = iter(dict.fromkeys(self._places[index][0] for index in local if index >= 0))
        blank = np.zeros((self._tile, self._tile, 3), np.uint8)
        with ThreadPoolExecutor(_THREADS) as pool:
            coming: deque[tuple[int, Future[np.ndarray | None]]] = deque()

            def ask() -> None:
                number = next(wanted, None)
                if number is not None:
                    coming.append((number, pool.submit(self._load, number)))

            ask()
            ask()
            current, picture = -1, None
            for index in local:
                if index < 0:
                    yield blank, -1, 0.0
                    continue
                number, y, x = self._places[index]
                if number != current:
                    current, future = coming.popleft()
                    picture = future.result()
                    ask()
                if picture is None:
                    yield blank, index, 0.0
                else:
                    # A copy: tiles that are kept must not hold on to their whole pictures.
                    yield picture[y : y + self._tile, x : x + self._tile].copy(), index, 1.0

    def _load(self, number: int) -> np.ndarray | None:
        try:
            return storage.load_checked(self.source, number)
        except ValueError as error:
            if number not in self._unreadable:
                self._unreadable.add(number)
                self._log(f'left out of the evaluation: {error}')
            return None


def _per_process(batch_size: int, process_index: int, process_count: int, local_device_count: int) -> int:
    """Samples per step in this process."""
    if not 0 <= process_index < process_count:
        raise ValueError(f'process_index {process_index} is not below process_count {process_count}')
    devices = process_count * local_device_count
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        would_do = f'{below} or {below + devices}' if below > 0 else f'{devices}'
        raise UserError(
            f'batch_size {batch_size} cannot be shared by {devices} devices ({process_count} processes with '
            f'{local_device_count} each): use a multiple of {devices}, such as {would_do}'
        )
    return batch_size // process_count


def _check_crop(source: Source, crop_size: int) -> None:
    small = [k for k, size in enumerate(source.sizes) if min(size) < crop_size]
    if small:
        height, width = source.sizes[small[0]]
        raise UserError(
            f'{len(small)} of {len(source)} pictures are smaller than a crop of {crop_size} pixels, such as '
            f'{source.ids[small[0]]} ({width}x{height}): use smaller crops, or open the source with '
            f'minimum_size={crop_size}'
        )


def _tile_places(
    source: Source, tile: int, maximum: int | None, log: Callable[[str], None]
) -> list[tuple[int, int, int]]:
    """(picture, row, column) of every tile."""
    places, small = [], []
    for number, (height, width) in enumerate(source.sizes):
        rows, columns = height // tile, width // tile
        if not rows * columns:
            small.append(source.ids[number])
            continue
        top, left = (height - rows * tile) // 2, (width - columns * tile) // 2
        grid = [(number, top + r * tile, left + c * tile) for r in range(rows) for c in range(columns)]
        if maximum and maximum < len(grid):
            grid = [grid[(2 * k + 1) * len(grid) // (2 * maximum)] for k in range(maximum)]
        places += grid
    if not places:
        raise UserError(f'all {len(source)} pictures of {source.name} are smaller than a tile of {tile} pixels')
    if small:
        more = f' and {len(small) - 10} more' if len(small) > 10 else ''
        log(f'smaller than a tile of {tile} pixels and left out: {", ".join(small[:10])}{more}')
    return places


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False  # every parallelism here is fixed
    options.threading.private_threadpool_size = _THREADS
    return options


def _by_device(batch: Batch, devices: int) -> Batch:
    """`[n, ...]` -> `[devices, n / devices, ...]`."""
    return {name: array.reshape(devices, len(array) // devices, *array.shape[1:]) for name, array in batch.items()}
