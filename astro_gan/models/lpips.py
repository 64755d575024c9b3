"""LPIPS v0.1 with AlexNet (Zhang et al. 2018, arXiv 1801.03924): a learned perceptual distance."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.models.backbones import WEIGHTS, read_tensors
from astro_gan.models.conv import conv
from astro_gan.models.layers import per_channel

PACKAGED = WEIGHTS / 'lpips_alex.safetensors'
# Of pixels in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
SMALLEST = 31  # pixels: below, nothing is left after the second pool

# (number in torchvision's `features`, kernel size, stride, padding, channels in, channels out)
_CONVS = (
    (0, 11, 4, 2, 3, 64),
    (3, 5, 1, 2, 64, 192),
    (6, 3, 1, 1, 192, 384),
    (8, 3, 1, 1, 384, 256),
    (10, 3, 1, 1, 256, 256),
)


def load_lpips(path: str | Path = PACKAGED) -> dict[str, dict[str, np.ndarray]]:
    """Weights for `lpips`: `{'conv0': {'kernel', 'bias', 'linear'}, ...}`, float32.

    Raises ValueError naming file and tensor if the file is missing, broken or of another shape.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (number, size, _, _, channels, out) in enumerate(_CONVS):
        shapes[f'features.{number}.weight'] = (out, channels, size, size)
        shapes[f'features.{number}.bias'] = (out,)
        shapes[f'lin{index}.weight'] = (1, out, 1, 1)
    tensors = read_tensors(path, shapes)
    return {
        f'conv{index}': {
            'kernel': tensors[f'features.{number}.weight'].transpose(2, 3, 1, 0),
            'bias': tensors[f'features.{number}.bias'],
            'linear': tensors[f'lin{index}.weight'].reshape(-1),
        }
        for index, (number, *_) in enumerate(_CONVS)
    }


def alex_features(params, images: jax.Array) -> list[jax.Array]:
    """AlexNet's five feature maps after ReLU, `[N, h, w, C]` with C = 64, 192, 384, 256, 256, float32.

    Args:
      params: from `load_lpips`.
      images: `[N, H, W, 3]` RGB in [0, 1], height and width at least 31 pixels.

    Raises:
      ValueError: another shape.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < SMALLEST:
        raise ValueError(f'LPIPS needs [N, H, W, 3] with at least {SMALLEST} x {SMALLEST} pixels, got {images.shape}')
    x = (2 * jnp.asarray(images, jnp.float32) - 1 - per_channel(SHIFT)) / per_channel(SCALE)
    maps = []
    for index, (_, _, stride, padding, _, _) in enumerate(_CONVS):
        layer = params[f'conv{index}']
        if index in (1, 2):
            x = nn.max_pool(x, (3, 3), (2, 2))
        # Full precision: with a GPU's default (TF32) the fourth digit of the reference is lost.
        x = conv(x, jnp.asarray(layer['kernel']), stride=stride, padding=padding, precision=jax.lax.Precision.HIGHEST)
        x = nn.relu(x + per_channel(layer['bias']))
        maps.append(x)
    return maps


def pool(maps: list[jax.Array]) -> jax.Array:
    """One vector `[N, 256]` per image: the spatial mean of the last of `alex_features`."""
    return maps[-1].mean(axis=(1, 2))


def distance(params, a: list[jax.Array], b: list[jax.Array]) -> jax.Array:
    """LPIPS `[N]` of images whose `alex_features` are `a` and `b`."""

    def unit(x: jax.Array) -> jax.Array:
        # Unit length along the channels; the floor keeps a pixel of zeros and its gradient finite.
        return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-20))

    total = jnp.zeros(a[0].shape[0], jnp.float32)
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        difference = jnp.square(unit(x) - unit(y))
        weights = jnp.asarray(params[f'conv{index}']['linear'])
        total += jnp.matmul(difference, weights, precision='highest').mean(axis=(1, 2))
    return total


def lpips(params, a: jax.Array, b: jax.Array) -> jax.Array:
    """Perceptual distance of image pairs, 0 for equal images.

    Args:
      params: from `load_lpips`.
      a, b: `[N, H, W, 3]` RGB in [0, 1], height and width at least 31 pixels.

    Returns:
      `[N]` float32.
    Raises:
      ValueError: shapes that differ, or images too small.
    """
    if a.shape != b.shape:
        raise ValueError(f'LPIPS compares images of one shape, got {a.shape} and {b.shape}')
    return distance(params, alex_features(params, a), alex_features(params, b))
