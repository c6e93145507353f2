"""Temperature scaling: one number, fitted on validation data, that makes probabilities honest.

Logits are divided by T > 0 that minimises the log loss (Guo et al. 2017, "On Calibration of Modern
Neural Networks", section 4.2). The order of the classes, and so accuracy and AUROC, stay as they
are. With findings (sigmoid) one T serves all of them.

Where there are probabilities and no logits, as in a predictions file, the logits are taken back
from them: softmax and its division by the sum lose a constant only, which T does not change.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from remedis_jax.errors import UserError
from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.predictions import Predictions

# ours: T beyond these means that there is nothing to calibrate.
_RANGE = (1e-2, 1e2)
# ours: a probability that is written as 0 or 1 has no logit, and stands for one within a millionth.
CLIP = 1e-6


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


def logits_of(predictions: Predictions) -> np.ndarray:
    """The logits that give these probabilities, up to a constant per row of softmax.

    log p of softmax, log(p / (1 - p)) of sigmoid; of two classes both are the same. Probabilities
    are first clipped to [1e-6, 1 - 1e-6] (`CLIP`).

    Args:
        predictions: N images of K classes or findings, not of survival.

    Returns:
        float64 [N, K].

    Raises:
        ValueError: Of survival, whose risk is no probability.
    """
    if predictions.kind == "survival":
        raise ValueError("the risk of survival is no probability and has no logit")
    p = predictions.p.clip(CLIP, 1 - CLIP)
    return np.log(p) if predictions.kind == "softmax" else logit(p)


def fit_on_predictions(validation: Predictions) -> Temperature | NotDefined:
    """The temperature of a model from its predictions on validation data; or why there is none.

    Args:
        validation: Of classes or findings, on rows that the model was not trained on and is not
            judged on. By patient, if patients are judged.
    """
    labels = validation.y if validation.kind == "softmax" else validation.y[~np.isnan(validation.y)]
    if not len(labels):
        return NO_LABELS
    try:
        return fit_temperature(logits_of(validation), validation.y)
    except UserError as error:
        return NotDefined(error.problem.rstrip("."))


def recalibrated(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions with logits divided by the temperature, and without thresholds.

    Args:
        predictions: Of classes or findings.
        temperature: Above 0.
    """
    logits = logits_of(predictions) / temperature
    p = softmax(logits, axis=1) if predictions.kind == "softmax" else expit(logits)
    # Thresholds are of the probabilities before.
    return dataclasses.replace(predictions, p=p, thresholds=None)
