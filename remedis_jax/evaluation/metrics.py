"""Point values of the metrics, computed by scikit-learn, with a reason where there is none.

Two softmax classes are a binary problem: the score is the probability of the positive class.
More classes are scored one against the rest, findings each by itself; the plain name of a metric
is then the macro average and `<metric>/<class>` the part. Labels that are unknown take no part. A
part that is not defined (one class only) is left out of the macro average, and its own entry says
why: see `left_out`. Survival has metrics of its own, and no parts: `evaluation.survival`.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation import survival
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.predictions import Kind, Predictions

Level = Literal["image", "group"]

NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "top3_accuracy": "Top-3 accuracy",
    "concordance": "Concordance",
}
# Of two classes and of findings.
METRICS = ("auroc", "auprc", "accuracy", "balanced_accuracy", "log_loss", "brier")
TOP = 3
_SURVIVAL = ("auroc", "concordance")
RANKING = ("auroc", "auprc")
LOWER_IS_BETTER = ("log_loss", "brier")
THRESHOLD = 0.5  # of a finding, for the accuracies; ours


@dataclasses.dataclass(frozen=True, eq=False)
class BinaryProblem:
    """One class against the rest, over the images whose label is known.

    Attributes:
        name: The class; None for a binary softmax, which has one problem only.
        rows: int64 [M], positions of the images.
        y: int64 [M], 0 or 1.
        score: float64 [M].
    """

    name: str | None
    rows: np.ndarray
    y: np.ndarray
    score: np.ndarray

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
    """The problems that `predictions` is made of, in the order of its classes."""
    everything = np.arange(len(predictions.images))
    if predictions.is_binary:
        k = predictions.positive_index
        y = (predictions.y == k).astype(np.int64)
        return [BinaryProblem(None, everything, y, predictions.p[:, k])]
    problems = []
    for k, name in enumerate(predictions.classes):
        if predictions.kind == "softmax":
            rows, y = everything, predictions.y == k
        else:
            rows = np.flatnonzero(~np.isnan(predictions.y[:, k]))
            y = predictions.y[rows, k]
        problems.append(BinaryProblem(name, rows, y.astype(np.int64), predictions.p[rows, k]))
    return problems


def metrics_of(kind: Kind, classes: int = 2) -> tuple[str, ...]:
    """The metrics that are shown of predictions of a kind with so many classes, in their order."""
    if kind == "survival":
        return _SURVIVAL
    if kind == "softmax" and classes > TOP:
        return (*METRICS, "top3_accuracy")
    return METRICS


def score(
    predictions: Predictions, level: Level = "image", metrics: Iterable[str] | None = None
) -> dict[str, float | NotDefined]:
    """Computes metrics.

    Args:
        predictions: The labels and probabilities.
        level: 'image', or 'group': the mean over each patient's images, see `aggregate`.
        metrics: Keys of `NAMES`; `metrics_of` the kind if None.

    Returns:
        Metric -> value, never NaN; `<metric>/<class>` -> value for every part of a macro average.

    Raises:
        UserError: An unknown metric or level, or a metric of another kind of predictions.
    """
    if level not in ("image", "group"):
        raise UserError(f"level {level!r} is unknown.", "Choose 'image' or 'group'.")
    if level == "group":
        predictions = aggregate(predictions)
    if metrics is None:
        metrics = metrics_of(predictions.kind, len(predictions.classes))
    values: dict[str, float | NotDefined] = {}
    for metric in metrics:
        check_metric(metric, predictions.kind)
        values[metric] = _FUNCTIONS[metric](predictions)
        for name in parts(predictions, metric):
            values[f"{metric}/{name}"] = _FUNCTIONS[metric](predictions, name)
    return values


def value_of(predictions: Predictions, metric: str) -> float | NotDefined:
    """One entry of `score`: a metric's name, or `<metric>/<class>`."""
    check_metric(metric, predictions.kind)
    name, _, part = metric.partition("/")
    return _FUNCTIONS[name](predictions, part or None)


