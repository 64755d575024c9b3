"""LPIPS v0.1 with AlexNet (Zhang et al. 2018, arXiv 1801.03924): a learned perceptual distance."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.models.backbones import WEIGHTS, read_tensors
from astro_gan.models.conv import conv

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
    if a.ndim != 4 or a.shape[-1] != 3 or min(a.shape[1:3]) < SMALLEST:
        raise ValueError(f'LPIPS needs [N, H, W, 3] with at least {SMALLEST} x {SMALLEST} pixels, got {a.shape}')
    count = a.shape[0]
    x = jnp.concatenate([jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)])
    x = (2 * x - 1 - jnp.asarray(SHIFT)) / jnp.asarray(SCALE)
    distance = jnp.zeros(count, jnp.float32)
    for index, (_, _, stride, padding, _, _) in enumerate(_CONVS):
        layer = params[f'conv{index}']
        if index in (1, 2):
            x = nn.max_pool(x, (3, 3), (2, 2))
        # Full precision: with a GPU's default (TF32) the fourth digit of the reference is lost.
        x = conv(x, jnp.asarray(layer['kernel']), stride=stride, padding=padding, precision=jax.lax.Precision.HIGHEST)
        x = nn.relu(x + jnp.asarray(layer['bias']))
        # Unit length along the channels; the floor keeps a pixel of zeros and its gradient finite.
        square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        unit = x * jax.lax.rsqrt(jnp.maximum(square, 1e-20))
        difference = jnp.square(unit[:count] - unit[count:])
        distance += jnp.mean(jnp.matmul(difference, jnp.asarray(layer['linear']), precision='highest'), axis=(1, 2))
    return distance
