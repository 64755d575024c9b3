"""ImageNet encoders by name, and their weights: packaged, from the Hugging Face hub, or from a file."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.errors import UserError
from astro_gan.models.backbones import WEIGHTS, hub_file, read_tensors
from astro_gan.models.efficientnet import EfficientNetB0
from astro_gan.models.resnet import BLOCKS, ResNet

# Each is made with `stages`, `axis_name` and `dtype`, and gives maps of H / 2, H / 4, ...
ENCODERS: dict[str, Callable[..., nn.Module]] = {name: partial(ResNet, name) for name in BLOCKS}
ENCODERS['efficientnet_b0'] = EfficientNetB0
HUB = {
    'resnet18': 'timm/resnet18.tv_in1k',
    'resnet50': 'timm/resnet50.tv_in1k',
    'seresnext50': 'timm/seresnext50_32x4d.racm_in1k',
    'efficientnet_b0': 'timm/efficientnet_b0.ra_in1k',
}
# The file that comes with the package, and its last stage.
PACKAGED = {
    'resnet18': (WEIGHTS / 'resnet18_to_layer3.safetensors', 3),
    'resnet50': (WEIGHTS / 'resnet50_to_layer2.safetensors', 2),
}
# Our names of tensors -> PyTorch's.
TENSORS = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


def load_encoder(network: str, source: str | Path, *, stages: int, setting: str) -> dict[str, Any]:
    """ImageNet weights for `ENCODERS[network](stages=stages)`, up to the stage that it keeps.

    Args:
      network: of ENCODERS.
      source: 'hub' (torchvision's or timm's, from the Hugging Face hub), 'packaged', or the path of a safetensors file
        with their names. Packaged are ResNet-18 up to layer3, which is ImageNet-initialised and then lightly
        fine-tuned on another task: not the ImageNet weights themselves; and ResNet-50 up to layer2, which wants
        `stride_in_1x1=True`, whereas the hub's wants False.
      stages: how many of the four.
      setting: the config's name for `source`; error lines quote it.

    Returns:
      `{'params': ..., 'batch_stats': ...}`, the tree of the module, float32.
    Raises:
      UserError: unknown network; more stages than the package has; a file that is missing, broken, or lacks a
        tensor; no way to the hub.
    """
    if network not in ENCODERS:
        raise UserError(f'unknown encoder {network!r}: one of {", ".join(ENCODERS)}')
    module = ENCODERS[network](stages=stages)
    spec = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    path = _file(network, source, stages=stages, setting=setting)
    leaves = flax.traverse_util.flatten_dict(spec)
    names = {at: _torch_name(*at[1:]) for at in leaves}
    # Kernels are OIHW there and HWIO here.
    shapes = {
        names[at]: tuple(leaf.shape[axis] for axis in (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.shape
        for at, leaf in leaves.items()
    }
    tensors = read_tensors(path, shapes)
    return flax.traverse_util.unflatten_dict(
        {
            at: tensors[name].transpose(2, 3, 1, 0) if tensors[name].ndim == 4 else tensors[name]
            for at, name in names.items()
        }
    )


def _file(network: str, source: str | Path, *, stages: int, setting: str) -> Path:
    """The safetensors file that `source` stands for."""
    if source == 'hub':
        return hub_file(HUB[network], setting=setting)
    if source == 'packaged' and network not in PACKAGED:
        raise UserError(f"{setting}: no {network} is packaged: take 'none', 'hub' or the path of a file")
    if source == 'packaged':
        path, last = PACKAGED[network]
        if stages > last:
            raise UserError(
                f'{setting}: the packaged {network} ends with layer{last}, not layer{stages}: '
                f"keep {last} stages, or take 'hub' or the path of a file"
            )
        return path
    if not Path(source).is_file():
        raise UserError(f"{setting}: {source}: no such weights file (it takes a path, 'packaged' or 'hub')")
    return Path(source)


def _torch_name(*path: str) -> str:
    """'layer1_0', 'downsample_1', 'mean' -> 'layer1.0.downsample.1.running_mean'."""
    return '.'.join([*(re.sub(r'_(?=\d)', '.', part) for part in path[:-1]), TENSORS[path[-1]]])
