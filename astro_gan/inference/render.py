"""What a chain of networks makes of one image, in strips of rows: the same for arrays, picture files and FITS frames.

Colours are predicted on a reduced copy, at the scale that the colorizer was trained at, and enlarged smoothly; the
lightness is the image's own, pixel for pixel, at full resolution and bit depth.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from astro_gan.color import fit_gamut, lab_to_rgb, lightness
from astro_gan.errors import UserError
from astro_gan.guides import lightness_of
from astro_gan.inference import tiling
from astro_gan.inference.compiled import load_or_compile
from astro_gan.inference.guesses import guess
from astro_gan.inference.guides import Guides, exactly, planes
from astro_gan.inference.network import Network

# Pixels of the input on a side of a tile, for networks with a receptive field. A GPU wants more at a time.
TILES = {'cpu': 256, 'gpu': 768}
WINDOW = 768  # pixels, at the working scale, on a side of a window of a U-Net
CONTEXT = 64  # pixels at the working scale: half of what neighbouring windows of a U-Net share
_POINTS = 2**16  # pixels that are composed at a time
_BAND = 512  # rows of the image that are reduced at a time


class Source(Protocol):
    """An image to be read in windows: float32 `[height, width, channels]`, nominally in [0, 1], 1 or 3 channels."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Pixels in a row."""

    @property
    def channels(self) -> int:
        """1 or 3."""

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window of the image."""


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """An array `[H, W, C]` of floats in [0, 1], uint8 or uint16."""

    pixels: np.ndarray

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        return self.pixels.shape[2]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return to_float(_slice(self.pixels, top, left, height, width))


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 levels to [0, 1] float32; floats stay as they are."""
    if np.issubdtype(pixels.dtype, np.unsignedinteger):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.asarray(pixels, np.float32)


def render(
    networks: Sequence[Network],
    source: Source,
    *,
    tile: int | None = None,
    reduction: int | None = None,
    saturation: float = 1.0,
    guides: Guides | None = None,
    log: Callable[[str], None] = print,
) -> Iterator[np.ndarray]:
    """Apply networks one after the other: an optional colorizer first, then super-resolution.

    Args:
        networks: at least one.
        source: the image; one channel if the first network is a colorizer.
        tile: pixels of the image on a side of a tile.
        reduction: how many times smaller the copy is on which colours are predicted; None: as in the training. It
            stops where the copy would be too small for the network.
        saturation: multiplies the predicted a*b*; the hue and the lightness stay.
        guides: what is known of the colours, for a guided colorizer; None: nothing.
        log: is told when memory runs out.

    Yields:
        float32 `[rows, factor width, C]`, top to bottom: C is 1 if a gray image stays gray, otherwise 3.

    Raises:
        UserError: a tile below 1.
    """
    if tile is None:
        tile = TILES.get(jax.default_backend(), TILES['cpu'])
    elif not isinstance(tile, int | np.integer) or tile < 1:
        raise UserError(f'tile {tile!r}: must be a whole number of pixels, 1 or more; leave it out for the default')
    read, channels = source.read, source.channels
    first, rest = networks[0], networks
    if first.colorizes:
        chroma = _read_chroma(first, source, guides or Guides(), reduction, saturation, log)
        read, channels, rest = functools.partial(_read_colour, source, chroma), 3, networks[1:]
    if not rest:
        yield from _rows(read, source.height, source.width, tile)
        return
    apply, batch = _enlarging_networks(tuple(rest), channels)
    yield from tiling.strips(
        apply,
        read,
        source.height,
        source.width,
        factor=math.prod(network.factor for network in rest),
        halo=halo(rest),
        tile=tile,
        batch=batch,
        log=log,
    )


def halo(networks: Sequence[Network]) -> int:
    """Pixels of the input around an output pixel that a chain of super-resolution networks sees."""
    radius, factor = 0.0, 1
    for network in networks:
        radius += network.generator.radius / factor
        factor *= network.factor
    return math.ceil(radius)


