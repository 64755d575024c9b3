"""ResNet-18 and ResNet-50 with torchvision's layout and ImageNet weights (He et al. 2015, arXiv 1512.03385)."""

import math
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
from astro_gan.models.layers import Conv, batch_norm

BLOCKS = {'resnet18': (2, 2, 2, 2), 'resnet50': (3, 4, 6, 3)}  # per stage
NORMS = ('batch', 'frozen')
RESNET_INIT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # torchvision's, after 1502.01852
HUB = {'resnet18': 'timm/resnet18.tv_in1k', 'resnet50': 'timm/resnet50.tv_in1k'}
# The file that comes with the package, and its last stage.
PACKAGED = {
    'resnet18': (WEIGHTS / 'resnet18_to_layer3.safetensors', 3),
    'resnet50': (WEIGHTS / 'resnet50_to_layer2.safetensors', 2),
}
# Our names of tensors -> PyTorch's.
TENSORS = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


class ResNet(nn.Module):
    """`[N, H, W, C]`, ImageNet-normalised, -> feature maps from the stem on, each of dtype `dtype`.

    A list of `stages` + 1 maps: the stem's, after its ReLU and before the pool, H / 2; then one of each stage, H / 4,
    H / 8, ... (without `pool`: H / 2, H / 4, ...), rounded up. Zero padding is PyTorch's: the same on both sides.

    Fields:
      network: 'resnet18', two 3x3 convolutions a block; or 'resnet50', bottlenecks.
      stages: how many of the four to keep.
      pool: 3x3 max pool with stride 2 after the stem.
      stride_in_1x1: bottlenecks only. True: a stage's stride is on its first 1x1 convolution, as in the paper ("v1",
        the packaged ResNet-50). False: on its 3x3, as in torchvision ("v1.5", the hub's). The tensors have the same
        shapes in both; nothing but wrong features tells that they are in the wrong one.
      norm: 'batch'; or 'frozen': running statistics also in training. Samples then do not mix, as a gradient
        penalty needs; scales and biases still learn.
      axis_name: the pmap axis over which batch statistics are averaged, or None.
      dtype: of the arithmetic and the maps.

    Raises UserError for another network or norm, or stages other than 1 to 4.
    """

    network: str = 'resnet18'
    stages: int = 4
    pool: bool = True
    stride_in_1x1: bool = False
    norm: str = 'batch'
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> list[jax.Array]:
        _check(self.network, self.stages)
        if self.norm not in NORMS:
            raise UserError(f'norm must be one of {", ".join(NORMS)}, not {self.norm!r}')
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=RESNET_INIT)
        norm = partial(batch_norm, train=train and self.norm == 'batch', dtype=self.dtype, axis_name=self.axis_name)

        y = nn.relu(norm(name='bn1')(conv(64, 7, 2, name='conv1')(x)))
        maps = [y]
        if self.pool:
            y = _max_pool(y)
        for stage in range(1, self.stages + 1):
            for index in range(BLOCKS[self.network][stage - 1]):
                layers = self._layers(64 * 2 ** (stage - 1), 2 if stage > 1 and index == 0 else 1)
                y = _Block(layers, conv, norm, name=f'layer{stage}_{index}')(y)
            maps.append(y)
        return maps

    def _layers(self, width: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        """(features, kernel size, stride) of a block's convolutions."""
        if self.network == 'resnet18':
            return (width, 3, stride), (width, 3, 1)
        first, second = (stride, 1) if self.stride_in_1x1 else (1, stride)
        return (width, 1, first), (width, 3, second), (4 * width, 1, 1)


def _max_pool(x: jax.Array) -> jax.Array:
    """3x3 maxima with stride 2, padded by 1, of values that are not negative (so zeros pad as well as -inf).

    `flax.linen.max_pool` is the same; its gradient takes 15 times longer on the CPU (jaxlib 0.10).
    """
    for axis in (1, 2):
        padding = [(1, 1) if at == axis else (0, 0) for at in range(4)]
        half = (x.shape[axis] + 1) // 2
        x = jnp.pad(x, padding)
        taps = [jax.lax.slice_in_dim(x, tap, tap + 2 * half - 1, 2, axis) for tap in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


class _Block(nn.Module):
    layers: tuple[tuple[int, int, int], ...]  # (features, kernel size, stride)
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for index, (features, size, stride) in enumerate(self.layers, start=1):
            y = nn.relu(y) if index > 1 else y
            y = self.norm(name=f'bn{index}')(self.conv(features, size, stride, name=f'conv{index}')(y))
        stride = math.prod(stride for _, _, stride in self.layers)
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = self.norm(name='downsample_1')(self.conv(y.shape[-1], 1, stride, name='downsample_0')(x))
        return nn.relu(y + x)


def load_resnet(network: str, source: str | Path, *, stages: int, setting: str) -> dict[str, Any]:
    """ImageNet weights for `ResNet(network, stages=stages)`, up to the stage that it keeps.

    Args:
      network: 'resnet18' or 'resnet50'.
      source: 'hub' (torchvision's, from the Hugging Face hub), 'packaged', or the path of a safetensors file with
        torchvision's names. Packaged are ResNet-18 up to layer3, which is ImageNet-initialised and then lightly
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
    _check(network, stages)
    if source == 'packaged':
        path, last = PACKAGED[network]
        if stages > last:
            raise UserError(
                f'{setting}: the packaged {network} ends with layer{last}, not layer{stages}: '
                f"keep {last} stages, or take 'hub' or the path of a file"
            )
    elif source == 'hub':
        path = hub_file(HUB[network], setting=setting)
    else:
        path = Path(source)
        if not path.is_file():
            raise UserError(f"{setting}: {source}: no such weights file (it takes a path, 'packaged' or 'hub')")

    module = ResNet(network, stages=stages)
    spec = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
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


def _check(network: str, stages: int) -> None:
    if network not in BLOCKS:
        raise UserError(f'unknown ResNet {network!r}: one of {", ".join(BLOCKS)}')
    if stages not in range(1, 5):
        raise UserError(f'a ResNet has 1 to 4 stages, not {stages}')


def _torch_name(*path: str) -> str:
    """'layer1_0', 'downsample_1', 'mean' -> 'layer1.0.downsample.1.running_mean'."""
    return '.'.join([*(part.replace('_', '.') for part in path[:-1]), TENSORS[path[-1]]])
