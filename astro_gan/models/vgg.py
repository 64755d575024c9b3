"""VGG features for content losses (Simonyan & Zisserman 2014, arXiv 1409.1556)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.models.backbones import WEIGHTS, hub_file, imagenet_normalise, read_tensors
from astro_gan.models.conv import conv
from astro_gan.models.layers import per_channel

# Convolutions per block; a 2x2 max pool follows each block.
PLANS = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
HUB = {'vgg16': 'timm/vgg16.tv_in1k', 'vgg19': 'timm/vgg19.tv_in1k'}
PACKAGED = WEIGHTS / 'vgg16_to_conv3_3.safetensors'

Params = Mapping[str, Mapping[str, Any]]


def _layers(name: str) -> dict[str, tuple[int, int, int]]:
    """Layer name -> (number in torchvision's `features`, channels in, channels out)."""
    if name not in PLANS:
        raise UserError(f'unknown VGG network {name!r}: one of {", ".join(PLANS)}')
    layers, number, channels = {}, 0, 3
    for block, depth in enumerate(PLANS[name], start=1):
        out = min(64 * 2 ** (block - 1), 512)
        for index in range(1, depth + 1):
            layers[f'conv{block}_{index}'] = (number, channels, out)
            number, channels = number + 2, out  # convolution, ReLU
        number += 1  # pool
    return layers


def load_vgg(
    name: str = 'vgg16', path: str | Path | None = None, upto: str = 'conv3_3'
) -> dict[str, dict[str, np.ndarray]]:
    """Weights of VGG-16 or VGG-19 from the first layer to `upto`.

    VGG-16 up to conv3_3 comes with the package. Otherwise `path` is a safetensors file with
    torchvision's names (`features.N.weight`, `features.N.bias`); without it the hub is asked for VGG-16.

    Returns:
      `{'conv1_1': {'kernel': [3, 3, in, out], 'bias': [out]}, ...}`, float32.
    Raises:
      UserError: unknown network or layer; a file that is missing, broken, or lacks a tensor; no way to the hub.
    """
    layers = _layers(name)
    if upto not in layers:
        raise UserError(f'unknown layer {upto!r} of {name}: one of {", ".join(layers)}')
    wanted = {layer: at for layer, at in layers.items() if layer <= upto}
    if path is None:
        packaged = name == 'vgg16' and upto <= 'conv3_3'
        path = PACKAGED if packaged else hub_file(HUB[name], setting='content.vgg_file')
    shapes: dict[str, tuple[int, ...]] = {}
    for number, channels, out in wanted.values():
        shapes[f'features.{number}.weight'] = (out, channels, 3, 3)
        shapes[f'features.{number}.bias'] = (out,)
    tensors = read_tensors(path, shapes)
    return {
        layer: {
            'kernel': tensors[f'features.{number}.weight'].transpose(2, 3, 1, 0),
            'bias': tensors[f'features.{number}.bias'],
        }
        for layer, (number, _, _) in wanted.items()
    }


def vgg_features(
    params: Params,
    x: jax.Array,
    layers: Sequence[str] = ('conv3_3',),
    *,
    normalise: bool = True,
    before_activation: bool = False,
) -> dict[str, jax.Array]:
    """Feature maps of the named convolutions, after their ReLU (VGG54: 'conv5_4' of VGG-19).

    Args:
      params: from `load_vgg`; its layers say whether this is VGG-16 or VGG-19.
      x: `[N, H, W, 3]` RGB in [0, 1]; computed in its dtype.
      layers: names such as 'conv3_3'.
      normalise: subtract ImageNet's mean and divide by its standard deviation first.
      before_activation: give the maps before the ReLU (as ESRGAN does, 1809.00219).

    Returns:
      `{layer: [N, H / 2^(block - 1), W / 2^(block - 1), channels]}`.
    Raises:
      UserError: a layer that `params` does not have.
    """
    missing = [layer for layer in layers if layer not in params]
    if missing:
        raise UserError(f'no weights for {", ".join(missing)}: loaded {", ".join(sorted(params))}')
    if normalise:
        x = imagenet_normalise(x)
    features: dict[str, jax.Array] = {}
    block = '1'
    for layer in sorted(params):
        if layer > max(layers):
            break
        if layer[4] != block:
            block = layer[4]
            x = nn.max_pool(x, (2, 2), (2, 2))
        kernel = jnp.asarray(params[layer]['kernel'], x.dtype)
        y = conv(x, kernel) + per_channel(jnp.asarray(params[layer]['bias'], x.dtype))
        x = nn.relu(y)
        if layer in layers:
            features[layer] = y if before_activation else x
    return features
