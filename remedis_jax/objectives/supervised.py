"""Supervised learning on images or cases: classes, findings, or the time to an event."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from remedis_jax.errors import UserError
from remedis_jax.models.case_head import CaseHead, HeadSpec
from remedis_jax.models.freezing import hold_frozen
from remedis_jax.models.parameters import initialise
from remedis_jax.objectives.classification import sigmoid_cross_entropy, softmax_cross_entropy
from remedis_jax.objectives.mixup import mix_labels, mix_views, mixing_share
from remedis_jax.objectives.survival import cox_partial_likelihood, discrete_time_likelihood
from remedis_jax.objectives.views import Views

SURVIVAL_KINDS = ("cox", "discrete_time")
KINDS = ("softmax", "sigmoid", *SURVIVAL_KINDS)


def label_kind(kind: str) -> str:
    """What the labels of an objective's kind are: "softmax", "sigmoid" or "survival".

    Raises:
        UserError: There is no such kind.
    """
    if kind not in KINDS:
        raise UserError(f"objective.kind is {kind!r}.", f"Use {', '.join(KINDS)}.")
    return "survival" if kind in SURVIVAL_KINDS else kind


def outputs_of(kind: str, classes: int, intervals: tuple[float, ...]) -> int:
    """How many logits an example has."""
    return {"cox": 1, "discrete_time": len(intervals)}.get(kind, classes)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """The supervised objective; see `objectives.interface.Objective` for the methods.

    An example is an image [B, H, W, C], or a case of up to V images [B, V, H, W, C] of which
    `batch["index"]` is -1 where there is none. Instead of images a batch can hold their features,
    float32 [B, 1, 1, F] or [B, V, 1, 1, F], where the encoder is frozen and sees every image the
    same way each time.

    Attributes:
        views: The network and its one view.
        head: The head; its pooling is "none" for single images.
        kind: "softmax", "sigmoid", "cox" or "discrete_time".
        focal_gamma: Exponent of the focal loss; 0 for plain cross-entropy.
        class_weights: One for each class (softmax) or for the positives of each finding
            (sigmoid); () for 1.
        mixup: Alpha of mixup (Zhang et al. 2018); 0 for none.
        intervals: Ends of the intervals of "discrete_time".
        freeze: How much of the network is held still, see `models.freezing`.

    Raises:
        UserError: A setting does not exist, or settings exclude one another.
    """

    views: Views
    head: HeadSpec
    kind: str = "softmax"
    focal_gamma: float = 0.0
    class_weights: tuple[float, ...] = ()
    mixup: float = 0.0
    intervals: tuple[float, ...] = ()
    freeze: str = ""

    keys_per_example: ClassVar[int] = 1

    def __post_init__(self):
        survival = label_kind(self.kind) == "survival"
        for name, wrong in (
            ("focal_gamma", self.focal_gamma < 0),
            ("mixup", self.mixup < 0),
        ):
            if wrong:
                raise UserError(f"objective.{name} is {getattr(self, name)}.", "Use 0 or more.")
        if survival and (self.focal_gamma or self.class_weights or self.mixup):
            raise UserError(
                f"objective.kind={self.kind!r} has no focal loss, class weights or mixup.",
                "Leave objective.focal_gamma, class_weighting and mixup at their defaults.",
            )
        if self.mixup and self.head.pooling != "none":
            raise UserError(
                "mixup of cases is not defined: their images have no partners.",
                "Set objective.mixup=0, or data.case_images=0.",
            )
        if self.mixup and self.views.micro_batch:
            raise UserError(
                "mixup mixes an image with one of another part of the batch.",
                "Set accumulation='none' or objective.mixup=0.",
            )

    @property
    def decomposes(self) -> bool:
        # The sigmoid loss is divided by the number of labels that the whole batch knows, and the
        # risk sets of the Cox loss are the batch.
        return self.kind == "softmax" and not self.mixup

    def init_params(self, seed, image_shape):
        features = jax.ShapeDtypeStruct(
            (2, self.head.places or 1, self.views.encoder.output_dim), "float32"
        )
        mask = jax.ShapeDtypeStruct(features.shape[:2], "bool")
        return {
            "encoder": self.views.init_encoder(seed),
            "head": initialise(CaseHead(self.head), seed, features, mask)["params"],
        }

    def init_state(self, seed, params):
        return {}

    def loss(self, params, model_state, batch, keys):
        params = hold_frozen(params, self.freeze)
        images, labels = batch["image"], batch["label"]
        if self.mixup:
            # One share for all, from a key that no augmentation uses (see `mixing_share`).
            share = mixing_share(keys[0, 0], self.mixup)
            features = self.views.features(
                params["encoder"], images, keys, mix=lambda views: mix_views(views, share)
            )[0]
        else:
            features = self._features(params["encoder"], images, keys)
        mask = jnp.ones(features.shape[:2], bool)
        if self.head.pooling != "none":
            mask = batch["index"] >= 0
        logits = CaseHead(self.head).apply({"params": params["head"]}, features, mask)
        loss = self._loss(logits, labels)
        if self.mixup:
            loss = mix_labels(lambda labels: self._loss(logits, labels), labels, share)
        return loss, (model_state, self._metrics(logits, labels))

    def _features(self, encoder, images, keys):
        """float32 [B, V, F]; V is 1 for single images."""
        cases = self.head.pooling != "none"
        batch, places = images.shape[0], images.shape[1] if cases else 1
        if images.shape[-3:-1] == (1, 1) and images.dtype == jnp.float32:
            return images.reshape(batch, places, -1)
        if cases:
            # Every image draws from a key of its own.
            keys = jax.vmap(lambda key: jax.random.split(key, places))(keys[:, 0])
            keys = keys.reshape(batch * places, 1)
            images = images.reshape(batch * places, *images.shape[2:])
        return self.views.features(encoder, images, keys)[0].reshape(batch, places, -1)

    def _loss(self, logits, labels):
        if self.kind == "cox":
            return cox_partial_likelihood(logits[:, 0], labels[:, 0], labels[:, 1])
        if self.kind == "discrete_time":
            return discrete_time_likelihood(logits, labels[:, 0], labels[:, 1], self.intervals)
        loss = softmax_cross_entropy if self.kind == "softmax" else sigmoid_cross_entropy
        weights = jnp.asarray(self.class_weights, jnp.float32) if self.class_weights else None
        return loss(logits, labels, class_weights=weights, focal_gamma=self.focal_gamma)

    def _metrics(self, logits, labels):
        if self.kind != "softmax":
            return {}
        # Of shares the class that has most, the first of equal ones.
        classes = labels if labels.ndim == 1 else labels.argmax(axis=-1)
        right = (logits.argmax(axis=-1) == classes).astype(jnp.float32)
        return {"train_accuracy": lax.stop_gradient(right.mean())}

    def after_step(self, params, model_state):
        return model_state

    def chance_loss(self, batch_size):
        # What training starts from depends on the weights that the head comes with.
        return None
