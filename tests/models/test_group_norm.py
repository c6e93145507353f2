"""GroupNorm's gradient by hand against that of its definition, also where the mean is large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from remedis_jax.models.group_norm import group_norm

GROUPS = 4


def defined(x, gamma, beta):
    grouped = x.reshape(x.shape[0], -1, GROUPS, x.shape[-1] // GROUPS)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    variance = jnp.square(centred).mean(axis=(1, 3), keepdims=True)
    normal = (centred / jnp.sqrt(variance + 1e-5)).reshape(x.shape)
    return normal * gamma[None, None, None] + beta[None, None, None]


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_gradient_is_that_of_the_definition(mean):
    generator = np.random.default_rng(0)
    x, gradient = generator.standard_normal((2, 2, 5, 3, 16)).astype(np.float32)
    gamma, beta = generator.standard_normal((2, 16)).astype(np.float32)
    with jax.enable_x64(True):
        wide = [np.float64(values) for values in (x + np.float32(mean), gamma, beta)]
        expected, back = jax.vjp(defined, *wide)
        expected = (expected, *back(np.float64(gradient)))
    got, back = jax.vjp(lambda *a: group_norm(*a, GROUPS), x + np.float32(mean), gamma, beta)
    for one, two in zip((got, *back(gradient)), expected, strict=True):
        assert one.dtype == jnp.float32
        # float32 holds a value near 100 to 4e-6 of the unit deviation.
        np.testing.assert_allclose(one, two, atol=1e-5 if mean == 0 else 2e-4, rtol=0)


def test_the_gradient_of_bfloat16_is_bfloat16_and_computed_in_float32():
    generator = np.random.default_rng(1)
    x, gradient = jnp.asarray(generator.standard_normal((2, 2, 4, 4, 16)), jnp.float32)
    x = x.astype(jnp.bfloat16)
    gamma, beta = jnp.ones(16), jnp.zeros(16)
    rounded = jax.vjp(lambda x: group_norm(x, gamma, beta, GROUPS), x)[1](gradient)[0]
    exact = jax.vjp(lambda x: defined(x, gamma, beta), x.astype(jnp.float32))[1](gradient)[0]
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        np.abs(np.float32(rounded) - exact) <= 2**-8 * np.abs(exact) + 1e-5, True
    )