def _enlarge(
    forwards: tuple[Callable[[Any, jax.Array], jax.Array], ...], channels: int, variables: Any, images: jax.Array
) -> jax.Array:
    """A gray image goes through as three equal channels and comes out as their mean."""
    if channels == 1:
        images = jnp.repeat(images, 3, axis=-1)
    for forward, own in zip(forwards, variables, strict=True):
        images = forward(own, images)
    return images.mean(-1, keepdims=True) if channels == 1 else images


def _rows(read: tiling.Read, height: int, width: int, rows: int) -> Iterator[np.ndarray]:
    rows = max(1, min(rows, tiling.STRIP_BYTES // (12 * width)))
    for top in range(0, height, rows):
        yield read(top, 0, min(rows, height - top), width)


def working_size(height: int, width: int, reduction: int, smallest: int) -> tuple[int, int]:
    """Height and width of the reduced copy: `reduction` times smaller, or as small as the network takes."""
    reduction = max(1, min(reduction, min(height, width) // smallest))
    return max(smallest, round(height / reduction)), max(smallest, round(width / reduction))


def _read_chroma(
    network: Network,
    source: Source,
    guides: Guides,
    reduction: int | None,
    saturation: float,
    log: Callable[[str], None],
) -> tiling.Read:
    """What gives windows of the image's a*b*: enlarged from the reduced copy's, and exactly what was given."""
    if guides.complete:
        small = np.zeros((1, 1, 2), np.float32)  # nobody looks at it
    else:
        small = np.float32(saturation) * chroma_map(network, source, reduction, log, guides)
    size = (source.height, source.width)
    read = functools.partial(enlarged_window, functools.partial(_slice, small), small.shape[:2], size)
    return exactly(guides, read, source.read)


def chroma_map(
    network: Network,
    source: Source,
    reduction: int | None = None,
    log: Callable[[str], None] = print,
    guides: Guides | None = None,
) -> np.ndarray:
    """A colorizer's a*b* for the reduced copy of a gray image, float32 `[h, w, 2]` in CIE units.

    When the device runs out of memory the windows are halved.
    """
    height, width = working_size(source.height, source.width, reduction or network.reduction, network.smallest)
    gray = reduced(source, height, width)
    if network.guided:
        told = planes(guides or Guides(), lightness_of(gray[..., 0]), guess)
        gray = np.concatenate([gray, told], axis=-1)
    apply, batch = _chroma_network(network)
    read = functools.partial(_slice, gray)
    window = WINDOW
    while True:
        try:
            return tiling.blended(apply, read, height, width, channels=2, window=window, context=CONTEXT, batch=batch)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not tiling.out_of_memory(error) or window <= 4 * CONTEXT:
                raise
            window //= 2
            log(f'out of device memory; going on with windows of {window} pixels')


def _slice(pixels: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    return pixels[top : top + height, left : left + width]


# Kept from file to file: a new function would be compiled anew.


@functools.lru_cache(maxsize=4)
def _chroma_network(network: Network) -> tuple[tiling.Apply, int]:
    apply, batch = tiling.on_devices(network.chroma, network.variables, _key('chroma', network))
    multiple = network.generator.multiple

    def padded(images: np.ndarray) -> np.ndarray:
        """The network repeats the last row and column up to a multiple; done here, many sizes are compiled as one."""
        height, width = images.shape[1:3]
        filled = np.pad(images, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)), mode='edge')
        return apply(filled)[:, :height, :width]

    return padded, batch


@functools.lru_cache(maxsize=4)
def _enlarging_networks(networks: tuple[Network, ...], channels: int) -> tuple[tiling.Apply, int]:
    forward = functools.partial(_enlarge, tuple(network.forward for network in networks), channels)
    return tiling.on_devices(
        forward, [network.variables for network in networks], _key(f'enlarge {channels}', *networks)
    )


def _key(what: str, *networks: Network) -> str:
    """All that decides what is compiled for networks; their weights do not."""
    parts = [[network.description[key] for key in ('task', 'factor', 'generator')] for network in networks]
    return f'{what} {json.dumps(parts, sort_keys=True, default=str)}'


def reduced(source: Source, height: int, width: int) -> np.ndarray:
    """A gray image made smaller by antialiased bicubic resampling, float32 `[height, width, 1]` in [0, 1]."""
    if (height, width) == (source.height, source.width):
        return np.clip(source.read(0, 0, height, width), 0.0, 1.0)
    scale = source.height / height
    margin = math.ceil(2 * scale) + 1  # the widened kernel's reach
    rows = max(1, math.floor(_BAND / scale))
    bands = []
    for first in range(0, height, rows):
        last = min(first + rows, height)
        top = max(0, math.floor(first * scale) - margin)
        bottom = min(source.height, math.ceil(last * scale) + margin)
        band = np.clip(source.read(top, 0, bottom - top, source.width)[..., 0], 0.0, 1.0)
        box = (0.0, first * scale - top, float(source.width), min(last * scale, source.height) - top)
        bands.append(Image.fromarray(band).resize((width, last - first), Image.Resampling.BICUBIC, box=box))
    # Bicubic overshoots; the network's input stays in its range.
    return np.clip(np.concatenate([np.asarray(band) for band in bands]), 0.0, 1.0)[..., None]


def enlarged_window(
    read: tiling.Read, small: tuple[int, int], size: tuple[int, int], top: int, left: int, height: int, width: int
) -> np.ndarray:
    """A window of what bicubic resampling makes of an image, float32 `[height, width, C]`.

    Args:
        read: gives windows of the image.
        small: its height and width.
        size: height and width that it is brought to.
        top, left, height, width: of the window, in pixels of the enlarged image.
    """
    if small == size:
        return read(top, left, height, width)
    spans = []  # for both axes: first pixel that is read, how many, and the window's place among them
    for start, length, old, new in zip((top, left), (height, width), small, size, strict=True):
        first, last = start * old / new, (start + length) * old / new
        lower, upper = max(0, math.floor(first) - 3), min(old, math.ceil(last) + 3)  # the kernel's reach, and one more
        spans.append((lower, upper - lower, max(first - lower, 0.0), min(last - lower, float(upper - lower))))
    (y, rows, above, below), (x, columns, before, after) = spans
    part = read(y, x, rows, columns)
    planes = [Image.fromarray(np.ascontiguousarray(part[..., c])) for c in range(part.shape[-1])]
    box = (before, above, after, below)
    resized = [np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC, box=box)) for plane in planes]
    return np.stack(resized, axis=-1)


def _read_colour(source: Source, chroma: tiling.Read, top: int, left: int, height: int, width: int) -> np.ndarray:
    gray = source.read(top, left, height, width)
    ab = chroma(top, left, height, width)
    points = gray.reshape(-1, 1)
    output = np.empty((len(points), 3), np.float32)
    # Pixels are coloured one by one, so any window is a list of points: one compilation for all sizes.
    for start in range(0, len(points), _POINTS):
        stop = min(start + _POINTS, len(points))
        inputs = (points[start:stop], ab.reshape(-1, 2)[start:stop])
        filled = [np.pad(x, ((0, _POINTS - len(x)), (0, 0))) for x in inputs]
        output[start:stop] = np.asarray(_composer()(*filled))[: stop - start]
    return output.reshape(height, width, 3)


@functools.cache
def _composer() -> Callable[..., jax.Array]:
    points = [jax.ShapeDtypeStruct((_POINTS, channels), np.float32) for channels in (1, 2)]
    return load_or_compile('compose', lambda: jax.jit(_compose).lower(*points), jax.local_devices()[:1])


def _compose(gray: jax.Array, chroma: jax.Array) -> jax.Array:
    """Gray `[n, 1]` and a*b* `[n, 2]` -> RGB `[n, 3]` with the gray's lightness.

    Values outside [0, 1] (FITS frames have them) have no L*: they stay what they are, without colour.
    """
    inside = jnp.clip(gray, 0.0, 1.0)
    rgb = lab_to_rgb(fit_gamut(jnp.concatenate([lightness(inside), chroma], axis=-1)))
    return jnp.where(gray == inside, rgb, gray)
