"""The two-class problems that predictions are made of, one per class that is scored by itself."""

import dataclasses

import numpy as np

from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.predictions import Predictions

THRESHOLD = 0.5  # where none was chosen on validation data; ours


@dataclasses.dataclass(frozen=True, eq=False)
class BinaryProblem:
    """One class against the rest, over the images whose label is known.

    Attributes:
        name: The class; None for a binary softmax, which has one problem only.
        rows: int64 [M], positions of the images.
        y: int64 [M], 0 or 1.
        score: float64 [M].
        threshold: A score of so much or more is called positive by sensitivity and specificity; or
            why there is no operating point.
    """

    name: str | None
    rows: np.ndarray
    y: np.ndarray
    score: np.ndarray
    threshold: float | NotDefined = THRESHOLD

    @property
    def one_class_only(self) -> NotDefined | None:
        """Why ranking metrics are not defined, if they are not."""
        n, events = len(self.y), int(self.y.sum())
        if n == 0:
            return NO_LABELS
        if events in (0, n):
            return NotDefined(f"only {'positives' if events else 'negatives'}, n={n:,}")
        return None


def binary_problems(predictions: Predictions) -> list[BinaryProblem]:
    """The problems that `predictions` is made of, in the order of its classes.

    Two softmax classes are one problem, whose score is the probability of the positive class; of
    more each is one against the rest, and of findings each is one by itself. Not of survival.
    """
    everything = np.arange(len(predictions.images))
    if predictions.is_binary:
        k = predictions.positive_index
        y = (predictions.y == k).astype(np.int64)
        (threshold,) = predictions.thresholds or (THRESHOLD,)
        return [BinaryProblem(None, everything, y, predictions.p[:, k], threshold)]
    thresholds = predictions.thresholds or (THRESHOLD,) * len(predictions.classes)
    problems = []
    for k, name in enumerate(predictions.classes):
        if predictions.kind == "softmax":
            rows, y = everything, predictions.y == k
        else:
            rows = np.flatnonzero(~np.isnan(predictions.y[:, k]))
            y = predictions.y[rows, k]
        score = predictions.p[rows, k]
        problems.append(BinaryProblem(name, rows, y.astype(np.int64), score, thresholds[k]))
    return problems
