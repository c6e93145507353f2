"""Each metric of predictions as they are, computed by scikit-learn, or why it has no value.

Every function takes predictions and, for one part of a macro average, the class or finding.
`evaluation.metrics` has their names and rules.
"""

from collections.abc import Callable

import numpy as np

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation import survival
from remedis_jax.evaluation.binary_problems import THRESHOLD, BinaryProblem, binary_problems
from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.predictions import Predictions

TOP = 3
BINS = 15  # of the calibration error; Guo et al. 2017


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


def sensitivity(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Share of the positives that are called positive, at `Predictions.thresholds`.

    Of more than two classes one against the rest; arguments as `auroc`.
    """
    return _at_threshold(predictions, name, 1)


def specificity(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Share of the negatives that are called negative, at `Predictions.thresholds`.

    Of more than two classes one against the rest; arguments as `auroc`.
    """
    return _at_threshold(predictions, name, 0)


def cohen_kappa(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Agreement of decisions and labels beyond chance, (p_o - p_e) / (1 - p_e), without weights.

    Decisions as in `accuracy`. Not defined where all labels are of one class: the agreement by
    chance is then that which was found, whatever the predictions. Cohen 1960 (Educ. Psychol.
    Meas. 20:37).
    """
    from sklearn.metrics import cohen_kappa_score

    def kappa(y: np.ndarray, guess: np.ndarray) -> float | NotDefined:
        if len(np.unique(y)) < 2:
            return NotDefined(f"one class only, n={len(y):,}")
        return float(cohen_kappa_score(y, guess))

    return _decided(predictions, name, kappa)


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


def ece(predictions: Predictions, name: str | None = None) -> float | NotDefined:
    """Expected calibration error: sum over bins b of n_b / n |mean outcome - mean confidence|.

    Of more than two classes the confidence is the probability of the chosen class (rows divided by
    their sum, as in `log_loss`) and the outcome whether it is the right one. Of two classes, and of
    findings (macro average), they are the probability of the positive class and whether it is
    there. Bins are `BINS` of equal width, ((b - 1) / BINS, b / BINS], with 0 in the first one.

    References:
        Naeini, Cooper and Hauskrecht 2015 (AAAI, section 3); Guo et al. 2017 (ICML, equation 3).
    """
    if predictions.kind == "softmax":
        _refuse_part(name)
        if not len(predictions.y):
            return NO_LABELS
        return _calibration_error(*confidences(predictions))
    return _known(
        predictions, name, lambda p: _calibration_error(p.score, p.y.astype(np.float64))
    )


def confidences(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and outcome of softmax predictions as `ece` compares them, float64 [N] each."""
    p = normalised(predictions.p)
    if predictions.is_binary:
        k = predictions.positive_index
        return p[:, k], (predictions.y == k).astype(np.float64)
    # The decision is that on the file's own numbers, as in `accuracy`.
    chosen = predictions.p.argmax(axis=1)
    return p[np.arange(len(p)), chosen], (chosen == predictions.y).astype(np.float64)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """int64 [N] in [0, BINS): the bin of each confidence in [0, 1], as `ece` has them."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence, side="left")


def normalised(p: np.ndarray) -> np.ndarray:
    """Rows of float64 [N, K] divided by their sum."""
    return p / p.sum(axis=1, keepdims=True)


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


def _at_threshold(predictions: Predictions, name: str | None, of: int) -> float | NotDefined:
    from sklearn.metrics import recall_score

    def recall(problem: BinaryProblem) -> float | NotDefined:
        if isinstance(problem.threshold, NotDefined):
            return NotDefined(f"no operating point: {problem.threshold.reason}")
        if of not in problem.y:
            return NotDefined(f"no {'positives' if of else 'negatives'}, n={len(problem.y):,}")
        called = (problem.score >= problem.threshold).astype(np.int64)
        return float(recall_score(problem.y, called, pos_label=of))

    return _known(predictions, name, recall)


def _calibration_error(confidence: np.ndarray, outcome: np.ndarray) -> float:
    gaps = np.bincount(bin_of(confidence), weights=outcome - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(outcome))
