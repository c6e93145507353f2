"""Whether a map shows what a head learnt: the map of a head that has learnt nothing beside it.

The sanity check of Adebayo et al. 2018 ("Sanity Checks for Saliency Maps"), of the head only.
"""

from typing import Any

import jax
import numpy as np
from scipy.stats import spearmanr

from remedis_jax.evaluation.not_defined import NotDefined

# ours: one random head can be like or unlike the real one by chance.
DRAWS = 5


def randomised_head(head: Any, seed: int) -> Any:
    """A head that has learnt nothing: the numbers of each array in another order.

    A map that stays the same shows the image, or the encoder, and not what the head learnt.
    Adebayo et al. redraw the weights; shuffled ones (ours) have the same distribution exactly.

    Args:
        head: Nested arrays.
        seed: Of the order.
    """
    generator = np.random.default_rng(seed)

    def shuffled(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return generator.permutation(values.ravel()).reshape(values.shape)

    return jax.tree.map(shuffled, head)


def map_correlation(first: np.ndarray, second: np.ndarray) -> float | NotDefined:
    """Spearman's rank correlation of two maps of one shape, in [-1, 1] (Adebayo et al. 2018)."""
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return NotDefined("a map has the same value everywhere")
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
