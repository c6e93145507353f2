"""Sums over pairs that are in the right order, for many sets of weights at once.

A sort that is made once serves every resample; what is left is cumulative sums of weights.
"""

from collections.abc import Callable

import numpy as np

# Weights [R, N] >= 0 -> values [R], NaN where there is none.
OfWeights = Callable[[np.ndarray], np.ndarray]


def sorted_ties(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending order of the scores, and where in it each run of equal scores starts."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    return order, np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])


def pairs_above(score: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Weighted number of pairs of a case and a control in which the case has the higher score.

    The Mann-Whitney statistic; ties count one half.

    Args:
        score: float64 [N].

    Returns:
        A function of the weights of the cases and of the controls, both float64 [R, N], 0 where an
        image is not one; it returns float64 [R].
    """
    order, starts = sorted_ties(score)

    def pairs(cases: np.ndarray, controls: np.ndarray) -> np.ndarray:
        above = np.add.reduceat(cases[:, order], starts, axis=1)
        below = np.add.reduceat(controls[:, order], starts, axis=1)
        return np.einsum("rn,rn->r", above, np.cumsum(below, axis=1) - 0.5 * below)

    return pairs


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.divide(
        numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0
    )
