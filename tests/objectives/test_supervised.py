"""Supervised losses against scikit-learn, and what masked labels must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from remedis_jax.errors import UserError
from remedis_jax.objectives.supervised import (
    Supervised,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)


def test_softmax_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((13, 5)).astype(np.float32)
    labels = generator.integers(0, 5, 13)
    expected = log_loss(labels, jax.nn.softmax(logits.astype(np.float64)), labels=range(5))
    np.testing.assert_allclose(softmax_cross_entropy(logits, labels), expected, rtol=1e-6)


def test_sigmoid_agrees_with_scikit_learn_over_known_labels():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((11, 3)).astype(np.float32)
    labels = generator.integers(0, 2, (11, 3)).astype(np.float32)
    labels[generator.random((11, 3)) < 0.4] = np.nan
    known = ~np.isnan(labels)
    p = 1 / (1 + np.exp(-logits[known].astype(np.float64)))
    expected = log_loss(labels[known], p)
    np.testing.assert_allclose(sigmoid_cross_entropy(logits, labels), expected, rtol=1e-6)


def test_unknown_labels_have_exactly_zero_gradient():
    logits = jnp.array([[0.3, -2.0], [1.0, 4.0]])
    labels = jnp.array([[1.0, jnp.nan], [jnp.nan, 0.0]])
    gradient = jax.grad(sigmoid_cross_entropy)(logits, labels)
    assert float(gradient[0, 1]) == 0.0 and float(gradient[1, 0]) == 0.0
    assert jnp.isfinite(gradient).all() and float(jnp.abs(gradient[0, 0])) > 0


def test_a_batch_without_any_known_label_is_zero_and_not_nan():
    value, gradient = jax.value_and_grad(sigmoid_cross_entropy)(
        jnp.ones((2, 2)), jnp.full((2, 2), jnp.nan)
    )
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_supervised_refuses_unknown_kinds():
    with pytest.raises(UserError, match="hinge"):
        Supervised(None, classes=2, kind="hinge")
