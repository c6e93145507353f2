"""Convolution with explicit symmetric padding.

A 1x1 convolution is a matrix product. Written as one, its kernel gradient is about ten times
faster on XLA's CPU backend and unchanged elsewhere, so that is how it is written everywhere.
"""

import jax
import jax.numpy as jnp
from jax import lax


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    """Two-dimensional convolution (cross-correlation) with zero padding.

    Args:
        x: [B, H, W, I], any float dtype.
        kernel: [h, w, I, O], same dtype.
        stride: Step in both directions.
        padding: Zeros added on each of the four sides. Explicit, since TensorFlow's 'SAME' pads
            differently at odd sizes (bit).

    Returns:
        [B, (H + 2 padding - h) // stride + 1, (W + 2 padding - w) // stride + 1, O].
    """
    if kernel.shape[:2] == (1, 1) and padding == 0:
        return jnp.einsum("bhwi,io->bhwo", x[:, ::stride, ::stride], kernel[0, 0])
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
