"""Sums over the rows of a similarity matrix that is never held as a whole.

Contrastive losses compare every local embedding (a row) with the embeddings of the global batch
(the columns). Held at once, rows x columns logits and what automatic differentiation keeps of them
are what runs out of memory first. Here the rows go through in blocks, and each block's gradient is
computed while its logits are still there: the loss is a sum over blocks, so its gradient is the
sum of theirs, scaled later by the one number that arrives from outside. Nothing is computed twice,
and what is held is one block of logits and one gradient of the columns.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# (rows [b, ...], columns, row constants [b, ...], constants) -> (sum over the rows, more sums)
BlockSum = Callable[[Any, Any, Any, Any], tuple[jax.Array, Any]]

# ours: MiB of logits in a block unless told otherwise; a block takes about three times that, with
# its exponentials and gradient. From 4 to 64 MiB the time is the same, larger blocks only take
# memory, and much smaller ones cost time (`benchmarks/nt_xent.py`).
MAX_LOGITS_MIB = 16.0


def rows_per_block(rows: int, columns: int, max_logits_mib: float) -> int:
    """The memory rule: as few and as equal blocks as have float32 logits that fit.

    A divisor of `rows` is taken where one is at least half as large as would fit, so that no block
    is left over.

    Args:
        rows: Local rows.
        columns: Columns of all devices.
        max_logits_mib: A block's `rows x columns x 4` bytes stay at or below it, unless one row
            alone is above it.

    Raises:
        ValueError: The limit is not positive.
    """
    if not max_logits_mib > 0:
        raise ValueError(f"max_logits_mib must be positive, not {max_logits_mib}")
    fitting = max(1, min(rows, max_logits_mib * 2**20 // (4 * columns)))
    divisor = max(b for b in range(1, int(fitting) + 1) if rows % b == 0)
    if 2 * divisor >= fitting:
        return divisor
    return math.ceil(rows / math.ceil(rows / fitting))


def split_blocks(tree: Any, block: int) -> tuple[Any, Any]:
    """[n, ...] -> [n // block, block, ...] and the rest [n % block, ...], None where there is none.

    Args:
        tree: Pytree of arrays of one length n.
        block: At most n.
    """
    count = jax.tree.leaves(tree)[0].shape[0] // block
    parts = jax.tree.map(lambda x: x[: count * block].reshape(count, block, *x.shape[1:]), tree)
    rest = jax.tree.map(lambda x: x[count * block :], tree)
    return parts, rest if jax.tree.leaves(rest)[0].shape[0] else None


def sum_over_row_blocks(
    block_sum: BlockSum,
    rows: Any,
    columns: Any,
    row_constants: Any,
    constants: Any,
    *,
    block: int,
) -> tuple[jax.Array, Any]:
    """`block_sum` over all rows, `block` rows at a time, with its exact gradient.

    Args:
        block_sum: Pure; must not close over traced values. Returns a float32 scalar that is a sum
            over the rows it is given, and a pytree of further such sums without gradient.
        rows: Pytree of float arrays [n, ...] that get a gradient.
        columns: Pytree of float arrays that get a gradient.
        row_constants: Pytree of arrays [n, ...] without gradient.
        constants: Pytree of arrays without gradient.
        block: Rows at a time, at most n; the last block may have fewer.

    Returns:
        What `block_sum` would return for all rows at once.
    """
    return _sum(block_sum, block, rows, columns, row_constants, constants)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sum(block_sum, block, rows, columns, row_constants, constants):
    def add(total, part):
        value = block_sum(part[0], columns, part[1], constants)
        return jax.tree.map(jnp.add, total, value), None

    like = jax.eval_shape(block_sum, rows, columns, row_constants, constants)
    return _scan(add, _zeros(like, rows), (rows, row_constants), block)[0]


def _forward(block_sum, block, rows, columns, row_constants, constants):
    differentiated = jax.value_and_grad(block_sum, argnums=(0, 1), has_aux=True)

    def add(total, part):
        value, (d_rows, d_columns) = differentiated(part[0], columns, part[1], constants)
        return jax.tree.map(jnp.add, total, (value, d_columns)), d_rows

    sums = _zeros(jax.eval_shape(block_sum, rows, columns, row_constants, constants), rows)
    start = (sums, _zeros(columns, rows))
    (sums, d_columns), d_rows = _scan(add, start, (rows, row_constants), block)
    return sums, (d_rows, d_columns)


def _backward(block_sum, block, gradients, cotangents):
    d_rows, d_columns = jax.tree.map(lambda d: cotangents[0] * d, gradients)
    return d_rows, d_columns, None, None


_sum.defvjp(_forward, _backward)


def _scan(add, total, tree, block):
    """`lax.scan` over blocks of rows, without a loop where there is one; outputs joined again."""
    parts, rest = split_blocks(tree, block)
    if jax.tree.leaves(parts)[0].shape[0] > 1:
        total, out = lax.scan(add, total, parts)
        out = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)
    else:
        total, out = add(total, jax.tree.map(lambda part: part[0], parts))
    if rest is None:
        return total, out
    total, last = add(total, rest)
    return total, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, last)


def _zeros(like, rows):
    """Zeros that vary over the same mesh axes as the rows, as a scan's carry has to."""
    leaf = jax.tree.leaves(rows)[0]
    return jax.tree.map(lambda x: jnp.zeros_like(leaf, shape=x.shape, dtype=x.dtype), like)
