"""Metrics of many resamples at once: weights instead of copies, one sort instead of thousands.

A resample that draws patient g c_g times is the same set of images with weight c_g on each image
of g. Losses and accuracies are then ratios of sums over patients, a matrix product for all
resamples; AUROC and average precision are cumulative sums of weights along the sorted scores. The
values are those of scikit-learn with `sample_weight`.
"""

from collections.abc import Callable

import numpy as np

from remedis_jax.evaluation.binary_problems import THRESHOLD, BinaryProblem, binary_problems
from remedis_jax.evaluation.metrics import AT_THRESHOLD, RANKING, check_metric
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.point_values import BINS, TOP, bin_of, confidences, normalised
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.ranks import OfWeights, divide
from remedis_jax.evaluation.survival import auroc_of_weights_at, concordance_of_weights
from remedis_jax.evaluation.weighted_curves import auprc_of_weights, auroc_of_weights

# Counts [R, G] -> values [R], NaN where a resample has no value.
Resampler = Callable[[np.ndarray], np.ndarray]


def resampler(predictions: Predictions, metric: str) -> Resampler:
    """Prepares `metric` for resamples of the patients.

    Args:
        predictions: N images of G patients.
        metric: As in `metrics.score`, a part ('auroc/<class>') included.

    Returns:
        A function of counts, float64 [R, G], how often each patient was drawn, patients in the
        order of `np.unique(predictions.groups)`; it returns float64 [R]. NaN marks a resample in
        which nothing is defined; a macro average is over the parts that are.
    """
    check_metric(metric, predictions.kind)
    base, _, part = metric.partition("/")
    groups, index = np.unique(predictions.groups, return_inverse=True)
    if predictions.kind == "survival":
        values = _survival(predictions, base)
        return lambda counts: values(counts[:, index])
    if base in RANKING:
        curve = auroc_of_weights if base == "auroc" else auprc_of_weights
        return _mean_of_defined(
            [_ranking(p, index, curve) for p in _chosen(predictions, part)]
        )
    if base in AT_THRESHOLD:
        of = int(base == "sensitivity")
        return _mean_of_defined(
            [_recall(p, of, index, len(groups)) for p in _chosen(predictions, part)]
        )
    if predictions.kind == "softmax":
        if base == "top3_accuracy" and len(predictions.classes) <= TOP:
            return _undefined
        if base == "ece":
            return _calibration_error(*confidences(predictions), index, len(groups))
        if base in _OF_DECISIONS:
            decided = predictions.p.argmax(axis=1)
            return _OF_DECISIONS[base](predictions.y, decided, index, len(groups))
        return _ratio(_softmax_terms(predictions, base), index, len(groups))
    if base == "top3_accuracy":
        return _undefined
    resamplers = []
    for problem in _chosen(predictions, part):
        rows = index[problem.rows]
        if base == "ece":
            resamplers.append(_calibration_error(problem.score, problem.y, rows, len(groups)))
        elif base in _OF_DECISIONS:
            decided = (problem.score >= THRESHOLD).astype(np.int64)
            resamplers.append(_OF_DECISIONS[base](problem.y, decided, rows, len(groups)))
        else:
            resamplers.append(_ratio(_finding_terms(problem, base), rows, len(groups)))
    return _mean_of_defined(resamplers)


def _survival(predictions: Predictions, base: str) -> OfWeights:
    time, event = predictions.y.T
    risk = predictions.p[:, 0]
    if base == "concordance":
        return concordance_of_weights(time, event == 1, risk)
    return auroc_of_weights_at(time, event == 1, risk, predictions.horizon)


def _chosen(predictions: Predictions, part: str) -> list[BinaryProblem]:
    return [p for p in binary_problems(predictions) if not part or p.name == part]


def _ranking(problem: BinaryProblem, index: np.ndarray, curve: Callable) -> Resampler:
    if problem.one_class_only:
        return _undefined
    return curve(problem.y, problem.score, index[problem.rows])


