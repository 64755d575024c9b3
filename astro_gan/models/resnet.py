"""ResNet-18, ResNet-50 (He et al. 2015, arXiv 1512.03385) and SE-ResNeXt-50 (1709.01507), up to a stage."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from astro_gan.errors import UserError
from astro_gan.models.layers import Conv, SqueezeExcite, batch_norm

BLOCKS = {'resnet18': (2, 2, 2, 2), 'resnet50': (3, 4, 6, 3), 'seresnext50': (3, 4, 6, 3)}  # per stage
GROUPS = 32  # of SE-ResNeXt-50's 3x3 convolutions; a channel each is 4 at the first stage: '32x4d'
NORMS = ('batch', 'frozen')
RESNET_INIT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # torchvision's, after 1502.01852


class ResNet(nn.Module):
    """`[N, H, W, C]`, ImageNet-normalised, -> feature maps from the stem on, each of dtype `dtype`.

    A list of `stages` + 1 maps: the stem's, after its ReLU and before the pool, H / 2; then one of each stage, H / 4,
    H / 8, ... (without `pool`: H / 2, H / 4, ...), rounded up. Zero padding is PyTorch's: the same on both sides.

    Fields:
      network: 'resnet18', two 3x3 convolutions a block; 'resnet50', bottlenecks; or 'seresnext50', bottlenecks twice as
        wide in 32 groups, each with squeeze and excitation (timm's `seresnext50_32x4d`).
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
        if self.network not in BLOCKS:
            raise UserError(f'unknown ResNet {self.network!r}: one of {", ".join(BLOCKS)}')
        if self.stages not in range(1, 5):
            raise UserError(f'a ResNet has 1 to 4 stages, not {self.stages}')
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
                y = _Block(layers, conv, norm, self.network == 'seresnext50', name=f'layer{stage}_{index}')(y)
            maps.append(y)
        return maps

    def _layers(self, width: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
        """(features, kernel size, stride, groups) of a block's convolutions."""
        if self.network == 'resnet18':
            return (width, 3, stride, 1), (width, 3, 1, 1)
        first, second = (stride, 1) if self.stride_in_1x1 else (1, stride)
        inner, groups = (2 * width, GROUPS) if self.network == 'seresnext50' else (width, 1)
        return (inner, 1, first, 1), (inner, 3, second, groups), (4 * width, 1, 1, 1)


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
    layers: tuple[tuple[int, int, int, int], ...]  # (features, kernel size, stride, groups)
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    squeeze: bool  # and excite

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for index, (features, size, stride, groups) in enumerate(self.layers, start=1):
            y = nn.relu(y) if index > 1 else y
            y = self.conv(features, size, stride, groups=groups, name=f'conv{index}')(y)
            y = self.norm(name=f'bn{index}')(y)
        if self.squeeze:
            y = SqueezeExcite(y.shape[-1] // 16, nn.relu, ('fc1', 'fc2'), dtype=y.dtype, name='se')(y)
        stride = math.prod(stride for _, _, stride, _ in self.layers)
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = self.norm(name='downsample_1')(self.conv(y.shape[-1], 1, stride, name='downsample_0')(x))
        return nn.relu(y + x)
