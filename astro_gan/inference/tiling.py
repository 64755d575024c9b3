"""Networks on images of any size: tiles with a halo, spread over the devices, put together in strips of rows.

A convolutional network sees only so far: an output pixel depends on the input within its receptive field. A window that
reaches that far beyond the tile (the halo) therefore gives the tile the same values as the whole image does. At the
image's own border a window ends with the image, so that the network pads there exactly as it pads the whole.

All windows of an image have one shape, and images of many sizes share a few shapes: a network is compiled for those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from astro_gan.inference.compiled import load_or_compile

SMALLEST_TILE = 16  # where shrinking for want of memory ends
STRIP_BYTES = 2**28  # of a strip of output: very wide images get flatter tiles
_MOST_SHAPES = 32  # compiled networks that are kept, ten megabytes each
# Pixels on a side of the windows in which images are done that are smaller than the usual one.
SIDES = (64, 96, 128, 192, 256)

Read = Callable[[int, int, int, int], np.ndarray]  # top, left, height, width -> [height, width, C]
Apply = Callable[[np.ndarray], np.ndarray]  # [n, h, w, C] -> [n, factor h, factor w, C']


class Span(NamedTuple):
    """A tile's extent along one axis, and that of the window around it."""

    start: int
    stop: int
    window: int  # where the window starts
    size: int  # of the window


def span(start: int, size: int, window: int, halo: int) -> Span:
    """The tile that starts at `start` of an axis with `size` pixels: all that a window shows with its surroundings."""
    window = min(size, window)
    begin = min(max(start - halo, 0), size - window)
    return Span(start, size if begin + window == size else begin + window - halo, begin, window)


def spans(size: int, window: int, halo: int) -> list[Span]:
    """All tiles along one axis."""
    found = [span(0, size, window, halo)]
    while found[-1].stop < size:
        found.append(span(found[-1].stop, size, window, halo))
    return found


