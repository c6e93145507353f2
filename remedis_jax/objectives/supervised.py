"""Supervised classification: one class per image (softmax) or several findings (sigmoid)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from remedis_jax.errors import UserError
from remedis_jax.models.heads import Classifier
from remedis_jax.models.parameters import initialise
from remedis_jax.objectives.views import Views


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats.

    Args:
        logits: [B, K] float32.
        labels: [B] int32 in [0, K), or [B, K] float32, the share of each class; rows sum to 1.

    Returns:
        float32 scalar.
    """
    if labels.ndim == 2:
        return optax.losses.softmax_cross_entropy(logits, labels).mean()
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross-entropy in nats, meaned over the labels that are known.

    Args:
        logits: [B, K] float32.
        labels: [B, K] float32 in [0, 1], soft ones between; NaN where unknown. Unknown labels
            add nothing to the loss and have exactly zero gradient.

    Returns:
        float32 scalar; 0 if no label of the batch is known.
    """
    known = ~jnp.isnan(labels)
    # The inner `where` keeps NaN out of the gradient, the outer one out of the sum.
    losses = optax.losses.sigmoid_binary_cross_entropy(logits, jnp.where(known, labels, 0.0))
    return jnp.where(known, losses, 0.0).sum() / jnp.maximum(known.sum(), 1)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """The supervised objective; see `objectives.interface.Objective` for the methods.

    Attributes:
        views: The network and its one view.
        classes: Number of classes or findings.
        kind: "softmax" or "sigmoid".

    Raises:
        UserError: `kind` is neither.
    """

    views: Views
    classes: int
    kind: str = "softmax"

    keys_per_example: ClassVar[int] = 1

    def __post_init__(self):
        if self.kind not in ("softmax", "sigmoid"):
            raise UserError(f"objective.kind is {self.kind!r}.", "Use softmax or sigmoid.")

    @property
    def decomposes(self) -> bool:
        # The sigmoid loss is divided by the number of labels that the whole batch knows.
        return self.kind == "softmax"

    def init_params(self, seed, image_shape):
        head = Classifier(self.classes)
        inputs = self.views.feature_shape()
        return {
            "encoder": self.views.init_encoder(seed),
            "head": initialise(head, seed, inputs)["params"],
        }

    def init_state(self, seed, params):
        return {}

    def loss(self, params, model_state, batch, keys):
        features, _ = self.views.features(params["encoder"], batch["image"], keys)
        head = Classifier(self.classes)
        logits = head.apply({"params": params["head"]}, features[:, 0])
        if self.kind == "softmax":
            labels = batch["label"]
            loss = softmax_cross_entropy(logits, labels)
            # Of shares the class that has most, the first of equal ones.
            classes = labels if labels.ndim == 1 else labels.argmax(axis=-1)
            accuracy = (logits.argmax(axis=-1) == classes).astype(jnp.float32).mean()
            return loss, (model_state, {"train_accuracy": accuracy})
        return sigmoid_cross_entropy(logits, batch["label"]), (model_state, {})

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        # What training starts from depends on the weights that the head comes with.
        return None
