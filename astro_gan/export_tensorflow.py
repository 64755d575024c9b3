"""A model's forward pass as a TensorFlow SavedModel with free batch, height and width, for TensorFlow without JAX."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from jax.experimental import jax2tf

from astro_gan.model import Model

INPUT, OUTPUT = 'images', 'output'


def save(model: Model, folder: Path) -> None:
    """Write a SavedModel whose signature 'serving_default' takes 'images' and gives 'output', float32, on cpu and cuda.

    Raises:
        OSError: TensorFlow cannot write there.
    """
    with contextlib.suppress(RuntimeError):  # they cannot be hidden once TensorFlow has begun to use them
        tf.config.set_visible_devices([], 'GPU')
    convert = functools.partial(jax2tf.convert, with_gradient=False, native_serialization_platforms=('cpu', 'cuda'))
    forward = convert(model.forward, polymorphic_shapes=[None, f'(batch, height, width, {model.channels})'])
    spec = tf.TensorSpec((None, None, None, model.channels), tf.float32, name=INPUT)
    module = tf.Module()
    module.variables_of_networks = tf.nest.map_structure(tf.Variable, model.variables)  # saved beside the program

    @functools.partial(tf.function, input_signature=[spec], autograph=False)
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: forward(module.variables_of_networks, images)}

    try:
        tf.saved_model.save(module, str(folder), signatures={'serving_default': serve})
    except tf.errors.OpError as error:
        # What went wrong stands at the end, after the names of operations.
        raise OSError(error.message.split(';')[-1].split('[Op')[0].strip()) from error


def load(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The SavedModel run by TensorFlow, on the CPU."""
    module = tf.saved_model.load(str(folder))

    def run(images: np.ndarray) -> np.ndarray:
        with tf.device('CPU'):
            return module.signatures['serving_default'](**{INPUT: tf.constant(images)})[OUTPUT].numpy()

    return run