def _softmax_terms(predictions: Predictions, base: str) -> np.ndarray:
    rows = np.arange(len(predictions.y))
    if base == "accuracy":
        return (predictions.p.argmax(axis=1) == predictions.y).astype(np.float64)
    if base == "top3_accuracy":
        # Of equal scores the last class first, as scikit-learn has it.
        best = predictions.p.argsort(axis=1, kind="stable")[:, -TOP:]
        return (best == predictions.y[:, None]).any(axis=1).astype(np.float64)
    p = normalised(predictions.p)
    if base == "log_loss":
        return -np.log(_clipped(p[rows, predictions.y]))
    truth = np.zeros_like(p)
    truth[rows, predictions.y] = 1
    return ((p - truth) ** 2).sum(axis=1) * (0.5 if p.shape[1] == 2 else 1.0)


def _finding_terms(problem: BinaryProblem, base: str) -> np.ndarray:
    if base == "accuracy":
        return ((problem.score >= THRESHOLD) == problem.y).astype(np.float64)
    if base == "brier":
        return (problem.score - problem.y) ** 2
    return -np.log(_clipped(np.where(problem.y == 1, problem.score, 1 - problem.score)))


def _clipped(p: np.ndarray) -> np.ndarray:
    """Keeps a certain and wrong prediction finite, as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    return np.clip(p, eps, 1 - eps)


def _ratio(terms: np.ndarray, index: np.ndarray, groups: int) -> Resampler:
    sums = np.bincount(index, weights=terms, minlength=groups)
    sizes = np.bincount(index, minlength=groups).astype(np.float64)
    return lambda counts: divide(counts @ sums, counts @ sizes)


def _recall(problem: BinaryProblem, of: int, index: np.ndarray, groups: int) -> Resampler:
    if isinstance(problem.threshold, NotDefined):
        return _undefined
    chosen = problem.y == of
    right = ((problem.score >= problem.threshold) == problem.y)[chosen]
    return _ratio(right, index[problem.rows][chosen], groups)


def _balanced(y: np.ndarray, decided: np.ndarray, index: np.ndarray, groups: int) -> Resampler:
    if not len(y):  # of a finding without a known label
        return _undefined
    right = decided == y
    recalls = [_ratio(right[y == k], index[y == k], groups) for k in np.unique(y)]

    def values(counts: np.ndarray) -> np.ndarray:
        stacked = np.stack([recall(counts) for recall in recalls])
        defined = ~np.isnan(stacked)
        present = defined.sum(axis=0)
        mean = divide(np.where(defined, stacked, 0.0).sum(axis=0), present)
        return np.where(present >= 2, mean, np.nan)

    return values


def _kappa(y: np.ndarray, decided: np.ndarray, index: np.ndarray, groups: int) -> Resampler:
    if not len(y):
        return _undefined
    right = np.bincount(index, weights=decided == y, minlength=groups)
    classes = np.union1d(y, decided)
    labels = _sums(y[:, None] == classes, index, groups)
    decisions = _sums(decided[:, None] == classes, index, groups)

    def values(counts: np.ndarray) -> np.ndarray:
        of_labels = counts @ labels
        n = of_labels.sum(axis=1)
        agreed = (counts @ right) * n
        by_chance = np.einsum("rk,rk->r", of_labels, counts @ decisions)
        kappa = divide(agreed - by_chance, n * n - by_chance)
        return np.where((of_labels > 0).sum(axis=1) >= 2, kappa, np.nan)

    return values


def _calibration_error(
    confidence: np.ndarray, outcome: np.ndarray, index: np.ndarray, groups: int
) -> Resampler:
    gaps = np.zeros((groups, BINS))
    np.add.at(gaps, (index, bin_of(confidence)), outcome - confidence)
    sizes = np.bincount(index, minlength=groups).astype(np.float64)
    return lambda counts: divide(np.abs(counts @ gaps).sum(axis=1), counts @ sizes)


def _sums(values: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    """float64 [G, K]: sums of [N, K] over the images of each patient."""
    return np.stack(
        [np.bincount(index, weights=column, minlength=groups) for column in values.T], axis=1
    )


_OF_DECISIONS: dict[str, Callable[..., Resampler]] = {
    "balanced_accuracy": _balanced,
    "cohen_kappa": _kappa,
}


def _undefined(counts: np.ndarray) -> np.ndarray:
    return np.full(len(counts), np.nan)


def _mean_of_defined(resamplers: list[Resampler]) -> Resampler:
    if not resamplers:  # of a finding without a known label
        return _undefined

    def values(counts: np.ndarray) -> np.ndarray:
        stacked = np.stack([values_of(counts) for values_of in resamplers])
        defined = ~np.isnan(stacked)
        return divide(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0))

    return values
