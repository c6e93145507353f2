"""The max pool of BiT's root: 3x3, stride 2, padded with zeros.

XLA's CPU backend takes ten times as long for the gradient of a window's maximum as for the
maximum: it finds the place of every maximum and scatters to it. There the window is gone through
columns first and rows after, and each of the two gradients is a comparison of neighbours. Either
way the gradient of equal values goes to the first of a window, row by row.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

_ROWS, _COLUMNS = 1, 2


@jax.custom_vjp
def root_max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows with stride 2, of zeros and not minus infinity around (bit).

    Args:
        x: [B, H, W, C], any float dtype.

    Returns:
        [B, (H + 1) // 2, (W + 1) // 2, C].
    """
    return nn.max_pool(_padded(x), (3, 3), strides=(2, 2), padding="VALID")


def _forward(x):
    return root_max_pool(x), x


def _backward(x, gradient):
    return (lax.platform_dependent(x, gradient, cpu=_by_neighbours, default=_by_windows),)


root_max_pool.defvjp(_forward, _backward)


def _padded(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _by_windows(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient as XLA has it."""

    def pool(x):
        return nn.max_pool(_padded(x), (3, 3), strides=(2, 2), padding="VALID")

    return jax.vjp(pool, x)[1](gradient)[0]


def _by_neighbours(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The same gradient, of columns and rows in turn."""
    x = _padded(x)
    # The first maximum of a window row by row is in the first row that has it, there the first.
    of_columns = _pool_along(x, _COLUMNS)
    of_rows = _pool_along(of_columns, _ROWS)
    gradient = _unpool_along(of_columns, of_rows, gradient, _ROWS)
    return _unpool_along(x, of_columns, gradient, _COLUMNS)[:, 1:-1, 1:-1]


def _window(x: jax.Array, axis: int) -> list[jax.Array]:
    """What stands first, second and third in the windows of three along an axis."""
    count = (x.shape[axis] - 1) // 2
    return [lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis) for i in range(3)]


def _pool_along(x: jax.Array, axis: int) -> jax.Array:
    first, second, third = _window(x, axis)
    return jnp.maximum(jnp.maximum(first, second), third)


def _unpool_along(x: jax.Array, pooled: jax.Array, gradient: jax.Array, axis: int) -> jax.Array:
    """The gradient of `_pool_along` at x: [.., n, ..] -> [.., length of x, ..]."""
    first, second, _ = _window(x, axis)
    is_first = first == pooled
    is_second = (second == pooled) & ~is_first
    zero = jnp.zeros((), gradient.dtype)

    def shifted(values: jax.Array, before: int, after: int) -> jax.Array:
        padding = [(before, after) if i == axis else (0, 0) for i in range(x.ndim)]
        return jnp.pad(values, padding)

    # An even place is first in its own window and third in the one before.
    even = shifted(jnp.where(is_first, gradient, zero), 0, 1) + shifted(
        jnp.where(is_first | is_second, zero, gradient), 1, 0
    )
    odd = shifted(jnp.where(is_second, gradient, zero), 0, 1)
    interleaved = jnp.stack([even, odd], axis=axis + 1)
    shape = (*x.shape[:axis], 2 * even.shape[axis], *x.shape[axis + 1 :])
    # Of an even number of places the last is in no window; of an odd one there is one too many.
    return lax.slice_in_dim(interleaved.reshape(shape), 0, x.shape[axis], 1, axis)
