"""Losses: pure functions of predictions, targets and logits. Scalars come out, averaged over the batch.

The adversarial losses come in pairs `(discriminator, generator)`, selected by name from `ADVERSARIAL`:

    discriminator(real_logits, fake_logits, real_label) -> scalar
    generator(real_logits, fake_logits) -> scalar

Logits are `[n, ...]` of any shape: one value per image or a patch map. `real_label` is one-sided label smoothing
(Salimans et al. 2016, section 3.4): 0.9 keeps the discriminator from growing overconfident; wasserstein and hinge have
no labels and ignore it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from astro_gan import colour_classes
from astro_gan.noise_units import SCALE, SOFTENING, from_network, to_network


def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute error."""
    return jnp.abs(prediction - target).mean()


def mse(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error."""
    return jnp.square(prediction - target).mean()


def charbonnier(prediction: jax.Array, target: jax.Array, *, epsilon: float = 1e-3) -> jax.Array:
    """sqrt(difference^2 + epsilon^2): an L1 that is smooth at zero (Lai et al. 2017, LapSRN, section 3.3)."""
    return jnp.sqrt(jnp.square(prediction - target) + epsilon**2).mean()


def chroma(prediction: jax.Array, target: jax.Array, *, boost: float, scale: float) -> jax.Array:
    """Mean absolute error of a*b* `[n, H, W, 2]` in CIE units, weighted by how saturated the target is.

    A pixel weighs 1 + boost exp(-C*/scale), C* = |a*, b*| of the target, and the weights are normalised to mean 1 over
    each picture. boost > 0 favours regions of low saturation, most of the sky; -1 < boost < 0 favours the others,
    which an unweighted loss leaves too gray (Zhang et al. 2016, section 2.2, rebalance for that reason);
    boost = 0 is plain L1.

    Args:
        prediction: `[n, H, W, 2]`.
        target: the same shape.
        boost: above -1.
        scale: C* in CIE units over which the extra weight falls to 1/e; above 0.

    Raises:
        ValueError: `boost` or `scale` is out of range, or the shapes differ.
    """
    if not (boost > -1.0 and scale > 0.0):
        raise ValueError(f'chroma: boost has to be above -1 and scale above 0, not {boost} and {scale}')
    if prediction.shape != target.shape or target.shape[-1] != 2:
        raise ValueError(f'chroma: needs a*b* [n, H, W, 2] twice, not {prediction.shape} and {target.shape}')
    weights = 1.0 + boost * jnp.exp(-jnp.linalg.norm(target, axis=-1, keepdims=True) / scale)
    return (weights / weights.mean((1, 2, 3), keepdims=True) * jnp.abs(prediction - target)).mean()


def class_entropy(prediction: jax.Array, target: jax.Array, *, weights: jax.Array) -> jax.Array:
    """Cross entropy of classes of colour, each pixel weighted by its true class (Zhang et al. 2016, equations 2 and 3).

    Args:
        prediction: logits `[n, H, W, CLASSES]`.
        target: a*b* `[n, H, W, 2]` in CIE units; each is shared among its nearest bins.
        weights: `[CLASSES]`, `colour_classes.weights_of`.

    Raises:
        ValueError: the shapes do not go together.
    """
    if prediction.shape != (*target.shape[:-1], colour_classes.CLASSES) or target.shape[-1] != 2:
        raise ValueError(
            f'class_entropy: needs classes and a*b* of the same pixels, not {prediction.shape}, {target.shape}'
        )
    numbers, shares = colour_classes.encode(target)
    likely = jnp.take_along_axis(jax.nn.log_softmax(prediction, axis=-1), numbers, axis=-1)
    return -(jnp.asarray(weights)[numbers[..., 0]] * (shares * likely).sum(-1)).mean()


def colourfulness(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference of how colourful pictures are, from a*b* `[n, H, W, 2]` in any unit.

    A picture's value is the spread of its a*b* plus 0.3 of the mean's distance from gray, as in Hasler and Süsstrunk
    2003 (metrics.colour_metrics), here of L*a*b*. An L1 loss alone makes pale what it cannot know.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape or target.shape[-1] != 2:
        raise ValueError(f'colourfulness: needs a*b* [n, H, W, 2] twice, not {prediction.shape} and {target.shape}')

    def measure(ab: jax.Array) -> jax.Array:
        mean = ab.mean((1, 2))
        # The epsilon keeps the root's slope finite at gray.
        return jnp.sqrt(ab.var((1, 2)).sum(-1) + 1e-6) + 0.3 * jnp.sqrt(jnp.square(mean).sum(-1) + 1e-6)

    return jnp.abs(measure(prediction) - measure(target)).mean()


GRID_BLOCKS = 6  # on a side of the window over which `grid` averages: noise falls to a sixth, a grid stays


def grid(prediction: jax.Array, target: jax.Array, *, period: int) -> jax.Array:
    """Mean absolute amplitude of the part of the error that repeats every `period` pixels.

    Enlarging networks, above all under an adversarial loss, texture smooth regions with a grid of the enlargement's
    period. The error is averaged over windows of 6 x 6 blocks, pixel by pixel of a block, and what differs from the
    block's mean is measured. Blocks that fill no window are left out.

    Args:
        prediction: `[n, H, W, C]`.
        target: the same shape.
        period: pixels, the factor of the enlargement.

    Raises:
        ValueError: the shapes differ, or not one window fits in.
    """
    if prediction.shape != target.shape:
        raise ValueError(f'grid: prediction {prediction.shape} and target {target.shape} differ in shape')
    n, height, width, channels = target.shape
    side = GRID_BLOCKS * period
    rows, columns = height // side, width // side
    if not rows or not columns:
        raise ValueError(f'grid: {height} x {width} pixels hold no window of {side}')
    error = (prediction - target)[:, : rows * side, : columns * side]
    error = error.reshape(n, rows, GRID_BLOCKS, period, columns, GRID_BLOCKS, period, channels).mean((2, 5))
    return jnp.abs(error - error.mean((2, 4), keepdims=True)).mean()


def noise_units(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """sqrt(1 + d^2) - 1, d being the error of a compressed frame (`astro_gan.noise_units`) in units of the noise.

    Quadratic below the noise: what is optimal there is the mean, where L1 has the median, to which a faint star that
    might be none is empty sky. Of what is bright, d is three times the logarithm of the ratio.
    """
    error = (prediction - target) * (SCALE * SOFTENING)
    return (jnp.sqrt(1.0 + jnp.square(error)) - 1.0).mean()


def flux(prediction: jax.Array, target: jax.Array, *, factor: int, sides: Sequence[int] = (3, 6)) -> jax.Array:
    """`noise_units` of the flux in square windows, in units of the noise of such a window: flux is to be kept.

    Args:
        prediction: compressed frames `[n, H, W, 1]`.
        target: the same shape.
        factor: of the enlargement.
        sides: of the windows, in pixels of the input; times the factor they must be even.
    """
    frames = [from_network(x) / factor**2 for x in (prediction, target)]
    sums = [[to_network(_windows(frame, side * factor) / side) for frame in frames] for side in sides]
    return sum((noise_units(a, b) for a, b in sums), jnp.zeros(()))


BIAS_BINS = (4.0, 8.0, 16.0, 32.0, 100.0, 1000.0)  # of the flux in a window over its noise, upper end open


def flux_bias(prediction: jax.Array, target: jax.Array, *, factor: int, side: int = 6) -> jax.Array:
    """How far fluxes are off on average: over bins of the true flux of windows, the mean of (error of sums / sums)^2.

    What is best for every star on its own, the mean of what it may be, is too low for faint stars as a group, for some
    of them might be none. This term sees the group: the fluxes in all windows of the batch that truly are of a bin.

    Args:
        prediction: compressed frames `[n, H, W, 1]`.
        target: the same shape.
        factor: of the enlargement.
        side: of the windows, in pixels of the input; times the factor it must be even.
    """
    ours, true = (_windows(from_network(x) / factor**2, side * factor) / side for x in (prediction, target))
    places = jnp.digitize(true, jnp.asarray(BIAS_BINS))
    terms = []
    for index in range(1, len(BIAS_BINS) + 1):
        inside = places == index
        total = jnp.where(inside, true, 0.0).sum()
        error = jnp.where(inside, ours - true, 0.0).sum() / jnp.maximum(total, 1.0)
        terms.append(jnp.square(error) * (inside.sum() >= 8))  # a few windows say nothing of a group
    return sum(terms, jnp.zeros(())) / len(BIAS_BINS)


def _windows(x: jax.Array, side: int) -> jax.Array:
    """Sums over `side` x `side` pixels of `[n, H, W, C]`, at steps of half a side; a rest of the pixels is left out."""
    half = side // 2
    n, height, width, channels = x.shape
    rows, columns = height // half, width // half
    x = x[:, : rows * half, : columns * half].reshape(n, rows, half, columns, half, channels).sum((2, 4))
    x = x[:, 1:] + x[:, :-1]
    return x[:, :, 1:] + x[:, :, :-1]


PIXEL: dict[str, Callable[..., jax.Array]] = {
    'l1': l1,
    'mse': mse,
    'charbonnier': charbonnier,
    'noise_units': noise_units,
}


def _cross_entropy(logits: jax.Array, label: float) -> jax.Array:
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label)).mean()


def minimax_discriminator(real_logits: jax.Array, fake_logits: jax.Array, real_label: float = 1.0) -> jax.Array:
    """Goodfellow et al. 2014, equation 1, as cross-entropies."""
    return _cross_entropy(real_logits, real_label) + _cross_entropy(fake_logits, 0.0)


def minimax_generator(real_logits: jax.Array | None, fake_logits: jax.Array) -> jax.Array:
    """The modified (non-saturating) generator loss -log D(G(x)) of Goodfellow et al. 2014, section 3."""
    del real_logits
    return _cross_entropy(fake_logits, 1.0)


def wasserstein_discriminator(real_logits: jax.Array, fake_logits: jax.Array, real_label: float = 1.0) -> jax.Array:
    """Arjovsky et al. 2017, algorithm 1; needs the gradient penalty of `train.gradient_penalty`."""
    del real_label
    return fake_logits.mean() - real_logits.mean()


def wasserstein_generator(real_logits: jax.Array | None, fake_logits: jax.Array) -> jax.Array:
    """Arjovsky et al. 2017, algorithm 1."""
    del real_logits
    return -fake_logits.mean()


def least_squares_discriminator(real_logits: jax.Array, fake_logits: jax.Array, real_label: float = 1.0) -> jax.Array:
    """Mao et al. 2017 (LSGAN), equation 9: real towards `real_label`, fake towards 0."""
    return 0.5 * (jnp.square(real_logits - real_label).mean() + jnp.square(fake_logits).mean())


def least_squares_generator(real_logits: jax.Array | None, fake_logits: jax.Array) -> jax.Array:
    """Mao et al. 2017 (LSGAN), equation 9: fake towards 1."""
    del real_logits
    return 0.5 * jnp.square(fake_logits - 1.0).mean()


def hinge_discriminator(real_logits: jax.Array, fake_logits: jax.Array, real_label: float = 1.0) -> jax.Array:
    """Lim and Ye 2017; Miyato et al. 2018, equation 16."""
    del real_label
    return jax.nn.relu(1.0 - real_logits).mean() + jax.nn.relu(1.0 + fake_logits).mean()


def hinge_generator(real_logits: jax.Array | None, fake_logits: jax.Array) -> jax.Array:
    """Miyato et al. 2018, equation 17."""
    del real_logits
    return -fake_logits.mean()


def relativistic_discriminator(real_logits: jax.Array, fake_logits: jax.Array, real_label: float = 1.0) -> jax.Array:
    """Relativistic average (Jolicoeur-Martineau 2018; ESRGAN, equation 1): real above the average fake, and back."""
    # The mean over all logits: of a map, each patch is a sample.
    real = _cross_entropy(real_logits - fake_logits.mean(), real_label)
    fake = _cross_entropy(fake_logits - real_logits.mean(), 0.0)
    return 0.5 * (real + fake)


def relativistic_generator(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """The symmetric generator loss of the relativistic average GAN (ESRGAN, equation 2)."""
    return relativistic_discriminator(fake_logits, real_logits)


ADVERSARIAL: dict[str, tuple[Callable[..., jax.Array], Callable[..., jax.Array]]] = {
    'minimax': (minimax_discriminator, minimax_generator),
    'wasserstein': (wasserstein_discriminator, wasserstein_generator),
    'least_squares': (least_squares_discriminator, least_squares_generator),
    'hinge': (hinge_discriminator, hinge_generator),
    'relativistic': (relativistic_discriminator, relativistic_generator),
}
