"""Temperature scaling: one number, fitted on validation data, that makes probabilities honest.

Logits are divided by T > 0 that minimises the log loss (Guo et al. 2017, "On Calibration of Modern
Neural Networks", section 4.2). The order of the classes, and so accuracy and AUROC, stay as they
are. With findings (sigmoid) one T serves all of them.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from remedis_jax.errors import UserError

# ours: T beyond these means that there is nothing to calibrate.
_RANGE = (1e-2, 1e2)


@dataclasses.dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T.
        log_loss_before: Mean negative log-likelihood at T = 1, in nats.
        log_loss_after: At T.
        labels: How many labels it was fitted on.
    """

    value: float
    log_loss_before: float
    log_loss_after: float
    labels: int


def log_loss(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood of the known labels, in nats.

    Args:
        logits: float64 [N, K].
        y: int [N] in [0, K) (softmax), or float [N, K] of 0, 1 and NaN where unknown (sigmoid).
    """
    if y.ndim == 1:
        return float(-log_softmax(logits, axis=1)[np.arange(len(y)), y].mean())
    known = ~np.isnan(y)
    # log_expit keeps its digits where the probability is next to 0 or 1.
    right = np.where(y == 1, log_expit(logits), log_expit(-logits))
    return float(-right[known].mean())


def fit_temperature(logits: np.ndarray, y: np.ndarray) -> Temperature:
    """The temperature that minimises the log loss.

    Args:
        logits: float64 [N, K], finite.
        y: As for `log_loss`.

    Returns:
        The temperature with the loss before and after.

    Raises:
        UserError: Only one class is among the labels, or every label is predicted right with any
            confidence, so that no temperature is best.
    """
    known = y if y.ndim == 1 else y[~np.isnan(y)]
    if len(np.unique(known)) < 2:
        raise UserError(
            f"All {len(known):,} labels to calibrate on are the same.",
            "Calibrate on validation data with more than one class.",
        )
    found = minimize_scalar(
        lambda log_t: log_loss(logits / np.exp(log_t), y),
        bounds=np.log(_RANGE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    value = float(np.exp(found.x))
    # Perfect predictions have no best temperature: below some T the loss is 0 to rounding.
    if found.fun < 1e-9 or not _RANGE[0] * 1.01 < value < _RANGE[1] / 1.01:
        raise UserError(
            f"No temperature is best (the search ended at {value:.3g}): the labels are predicted "
            "perfectly, or not at all.",
            "Calibrate on more validation data.",
        )
    return Temperature(value, log_loss(logits, y), float(found.fun), len(known))
