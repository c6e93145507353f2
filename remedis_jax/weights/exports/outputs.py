"""What an artefact's network computes: the one function that every export has to reproduce."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiT, to_bit_input
from remedis_jax.models.case_head import CaseHead, head_spec
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract

KINDS = ("softmax", "sigmoid")


def network_function(card: Mapping[str, Any]) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
    """The function (parameters, images) -> outputs of the network that a card describes.

    It is pure and can be compiled or exported. Convolutions are in float32 whatever the card says,
    and ask accelerators for full float32 products, so that a difference from it is an error and
    not rounding.

    Args:
        card: An artefact's card.

    Returns:
        A function of the nested parameters and float32 [B, H, W, 3] in [0, 1], which gives
        float32 arrays "features" [B, D] and, where the card has a head, "logits" [B, K] before
        the calibration temperature and "probabilities" [B, K] after it.

    Raises:
        UserError: The card describes no network, or a head of an unknown kind.
    """
    spec = dataclasses.replace(encoder_spec(card), compute_dtype="float32")
    contract = Contract.from_json(card["preprocessing"])
    head = card["head"]
    if head is not None and head["kind"] not in KINDS:
        raise UserError(
            f"The card's head is of kind {head['kind']!r}.", f"Known are {' and '.join(KINDS)}."
        )
    if head is not None and not head_spec(head).is_plain:
        raise UserError(
            "This classifier is no linear layer on the features of single images, which is what "
            "exports hold.",
            "Export the weights that it was fine-tuned from, or save them without head.",
        )

    def outputs(params: Any, images: jax.Array) -> dict[str, jax.Array]:
        with jax.default_matmul_precision("highest"):
            encoder = {"params": params["encoder"]}
            view = to_bit_input(images, contract.value_range)
            features = BiT(spec).apply(encoder, view)
            if head is None:
                return {"features": features}
            mask = jnp.ones_like(features[:, :1], bool)
            classifier = CaseHead(head_spec(head))
            logits = classifier.apply({"params": params["head"]}, features[:, None], mask)
        scaled = logits / temperature(head)
        squash = jax.nn.softmax if head["kind"] == "softmax" else jax.nn.sigmoid
        return {"features": features, "logits": logits, "probabilities": squash(scaled)}

    return outputs


def temperature(head: Mapping[str, Any]) -> float:
    """By what a head's logits are divided before they become probabilities; 1 if uncalibrated."""
    return head.get("temperature") or 1.0


def expected_outputs(
    artifact: Artifact, images: np.ndarray, *, batch_size: int = 4
) -> dict[str, np.ndarray]:
    """Our own outputs for images, to hold an export against.

    Args:
        artifact: Weights and card.
        images: float32 [B, H, W, 3] in [0, 1].
        batch_size: Images at a time; bounds memory.

    Returns:
        As `network_function`, as numpy arrays.
    """
    compiled = jax.jit(network_function(artifact.card))
    params = jax.device_put(artifact.params)
    parts = [
        jax.device_get(compiled(params, jnp.asarray(images[start : start + batch_size])))
        for start in range(0, len(images), batch_size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
