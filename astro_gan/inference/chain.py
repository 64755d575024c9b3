"""Chains: several models applied one after the other, as one. The same for `upscale`, `enhance` and `export`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from astro_gan.errors import UserError
from astro_gan.model import Model

# What a chain's description takes over from its parts' and what it leaves to them.
_OF_PARTS = (
    ('task', 'factor', 'generator', 'input', 'output', 'reduction', 'guides', 'name')
    + ('training_data', 'degradation', 'metrics', 'licence')
)  # fmt: skip


def join(models: Sequence[Model], name: str = '') -> Model:
    """Several models as one: what enlarges, one after the other, with or without a colorizer before it.

    Args:
        models: at least two networks in all; chains may be among them.
        name: what the chain calls itself; '': its parts' names.

    Raises:
        UserError: a colorizer comes second.
    """
    networks = tuple(network for model in models for network in model.networks)
    names = '+'.join(model.name for model in models)
    if len(networks) < 2 or any(network.colorizes for network in networks[1:]):
        raise UserError(f'{names}: a chain is super-resolution models, or one colorizer followed by such models')
    parts = [{key: network.description[key] for key in _OF_PARTS if key in network.description} for network in networks]
    weights = [model.description['weights'] for model in models if 'weights' in model.description]
    description = {
        'task': 'enhance' if networks[0].colorizes else 'super_resolution',
        'name': name or names,
        'factor': math.prod(network.factor for network in networks),
        'input': networks[0].description['input'],
        'output': networks[-1].description.get('output', {'channels': 3}),
        'parts': parts,
        'weights': {'sha256': '+'.join(own['sha256'] for own in weights if 'sha256' in own), 'parts': weights},
    }
    return Model(description, networks)
