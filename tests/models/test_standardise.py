"""The gradient of weight standardisation by hand against that of its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.models.standardise import standardise


def defined(kernel):
    centred = kernel - kernel.mean(axis=(0, 1, 2), keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(axis=(0, 1, 2), keepdims=True) + 1e-10)


@pytest.mark.parametrize("deviation", [1.0, 1e-3, 0.0])
def test_gradient_is_that_of_the_definition(deviation):
    """Also of a constant kernel, as of a channel that was never used: zero, and not NaN."""
    generator = np.random.default_rng(0)
    kernel, gradient = generator.standard_normal((2, 3, 3, 5, 6)).astype(np.float32)
    kernel = np.float32(deviation) * kernel + np.float32(0.25)
    with jax.enable_x64(True):
        expected = jax.vjp(defined, np.float64(kernel))[1](np.float64(gradient))[0]
    got = jax.vjp(standardise, kernel)[1](gradient)[0]
    assert got.shape == kernel.shape
    # The mean, 0.25, is rounded to 1.5e-8, and that is what it is in units of the deviation.
    rounding = 1.5e-8 / deviation if deviation else 0.0
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=(1e-6 + rounding) * scale)
