"""Mixup (Zhang et al. 2018) as BiT does it: one share for a batch, partners in reverse order.

big_transfer's JAX code draws one lambda ~ Beta(alpha, alpha) for the whole batch and mixes image i
with image B - 1 - i, after augmentation. In a batch of odd size the middle image is mixed with
itself. Nothing keeps lambda above a half: at 0.1 every image is mostly its partner, with the
partner's label.
"""

from collections.abc import Callable

import jax

# Sets the draw apart from those of the augmentation, which use the same key.
_MIXUP = 0x6D6978


def mixing_share(key: jax.Array, alpha: float) -> jax.Array:
    """lambda ~ Beta(alpha, alpha), a float32 scalar in [0, 1]; never NaN for small alpha."""
    return jax.random.beta(jax.random.fold_in(key, _MIXUP), alpha, alpha)


def mix_views(views: jax.Array, share: jax.Array) -> jax.Array:
    """share x_i + (1 - share) x_(B-1-i).

    Args:
        views: [B, ...] float32.
        share: Scalar.
    """
    return share * views + (1 - share) * views[::-1]


def mix_labels(
    loss: Callable[[jax.Array], jax.Array], labels: jax.Array, share: jax.Array
) -> jax.Array:
    """The loss of mixed labels, as the mix of the losses.

    Cross-entropy is linear in the label, so for known labels this is the loss of mixed ones; a
    label that is unknown for one of two partners still counts for the other.

    Args:
        loss: From labels to a scalar.
        labels: [B, ...].
        share: As for `mix_views`.
    """
    return share * loss(labels) + (1 - share) * loss(labels[::-1])
