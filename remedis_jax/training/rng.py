"""Stateless random streams: a key is a function of (seed, name of the stream, step).

Nothing needs to be stored in a checkpoint, and the order in which keys are asked for is without
effect.
"""

import zlib

import jax


def stream_key(root: jax.Array, name: str, step: jax.Array | int) -> jax.Array:
    """Key of one named stream at one step.

    Args:
        root: Typed key of the run, `jax.random.key(seed)`.
        name: E.g. "augment".
        step: int32 scalar, may be traced.
    """
    # zlib.crc32 and not hash(): Python salts its hash anew in every process.
    named = jax.random.fold_in(root, zlib.crc32(name.encode()))
    return jax.random.fold_in(named, step)
