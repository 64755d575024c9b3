"""One convolution for all models."""

import jax


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int | None = None,
    precision: jax.lax.Precision | None = None,
) -> jax.Array:
    """Convolution with zero padding: `[N, H, W, in]`, `[k, k, in, out]` -> `[N, H', W', out]`.

    `padding` pixels are added on every side (as in PyTorch); None means `k // 2`.
    """
    pad = kernel.shape[0] // 2 if padding is None else padding
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=precision,
    )
