"""Convolution with explicit symmetric padding, written for what XLA computes well.

- A 1x1 convolution is a matrix product. Written as one, its kernel gradient is about ten times
  faster on XLA's CPU backend and unchanged elsewhere, so that is how it is written everywhere.
- On the CPU backend a larger convolution with four output positions or fewer leaves XLA's fast
  path (128 channels on 2x2: 74 ms against 3 ms for a batch of 256 on two cores). There it is
  written as patches times kernel. Both forms agree to float32 rounding.
"""

import jax
import jax.numpy as jnp
from jax import lax

_FEW_POSITIONS = 4


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
        return _positions_times(x[:, ::stride, ::stride], kernel[0, 0])
    height, width = (
        (x.shape[axis + 1] + 2 * padding - kernel.shape[axis]) // stride + 1 for axis in (0, 1)
    )
    if height * width <= _FEW_POSITIONS and jax.default_backend() == "cpu":
        return patches_conv2d(x, kernel, stride, padding)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def patches_conv2d(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """The same convolution as one matrix product of the patches under the kernel."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = kernel.shape[:2]
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    patches = [
        x[:, i : i + stride * height : stride, j : j + stride * width : stride]
        for i in range(rows)
        for j in range(columns)
    ]
    flat_kernel = kernel.reshape(-1, kernel.shape[-1])
    return _positions_times(jnp.concatenate(patches, axis=-1), flat_kernel)


def _positions_times(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[B, H, W, I] times [I, O]. As one flat product: with H and W kept apart XLA's CPU backend
    is a fifth slower over a whole training step."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)
