"""Trained models: read from a directory or from those that ship with the package, and called on images.

A model is a chain of networks. Most have one; 'enhance' has a colorizer followed by super-resolution networks, and a
factor that no single network has is a chain too (12 = 4 x 3). `astro_gan.export` writes the directories.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from astro_gan import colorization
from astro_gan.inference.render import ArraySource, render
from astro_gan.models import make_generator

FORMAT = 1
TASKS = ('super_resolution', 'colorization', 'enhance', 'frames')
SHIPPED = Path(__file__).parent / 'weights'
_LARGEST_WEIGHTS = 2**31  # bytes of a weights file that is read
_LARGEST_DESCRIPTION = 2**24  # bytes of a model.json that is read


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Network:
    """One trained generator.

    Attributes:
        description: what model.json says of it: task, factor, generator, input, output ...
        generator: the flax module.
        variables: {'params': ..., 'batch_stats': ...}, float32.
    """

    description: dict[str, Any]
    generator: nn.Module
    variables: dict[str, Any]

    @property
    def factor(self) -> int:
        """How many times larger the output is."""
        return int(self.description['factor'])

    @property
    def colorizes(self) -> bool:
        """Whether it takes one channel and gives three."""
        return self.description['task'] == 'colorization'

    @property
    def smallest(self) -> int:
        """Pixels on a side that an input must have."""
        return int(self.description['input'].get('smallest', 1))

    @property
    def reduction(self) -> int:
        """How many times smaller than the pictures its training examples were made (colorizers)."""
        return int(self.description.get('reduction', 1))

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, H, W, C]` in [0, 1] -> from what a user has to what a user gets, `[N, factor H, factor W, 3]`."""
        if not self.colorizes:
            return self.generator.apply(variables, images, train=False)  # type: ignore[return-value]
        x, prediction, space = self._predict(variables, images)
        return colorization.to_rgb(x, prediction, space)

    def chroma(self, variables: Any, gray: jax.Array) -> jax.Array:
        """Gray `[N, H, W, 1]` in [0, 1] -> a colorizer's a*b* `[N, H, W, 2]` in CIE units."""
        x, prediction, space = self._predict(variables, gray)
        if space == 'rgb':
            prediction = jnp.clip(prediction, 0.0, 1.0)
        return colorization.chromaticity(x, prediction, space)

    def _predict(self, variables: Any, gray: jax.Array) -> tuple[jax.Array, jax.Array, str]:
        space = self.description['generator']['fields']['space']
        x = colorization.network_input(gray, space)
        prediction: Any = self.generator.apply(variables, x, train=False)
        return x, prediction, space


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
        """One of TASKS."""
        return self.description['task']

    @property
    def name(self) -> str:
        """What the model calls itself."""
        return str(self.description.get('name', self.description['task']))

    @property
    def factor(self) -> int:
        """How many times larger the output is."""
        return math.prod(network.factor for network in self.networks)

    @property
    def channels(self) -> int:
        """Of the input: 1 (gray) for models that add colour, otherwise 3 (gray is welcome too)."""
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
            ValueError: another shape, channel count, size or type.
        """
        image = np.asarray(image)
        pixels = image[..., None] if image.ndim == 2 else image
        allowed = (1,) if self.channels == 1 else (1, 3)
        if pixels.ndim not in (3, 4) or pixels.shape[-1] not in allowed:
            kind = 'gray, [H, W], [H, W, 1]' if self.channels == 1 else 'gray or in colour, [H, W], [H, W, 1 or 3]'
            raise ValueError(f'model: the image must be {kind} or a batch [N, H, W, C], not {image.shape}')
        if min(pixels.shape[-3:-1]) < self.smallest:
            smallest = f'{self.smallest} x {self.smallest}'
            raise ValueError(f'model: the image must be at least {smallest} pixels, not {image.shape}')
        if pixels.dtype not in (np.uint8, np.uint16) and not np.issubdtype(pixels.dtype, np.floating):
            raise ValueError(f'model: the image must be float in [0, 1], uint8 or uint16, not {image.dtype}')
        batch = pixels if pixels.ndim == 4 else pixels[None]
        outputs = []
        for one in batch:
            strips = render(self.networks, ArraySource(one), tile=tile)
            outputs.append(np.concatenate([to_levels(strip, pixels.dtype) for strip in strips]))
        output = np.stack(outputs) if pixels.ndim == 4 else outputs[0]
        return output[..., 0] if image.ndim == 2 and output.shape[-1] == 1 else output


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
    """The directory of an exported model: `model` itself, or that of a shipped model's name; ValueError if neither."""
    directory = Path(model).expanduser()
    if (directory / 'model.json').is_file():
        return directory
    if str(model) not in shipped_models():
        names = ', '.join(shipped_models()) or 'none'
        raise ValueError(f'{model}: no model.json there, and no shipped model of that name (there are: {names})')
    return SHIPPED / model


