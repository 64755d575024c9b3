"""Tiny models with random weights for the tests of inference: an upscaler, a colorizer, chains of them."""

import functools
import hashlib
import json

import jax
import numpy as np
import safetensors.numpy

from astro_gan import export
from astro_gan.guides import PLANES
from astro_gan.inference.chain import join
from astro_gan.inference.exported import FORMAT
from astro_gan.inference.network import Network
from astro_gan.model import Model
from astro_gan.models import make_generator
from tests.networks import randomise


def network(generator, task, **fields):
    """A network with random weights at a scale that keeps signals of order one."""
    colorizes = task == 'colorization'
    channels, smallest = (1, 64) if colorizes else (3, 16)
    module = make_generator(generator, **fields)
    planes = PLANES if generator == 'guided_unet' else 0
    variables = randomise(module, np.zeros((1, smallest, smallest, channels + planes), np.float32))
    image = {'channels': channels, 'range': [0.0, 1.0]}
    description = {
        'task': task,
        'factor': fields.get('factor', 1),
        'generator': {'name': generator, 'fields': fields},
        'input': image | ({'smallest': 64} if colorizes else {}),
        'output': {'channels': 3},
        'reduction': 1,
        'guides': planes,
        'weights': {'sha256': '0' * 64},
    }
    return Network(description, module, dict(variables))


@functools.cache
def upscaler(factor=2, generator='wdsr', **fields):
    fields = {'features': 4, 'blocks': 1, 'factor': factor} | fields
    one = network(generator, 'super_resolution', **fields)
    return Model(one.description | {'name': f'tiny_x{factor}'}, (one,))


@functools.cache
def colorizer(generator='resnet18_unet', **fields):
    fields = fields or {'features': 4, 'stages': 1, 'space': 'lab'}
    one = network(generator, 'colorization', **fields)
    return Model(one.description | {'name': 'tiny_color'}, (one,))


@functools.cache
def framer():
    """A network for frames that is nearly bicubic interpolation of compressed noise units, as a fresh one is."""
    fields = {'features': 4, 'blocks': 1, 'factor': 2, 'scales': [0.7]}
    module = make_generator('frame_wdsr', **fields)
    variables = module.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32), train=False)
    description = {
        'task': 'frames',
        'name': 'tiny_frames',
        'factor': 2,
        'generator': {'name': 'frame_wdsr', 'fields': fields},
        'input': {'channels': 3, 'conditions': {'fwhm': [1.2, 6.0], 'correlation': [0.0, 0.6]}},
        'output': {'channels': 1, 'psf': {'ratio': 0.6, 'least_fwhm_in_output_pixels': 2.0}},
        'weights': {'sha256': '0' * 64},
    }
    return Model(description, (Network(description, module, dict(variables)),))


def enhancer(factor=2):
    return join([colorizer(), upscaler(factor)], name=f'tiny_enhance_x{factor}')


def saved(model, directory):
    """The model's directory as an export writes it, but for the StableHLO program, which takes long to compile."""
    weights = safetensors.numpy.save(export._flatten(model, np.float32))
    weight_hash = hashlib.sha256(weights).hexdigest()
    directory.mkdir()
    (directory / 'weights.safetensors').write_bytes(weights)
    description = model.description | {'format': FORMAT, 'weights': {'sha256': weight_hash}}
    (directory / 'model.json').write_text(json.dumps(description))
    return directory
