"""Whether labels can be scored at all: asked before a run, not found out at its end."""

from collections.abc import Sequence

import numpy as np

from remedis_jax.data.labels import UNKNOWN, LabelSpec, hard_labels
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate, disagreeing
from remedis_jax.evaluation.metrics import label_counts, value_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions


def require_scorable(
    labels: np.ndarray,
    spec: LabelSpec,
    what: str,
    *,
    groups: Sequence[str] | None = None,
    metric: str = "auroc",
    horizon: float | None = None,
) -> None:
    """Refuses labels of which a metric has no value, whatever the predictions are going to be.

    Of several classes or findings those that can be scored are enough: the mean is over them.

    Args:
        labels: As from `encode_labels`, of all that are to be scored.
        spec: What they mean.
        what: What they are called in the message, such as "the validation rows".
        groups: The patient of each, to ask for a score by patient; None for one by image.
        metric: As in `metrics.score`.
        horizon: Of survival, when the risk is judged, in the unit of the time column.

    Raises:
        UserError: No label is known, all are of one class (of every finding, all are positive or
            all negative); of survival, no event is seen up to the horizon, nobody is followed
            beyond it, or no pair can be compared. With the counts.
    """
    predictions = _invented(labels, spec, groups, horizon)
    unit, by_image = "images", predictions
    if groups is not None:
        unit, predictions = "patients", aggregate(predictions)
    value = value_of(predictions, metric)
    if not isinstance(value, NotDefined):
        return
    counts = [f"{_without(by_image, len(labels)):,} of {len(labels):,} images without a label"]
    if groups is not None and len(mixed := disagreeing(by_image)):
        counts.append(f"{len(mixed):,} patients whose images do not agree")
    raise UserError(
        f"{what}: {metric} cannot be computed of their labels: {value.reason} ({unit}:"
        f" {_counts(predictions, spec)}; {', '.join(counts)}).",
        _REMEDIES[spec.kind],
    )


_REMEDIES = {
    "softmax": "Choose rows with two classes or more, or another metric.",
    "sigmoid": "Choose rows in which a finding is present and absent, or another metric.",
    "survival": "Choose rows with events up to objective.horizon and with others followed beyond"
    " it, in the unit of the time column.",
}


def _invented(
    labels: np.ndarray, spec: LabelSpec, groups: Sequence[str] | None, horizon: float | None
) -> Predictions:
    """Predictions with these labels; whether a metric is defined does not depend on the scores."""
    y = hard_labels(labels, spec)
    known = np.ones(len(y), bool)
    if spec.kind == "softmax":
        known, y = y != UNKNOWN, y.astype(np.int64)
    elif spec.kind == "survival":
        known = ~np.isnan(y).any(axis=1)
    images = np.arange(len(y)).astype(str)
    names = images if groups is None else np.asarray(groups).astype(str)
    k = len(spec.classes)
    return Predictions(
        spec.kind, spec.classes, y[known] if spec.kind == "softmax" else y[known].astype(float),
        np.full((int(known.sum()), k), 1 / k), names[known], images[known],
        horizon=(horizon or 1.0) if spec.kind == "survival" else None,
    )  # fmt: skip


def _without(predictions: Predictions, images: int) -> int:
    """Images without a label that can be scored."""
    known = len(predictions.images)
    if predictions.kind == "sigmoid":
        known = int((~np.isnan(predictions.y)).any(axis=1).sum())
    return images - known


def _counts(predictions: Predictions, spec: LabelSpec) -> str:
    if spec.kind == "survival":
        time, event = predictions.y.T
        h = predictions.horizon
        last = f", the last time is {time.max():g}" if len(time) else ""
        return (
            f"{int(event.sum()):,} events, {int((event * (time <= h)).sum()):,} of them up to"
            f" {h:g}; {int((time > h).sum()):,} followed beyond it{last}"
        )
    if spec.kind == "softmax":
        found = np.bincount(predictions.y, minlength=len(spec.classes))
        return ", ".join(f"{c!r} {n:,}" for c, n in zip(spec.classes, found, strict=True))
    return ", ".join(
        f"{name!r} {positive:,}+/{known - positive:,}-"
        for name, (positive, known, _) in label_counts(predictions).items()
    )
