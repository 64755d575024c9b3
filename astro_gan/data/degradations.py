"""TensorFlow functions on single pictures: crops, flips, the reduction that makes a low-resolution input, L*a*b*.

The kernel is the project's one kernel: the Keys cubic (a = -0.5) with half-pixel centres, widened (antialiased) when
shrinking. `astro_gan.images` holds its JAX twin, `astro_gan.color` those of the colour conversions. All randomness is
stateless: the same seed gives the same result.
"""

from __future__ import annotations

import tensorflow as tf

from astro_gan.color import EPSILON, RGB_TO_XYZ, SLOPE, WHITE


def downsample(image: tf.Tensor, factor: int) -> tf.Tensor:
    """Reduce a picture as an 8-bit file of it would be stored.

    Args:
        image: `[H, W, C]`, uint8, or floats in [0, 1].
        factor: whole number by which height and width are divided.

    Returns:
        float32 `[H/factor, W/factor, C]` in [0, 1], clipped and rounded to multiples of 1/255.

    Raises:
        ValueError: the height or the width is not a multiple of `factor`.
    """
    image = to_float(image)
    height, width = image.shape[:2]
    if height is None or width is None:
        raise ValueError('downsample: height and width have to be known beforehand; crop the image first')
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f'downsample: {height}x{width} does not divide by the factor {factor}; crop it first')
    if factor > 1:
        size = (height // factor, width // factor)
        image = tf.image.resize(image, size, method='bicubic', antialias=True)
    return tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0) / 255.0


def to_float(image: tf.Tensor) -> tf.Tensor:
    """uint8 in 0..255 to float32 in [0, 1]; floats stay as they are.

    Raises:
        TypeError: another type, whose range is unknown.
    """
    image = tf.convert_to_tensor(image)
    if image.dtype == tf.uint8:
        return tf.cast(image, tf.float32) / 255.0
    if not image.dtype.is_floating:
        raise TypeError(f'expected uint8, or floats in [0, 1], not {image.dtype.name}')
    return tf.cast(image, tf.float32)


def rgb_to_lab(image: tf.Tensor) -> tf.Tensor:
    """sRGB `[..., 3]`, floats in [0, 1] -> float32 L*a*b* `[..., 3]` (CIE units, D65)."""
    image = to_float(image)
    linear = tf.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    xyz = tf.reduce_sum(linear[..., None, :] * tf.constant(RGB_TO_XYZ), -1) / tf.constant(WHITE)
    f = tf.where(xyz > EPSILON, xyz ** (1.0 / 3.0), SLOPE * xyz + 16.0 / 116.0)
    fx, fy, fz = tf.unstack(f, axis=-1)
    return tf.stack([116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)], -1)


def lightness_to_gray(lightness: tf.Tensor) -> tf.Tensor:
    """L* `[..., 1]` in [0, 100] -> the gray value `[..., 1]` in [0, 1] that has it."""
    f = (lightness + 16.0) / 116.0
    linear = tf.where(f > 0.2068966, f**3, (f - 16.0 / 116.0) / SLOPE)
    linear = tf.maximum(linear, 0.0)  # rounding below black has no root
    gray = tf.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1.0 / 2.4) - 0.055)
    return tf.minimum(gray, 1.0)


def random_bits(seed: tf.Tensor, count: int) -> tf.Tensor:
    """`count` uniform integers in 0..2^32-1, int64, from a seed of two integers."""
    # Philox by name: 'auto_select' picks another generator on some devices.
    bits = tf.random.stateless_uniform([count], seed=seed, minval=None, maxval=None, dtype=tf.uint32, alg='philox')
    return tf.cast(bits, tf.int64)


def random_crop(image: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """A square of `[size, size, C]` from anywhere in `[H, W, C]`.

    Args:
        image: `[H, W, C]` of any type, at least `size` high and wide.
        seed: two integers, int32 or int64 `[2]`.
        size: side in pixels.
    """
    image = tf.convert_to_tensor(image)
    bits = random_bits(seed, 2)
    extent = tf.shape(image, out_type=tf.int64)[:2]
    start = bits % (extent - size + 1)
    start = tf.concat([start, tf.zeros([1], tf.int64)], 0)
    crop = tf.slice(image, start, [size, size, -1])
    return tf.ensure_shape(crop, [size, size, image.shape[2]])


def random_dihedral(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One of the eight flips and quarter turns of `[H, W, C]`; the sky has no up.

    Args:
        image: `[H, W, C]` of any type; height and width may come out swapped.
        seed: two integers, int32 or int64 `[2]`.
    """
    image = tf.convert_to_tensor(image)
    bits = tf.cast(random_bits(seed, 1)[0], tf.int32)
    swap = bits & 1
    turned = tf.transpose(image, tf.stack([swap, 1 - swap, 2]))
    flips = tf.stack([(bits & 2) > 0, (bits & 4) > 0, False])
    turned = tf.raw_ops.Reverse(tensor=turned, dims=flips)
    square = image.shape[0] is not None and image.shape[0] == image.shape[1]
    turned.set_shape(image.shape if square else [None, None, image.shape[2]])
    return turned
