"""The root's max pool: both forms of its gradient are the same, ties and odd sizes included."""

import jax
import numpy as np
import pytest

from remedis_jax.models.pooling import _by_neighbours, _by_windows, root_max_pool


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 5)])
def test_both_gradients_go_to_the_first_maximum_of_a_window(height, width):
    """Values are few, so that windows hold equal ones and the zeros around are often the maximum;
    gradients are whole, so that their sums have no rounding."""
    generator = np.random.default_rng(height)
    x = generator.integers(-2, 2, (2, height, width, 3)).astype(np.float32)
    pooled, back = jax.vjp(root_max_pool, x)
    assert pooled.shape == (2, (height + 1) // 2, (width + 1) // 2, 3)
    gradient = generator.integers(-9, 9, pooled.shape).astype(np.float32)

    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros_like(padded)
    for b, i, j, c in np.ndindex(pooled.shape):
        window = padded[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        row, column = np.unravel_index(window.argmax(), window.shape)
        assert pooled[b, i, j, c] == window.max()
        expected[b, 2 * i + row, 2 * j + column, c] += gradient[b, i, j, c]
    expected = expected[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(back(gradient)[0], expected)
    np.testing.assert_array_equal(_by_neighbours(x, gradient), expected)
    np.testing.assert_array_equal(_by_windows(x, gradient), expected)
