"""Image metrics: pure functions of `(prediction, truth)`, both `[N, H, W, 3]` RGB in [0, 1]; one value per image.

Names as they appear in logs and tables:

    l1, l2                   mean absolute and mean squared error per pixel, all channels, values in [0, 1]
    l1_r ... l2_b            the same for one channel of RGB
    l1_lab, l2_lab           the same in L*a*b* (CIE units: L* to 100), and l1_L ... l2_bstar for one channel
    l1_ab, l2_ab             the same of a* and b* alone
    psnr, psnr_y             peak signal-to-noise ratio in dB, of RGB and of Y (BT.601)
    ssim_y                   structural similarity of Y (Gaussian window, sigma 1.5), as papers print it
    lpips                    learned perceptual distance (AlexNet, v0.1), lower is closer

Of colorization also (`colour_metrics`; CIE units, `_truth` for the truth's own):

    colourfulness            Hasler and Süsstrunk 2003: 0 gray, 15 slightly, 33 moderately, 59 quite, 109 extremely so
    chroma                   mean C* = |a*, b*|
    mean_a, mean_b           mean a* and b*: the picture's common tint

Not metrics: `features_prediction` and `features_truth`, vectors `[N, 256]` of pooled AlexNet features, from which
`summary.frechet` compares whole sets. And not to be relied on: `report_...`, the formulas of the 2021 report with their
faults, kept to compare with its tables (`report_formulas`).
"""

from __future__ import annotations

from typing import Any

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.color import luma, rgb_to_lab
from astro_gan.models.lpips import alex_features, distance, pool

SLACK = 1e-3  # beyond [0, 1]: rounding, and Y of a picture that is clipped
SSIM_WINDOW = 11
RGB_CHANNELS = ('r', 'g', 'b')
LAB_CHANNELS = ('L', 'astar', 'bstar')


def check_pair(prediction: jax.Array, truth: jax.Array, *, channels: int | None = None) -> None:
    """What every metric asks of its two arguments; NaN passes, and gives NaN.

    Raises:
        ValueError: the shapes differ, or are not `[N, H, W, channels]`; no floats; or, where they are known (outside of
            `jit`), values beyond [0, 1].
    """
    if prediction.shape != truth.shape:
        raise ValueError(f'metrics: prediction {prediction.shape} and truth {truth.shape} differ in shape')
    if channels is not None and (truth.ndim != 4 or truth.shape[-1] != channels):
        raise ValueError(f'metrics: images have shape [N, H, W, {channels}], not {truth.shape}')
    for name, images in (('prediction', prediction), ('truth', truth)):
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f'metrics: the {name} is {images.dtype}, and has to be floats in [0, 1]')
        if isinstance(images, jax.core.Tracer) or not images.size:
            continue
        values = np.asarray(images, np.float32)
        if (values < -SLACK).any() or (values > 1 + SLACK).any():
            low, high = np.nanmin(values), np.nanmax(values)
            raise ValueError(f'metrics: the {name} has values from {low:.4g} to {high:.4g}, and has to be in [0, 1]')