def parts(predictions: Predictions, metric: str) -> tuple[str, ...]:
    """Names of the parts whose macro average `metric` is; empty where it is no average."""
    if "/" in metric or predictions.is_binary or predictions.kind == "survival":
        return ()
    if predictions.kind == "softmax" and metric not in RANKING:
        return ()
    return predictions.classes


def left_out(predictions: Predictions, metric: str) -> tuple[str, ...]:
    """The parts of the macro average `metric` that are not defined and so not in it."""
    return tuple(
        name
        for name in parts(predictions, metric)
        if isinstance(_FUNCTIONS[metric](predictions, name), NotDefined)
    )


def label_counts(predictions: Predictions) -> dict[str, tuple[int, int, int]]:
    """Class -> (positives, known labels, masked labels), over images; not of survival."""
    n = len(predictions.images)
    return {
        problem.name or predictions.classes[predictions.positive_index]: (
            int(problem.y.sum()),
            len(problem.y),
            n - len(problem.y),
        )
        for problem in binary_problems(predictions)
    }


def check_metric(metric: str, kind: Kind | None = None) -> None:
    """Refuses what is no metric, or none of predictions of the kind.

    Args:
        metric: A name; what stands after a slash is not looked at.
        kind: Of the predictions; None to accept the metrics of all kinds.

    Raises:
        UserError: It is none.
    """
    name = metric.partition("/")[0]
    known = tuple(NAMES) if kind is None else metrics_of(kind, TOP + 1)
    # Of two or three classes, and of findings, it says why it is not defined.
    if name not in known and not (name == "top3_accuracy" and kind == "sigmoid"):
        of = "unknown" if name not in NAMES else f"no metric of {kind}"
        raise UserError(
            f"metric {metric!r} is {of}.{did_you_mean(name, known)}",
            f"Choose one of {', '.join(known)}.",
        )


