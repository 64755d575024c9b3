"""Trained models: read from a directory or from those that ship with the package, and called on images.

A model is a chain of networks. Most have one; 'enhance' has a colorizer followed by super-resolution networks, and a
factor that no single network has is a chain too (12 = 4 x 3). `astro_gan.export` writes the directories.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.inference.exported import read_description, read_networks
from astro_gan.inference.network import Network
from astro_gan.inference.render import ArraySource, halo, render

SHIPPED = Path(__file__).parent / 'weights'
_LONGEST_NAME = 200  # characters; it stands in file headers and on the screen


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Model:
    """A chain of networks, ready to be called.

    Attributes:
        description: the content of model.json.
        networks: applied one after the other.
    """

    description: dict[str, Any]
    networks: tuple[Network, ...]

    @property
    def task(self) -> str:
        """'super_resolution', 'colorization', 'frames' or 'enhance'."""
        return self.description['task']

    @property
    def name(self) -> str:
        """What the model calls itself, as text of one line."""
        return printable(str(self.description.get('name', self.description['task']))[:_LONGEST_NAME])

    @property
    def factor(self) -> int:
        """How many times larger the output is."""
        return math.prod(network.factor for network in self.networks)

    @property
    def channels(self) -> int:
        """Of the input: 1 (gray) for models that add colour, 3 otherwise (gray is welcome); a frame and its maps."""
        if self.task == 'frames':
            return 1 + len(self.description['input']['conditions'])
        return 1 if self.networks[0].colorizes else 3

    @property
    def smallest(self) -> int:
        """Pixels on a side that an input must have."""
        return self.networks[0].smallest

    @property
    def variables(self) -> list[Any]:
        """The networks' variables: the first argument of `forward`."""
        return [network.variables for network in self.networks]

    def forward(self, variables: Sequence[Any], images: jax.Array) -> jax.Array:
        """The networks on whole images `[N, H, W, C]` in [0, 1], without tiles or a working scale; can be jitted."""
        for network, network_variables in zip(self.networks, variables, strict=True):
            images = network.forward(network_variables, images)
        return images

    def __call__(self, image: np.ndarray | jax.Array, *, tile: int | None = None) -> np.ndarray:
        """Apply the model to `[H, W]`, `[H, W, C]` or a batch `[N, H, W, C]`, of any size, in tiles.

        A super-resolution model takes colour (C = 3) and gray (C = 1, or none), and gives the same; models that add
        colour take gray and give `[..., 3]`. A colorizer predicts colours at the scale of its training and keeps the
        image's lightness at full resolution.

        Args:
            image: floats in [0, 1] give float32 (enlarged: nominally in [0, 1], not clipped), uint8 gives uint8,
                uint16 uint16.
            tile: pixels on a side of a tile of the input; None: the default.

        Raises:
            UserError: another shape, channel count, size or type, values that are no numbers, or a tile below 1.
        """
        image = np.asarray(image)
        image = image.astype(image.dtype.newbyteorder('='), copy=False)  # FITS is big-endian
        if self.task == 'frames':
            from astro_gan.inference import observed

            return observed.enlarge(self.networks[0], image, then=self.networks[1:], tile=tile)
        pixels = image[..., None] if image.ndim == 2 else image
        self._check(image, pixels)
        batch = pixels if pixels.ndim == 4 else pixels[None]
        outputs = []
        for one in batch:
            strips = render(self.networks, ArraySource(one), tile=tile)
            outputs.append(np.concatenate([to_levels(strip, pixels.dtype) for strip in strips]))
        output = np.stack(outputs) if pixels.ndim == 4 else outputs[0]
        return output[..., 0] if image.ndim == 2 and output.shape[-1] == 1 else output

    def _check(self, image: np.ndarray, pixels: np.ndarray) -> None:
        allowed = (1,) if self.channels == 1 else (1, 3)
        if pixels.ndim not in (3, 4) or pixels.shape[-1] not in allowed or not pixels.size:
            kind = 'gray, [H, W], [H, W, 1]' if self.channels == 1 else 'gray or in colour, [H, W], [H, W, 1 or 3]'
            raise UserError(f'model: the image must be {kind} or a batch [N, H, W, C], not {image.shape}')
        if min(pixels.shape[-3:-1]) < self.smallest:
            smallest = f'{self.smallest} x {self.smallest}'
            raise UserError(f'model: the image must be at least {smallest} pixels, not {image.shape}')
        floats = np.issubdtype(pixels.dtype, np.floating)
        if pixels.dtype not in (np.uint8, np.uint16) and not floats:
            raise UserError(f'model: the image must be float in [0, 1], uint8 or uint16, not {image.dtype}')
        if floats and (missing := pixels.size - int(np.isfinite(pixels).sum())):
            reach = 'the whole image' if self.channels == 1 else f'{2 * halo(self.networks) + 1} pixels around'
            raise UserError(
                f'model: {missing} of {pixels.size} values are NaN or infinite, and each would spoil {reach}; fill '
                'them first (from their neighbours, or by numpy.nan_to_num) and mark them again in the result'
            )


def to_levels(image: np.ndarray, dtype: Any) -> np.ndarray:
    """Floats in [0, 1] to the levels of an unsigned integer type (clipped, rounded); other types: float32."""
    if not np.issubdtype(dtype, np.unsignedinteger):
        return np.asarray(image, np.float32)
    white = np.iinfo(dtype).max
    return np.round(np.clip(image, 0.0, 1.0) * np.float32(white)).astype(dtype)


def shipped_models() -> dict[str, dict[str, Any]]:
    """Descriptions of the models that ship with the package, by name."""
    found = {}
    for path in sorted(SHIPPED.glob('*/model.json')):
        found[path.parent.name] = json.loads(path.read_text())
    return found


def model_directory(model: str | Path) -> Path:
    """The directory of an exported model: `model` itself, or that of a shipped model's name; UserError if neither."""
    directory = Path(model).expanduser()
    if (directory / 'model.json').is_file():
        return directory
    if str(model) not in shipped_models():
        names = ', '.join(shipped_models()) or 'none'
        raise UserError(
            f'{printable(model)}: no model.json there, and no shipped model of that name (there are: {names})'
        )
    return SHIPPED / model


def load_model(model: str | Path) -> Model:
    """Load an exported model from its directory, or one that ships with the package by its name.

    Raises:
        UserError: no such model, or its files are damaged or do not belong together.
    """
    directory = model_directory(model)
    description = read_description(directory)
    # What ships is checked by the tests; its weights are compared with their hash all the same.
    return Model(description, read_networks(directory, description, check=directory.parent != SHIPPED))
