"""AUROC and average precision for many sets of weights at once: one sort serves them all.

With whole numbers for weights all sums are exact, so both ways to count pairs give the same bits.
"""

import numpy as np

from remedis_jax.evaluation.ranks import OfWeights, divide

# Where patients are few, the pairs of each two of them are counted once and a resample is a
# quadratic form of its counts; ours, measured on two cores.
_PAIRS_PER_IMAGE = 200
_TABLE = 4_000_000  # cells of the tables that make the pairs


def auroc_of_weights(
    y: np.ndarray, score: np.ndarray, index: np.ndarray | None = None
) -> OfWeights:
    """AUROC as the weighted Mann-Whitney statistic, ties one half (Hanley and McNeil 1982).

    Args:
        y: int64 [N], 0 or 1.
        score: float64 [N].
        index: int64 [N], which column of the weights an image has; None if it is its own.

    Returns:
        A function of weights [R, G] >= 0, G = N without `index`, that returns float64 [R]: NaN
        without both classes.
    """
    index = np.arange(len(y)) if index is None else index
    positive, negative = y == 1, y == 0
    # Negatives by score; a positive has the first `below` of them below it, and the next, up to
    # `up_to`, beside it.
    order = np.argsort(score[negative], kind="stable")
    ranked = score[negative][order]
    below = np.searchsorted(ranked, score[positive], side="left")
    up_to = np.searchsorted(ranked, score[positive], side="right")
    positives, negatives = index[positive], index[negative][order]
    of_positives, of_negatives = np.unique(positives), np.unique(negatives)
    tables = (len(negatives) + 1 + len(positives)) * len(of_negatives)
    pairs_of_columns = len(of_positives) * len(of_negatives)
    if tables <= _TABLE and pairs_of_columns <= _PAIRS_PER_IMAGE * len(y):
        return _quadratic(positives, negatives, below, up_to)

    def values(weights: np.ndarray) -> np.ndarray:
        of_positive = weights[:, positives]
        sums = _prefix_sums(weights[:, negatives])
        # Twice the pairs: those below once more, and those beside once.
        twice = np.einsum("rn,rn->r", of_positive, sums[:, below] + sums[:, up_to])
        return divide(0.5 * twice, of_positive.sum(axis=1) * sums[:, -1])

    return values


def auprc_of_weights(
    y: np.ndarray, score: np.ndarray, index: np.ndarray | None = None
) -> OfWeights:
    """Average precision, sum over thresholds of precision times step in recall.

    Arguments and result as `auroc_of_weights`; NaN also where there are positives only, as it
    would be 1 whatever the scores.
    """
    index = np.arange(len(y)) if index is None else index
    columns, called = [], []
    at = -np.sort(-score[y == 1])  # thresholds: the positives' scores, from the highest
    for of in (1, 0):
        own = score[y == of]
        order = np.argsort(-own, kind="stable")
        columns.append(index[y == of][order])
        # How many of them are called positive at each threshold, those that are tied included.
        called.append(np.searchsorted(-own[order], -at, side="right"))

    def values(weights: np.ndarray) -> np.ndarray:
        of_positive = weights[:, columns[0]]
        true, false = _prefix_sums(of_positive), _prefix_sums(weights[:, columns[1]])
        hits = true[:, called[0]]
        every = hits + false[:, called[1]]
        precision = np.divide(hits, every, out=np.zeros_like(hits), where=every > 0)
        events = np.where(false[:, -1] > 0, true[:, -1], 0)
        return divide(np.einsum("rn,rn->r", of_positive, precision), events)

    return values


def _quadratic(
    positives: np.ndarray, negatives: np.ndarray, below: np.ndarray, up_to: np.ndarray
) -> OfWeights:
    rows, row = np.unique(positives, return_inverse=True)
    columns, column = np.unique(negatives, return_inverse=True)
    # How many of the first n negatives each column has.
    among = np.zeros((len(negatives) + 1, len(columns)))
    among[np.arange(1, len(among)), column] = 1
    np.cumsum(among, axis=0, out=among)
    of_positive = 0.5 * (among[below] + among[up_to])
    pairs = np.zeros((len(rows), len(columns)))
    if len(rows):
        by_row = np.argsort(row, kind="stable")
        starts = np.searchsorted(row[by_row], np.arange(len(rows)))
        pairs = np.add.reduceat(of_positive[by_row], starts, axis=0)
    sizes = np.bincount(row, minlength=len(rows)), among[-1]

    def values(weights: np.ndarray) -> np.ndarray:
        of_rows, of_columns = weights[:, rows], weights[:, columns]
        found = np.einsum("rp,rp->r", of_rows, of_columns @ pairs.T)
        return divide(found, (of_rows @ sizes[0]) * (of_columns @ sizes[1]))

    return values


def _prefix_sums(weights: np.ndarray) -> np.ndarray:
    """float64 [R, N + 1]: the sums of the first 0, 1, ..., N."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
