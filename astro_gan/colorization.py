"""What a colorizer does around its network, in JAX: for training, evaluation and exported models.

The network sees one plane in [0, 1] and predicts, by colour `space`,

    'rgb'   gray -> RGB `[N, H, W, 3]` in [0, 1]
    'lab'   L*/100 -> a*b*/110 `[N, H, W, 2]` in about [-1, 1]
    'classes'  L*/100 -> logits `[N, H, W, CLASSES]` of bins of a*b* (`astro_gan.colour_classes`); the truth that they
            are compared with, a*b*/110, is welcome wherever a prediction is

Everything here is computed in float32, whatever the network's precision. Every function raises ValueError for an
unknown space (the message lists the valid ones) and for arrays with another number of channels than said.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from astro_gan import colour_classes
from astro_gan.color import fit_gamut, lab_to_rgb, lightness, lightness_to_gray, rgb_to_lab

AB_SCALE = 110.0  # CIE units of a* and b* in one unit of prediction: no sRGB colour is further out
CHANNELS = {'rgb': 3, 'lab': 2, 'classes': colour_classes.CLASSES}  # of the prediction
SMALLEST = 64  # pixels on a side: what the report's networks are made for


def _checked(images: jax.Array, channels: int | None, name: str, space: str) -> jax.Array:
    """`images` as float32; `channels` None stands for the prediction's."""
    if space not in CHANNELS:
        raise ValueError(f'colour space {space!r} is unknown; valid are {", ".join(CHANNELS)}')
    channels = channels or CHANNELS[space]
    # A wrong channel would be cut off or broadcast in silence.
    if images.ndim != 4 or images.shape[-1] != channels:
        raise ValueError(f'colorization in {space}: the {name} has shape [N, H, W, {channels}], not {images.shape}')
    return jnp.asarray(images, jnp.float32)


def _lightness(input: jax.Array, space: str) -> jax.Array:
    """L* `[N, H, W, 1]` in [0, 100] of the network's input."""
    input = _checked(input, 1, 'input', space)
    return lightness(input) if space == 'rgb' else 100.0 * input


def _colours(prediction: jax.Array, space: str) -> jax.Array:
    """A prediction as RGB, or as a*b* in CIE units."""
    if space == 'classes' and prediction.shape[-1] == CHANNELS['lab']:
        space = 'lab'
    prediction = _checked(prediction, None, 'prediction', space)
    if space == 'classes':
        return colour_classes.decode(prediction)
    return AB_SCALE * prediction if space == 'lab' else prediction


def network_input(gray: jax.Array, space: str) -> jax.Array:
    """Gray `[N, H, W, 1]` in [0, 1] -> the network's input `[N, H, W, 1]` in [0, 1].

    A gray value is not a lightness: 0.5 has L*/100 = 0.534.
    """
    gray = _checked(gray, 1, 'gray picture', space)
    return gray if space == 'rgb' else lightness(gray) / 100.0


def compose(input: jax.Array, prediction: jax.Array, space: str) -> jax.Array:
    """RGB `[N, H, W, 3]` of a prediction, differentiable and not clipped: what a loss or a discriminator sees."""
    colours = _colours(prediction, space)
    if space == 'rgb':
        return colours
    return lab_to_rgb(jnp.concatenate([_lightness(input, space), colours], axis=-1), clip=False)


def chromaticity(input: jax.Array, prediction: jax.Array, space: str) -> jax.Array:
    """a*b* `[N, H, W, 2]` of a prediction in CIE units, differentiable and not clipped."""
    del input  # the predicted colour's own a*b*, also where its lightness is not the input's
    colours = _colours(prediction, space)
    return rgb_to_lab(colours)[..., 1:] if space == 'rgb' else colours


def to_rgb(input: jax.Array, prediction: jax.Array, space: str) -> jax.Array:
    """The picture for a user: RGB `[N, H, W, 3]` in [0, 1] with the input's lightness and the prediction's colour.

    Whatever is predicted, a colour that sRGB cannot show at that lightness loses chroma, never lightness or hue:
    a colorizer adds colour and leaves the data's brightness alone (L* is kept to 0.01).
    """
    if space == 'rgb':
        prediction = jnp.clip(prediction, 0.0, 1.0)
    ab = chromaticity(input, prediction, space)
    return lab_to_rgb(fit_gamut(jnp.concatenate([_lightness(input, space), ab], axis=-1)))


def gray_picture(input: jax.Array, space: str) -> jax.Array:
    """The input as gray RGB `[N, H, W, 3]` in [0, 1]: what a colorizer that does nothing returns."""
    return jnp.repeat(lightness_to_gray(_lightness(input, space)), 3, axis=-1)
