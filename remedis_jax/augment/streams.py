"""Which random numbers of an example belong to which operation of a recipe."""

from __future__ import annotations

import jax

# Each operation has its own numbers to fold into an example's key: switching one off leaves the
# random draws of the others as they were. (Folding compiles several times faster than splitting.)
_STREAMS = (
    "equalize", "elastic", "rotation", "crop", "flip", "jitter", "grayscale", "blur", "solarize",
)  # fmt: skip


def coin(key: jax.Array, operation: str) -> jax.Array:
    """The number in [0, 1) that decides whether `operation` is applied: below its probability."""
    return jax.random.uniform(jax.random.fold_in(key, 2 * _STREAMS.index(operation)))


def draw_key(key: jax.Array, operation: str) -> jax.Array:
    """The key of the random parameters of `operation`."""
    return jax.random.fold_in(key, 2 * _STREAMS.index(operation) + 1)
