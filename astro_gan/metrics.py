"""Image metrics: pure functions of `(prediction, truth)`, both `[N, H, W, 3]` RGB in [0, 1]; one value per image.

Names as they appear in logs and tables:

    l1, l2                   mean absolute and mean squared error per pixel, all channels, values in [0, 1]
    l1_r ... l2_b            the same for one channel of RGB
    l1_lab, l2_lab           the same in L*a*b* (CIE units: L* to 100), and l1_L ... l2_bstar for one channel
    psnr, psnr_y             peak signal-to-noise ratio in dB, of RGB and of Y (BT.601)
    ssim_y                   structural similarity of Y (Gaussian window, sigma 1.5), as papers print it
    lpips                    learned perceptual distance (AlexNet, v0.1), lower is closer
"""

from __future__ import annotations

from typing import Any

import dm_pix
import jax
import jax.numpy as jnp

from astro_gan.color import luma, rgb_to_lab
from astro_gan.models.lpips import lpips

RGB_CHANNELS = ('r', 'g', 'b')
LAB_CHANNELS = ('L', 'astar', 'bstar')


def psnr(prediction: jax.Array, truth: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio `[N]` in dB for a peak of 1; equal images give 100 dB, not infinity."""
    error = jnp.square(prediction - truth).mean(axis=tuple(range(1, truth.ndim)))
    return -10.0 * jnp.log10(jnp.maximum(error, 1e-10))


def ssim(prediction: jax.Array, truth: jax.Array) -> jax.Array:
    """Structural similarity `[N]` of `[N, H, W, C]` (Wang et al. 2004; 11-pixel Gaussian window, sigma 1.5)."""
    return dm_pix.ssim(prediction, truth)


def distances(prediction: jax.Array, truth: jax.Array, total: str, channels: tuple[str, ...]) -> dict[str, jax.Array]:
    """L1 and L2 per pixel, over all channels (named with the suffix `total`) and per channel."""
    difference = prediction - truth
    result = {}
    for name, error in (('l1', jnp.abs(difference)), ('l2', jnp.square(difference))):
        per_channel = error.mean(axis=(1, 2))
        result[name + total] = per_channel.mean(-1)
        for index, channel in enumerate(channels):
            result[f'{name}_{channel}'] = per_channel[:, index]
    return result


def image_metrics(prediction: jax.Array, truth: jax.Array, *, border: int, lpips_params: Any) -> dict[str, jax.Array]:
    """Every metric of the module's docstring.

    Args:
        prediction: `[N, H, W, 3]` in [0, 1].
        truth: the same shape.
        border: pixels cut off each side before measuring (papers: the factor; 0 for colorization). LPIPS sees the
            whole image.
        lpips_params: from `models.lpips.load_lpips`.

    Raises:
        ValueError: the shapes differ, or nothing remains within the border.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f'metrics: prediction {prediction.shape} and truth {truth.shape} differ in shape')
    if min(truth.shape[1:3]) <= 2 * border:
        raise ValueError(f'metrics: nothing is left of {truth.shape} inside a border of {border} px')
    inner = (slice(None), slice(border, truth.shape[1] - border), slice(border, truth.shape[2] - border))
    whole_prediction, whole_truth = prediction, truth
    prediction, truth = prediction[inner], truth[inner]
    y_prediction, y_truth = luma(prediction), luma(truth)
    return {
        **distances(prediction, truth, '', RGB_CHANNELS),
        **distances(rgb_to_lab(prediction), rgb_to_lab(truth), '_lab', LAB_CHANNELS),
        'psnr': psnr(prediction, truth),
        'psnr_y': psnr(y_prediction, y_truth),
        'ssim_y': ssim(y_prediction[..., None], y_truth[..., None]),
        'lpips': lpips(lpips_params, whole_prediction, whole_truth),
    }
