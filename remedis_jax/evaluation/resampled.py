"""Metrics of many resamples at once: weights instead of copies, one sort instead of thousands.

A resample that draws patient g c_g times is the same set of images with weight c_g on each image
of g. Losses and accuracies are then ratios of sums over patients, a matrix product for all
resamples; AUROC and average precision are cumulative sums of weights along the sorted scores. The
values are those of scikit-learn with `sample_weight`.
"""

from collections.abc import Callable

import numpy as np

from remedis_jax.evaluation.metrics import (
    RANKING,
    THRESHOLD,
    TOP,
    BinaryProblem,
    binary_problems,
    check_metric,
    normalised,
)
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.ranks import OfWeights, divide, pairs_above, sorted_ties
from remedis_jax.evaluation.survival import auroc_of_weights_at, concordance_of_weights

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
    if predictions.kind == "softmax":
        if base == "top3_accuracy" and len(predictions.classes) <= TOP:
            return lambda counts: np.full(len(counts), np.nan)
        if base == "balanced_accuracy":
            right = predictions.p.argmax(axis=1) == predictions.y
            return _balanced(predictions.y, right, index, len(groups))
        return _ratio(_softmax_terms(predictions, base), index, len(groups))
    if base == "top3_accuracy":
        return lambda counts: np.full(len(counts), np.nan)
    resamplers = []
    for problem in _chosen(predictions, part):
        rows = index[problem.rows]
        if base == "balanced_accuracy":
            right = (problem.score >= THRESHOLD) == problem.y
            resamplers.append(_balanced(problem.y, right, rows, len(groups)))
        else:
            resamplers.append(_ratio(_finding_terms(problem, base), rows, len(groups)))
    return _mean_of_defined(resamplers)


def auroc_of_weights(y: np.ndarray, score: np.ndarray) -> OfWeights:
    """AUROC as the weighted Mann-Whitney statistic, ties one half (Hanley and McNeil 1982).

    Args:
        y: int64 [N], 0 or 1.
        score: float64 [N].

    Returns:
        A function of weights [R, N] >= 0 that returns float64 [R], NaN without both classes.
    """
    pairs = pairs_above(score)

    def values(weights: np.ndarray) -> np.ndarray:
        positive = weights * y
        negative = weights - positive
        return divide(pairs(positive, negative), positive.sum(axis=1) * negative.sum(axis=1))

    return values


def auprc_of_weights(y: np.ndarray, score: np.ndarray) -> OfWeights:
    """Average precision, sum over thresholds of precision times step in recall.

    Arguments and result as `auroc_of_weights`.
    """
    order, starts = sorted_ties(-score)

    def values(weights: np.ndarray) -> np.ndarray:
        weights = weights[:, order]
        positive = np.add.reduceat(weights * y[order], starts, axis=1)
        every = np.add.reduceat(weights, starts, axis=1)
        called = np.cumsum(every, axis=1)
        precision = np.divide(
            np.cumsum(positive, axis=1), called, out=np.zeros_like(called), where=called > 0
        )
        events = positive.sum(axis=1)
        # With positives only the sum would be 1: no statement about the scores.
        events[events == called[:, -1]] = 0
        return divide(np.einsum("rn,rn->r", positive, precision), events)

    return values


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
        return lambda counts: np.full(len(counts), np.nan)
    values = curve(problem.y, problem.score)
    rows = index[problem.rows]
    return lambda counts: values(counts[:, rows])


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


def _balanced(y: np.ndarray, right: np.ndarray, index: np.ndarray, groups: int) -> Resampler:
    classes = np.unique(y)
    recalls = [_ratio(right[y == k], index[y == k], groups) for k in classes]
    mean = _mean_of_defined(recalls)

    def values(counts: np.ndarray) -> np.ndarray:
        present = sum(~np.isnan(recall(counts)) for recall in recalls)
        return np.where(present >= 2, mean(counts), np.nan)

    return values


def _mean_of_defined(resamplers: list[Resampler]) -> Resampler:
    if not resamplers:  # of a finding without a known label
        return lambda counts: np.full(len(counts), np.nan)

    def values(counts: np.ndarray) -> np.ndarray:
        stacked = np.stack([values_of(counts) for values_of in resamplers])
        defined = ~np.isnan(stacked)
        return divide(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0))

    return values
