"""Supervised classification: one class per image (softmax) or several findings (sigmoid)."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from remedis_jax.augment import Recipe
from remedis_jax.models.bit import BiT, BiTSpec, to_bit_input
from remedis_jax.models.heads import Classifier
from remedis_jax.models.parameters import initialise


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats.

    Args:
        logits: [B, K] float32.
        labels: [B] int32 in [0, K).

    Returns:
        float32 scalar.
    """
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross-entropy in nats, meaned over the labels that are known.

    Args:
        logits: [B, K] float32.
        labels: [B, K] float32 in [0, 1]; NaN where unknown. Unknown labels add nothing to the
            loss and have exactly zero gradient.

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
        encoder: The network.
        recipe: Augmentation of the training images.
        view_size: Height and width in pixels that the network sees.
        classes: Number of classes or findings.
        kind: "softmax" or "sigmoid".
    """

    encoder: BiTSpec
    recipe: Recipe
    view_size: int
    classes: int
    kind: str = "softmax"

    def __post_init__(self):
        if self.kind not in ("softmax", "sigmoid"):
            raise ValueError(f"kind is 'softmax' or 'sigmoid', not {self.kind!r}")

    def init(self, seed, image_shape):
        view = jax.ShapeDtypeStruct((2, self.view_size, self.view_size, 3), "float32")
        encoder = initialise(BiT(self.encoder), seed, view)
        features = jax.ShapeDtypeStruct((2, self.encoder.output_dim), "float32")
        head = initialise(Classifier(self.classes), seed, features)
        return {"encoder": encoder["params"], "head": head["params"]}, {}

    def loss(self, params, model_state, batch, key):
        keys = jax.random.split(key, batch["image"].shape[0])
        views = self.recipe(keys, batch["image"], self.view_size)
        features = BiT(self.encoder).apply({"params": params["encoder"]}, to_bit_input(views))
        logits = Classifier(self.classes).apply({"params": params["head"]}, features)
        if self.kind == "softmax":
            loss = softmax_cross_entropy(logits, batch["label"])
            accuracy = (logits.argmax(axis=-1) == batch["label"]).astype(jnp.float32).mean()
            return loss, (model_state, {"train_accuracy": accuracy})
        return sigmoid_cross_entropy(logits, batch["label"]), (model_state, {})

    def after_step(self, params, model_state, ema_params):
        return model_state
