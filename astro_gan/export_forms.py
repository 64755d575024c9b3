"""The forms of an exported model: how each is written, and how it is run again to be compared with the live model."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from astro_gan.model import Model, load_model

TOLERANCE = 1e-3  # in units of the output's range; float32 rounding stays far below

Run = Callable[[np.ndarray], np.ndarray]  # images [N, H, W, C] -> [N, H', W', C']


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Programs name no source files: the same model gives the same bytes, wherever the package is installed."""
    config: Any = jax.config  # its settings are not declared
    before = config.jax_traceback_in_locations_limit
    config.update('jax_traceback_in_locations_limit', 0)
    try:
        yield
    finally:
        config.update('jax_traceback_in_locations_limit', before)


def stablehlo(forward: Callable[[jax.Array], jax.Array], channels: int) -> bytes:
    """The forward pass for any batch, height and width, on cpu and cuda."""
    batch, height, width = jax.export.symbolic_shape('b, h, w')
    spec = jax.ShapeDtypeStruct((batch, height, width, channels), jnp.float32)
    with _without_locations():
        return bytes(jax.export.export(jax.jit(forward), platforms=('cpu', 'cuda'))(spec).serialize())


def live(model: Model) -> Run:
    """`model.forward` as a function of numpy arrays."""
    forward = jax.jit(model.forward)
    return lambda images: np.asarray(forward(model.variables, images))


def greatest_difference(model: Model, others: Sequence[Run]) -> float:
    """Largest difference between a live model's output and others' on `sample_images`, infinite if one is not finite.

    Computed on the CPU: the convolutions of a GPU are by default coarser than what is looked for here.
    """
    largest, expected = 0.0, live(model)
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
        for images in tqdm(sample_images(model), desc='verifying', unit='size', disable=None, leave=False):
            truth = expected(images)
            for other in others:
                output = other(images)
                if output.shape != truth.shape or not np.isfinite(output - truth).all():
                    return float('inf')
                largest = max(largest, float(np.abs(output - truth).max()))
    return largest


def sample_images(model: Model) -> list[np.ndarray]:
    """Random images of odd sizes, one of them a batch and one larger: what exported forms are compared on."""
    smallest = max(16, model.smallest)
    shapes = ((1, smallest + 1, smallest + 7), (2, smallest + 8, smallest), (1, 2 * smallest + 5, 3 * smallest + 2))
    return [np.random.default_rng(0).random((*shape, model.channels), np.float32) for shape in shapes]


# The writers: model, folder, its weights as safetensors -> how to run what was written.


def _write_safetensors(model: Model, folder: Path, weights: bytes) -> list[Run]:
    (folder / 'weights.safetensors').write_bytes(weights)
    return [live(load_model(folder)), *_write_stablehlo(model, folder, weights)]


def _write_stablehlo(model: Model, folder: Path, weights: bytes) -> list[Run]:
    del weights  # part of the program
    path = folder / 'model.stablehlo'
    path.write_bytes(stablehlo(functools.partial(model.forward, model.variables), model.channels))
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    return [lambda images: np.asarray(program.call(images))]


def _write_savedmodel(model: Model, folder: Path, weights: bytes) -> list[Run]:
    from astro_gan import export_tensorflow

    del weights  # TensorFlow has a format of its own
    with _without_locations():
        export_tensorflow.save(model, folder)
    return [export_tensorflow.load(folder)]


def _write_onnx(model: Model, folder: Path, weights: bytes) -> list[Run]:
    from astro_gan import export_onnx

    del weights  # part of the program
    forward = functools.partial(model.forward, model.variables)
    description = json.loads((folder / 'model.json').read_text())
    path = folder / 'model.onnx'
    path.write_bytes(export_onnx.to_onnx(forward, model.channels, description))
    return [export_onnx.load(path.read_bytes())]


FORMS: dict[str, Callable[[Model, Path, bytes], list[Run]]] = {
    'safetensors': _write_safetensors,
    'stablehlo': _write_stablehlo,
    'savedmodel': _write_savedmodel,
    'onnx': _write_onnx,
}
NEEDED = {'savedmodel': ('tensorflow',), 'onnx': ('onnx', 'onnxruntime')}  # packages
