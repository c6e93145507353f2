"""Probabilities of a trained classifier for every image of a data set, each exactly once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from remedis_jax.data.dataset import Dataset
from remedis_jax.data.labels import hard_labels
from remedis_jax.data.pipeline import eval_batches
from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import predictions_table
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.models.heads import Classifier
from remedis_jax.training.sharding import jit_forward, put_batch, put_replicated
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract

Progress = Callable[[int, int], None]


@functools.lru_cache(maxsize=16)
def classifier(
    encoder: BiTSpec, contract: Contract, classes: int, kind: str, mesh: Mesh
) -> Callable:
    """The compiled function (params, prepared images) -> probabilities [B, classes].

    `params` as from `classifier_params`. Logits are divided by the temperature, which is 1 where
    the classifier has not been calibrated. With the kind "logits" these are the result.
    """

    def probabilities(params, images):
        features = BiT(encoder).apply({"params": params["encoder"]}, contract.to_network(images))
        logits = Classifier(classes).apply({"params": params["head"]}, features)
        logits = logits / params["temperature"]
        if kind == "logits":
            return logits
        return jax.nn.softmax(logits) if kind == "softmax" else jax.nn.sigmoid(logits)

    return jit_forward(probabilities, mesh)


def classifier_of(card: Mapping[str, Any], mesh: Mesh, kind: str | None = None) -> Callable:
    """`classifier` for an artefact's card, of its own kind unless another is asked for.

    Raises:
        UserError: The weights have no classifier.
    """
    head = card["head"]
    if head is None:
        raise UserError(
            f"These weights come from {card['stage']} and have no classifier.",
            "Fine-tune them first: remedis train --config experiments/finetune/classify.py.",
        )
    contract = Contract.from_json(card["preprocessing"])
    classes = len(head["classes"])
    return classifier(encoder_spec(card), contract, classes, kind or head["kind"], mesh)


def classifier_params(params: Any, card: Mapping[str, Any]) -> dict[str, Any]:
    """What the function of `classifier_of` takes: encoder, head and temperature."""
    temperature = (card["head"] or {}).get("temperature") or 1.0
    return {
        "encoder": params["encoder"],
        "head": params["head"],
        "temperature": np.float32(temperature),
    }


def predict(
    params: Any,
    card: dict[str, Any],
    dataset: Dataset,
    mesh: Mesh,
    *,
    kind: str | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Probabilities for every image.

    Args:
        params: `encoder` and `head`, on the host or replicated over the mesh.
        card: The artefact's card, whose preprocessing applies.
        dataset: N images in the card's working format.
        mesh: Devices to compute on.
        kind: "logits" for those instead; the card's kind if None.
        batch_size: Raised to a multiple of the number of devices.
        progress: Called with (done, N).

    Returns:
        float64 [N, K]; rows of softmax probabilities sum to 1 to float32 rounding.

    Raises:
        UserError: The weights have no classifier.
    """
    forward = classifier_of(card, mesh, kind)
    devices = mesh.shape["data"]
    batch_size = -(-min(batch_size, len(dataset)) // devices) * devices
    params = put_replicated(classifier_params(params, card), mesh)
    rows, done = [], 0
    batches = eval_batches(
        dataset.source,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for batch in batches:
        images = put_batch({"image": batch["image"]}, mesh)["image"]
        # The last batch is filled up; what was filled in stands at its end.
        p = np.asarray(forward(params, images), np.float64)[: len(dataset) - done]
        rows.append(p)
        done += len(p)
        if progress is not None:
            progress(done, len(dataset))
    return np.concatenate(rows)


def predictions_of(
    artifact: Artifact, dataset: Dataset, mesh: Mesh, *, progress: Progress | None = None
) -> pd.DataFrame:
    """The predictions table of a weights file on a data set."""
    p = predict(artifact.params, artifact.card, dataset, mesh, progress=progress)
    return table_of(dataset, artifact.card["head"], p)


def table_of(dataset: Dataset, head: dict[str, Any], p: np.ndarray) -> pd.DataFrame:
    """Probabilities with the columns of their manifest rows, and labels that can be scored."""
    manifest = dataset.manifest
    y = None if dataset.spec is None else hard_labels(dataset.labels, dataset.spec)
    columns = manifest.columns
    return predictions_table(
        head["kind"],
        tuple(head["classes"]),
        images=manifest.images,
        groups=manifest.groups,
        site=manifest.column(columns.site) if columns.site else "",
        split=manifest.column(columns.split) if columns.split else "",
        y=y,
        p=p,
    )
