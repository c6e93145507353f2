"""What a trained classifier says of every image or case of a data set, each exactly once."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from remedis_jax.data.cases import Cases
from remedis_jax.data.dataset import Dataset
from remedis_jax.data.labels import hard_labels
from remedis_jax.data.pipeline import eval_batches
from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import predictions_table
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.models.case_head import CaseHead, HeadSpec, head_spec
from remedis_jax.objectives.survival import risk_at
from remedis_jax.training.sharding import jit_forward, put_batch, put_replicated
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Output:
    """What is made of a head's logits [B, outputs].

    Attributes:
        kind: "softmax" or "sigmoid" for probabilities [B, K]; "cox" for the log hazard [B, 1];
            "discrete_time" for 1 - S(horizon) [B, 1]; "logits" for the logits.
        intervals: Ends of the intervals of "discrete_time".
        horizon: One of them.
    """

    kind: str
    intervals: tuple[float, ...] = ()
    horizon: float = 0.0

    @classmethod
    def of(cls, head: Mapping[str, Any]) -> "Output":
        """That of a card's head."""
        if head["kind"] != "survival":
            return cls(head["kind"])
        survival = head["survival"]
        return cls(survival["model"], tuple(survival["intervals"]), survival["horizon"])

    def __call__(self, logits: jax.Array) -> jax.Array:
        if self.kind == "discrete_time":
            return risk_at(logits, self.intervals, self.horizon)[:, None]
        if self.kind in ("logits", "cox"):
            return logits
        return jax.nn.softmax(logits) if self.kind == "softmax" else jax.nn.sigmoid(logits)


LOGITS = Output("logits")


@functools.lru_cache(maxsize=16)
def classifier(
    encoder: BiTSpec, contract: Contract, head: HeadSpec, output: Output, mesh: Mesh
) -> Callable:
    """The compiled function (params, prepared images) -> what `output` makes of the logits.

    `params` as from `classifier_params`. Every image is a case by itself.
    """

    def predicted(params, images):
        features = BiT(encoder).apply({"params": params["encoder"]}, contract.to_network(images))
        mask = jnp.ones_like(features[:, :1], bool)
        logits = CaseHead(head).apply({"params": params["head"]}, features[:, None], mask)
        return output(logits / params["temperature"])

    return jit_forward(predicted, mesh)


@functools.lru_cache(maxsize=16)
def encoder_features(encoder: BiTSpec, contract: Contract, mesh: Mesh) -> Callable:
    """The compiled function (params with an encoder, prepared images) -> features [B, F]."""

    def features(params, images):
        return BiT(encoder).apply({"params": params["encoder"]}, contract.to_network(images))

    return jit_forward(features, mesh)


@functools.lru_cache(maxsize=16)
def case_classifier(head: HeadSpec, output: Output, mesh: Mesh) -> Callable:
    """The compiled function (params, {features [B, V, F], mask [B, V]}) -> as `classifier`."""

    def predicted(params, bags):
        logits = CaseHead(head).apply({"params": params["head"]}, bags["features"], bags["mask"])
        return output(logits / params["temperature"])

    return jit_forward(predicted, mesh)