def auroc(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Area under the receiver operating characteristic; ties count one half.

    Args:
        predictions: Binary, multi-class (macro, one against the rest), findings (macro), or
            survival (of who has the event up to the horizon, `survival.time_dependent_auroc`).
        name: One class or finding instead of the average.
    """
    if predictions.kind == "survival":
        _refuse_part(name)
        time, event = predictions.y.T
        return survival.time_dependent_auroc(
            time, event, predictions.p[:, 0], predictions.horizon
        )
    from sklearn.metrics import roc_auc_score

    return _over_problems(predictions, name, lambda p: float(roc_auc_score(p.y, p.score)))


def auprc(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Average precision: sum of precision times step in recall, no interpolation.

    Its value for random scores is the prevalence, so it compares only on one set of images.
    Arguments as `auroc`.
    """
    from sklearn.metrics import average_precision_score

    return _over_problems(predictions, name, lambda p: float(average_precision_score(p.y, p.score)))


def accuracy(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Share of images whose most probable class is right; findings: p >= 0.5, macro average."""
    from sklearn.metrics import accuracy_score

    return _decided(predictions, name, lambda y, guess: float(accuracy_score(y, guess)))


def top3_accuracy(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Share of images whose class is among the three most probable; not of three classes or less.

    Of equally probable classes the last ones come first, as scikit-learn has it.
    """
    from sklearn.metrics import top_k_accuracy_score

    _refuse_part(name)
    if predictions.kind != "softmax" or len(predictions.classes) <= TOP:
        return NotDefined(f"needs more than {TOP} classes of which each image has one")
    if not len(predictions.y):
        return NO_LABELS
    labels = np.arange(len(predictions.classes))
    return float(top_k_accuracy_score(predictions.y, predictions.p, k=TOP, labels=labels))


def concordance(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Harrell's index of survival, see `survival.concordance`."""
    _refuse_part(name)
    time, event = predictions.y.T
    return survival.concordance(time, event, predictions.p[:, 0])


def balanced_accuracy(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Mean of the classes' recalls, over the classes that occur; not defined for a single one."""
    from sklearn.metrics import recall_score

    def mean_recall(y: np.ndarray, guess: np.ndarray) -> float | NotDefined:
        present = np.unique(y)
        if len(present) < 2:
            return NotDefined(f"one class only, n={len(y):,}")
        return float(recall_score(y, guess, labels=present, average="macro"))

    return _decided(predictions, name, mean_recall)


def log_loss(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Mean negative log-likelihood in nats; findings: macro average.

    Softmax rows are divided by their sum, which rounding in the file moves away from 1.
    """
    from sklearn.metrics import log_loss as sklearn_log_loss

    if predictions.kind == "softmax":
        _refuse_part(name)
        if not len(predictions.y):
            return NO_LABELS
        p = normalised(predictions.p)
        return float(sklearn_log_loss(predictions.y, p, labels=np.arange(p.shape[1])))
    return _known(
        predictions, name, lambda p: float(sklearn_log_loss(p.y, p.score, labels=[0, 1]))
    )


def brier(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Mean squared error of the probabilities: in [0, 1] for two classes and for findings (macro
    average), summed over the classes and in [0, 2] for more (Brier 1950). Softmax rows are divided
    by their sum, as in `log_loss`.
    """
    from sklearn.metrics import brier_score_loss

    if predictions.kind == "softmax":
        _refuse_part(name)
        if not len(predictions.y):
            return NO_LABELS
        p = normalised(predictions.p)
        return float(brier_score_loss(predictions.y, p, labels=np.arange(p.shape[1])))
    return _known(
        predictions, name, lambda p: float(brier_score_loss(p.y, p.score, pos_label=1))
    )


def normalised(p: np.ndarray) -> np.ndarray:
    """Rows of float64 [N, K] divided by their sum."""
    return p / p.sum(axis=1, keepdims=True)


_FUNCTIONS: dict[str, Callable[..., float | NotDefined]] = {
    "auroc": auroc,
    "auprc": auprc,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "log_loss": log_loss,
    "brier": brier,
    "top3_accuracy": top3_accuracy,
    "concordance": concordance,
}


def _macro(values: list[float | NotDefined]) -> float | NotDefined:
    defined = [value for value in values if not isinstance(value, NotDefined)]
    if defined:
        return float(np.mean(defined))
    if len(values) == 1:
        return values[0]
    return NotDefined(f"none of the {len(values)} parts is defined; the first: {values[0].reason}")


def _named(predictions: Predictions, name: str | None) -> list[BinaryProblem]:
    problems = binary_problems(predictions)
    if name is None:
        return problems
    chosen = [problem for problem in problems if problem.name == name]
    if not chosen:
        raise UserError(
            f"there is no metric by itself for {name!r}.{did_you_mean(name, predictions.classes)}",
            "Name one of several classes or findings, "
            f"here {', '.join(p.name for p in problems if p.name) or 'none: it is binary'}.",
        )
    return chosen


def _refuse_part(name: str | None) -> None:
    if name is not None:
        raise UserError(
            f"class {name!r} has no such metric by itself.", "Ask for auroc or auprc of a class."
        )


def _over_problems(
    predictions: Predictions, name: str | None, function: Callable[[BinaryProblem], float]
) -> float | NotDefined:
    problems = _named(predictions, name)
    return _macro([problem.one_class_only or function(problem) for problem in problems])


def _known(
    predictions: Predictions,
    name: str | None,
    function: Callable[[BinaryProblem], float | NotDefined],
) -> float | NotDefined:
    problems = _named(predictions, name)
    return _macro([function(p) if len(p.y) else p.one_class_only for p in problems])


def _decided(
    predictions: Predictions,
    name: str | None,
    function: Callable[[np.ndarray, np.ndarray], float | NotDefined],
) -> float | NotDefined:
    if predictions.kind == "softmax":
        _refuse_part(name)
        if not len(predictions.y):
            return NO_LABELS
        return function(predictions.y, predictions.p.argmax(axis=1))
    return _known(
        predictions, name, lambda p: function(p.y, (p.score >= THRESHOLD).astype(np.int64))
    )
