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


def test_a_soft_label_pulls_towards_its_value():
    logits = jnp.array([[0.3, -2.0], [1.0, 4.0]])
    labels = jnp.array([[0.5, jnp.nan], [0.7, 1.0]])
    gradient = jax.grad(sigmoid_cross_entropy)(logits, labels)
    # d/dz of the cross-entropy is sigmoid(z) - y, here meaned over three known labels.
    expected = (jax.nn.sigmoid(logits) - jnp.nan_to_num(labels)) / 3
    np.testing.assert_allclose(gradient, expected.at[0, 1].set(0.0), rtol=0, atol=1e-7)
    at_value = jax.grad(sigmoid_cross_entropy)(jnp.zeros((1, 1)), jnp.full((1, 1), 0.5))
    assert float(at_value[0, 0]) == 0.0


def test_shares_of_classes_agree_with_whole_ones_and_with_the_formula():
    generator = np.random.default_rng(0)
    logits = jnp.asarray(generator.standard_normal((7, 4)), jnp.float32)
    classes = generator.integers(0, 4, 7)
    np.testing.assert_allclose(
        softmax_cross_entropy(logits, jax.nn.one_hot(classes, 4)),
        softmax_cross_entropy(logits, jnp.asarray(classes)),
        rtol=1e-6,
    )
    shares = jnp.asarray(generator.dirichlet(np.ones(4), 7), jnp.float32)
    value, gradient = jax.value_and_grad(softmax_cross_entropy)(logits, shares)
    np.testing.assert_allclose(
        value, -(shares * jax.nn.log_softmax(logits)).sum(axis=1).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(gradient, (jax.nn.softmax(logits) - shares) / 7, atol=1e-7)


class Pooled:
    """In place of a network: its features are the image's first pixels."""

    def features(self, encoder, images, keys):
        return images[:, None, 0, 0, :], {}


@pytest.mark.parametrize(
    ("labels", "accuracy"),
    [([0, 1, 1], 2 / 3), ([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5]], 1.0)],
    ids=["classes", "shares"],
)
def test_accuracy_counts_the_class_with_most_votes(labels, accuracy):
    objective = Supervised(Pooled(), classes=2)
    head = {"dense": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    image = jnp.array([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])[:, None, None, :]
    batch = {"image": image, "label": jnp.asarray(labels)}
    _, (_, metrics) = objective.loss({"encoder": {}, "head": head}, {}, batch, None)
    np.testing.assert_allclose(metrics["train_accuracy"], accuracy, rtol=1e-6)


def test_a_batch_without_any_known_label_is_zero_and_not_nan():
    value, gradient = jax.value_and_grad(sigmoid_cross_entropy)(
        jnp.ones((2, 2)), jnp.full((2, 2), jnp.nan)
    )
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_supervised_refuses_unknown_kinds():
    with pytest.raises(UserError, match="hinge"):
        Supervised(None, classes=2, kind="hinge")