def load_model(model: str | Path) -> Model:
    """Load an exported model from its directory, or one that ships with the package by its name.

    Raises:
        ValueError: no such model, or its files are damaged or do not belong together.
    """
    directory = model_directory(model)
    description = read_description(directory)
    variables = _read_weights(directory, description['weights']['sha256'])
    parts = description['parts'] if description['task'] == 'enhance' else [description]
    networks = []
    for index, part in enumerate(parts):
        own = variables.get(str(index), {}) if description['task'] == 'enhance' else variables
        networks.append(_make_network(part, own, directory))
    return Model(description, tuple(networks))


def read_description(directory: Path) -> dict[str, Any]:
    """The content of a directory's model.json; ValueError if that does not describe an exported model."""
    try:
        if (directory / 'model.json').stat().st_size > _LARGEST_DESCRIPTION:
            raise ValueError(f'larger than {_LARGEST_DESCRIPTION / 2**20:.0f} MiB')
        description = json.loads((directory / 'model.json').read_text())
        if description['format'] != FORMAT:
            raise ValueError(f'format {description["format"]} is not {FORMAT}')
        if description['task'] not in TASKS:
            raise ValueError(f'task {description["task"]!r} is none of {", ".join(TASKS)}')
        description['weights']['sha256']
        if description['task'] == 'enhance' and not description['parts']:
            raise ValueError('a chain of no networks')
        for part in description['parts'] if description['task'] == 'enhance' else [description]:
            dict(part['generator']['fields'], name=part['generator']['name'], factor=int(part['factor']))
            int(part['input']['channels'])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{directory}/model.json: not the description of an exported model ({error})') from error
    return description


def _read_weights(directory: Path, digest: str) -> dict[str, Any]:
    """The tensors of weights.safetensors as a tree of float32."""
    path = directory / 'weights.safetensors'
    if not path.is_file():
        raise ValueError(f'{path}: missing; export the model again')
    if path.stat().st_size > _LARGEST_WEIGHTS:
        raise ValueError(f'{path}: larger than {_LARGEST_WEIGHTS / 2**30:.0f} GiB; no model of this package is')
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f'{path}: does not match the hash in model.json; it was changed or damaged: export again')
    flat = {name: value.astype(np.float32) for name, value in safetensors.numpy.load(data).items()}
    return flax.traverse_util.unflatten_dict(flat, sep='/')


def _make_network(description: dict[str, Any], variables: dict[str, Any], directory: Path) -> Network:
    name, factor = description['generator']['name'], int(description['factor'])
    try:
        generator = make_generator(name, **description['generator']['fields'])
        size = int(description['input'].get('smallest', 16))
        image = jnp.zeros((1, size, size, int(description['input']['channels'])))
        output, spec = jax.eval_shape(
            lambda key: generator.init_with_output(key, image, train=False), jax.random.key(0)
        )
        if description['task'] == 'colorization':
            channels = (1, colorization.CHANNELS[description['generator']['fields']['space']])
        else:
            channels = (int(description['input']['channels']), int(description['output'].get('channels', 3)))
        if (image.shape[-1], *output.shape[1:]) != (channels[0], factor * size, factor * size, channels[1]):
            raise ValueError(f'{image.shape} becomes {output.shape}, which is not factor {factor} of this task')
    except Exception as error:  # whatever a module makes of fields that are no fields
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'{directory}/model.json: its network cannot be made ({reason})') from error
    expected, found = (
        {path: value.shape for path, value in flax.traverse_util.flatten_dict(tree, sep='/').items()}
        for tree in (spec, variables)
    )
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        path = directory / 'weights.safetensors'
        raise ValueError(f'{path}: the tensor {wrong} does not fit the generator {name} of model.json')
    return Network(description, generator, variables)