def window_shape(height: int, width: int, tile: int, halo: int) -> tuple[int, int]:
    """Height and width of the windows for an image: one shape for large images, a few for all smaller ones.

    An image that is smaller than the usual window, `tile + 2 halo`, is done in squares of one of SIDES, overlapping
    where it needs several: the side that computes the fewest pixels. One that is too small for that is one window.
    """
    usual, shorter = tile + 2 * halo, min(height, width)
    if shorter >= usual:
        return usual, usual

    def count(size: int, side: int) -> int:
        return 1 if size == side else -(-(size - 2 * halo) // (side - 2 * halo))

    sides = [side for side in SIDES if side <= min(shorter, usual) and (side > 2 * halo or side == height == width)]
    if not sides:
        return min(height, usual), min(width, usual)
    side = min(sides, key=lambda side: count(height, side) * count(width, side) * side**2)
    return side, side


def on_devices(forward: Callable[[Any, jax.Array], jax.Array], variables: Any, key: str = '') -> tuple[Apply, int]:
    """A function of numpy batches that runs `forward` on all local devices, and how many images it wants at a time.

    Fewer images are filled up, for one shape is compiled once. What is compiled is kept here, not among the caller's
    own functions, and goes with this one; with a `key`, which says what `forward` is, on disk too (`load_or_compile`).
    """
    devices = jax.local_devices()
    replicated = jax.device_put(variables, NamedSharding(Mesh(np.array(devices), 'tiles'), PartitionSpec()))
    parallel = jax.pmap(forward, in_axes=(None, 0), devices=devices)

    @functools.lru_cache(_MOST_SHAPES)
    def compiled(shape: tuple[int, ...]) -> Callable[[Any, np.ndarray], jax.Array]:
        image = jax.ShapeDtypeStruct((len(devices), 1, *shape), np.float32)
        own_key = f'{key} {shape}' if key else ''
        return load_or_compile(own_key, lambda: parallel.lower(replicated, image), devices)

    def apply(images: np.ndarray) -> np.ndarray:
        filled = images[np.arange(len(devices)) % len(images)].astype(np.float32, copy=False)
        return np.asarray(compiled(images.shape[1:])(replicated, filled[:, None]))[: len(images), 0]

    return apply, len(devices)


def strips(
    apply: Apply,
    read: Read,
    height: int,
    width: int,
    *,
    factor: int,
    halo: int,
    tile: int,
    batch: int = 1,
    log: Callable[[str], None] = print,
) -> Iterator[np.ndarray]:
    """Run a network over an image; its output in strips of whole rows, from the top.

    When the device runs out of memory, the tiles are halved and the work goes on.

    Args:
        apply: the network, on up to `batch` windows of one shape.
        read: gives windows of the input.
        height, width: of the input.
        factor: enlargement.
        halo: pixels of the input around a tile that the network has to see: its receptive field's radius.
        tile: pixels on a side of a tile.

    Yields:
        float32 `[factor rows, factor width, C']`.
    """
    row = 0
    flat = max(SMALLEST_TILE, STRIP_BYTES // (4 * 3 * factor**2 * width))
    while row < height:
        window_height, window_width = window_shape(height, width, tile, halo)
        rows = span(row, height, min(window_height, flat + 2 * halo), halo)
        rows = rows._replace(stop=min(rows.stop, row + flat))
        try:
            yield _strip(apply, read, rows, spans(width, window_width, halo), factor, batch)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not out_of_memory(error) or tile <= SMALLEST_TILE:
                raise
            tile = max(SMALLEST_TILE, tile // 2)
            log(f'out of device memory; going on with tiles of {tile} pixels')
            continue
        row = rows.stop


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the machine, has no room."""
    return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)


def _strip(apply: Apply, read: Read, rows: Span, columns: list[Span], factor: int, batch: int) -> np.ndarray:
    strip: np.ndarray | None = None
    for first in range(0, len(columns), batch):
        group = columns[first : first + batch]
        windows = np.stack([read(rows.window, column.window, rows.size, column.size) for column in group])
        for column, output in zip(group, apply(windows), strict=True):
            inner = tuple(slice(factor * (s.start - s.window), factor * (s.stop - s.window)) for s in (rows, column))
            if strip is None:
                width = factor * columns[-1].stop
                strip = np.empty((factor * (rows.stop - rows.start), width, output.shape[-1]), np.float32)
            strip[:, factor * column.start : factor * column.stop] = output[inner]
    assert strip is not None
    return strip


def blended(
    apply: Apply, read: Read, height: int, width: int, *, channels: int, window: int, context: int, batch: int = 1
) -> np.ndarray:
    """Run a network that sees the whole window (a U-Net) over an image, cross-fading between overlapping windows.

    Neighbouring windows share `2 context` pixels; over them the weight moves smoothly (a raised cosine) from one to the
    other, so no seam shows. An image no larger than `window` is one window: exactly the network's own output.

    Returns:
        float32 `[height, width, channels]`.
    """
    total = np.zeros((height, width, channels), np.float32)
    tops, lefts = _starts(height, window, 2 * context), _starts(width, window, 2 * context)
    places = [(y, x) for y in tops for x in lefts]
    h, w = min(window, height), min(window, width)
    rows = {y: _fade(y, h, height, 2 * context) for y in tops}
    columns = {x: _fade(x, w, width, 2 * context) for x in lefts}
    for first in range(0, len(places), batch):
        group = places[first : first + batch]
        outputs = apply(np.stack([read(y, x, h, w) for y, x in group]))
        for (y, x), output in zip(group, outputs, strict=True):
            total[y : y + h, x : x + w] += output * (rows[y][:, None] * columns[x])[..., None]
    # The windows make a grid, so the sum of their weights is a product too.
    total /= _sum(rows, height)[:, None, None]
    total /= _sum(columns, width)[:, None]
    return total


def _sum(fades: dict[int, np.ndarray], size: int) -> np.ndarray:
    total = np.zeros(size, np.float32)
    for start, fade in fades.items():
        total[start : start + len(fade)] += fade
    return total


def _starts(size: int, window: int, overlap: int) -> list[int]:
    """Where windows start so that they cover an axis evenly and share at least `overlap` pixels."""
    if size <= window:
        return [0]
    count = -(-(size - overlap) // (window - overlap))
    return [round(index * (size - window) / (count - 1)) for index in range(count)]


@functools.cache
def _ramp(overlap: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / overlap)).astype(np.float32)


def _fade(start: int, length: int, size: int, overlap: int) -> np.ndarray:
    """Weights of a window along one axis: 1 in the middle and at the image's border, fading where others overlap."""
    fade = np.ones(length, np.float32)
    overlap = min(overlap, length)
    if start > 0:
        fade[:overlap] *= _ramp(overlap)
    if start + length < size:
        fade[-overlap:] *= _ramp(overlap)[::-1]
    return fade
