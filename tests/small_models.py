"""Tiny models with random weights for the tests of inference: an upscaler, a colorizer, chains of them."""

import functools
import json

from astro_gan.export import join, write_model
from astro_gan.model import Model, Network
from astro_gan.models import make_generator
from tests.networks import randomise


def network(generator, task, **fields):
    """A network with random weights at a scale that keeps signals of order one."""
    import numpy as np

    colorizes = task == 'colorization'
    channels, smallest = (1, 64) if colorizes else (3, 16)
    module = make_generator(generator, **fields)
    variables = randomise(module, np.zeros((1, smallest, smallest, channels), np.float32))
    image = {'channels': channels, 'range': [0.0, 1.0]}
    description = {
        'task': task,
        'factor': fields.get('factor', 1),
        'generator': {'name': generator, 'fields': fields},
        'input': image | ({'smallest': 64} if colorizes else {}),
        'output': {'channels': 3},
        'reduction': 1,
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


def enhancer(factor=2):
    return join([colorizer(), upscaler(factor)], name=f'tiny_enhance_x{factor}')


def saved(model, directory):
    """The model's exported directory, for commands."""
    write_model(model, directory)
    assert json.loads((directory / 'model.json').read_text())['task'] == model.task
    return directory
