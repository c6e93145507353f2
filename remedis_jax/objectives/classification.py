"""Cross-entropies of classes and of findings, with weights, the focal factor and masks."""

import jax
import jax.numpy as jnp
import optax


def softmax_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    focal_gamma: float = 0.0,
) -> jax.Array:
    """Mean cross-entropy in nats: - sum_k w_k y_k (1 - p_k)^gamma log p_k, meaned over examples.

    The focal factor is that of Lin et al. 2017, "Focal Loss for Dense Object Detection", equation
    4, over the classes of a softmax.

    Args:
        logits: [B, K] float32.
        labels: [B] int32 in [0, K), or [B, K] float32, the share of each class; rows sum to 1.
        class_weights: [K] float32; None for 1. The mean is over examples and not over weights, so
            that the loss of a batch is the mean of those of its parts.
        focal_gamma: Not negative; 0 for plain cross-entropy.

    Returns:
        float32 scalar.
    """
    if class_weights is None and not focal_gamma:
        if labels.ndim == 2:
            return optax.losses.softmax_cross_entropy(logits, labels).mean()
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    log_p = jax.nn.log_softmax(logits)
    if focal_gamma:
        log_p = log_p * (1 - jnp.exp(log_p)) ** focal_gamma
    if class_weights is not None:
        log_p = log_p * class_weights[None]
    return -(labels * log_p).sum(axis=-1).mean()


def sigmoid_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    focal_gamma: float = 0.0,
) -> jax.Array:
    """Binary cross-entropy in nats, meaned over the labels that are known.

    - w_k y (1 - p)^gamma log p - (1 - y) p^gamma log(1 - p)

    Args:
        logits: [B, K] float32.
        labels: [B, K] float32 in [0, 1], soft ones between; NaN where unknown. Unknown labels
            add nothing to the loss and have exactly zero gradient.
        class_weights: [K] float32, of the positives of each finding; None for 1.
        focal_gamma: Not negative; 0 for plain cross-entropy (Lin et al. 2017, equation 4).

    Returns:
        float32 scalar; 0 if no label of the batch is known.
    """
    known = ~jnp.isnan(labels)
    # The inner `where` keeps NaN out of the gradient, the outer one out of the sum.
    y = jnp.where(known, labels, 0.0)
    present, absent = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
    if focal_gamma:
        p = jax.nn.sigmoid(logits)
        present, absent = present * (1 - p) ** focal_gamma, absent * p**focal_gamma
    if class_weights is not None:
        present = present * class_weights[None]
    losses = jnp.where(known, y * present + (1 - y) * absent, 0.0)
    return losses.sum() / jnp.maximum(known.sum(), 1)
