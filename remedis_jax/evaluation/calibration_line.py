"""Calibration intercept and slope: whether probabilities are too high, and whether too extreme.

Cox (1958), "Two further applications of a model for binary regression": the labels are regressed on
the logit of the predicted probability. The slope is that of logit P(y) = a + b logit(p): below 1
where predictions are too extreme. The intercept is that with b = 1 held ("calibration in the
large"): below 0 where they are too high. Both as Van Calster et al. (2019), "Calibration: the
Achilles heel of predictive analytics", recommend.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval, percentile_interval
from remedis_jax.evaluation.calibration import CLIP
from remedis_jax.evaluation.drawn_runs import (
    Statistic,
    aligned,
    draw_means,
)
from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.reliability import Forecasts, forecasts_of

# ours: a resample whose labels are all but separated has a slope that no number stands for.
_STEEPEST = 100.0
# Of Newton's method: a step of 1e-4 leaves an error of its square.
_STEPS, _CLOSE = 30, 1e-4
_NODES = 256


def intercept_and_slope(forecasts: Forecasts) -> tuple[float, float] | NotDefined:
    """The two numbers of one run; scikit-learn fits the slope and SciPy finds the intercept.

    Args:
        forecasts: M probabilities, clipped to [1e-6, 1 - 1e-6] before the logit is taken, and
            labels.

    Returns:
        (intercept, slope); or why they do not exist: one label value only, all probabilities the
        same, or labels that a threshold separates perfectly.
    """
    from sklearn.linear_model import LogisticRegression

    y, x = forecasts.y, _logit(forecasts)
    if not len(y):
        return NO_LABELS
    if y.min() == y.max():
        return NotDefined(f"only {'events' if y[0] else 'labels without the event'}, n={len(y):,}")
    if x.min() == x.max():
        return NotDefined("all probabilities are the same")
    if x[y == 1].min() >= x[y == 0].max() or x[y == 1].max() <= x[y == 0].min():
        return NotDefined("a threshold separates the labels perfectly")
    # Without a penalty; by Newton's method, whose end does not depend on the scale.
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    slope = float(model.fit(x[:, None], y).coef_[0, 0])
    # The sum of the residuals falls from above to below zero within these ends.
    far = np.abs(x).max() + abs(float(logit(y.mean()))) + 1
    intercept = brentq(lambda a: float((y - expit(a + x)).sum()), -far, far, xtol=1e-12)
    return float(intercept), slope


def calibration_lines(
    runs: Sequence[Predictions], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval | NotDefined, Interval | NotDefined]:
    """Intercept and slope as means over runs, with intervals from patients and runs together.

    Arguments as `bootstrap.seed_bootstrap`.
    """
    runs = aligned(runs)
    forecasts = [forecasts_of(run) for run in runs]
    values = []
    for of in forecasts:
        found = intercept_and_slope(of)
        if isinstance(found, NotDefined):
            return found, found
        values.append(found)
    patients = np.unique(runs[0].groups)
    means = np.mean(values, axis=0)
    if len(patients) < 2:
        reason = "one patient only, so there is no interval; the value is {:.3f}"
        return tuple(NotDefined(reason.format(mean)) for mean in means)
    statistics = [
        _resampled(of, np.searchsorted(patients, of.groups), start)
        for of, start in zip(forecasts, values, strict=True)
    ]
    drawn = draw_means(statistics, len(patients), len(forecasts[0].p), resamples, seed)
    return tuple(
        percentile_interval(float(mean), column)
        for mean, column in zip(means, drawn.T, strict=True)
    )


def _logit(forecasts: Forecasts) -> np.ndarray:
    return logit(forecasts.p.clip(CLIP, 1 - CLIP))


def _resampled(forecasts: Forecasts, patient: np.ndarray, start: tuple[float, float]) -> Statistic:
    """Intercept and slope, float64 [R, 2], of resamples.

    The labels enter exactly. The probabilities, a smooth function of x that is another in every
    resample, enter by linear interpolation between `_NODES` values of x, which makes sums over
    images one matrix product for all resamples; the slope moves by less than 0.001.
    """
    y, x = forecasts.y.astype(np.float64), _logit(forecasts)
    patients = int(patient.max()) + 1
    nodes = np.linspace(x.min(), x.max(), _NODES)
    left = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, _NODES - 2)
    right = (x - nodes[left]) / (nodes[1] - nodes[0])
    place = patient * _NODES + left
    size = patients * _NODES
    spread = np.bincount(place, 1 - right, size) + np.bincount(place + 1, right, size)
    spread = spread.reshape(patients, _NODES)
    events, moments = np.bincount(patient, y, patients), np.bincount(patient, y * x, patients)

    def values(counts: np.ndarray) -> np.ndarray:
        # Patients without a known label stand behind, or weigh nothing.
        counts = counts[:, :patients]
        weights, seen = counts @ spread, np.stack([counts @ events, counts @ moments], axis=1)
        constant = np.full((len(counts), 1), start[0])
        intercept = _newton(constant, weights, seen[:, :1], nodes, held=True)
        line = _newton(np.tile([0.0, start[1]], (len(counts), 1)), weights, seen, nodes)
        return np.stack([intercept[:, 0], line[:, 1]], axis=1)

    return values


def _newton(
    parameters: np.ndarray,
    weights: np.ndarray,
    seen: np.ndarray,
    nodes: np.ndarray,
    held: bool = False,
) -> np.ndarray:
    """The greatest likelihood of each resample, [R, P]; NaN where there is none within reach.

    Args:
        parameters: float64 [R, P] to start from: intercept and, unless `held` at 1, slope.
        weights: float64 [R, J], how many images are at each node.
        seen: float64 [R, P], sums of y and of y x.
        nodes: float64 [J].
        held: Whether the slope is 1.
    """
    powers = nodes[:, None] ** np.arange(1 if held else 3)
    count = parameters.shape[1]
    found = np.full(parameters.shape, np.nan)
    active = np.arange(len(parameters))
    for _ in range(_STEPS):
        p = expit(parameters[:, :1] + (nodes if held else parameters[:, 1:] * nodes))
        gradient = seen - (weights * p) @ powers[:, :count]
        moments = (weights * p * (1 - p)) @ powers
        curvature = moments[:, np.add.outer(np.arange(count), np.arange(count))]
        solvable = np.linalg.det(curvature) > 1e-12
        step = np.zeros_like(parameters)
        step[solvable] = np.linalg.solve(curvature[solvable], gradient[solvable, :, None])[..., 0]
        parameters = parameters + step
        near = solvable & (np.abs(parameters) < _STEEPEST).all(axis=1)
        done = near & (np.abs(step) < _CLOSE).all(axis=1)
        found[active[done]] = parameters[done]
        on = near & ~done
        if not on.any():
            break
        active, parameters, weights, seen = active[on], parameters[on], weights[on], seen[on]
    return found
