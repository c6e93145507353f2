"""Classifiers on the features of one image or of all images of a case.

A case is a bag of features [V, F] of which a mask says which are there: a patient's photographs,
the views of an examination, the tiles of a slide. Pooling makes one vector of them, and a linear
layer or a small network on top of it the outputs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from remedis_jax.errors import UserError
from remedis_jax.models.heads import Dense
from remedis_jax.models.parameters import LECUN_NORMAL, ZEROS

LAYERS = ("linear", "mlp")
# "none" is for single images.
POOLINGS = ("none", "mean", "max", "attention", "concat")


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """Which head: everything that decides its shapes and its arithmetic.

    Attributes:
        outputs: Logits of an example.
        layers: "linear", or "mlp": one hidden layer with ReLU before it.
        hidden: Width of that layer.
        pooling: How the images of a case become one: "mean", "max", gated "attention" (Ilse et al.
            2018, "Attention-based Deep Multiple Instance Learning", equation 9), "concat" of views
            that each have their place, absent ones as zeros; or "none" where an image is a case.
        attention_dim: Width of the attention's two hidden layers.
        places: Number of views, for "concat".

    Raises:
        UserError: There is no such head.
    """

    outputs: int
    layers: str = "linear"
    hidden: int = 512
    pooling: str = "none"
    attention_dim: int = 128
    places: int = 0

    def __post_init__(self):
        for name, choices in (("layers", LAYERS), ("pooling", POOLINGS)):
            if getattr(self, name) not in choices:
                key = "head" if name == "layers" else name
                raise UserError(
                    f"objective.{key} is {getattr(self, name)!r}.", f"Use {', '.join(choices)}."
                )
        if self.pooling == "concat" and not self.places:
            raise UserError(
                "objective.pooling='concat' needs views that have their places.",
                "Set data.view and data.views, or pool by mean, max or attention.",
            )
        for name in ("hidden", "attention_dim"):
            if getattr(self, name) < 1:
                raise UserError(f"objective.{name} is {getattr(self, name)}.", "Use 1 or more.")

    @property
    def is_plain(self) -> bool:
        """Whether it is a linear layer on the features of single images, as BiT's."""
        return self.layers == "linear" and self.pooling == "none"

    def to_json(self) -> dict[str, Any]:
        """For the card of an artefact."""
        return dataclasses.asdict(self)


def head_spec(head: Mapping[str, Any]) -> HeadSpec:
    """The head that an artefact's card describes under "head".

    Raises:
        UserError: It describes none that exists.
    """
    shape = head.get("architecture")
    if shape is None:
        return HeadSpec(len(head["classes"]))
    try:
        return HeadSpec(**shape)
    except TypeError as error:
        raise UserError(
            f"The card's head is not understood ({error}).", "Use a newer version of this project."
        ) from error


def case_head_shapes(spec: HeadSpec, features: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a head's parameters, for features of this length."""
    shapes: dict[str, tuple[int, ...]] = {}

    def dense(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}/kernel"] = (inputs, outputs)
        shapes[f"{name}/bias"] = (outputs,)

    if spec.pooling == "attention":
        dense("attention/tanh", features, spec.attention_dim)
        dense("attention/sigmoid", features, spec.attention_dim)
        dense("attention/weight", spec.attention_dim, 1)
    width = features * spec.places if spec.pooling == "concat" else features
    if spec.layers == "mlp":
        dense("hidden", width, spec.hidden)
        width = spec.hidden
    dense("dense", width, spec.outputs)
    return shapes


class GatedAttention(nn.Module):
    """How much each image of a case counts: softmax over the images that are there.

    a_v = softmax_v(w . (tanh(V h_v) * sigmoid(U h_v)))   (Ilse et al. 2018, equation 9)

    Call:
        features: [B, V, F] float32.
        mask: [B, V] bool.

    Returns:
        [B, V] float32, 0 where masked; rows sum to 1.
    """

    width: int

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        signal = jnp.tanh(Dense(self.width, kernel_init=LECUN_NORMAL, name="tanh")(features))
        gate = nn.sigmoid(Dense(self.width, kernel_init=LECUN_NORMAL, name="sigmoid")(features))
        # Starts at equal weights: the mean.
        logits = Dense(1, kernel_init=ZEROS, name="weight")(signal * gate)[..., 0]
        return jax.nn.softmax(logits, axis=1, where=mask)


class CaseHead(nn.Module):
    """The head that a `HeadSpec` describes; its last layer starts at zero (bit).

    Call:
        features: [B, V, F] float32; V is 1 where pooling is "none".
        mask: [B, V] bool, which of the images are there; at least one in each row. What stands in
            the other places has no influence on value or gradient, be it NaN.

    Returns:
        [B, outputs] float32.
    """

    spec: HeadSpec

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        # Not by multiplication, which would leave NaN as it is.
        features = jnp.where(mask[..., None], features, 0.0)
        x = self._pooled(features, mask)
        if self.spec.layers == "mlp":
            x = nn.relu(Dense(self.spec.hidden, kernel_init=LECUN_NORMAL, name="hidden")(x))
        return Dense(self.spec.outputs, kernel_init=ZEROS, name="dense")(x)

    def _pooled(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        pooling = self.spec.pooling
        if pooling == "none":
            return features[:, 0]
        if pooling == "mean":
            return features.sum(axis=1) / mask.sum(axis=1, keepdims=True)
        if pooling == "max":
            return features.max(axis=1, where=mask[..., None], initial=-jnp.inf)
        if pooling == "concat":
            return features.reshape(features.shape[0], -1)
        weights = GatedAttention(self.spec.attention_dim, name="attention")(features, mask)
        return (weights[..., None] * features).sum(axis=1)
