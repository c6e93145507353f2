"""Convolution with explicit symmetric padding, written for what XLA computes well.

- A 1x1 convolution is a matrix product. Written as one, its kernel gradient is about ten times
  faster on XLA's CPU backend and unchanged elsewhere, so that is how it is written everywhere.
- On the CPU backend a larger convolution with four output positions or fewer leaves XLA's fast
  path (128 channels on 2x2: 74 ms against 3 ms for a batch of 256 on two cores). There it is
  written as patches times kernel. Both forms agree to float32 rounding.
- Its gradient of the kernel of a larger convolution is a convolution with a kernel as large as the
  feature map, which does not fill two cores from 16x16 positions on. There it is a matrix product
  of shifted copies for each row of the kernel: half the time at 28x28 positions of 128 channels.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

_FEW_POSITIONS = 4
_MANY_POSITIONS = 256
# Of fewer input channels, such as an image's three, there is too little to multiply.
_LEAST_CHANNELS = 16


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
    if height * width >= _MANY_POSITIONS and kernel.shape[2] >= _LEAST_CHANNELS:
        return _wide_conv2d(x, kernel, stride, padding)
    return _conv2d(x, kernel, stride, padding)


def _conv2d(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _wide_conv2d(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """`_conv2d` with its own gradient of the kernel on the CPU backend."""
    return _conv2d(x, kernel, stride, padding)


def _wide_forward(x, kernel, stride, padding):
    return _conv2d(x, kernel, stride, padding), (x, kernel)


def _wide_backward(stride, padding, residuals, gradient):
    x, kernel = residuals

    def convolution(x, kernel):
        return _conv2d(x, kernel, stride, padding)

    def by_convolution(x, gradient):
        return jax.vjp(lambda k: convolution(x, k), kernel)[1](gradient)[0]

    def by_rows(x, gradient):
        return rows_kernel_gradient(x, gradient, kernel.shape[:2], stride, padding)

    (of_x,) = jax.vjp(lambda x: convolution(x, kernel), x)[1](gradient)
    return of_x, lax.platform_dependent(x, gradient, cpu=by_rows, default=by_convolution)


_wide_conv2d.defvjp(_wide_forward, _wide_backward)


def rows_kernel_gradient(
    x: jax.Array, gradient: jax.Array, size: tuple[int, int], stride: int, padding: int
) -> jax.Array:
    """Gradient of a convolution's kernel as one matrix product for each of its rows.

    Args:
        x: [B, H, W, I], what was convolved.
        gradient: [B, H', W', O], same dtype, of the convolution's output.
        size: (h, w) of the kernel.
        stride, padding: As of `conv2d`.

    Returns:
        [h, w, I, O].
    """
    rows, columns = size
    height, width, channels = gradient.shape[1:]
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    # [B, H + 2 padding, W', w I]: what the columns of the kernel see.
    seen = jnp.concatenate(
        [x[:, :, j : j + stride * width : stride] for j in range(columns)], axis=-1
    )
    gradient = gradient.reshape(-1, channels)
    products = [
        seen[:, i : i + stride * height : stride].reshape(-1, seen.shape[-1]).T @ gradient
        for i in range(rows)
    ]
    return jnp.stack(products).reshape(rows, columns, -1, channels)


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
