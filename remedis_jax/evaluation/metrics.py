"""The metrics: their names, which of them predictions have, and their values or why there is none.

Two softmax classes are a binary problem: the score is the probability of the positive class.
More classes are scored one against the rest, findings each by itself; the plain name of a metric
is then the macro average and `<metric>/<class>` the part. Labels that are unknown take no part. A
part that is not defined (one class only) is left out of the macro average, and its own entry says
why: see `left_out`. Survival has metrics of its own, and no parts: `evaluation.survival`.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation import point_values
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.binary_problems import binary_problems
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.point_values import TOP
from remedis_jax.evaluation.predictions import Kind, Predictions

Level = Literal["image", "group"]

NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "ECE",
    "top3_accuracy": "Top-3 accuracy",
    "concordance": "Concordance",
}
# Of two classes and of findings.
METRICS = (
    "auroc", "auprc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "cohen_kappa",
    "log_loss", "brier", "ece",
)  # fmt: skip
_SURVIVAL = ("auroc", "concordance")
RANKING = ("auroc", "auprc")
AT_THRESHOLD = ("sensitivity", "specificity")  # at the operating point, `Predictions.thresholds`
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
_FUNCTIONS: dict[str, Callable[..., float | NotDefined]] = {
    name: getattr(point_values, name) for name in NAMES
}


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
    if predictions.kind == "softmax" and metric not in RANKING + AT_THRESHOLD:
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