def psnr(prediction: jax.Array, truth: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio `[N]` in dB for a peak of 1; equal images give 100 dB, not infinity.

    Raises:
        ValueError: as `check_pair`, whatever the number of axes.
    """
    check_pair(prediction, truth)
    error = jnp.square(prediction - truth).mean(axis=tuple(range(1, truth.ndim)))
    return -10.0 * jnp.log10(jnp.maximum(error, 1e-10))


def ssim(prediction: jax.Array, truth: jax.Array) -> jax.Array:
    """Structural similarity `[N]` of `[N, H, W, C]` (Wang et al. 2004; 11-pixel Gaussian window, sigma 1.5).

    Raises:
        ValueError: as `check_pair`, or pictures smaller than the window.
    """
    check_pair(prediction, truth, channels=truth.shape[-1])
    if min(truth.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(f'metrics: SSIM needs {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not {truth.shape}')
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


def report_formulas(prediction: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """The formulas behind Tables 8.1 to 8.5 of the 2021 report (arXiv 2112.13865), faults included.

    Only for comparison with those tables; `distances` has the errors proper.

        report_signed_mean_a, _b       "L1" of Table 8.3: signed mean of (truth - prediction) of a*/110 and b*/110,
                                       where errors cancel
        report_mae_ab110_a, _b         "L2" of Table 8.3: mean absolute error of the same
        report_wrapped_l1_r, _g, _b    "L1" of Tables 8.1, 8.4, 8.5: truth - prediction in 8 bits, where -1 is 255
        report_wrapped_l2_r, _g, _b    "L2" there: the square of that, in 8 bits too
    """
    check_pair(prediction, truth, channels=3)

    def to_8_bit(images: jax.Array) -> jax.Array:
        return jnp.round(jnp.clip(images, 0.0, 1.0) * 255.0).astype(jnp.uint8)

    ab = (rgb_to_lab(truth) - rgb_to_lab(prediction))[..., 1:] / 110.0
    wrapped = to_8_bit(truth) - to_8_bit(prediction)  # modulo 256, in XLA as in numpy
    tables = (
        ('signed_mean', ab, ('a', 'b')),
        ('mae_ab110', jnp.abs(ab), ('a', 'b')),
        ('wrapped_l1', wrapped, RGB_CHANNELS),
        ('wrapped_l2', wrapped * wrapped, RGB_CHANNELS),
    )
    return {
        f'report_{name}_{channel}': values[..., index].astype(jnp.float32).mean(axis=(1, 2))
        for name, values, channels in tables
        for index, channel in enumerate(channels)
    }


def _colourfulness(images: jax.Array) -> jax.Array:
    """Colourfulness `[N]` (Hasler and Süsstrunk 2003: their third metric, on sRGB values of 0 to 255)."""
    red, green, blue = (255.0 * images[..., index] for index in range(3))
    opponent = jnp.stack([red - green, 0.5 * (red + green) - blue])
    variance, mean = opponent.var(axis=(2, 3)), opponent.mean(axis=(2, 3))
    return jnp.sqrt(variance.sum(0)) + 0.3 * jnp.sqrt(jnp.square(mean).sum(0))


def colour_metrics(prediction: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """What colorization is measured by besides `image_metrics`; names in the module's docstring.

    Raises:
        ValueError: as `check_pair`.
    """
    check_pair(prediction, truth, channels=3)
    ab, ab_truth = rgb_to_lab(prediction)[..., 1:], rgb_to_lab(truth)[..., 1:]
    result: dict[str, jax.Array] = {}
    for suffix, images, values in (('', prediction, ab), ('_truth', truth, ab_truth)):
        mean = values.mean(axis=(1, 2))
        result |= {
            f'colourfulness{suffix}': _colourfulness(images),
            f'chroma{suffix}': jnp.linalg.norm(values, axis=-1).mean(axis=(1, 2)),
            f'mean_a{suffix}': mean[:, 0],
            f'mean_b{suffix}': mean[:, 1],
        }
    return result


def image_metrics(prediction: jax.Array, truth: jax.Array, *, border: int, lpips_params: Any) -> dict[str, jax.Array]:
    """Every metric of the module's docstring but `colour_metrics`, and the two feature vectors.

    Args:
        prediction: `[N, H, W, 3]` in [0, 1].
        truth: the same shape.
        border: pixels cut off each side before measuring (papers: the factor; 0 for colorization). AlexNet (LPIPS,
            features) sees the whole image.
        lpips_params: from `models.lpips.load_lpips`.

    Raises:
        ValueError: as `check_pair`, or nothing remains within the border.
    """
    check_pair(prediction, truth, channels=3)
    if min(truth.shape[1:3]) <= 2 * border:
        raise ValueError(f'metrics: nothing is left of {truth.shape} inside a border of {border} px')
    inner = (slice(None), slice(border, truth.shape[1] - border), slice(border, truth.shape[2] - border))
    maps, maps_truth = alex_features(lpips_params, prediction), alex_features(lpips_params, truth)
    prediction, truth = prediction[inner], truth[inner]
    y_prediction, y_truth = luma(prediction), luma(truth)
    in_lab = distances(rgb_to_lab(prediction), rgb_to_lab(truth), '_lab', LAB_CHANNELS)
    return {
        **distances(prediction, truth, '', RGB_CHANNELS),
        **in_lab,
        **{f'{name}_ab': (in_lab[f'{name}_astar'] + in_lab[f'{name}_bstar']) / 2 for name in ('l1', 'l2')},
        'psnr': psnr(prediction, truth),
        'psnr_y': psnr(y_prediction, y_truth),
        'ssim_y': ssim(y_prediction[..., None], y_truth[..., None]),
        'lpips': distance(lpips_params, maps, maps_truth),
        **report_formulas(prediction, truth),
        'features_prediction': pool(maps),
        'features_truth': pool(maps_truth),
    }