def require_head(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The card's head.

    Raises:
        UserError: The weights have no classifier.
    """
    if card["head"] is None:
        raise UserError(
            f"These weights come from {card['stage']} and have no classifier.",
            "Fine-tune them first: remedis finetune, or remedis train with a config of "
            "experiments/finetune.",
        )
    return card["head"]


def classifier_of(
    card: Mapping[str, Any], mesh: Mesh, output: Output | None = None
) -> Callable:
    """`classifier` for an artefact's card, with its own output unless another is asked for.

    Raises:
        UserError: The weights have no classifier, or one that needs all views of a case.
    """
    head = require_head(card)
    contract = Contract.from_json(card["preprocessing"])
    shape = head_spec(head)
    if shape.pooling == "concat" and shape.places > 1:
        raise UserError(
            f"This classifier reads the views {', '.join(head['case']['views'])} of a case "
            "together, and not single images.",
            "Predict from a manifest that names case and view: remedis evaluate.",
        )
    return classifier(encoder_spec(card), contract, shape, output or Output.of(head), mesh)


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
    output: Output | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Probabilities, or risks, for every image or case.

    Args:
        params: `encoder` and `head`, on the host or replicated over the mesh.
        card: The artefact's card, whose preprocessing applies.
        dataset: N images in the card's working format, or M cases of them.
        mesh: Devices to compute on.
        output: `LOGITS` for those; what the card says if None.
        batch_size: Raised to a multiple of the number of devices.
        progress: Called with (done, N).

    Returns:
        float64 [N, K] or [M, K]; rows of softmax probabilities sum to 1 to float32 rounding; of
        survival the risk, K = 1.

    Raises:
        UserError: The weights have no classifier.
    """
    params = put_replicated(classifier_params(params, card), mesh)
    if dataset.cases is not None:
        features = features_of(
            params, card, dataset, mesh, batch_size=batch_size, progress=progress
        )
        return predict_cases(params, card, features, dataset.cases, mesh, output=output)
    forward = classifier_of(card, mesh, output)
    if dataset.embedded:
        cases = single_cases(len(dataset))
        features = features_of(params, card, dataset, mesh, batch_size=batch_size)
        return predict_cases(params, card, features, cases, mesh, output=output)
    return _for_every_image(forward, params, dataset, mesh, batch_size, progress)


def features_of(
    params: Any,
    card: Mapping[str, Any],
    dataset: Dataset,
    mesh: Mesh,
    *,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> np.ndarray:
    """Pooled features of every image, float32 [N, F], by the card's preprocessing.

    Args:
        params: With `encoder`.
        card: Of the artefact.
        dataset: N images in the card's working format, or their features.
        mesh: Devices.
        batch_size: Images at a time.
        progress: Called with (done, N).
    """
    if dataset.embedded:
        return dataset.source.gather(np.arange(len(dataset))).reshape(len(dataset), -1)
    contract = Contract.from_json(card["preprocessing"])
    forward = encoder_features(encoder_spec(card), contract, mesh)
    params = put_replicated({"encoder": params["encoder"]}, mesh)
    return _for_every_image(forward, params, dataset, mesh, batch_size, progress)


def single_cases(count: int) -> Cases:
    """Every image as a case by itself."""
    everyone = np.arange(count)
    return Cases(everyone.astype(str), everyone, 1)


def predict_cases(
    params: Any,
    card: Mapping[str, Any],
    features: np.ndarray,
    cases: Cases,
    mesh: Mesh,
    *,
    output: Output | None = None,
) -> np.ndarray:
    """What the head says of every case, from the features of all of its images.

    Args:
        params: As from `classifier_params`.
        card: Of the artefact.
        features: float32 [N, F].
        cases: M cases of the N images.
        mesh: Devices.
        output: As for `predict`.

    Returns:
        [M, K], in the order of the cases.
    """
    head = require_head(card)
    spec = head_spec(head)
    forward = case_classifier(spec, output or Output.of(head), mesh)
    devices, result = mesh.shape["data"], None
    # Cases of like size together, so that little is filled up and few shapes are compiled.
    widths = spec.places or 2 ** np.ceil(np.log2(cases.sizes)).astype(np.int64)
    widths = np.broadcast_to(widths, len(cases))
    for width in np.unique(widths):
        numbers = np.flatnonzero(widths == width)
        # ours: at most 2^24 numbers at a time, 64 MiB.
        at_a_time = max(1, 2**24 // int(width * features.shape[1]))
        at_a_time = -(-min(at_a_time, 256) // devices) * devices
        for start in range(0, len(numbers), at_a_time):
            chosen = numbers[start : start + at_a_time]
            bags = _bags(features, cases, chosen, at_a_time, int(width))
            rows = np.asarray(forward(params, put_batch(bags, mesh)))[: len(chosen)]
            if result is None:
                result = np.empty((len(cases), rows.shape[1]), rows.dtype)
            result[chosen] = rows
    return result.astype(np.float64)


def _bags(
    features: np.ndarray, cases: Cases, chosen: np.ndarray, rows: int, width: int
) -> dict[str, np.ndarray]:
    """Features [rows, width, F] and mask of the chosen cases, filled up with the first of them."""
    bags = np.zeros((rows, width, features.shape[1]), np.float32)
    mask = np.zeros((rows, width), bool)
    for row in range(rows):
        members = cases.members(chosen[row if row < len(chosen) else 0])
        if cases.views is None:
            bags[row, : len(members)], mask[row, : len(members)] = features[members], True
            continue
        for view in np.unique(cases.views[members]):
            # Several images of one view: their mean stands for it.
            bags[row, view] = features[members[cases.views[members] == view]].mean(axis=0)
            mask[row, view] = True
    return {"features": bags, "mask": mask}


def _for_every_image(
    forward: Callable,
    params: Any,
    dataset: Dataset,
    mesh: Mesh,
    batch_size: int,
    progress: Progress | None,
) -> np.ndarray:
    """The rows that a function gives for every image, each exactly once."""
    devices = mesh.shape["data"]
    batch_size = -(-min(batch_size, len(dataset)) // devices) * devices
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
        p = np.asarray(forward(params, images))[: len(dataset) - done]
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
    """Predictions with the columns of their manifest rows, and labels that can be scored.

    A case has the columns of its first image, its own name for that of the image, and a column
    `n_images`.
    """
    manifest, cases = dataset.manifest, dataset.cases
    y = None if dataset.spec is None else hard_labels(dataset.example_labels, dataset.spec)
    columns = manifest.columns
    rows = slice(None) if cases is None else cases.first_image

    def column(name: str | None) -> Any:
        return manifest.column(name)[rows] if name else ""

    table = predictions_table(
        head["kind"],
        tuple(head["classes"]),
        images=manifest.images if cases is None else cases.names,
        groups=dataset.example_groups,
        site=column(columns.site),
        split=column(columns.split),
        y=y,
        p=p,
        **({"horizon": head["survival"]["horizon"]} if head["kind"] == "survival" else {}),
    )
    return table if cases is None else table.assign(n_images=cases.sizes)
