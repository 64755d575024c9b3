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
from astro_gan.files.hashes import sha256_of
from astro_gan.files.paths import printable

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


# `model.safetensors` of these repositories: the revision, and the SHA-256 of the file. As other projects pin them, each
# found in two that do not know of each other; none was found of timm/vgg19.tv_in1k, timm/seresnext50_32x4d.racm_in1k.
PINNED = {
    'timm/efficientnet_b0.ra_in1k': (
        '1b5383e5f79cc0f7fc067e372f8f26a5fa73f26a',
        'd569899762ea9b1384ee07f4af64805cf8caa1c55f9253ebb1080dc40e87a2cd',
    ),
    'timm/resnet18.tv_in1k': (
        'bbd144b3e5565108aad885f145491d11bc6ce807',
        '694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81',
    ),
    'timm/resnet50.tv_in1k': (
        '78f3ecfdb38e06d9b8397f662e7ab8fee96026fa',
        '5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888',
    ),
    'timm/vgg16.tv_in1k': (
        'b8d8aa2dd860af9233c8c67385a8097fd6c35d3f',
        '57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8',
    ),
}


def hub_file(repository: str, *, setting: str) -> Path:
    """Fetches (or finds in the cache) `model.safetensors` of a Hugging Face repository: the version of `PINNED`.

    Any failure is a UserError of one line: what is missing or wrong, and that `setting` takes a file.
    """
    way_out = f'download it elsewhere and give its path as {setting}'
    if repository not in PINNED:
        raise UserError(f'{repository}: which version of it is the right one is not known here; {way_out}')
    revision, digest = PINNED[repository]
    try:
        from huggingface_hub import hf_hub_download

        logging.getLogger('huggingface_hub').setLevel(logging.ERROR)  # it tells of every retry

        path = Path(hf_hub_download(repository, 'model.safetensors', revision=revision))
        found = sha256_of(path)
    except Exception as error:  # no package, network, repository, disk: one way out
        reason = str(error).strip().splitlines()
        raise UserError(
            f'could not get model.safetensors of {repository} from the Hugging Face hub '
            f'({type(error).__name__}: {printable(reason[0]) if reason else "no reason given"}); {way_out}'
        ) from None
    if found != digest:
        raise UserError(
            f'{printable(path)}: SHA-256 {found}, not {digest} as {repository} had: damaged or others; '
            f'delete the file to have it fetched again, or {way_out}'
        )
    return path


def insert_backbone(variables: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """A network's variables with its encoder's replaced: new dicts, the given ones stay as they are.

    Args:
      variables: {'params', 'batch_stats'} of a network that has a submodule 'encoder'.
      backbone: the same of the encoder alone, from `load_encoder`. Where the network's stem takes more channels than
        the backbone's (a condition before RGB), their filters start at zero.

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
