"""The memory rule and the gradients of sums over row blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.objectives.row_blocks import rows_per_block, sum_over_row_blocks


@pytest.mark.parametrize(
    ("rows", "columns", "mib", "expected"),
    [
        (2048, 16384, 64, 1024),  # 1,024 x 16,384 x 4 bytes are 64 MiB
        (2048, 16384, 63, 512),  # the next divisor
        (2048, 16384, float("inf"), 2048),
        (2048, 16384, 1e-9, 1),
        (30, 100, 100 * 4 * 7 / 2**20, 6),  # 7 would fit, 6 divides
        (31, 100, 100 * 4 * 7 / 2**20, 7),  # 1 divides; 7, 7, 7, 7, 3 fits
        (4106, 8212, 16, 457),  # of 510 that fit: eight of 457, one of 450
    ],
)
def test_memory_rule(rows, columns, mib, expected):
    assert rows_per_block(rows, columns, mib) == expected


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(ValueError, match="positive"):
        rows_per_block(8, 8, limit)


def block_sum(rows, columns, weights, offset):
    products = rows["a"] @ columns.T + offset
    return (jax.nn.logsumexp(products, axis=1) * weights).sum(), {"rows": weights.sum()}


@pytest.mark.parametrize("block", [1, 3, 5, 7, 12])
def test_blocks_give_the_value_and_gradient_of_the_whole(block):
    generator = np.random.default_rng(0)
    rows = {"a": jnp.asarray(generator.standard_normal((12, 5)), jnp.float32)}
    columns = jnp.asarray(generator.standard_normal((7, 5)), jnp.float32)
    weights = jnp.arange(12.0)

    def whole(rows, columns):
        value, sums = block_sum(rows, columns, weights, 0.5)
        # Not the sum itself: what arrives from outside must scale the gradient.
        return jnp.sin(value / 100), sums

    def in_blocks(rows, columns):
        value, sums = sum_over_row_blocks(block_sum, rows, columns, weights, 0.5, block=block)
        return jnp.sin(value / 100), sums

    arguments = {"argnums": (0, 1), "has_aux": True}
    want = jax.value_and_grad(whole, **arguments)(rows, columns)
    got = jax.value_and_grad(in_blocks, **arguments)(rows, columns)
    plain = in_blocks(rows, columns)
    np.testing.assert_allclose(plain[0], want[0][0], rtol=1e-6)
    assert float(plain[1]["rows"]) == 66
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
