"""ImageNet weights: safetensors files with torchvision names, packaged or from the hub."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from astro_gan.errors import UserError

WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalise(x: jax.Array) -> jax.Array:
    """`[..., C]` in [0, 1], the last three RGB -> minus ImageNet's mean, over its deviation; same dtype.

    Channels before them (a condition) are scaled by the averages of the three.
    """
    extra = x.shape[-1] - 3
    mean = np.array([np.mean(IMAGENET_MEAN)] * extra + [*IMAGENET_MEAN])
    std = np.array([np.mean(IMAGENET_STD)] * extra + [*IMAGENET_STD])
    channels = (1,) * (x.ndim - 1) + (-1,)
    return (x - jnp.asarray(mean, x.dtype).reshape(channels)) / jnp.asarray(std, x.dtype).reshape(channels)


def read_tensors(path: str | Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Reads the named tensors as float32 and checks their shapes.

    Raises UserError naming the file, and the tensor at fault, if the file is missing, not a
    (whole) safetensors file, or a tensor is absent, misshapen or not finite.
    """
    try:
        with safe_open(str(path), 'numpy') as file:
            names = set(file.keys())
            tensors = {}
            for name, shape in shapes.items():
                if name not in names:
                    raise UserError(f'{path}: tensor {name} is missing')
                tensor = file.get_tensor(name)
                if tensor.shape != tuple(shape):
                    raise UserError(f'{path}: tensor {name} has shape {tensor.shape}, expected {tuple(shape)}')
                tensors[name] = tensor.astype(np.float32)
                if not np.isfinite(tensors[name]).all():
                    raise UserError(f'{path}: tensor {name} has values that are not finite')
    except FileNotFoundError:
        raise UserError(f'{path}: no such weights file') from None
    except (OSError, SafetensorError) as error:
        raise UserError(
            f'{path}: not a readable safetensors file while looking for {next(iter(shapes))} ({error})'
        ) from None
    return tensors


def hub_file(repository: str, *, setting: str) -> Path:
    """Fetches (or finds in the cache) `model.safetensors` of a Hugging Face repository.

    Any failure is a UserError of one line: what is missing, and that `setting` takes a file.
    """
    try:
        from huggingface_hub import hf_hub_download

        logging.getLogger('huggingface_hub').setLevel(logging.ERROR)  # it tells of every retry

        return Path(hf_hub_download(repository, 'model.safetensors'))
    except Exception as error:  # no package, network, repository, disk: one way out
        reason = str(error).strip().splitlines()
        raise UserError(
            f'could not get model.safetensors of {repository} from the Hugging Face hub '
            f'({type(error).__name__}: {reason[0] if reason else "no reason given"}); '
            f'download it elsewhere and give its path as {setting}'
        ) from None


def insert_backbone(variables: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """A network's variables with its encoder's replaced: new dicts, the given ones stay as they are.

    Args:
      variables: {'params', 'batch_stats'} of a network that has a submodule 'encoder'.
      backbone: the same of the encoder alone, from `load_resnet`. Where the network's stem takes more channels than the
        backbone's (a condition before RGB), their filters start at zero.

    Raises:
      UserError: the network has no encoder, or its tensors are not the backbone's; names the first at fault.
    """
    result = dict(variables)
    for collection, tree in backbone.items():
        if 'encoder' not in variables.get(collection, {}):
            raise UserError(f"the network has no 'encoder' in its {collection}: it takes no ImageNet weights")
        expected = flax.traverse_util.flatten_dict(variables[collection]['encoder'], sep='/')
        tensors = flax.traverse_util.flatten_dict(tree, sep='/')
        if different := sorted(set(expected) ^ set(tensors)):
            lacking = 'backbone' if different[0] in expected else 'network'
            raise UserError(f'{collection}: encoder/{different[0]} is missing in the {lacking}; do the stages agree?')
        for name, tensor in tensors.items():
            shape = expected[name].shape
            if name == 'conv1/kernel' and tensor.shape[2] < shape[2]:
                tensors[name] = np.pad(tensor, ((0, 0), (0, 0), (shape[2] - tensor.shape[2], 0), (0, 0)))
            if tensors[name].shape != shape:
                raise UserError(
                    f'{collection}: encoder/{name} has shape {tensor.shape} in the backbone, expected {shape}'
                )
        encoder = flax.traverse_util.unflatten_dict(tensors, sep='/')
        result[collection] = {**variables[collection], 'encoder': encoder}
    return result
