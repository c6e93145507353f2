"""Probes: what can be read off frozen features, by a linear classifier or by the neighbours.

linear: scikit-learn's LogisticRegression (multinomial for classes, one by itself for each finding)
on features standardised by the training rows, with an L2 penalty 1 / C. k-NN: votes of the nearest
training rows by cosine (`representation.knn_votes`). C and k come from a grid, chosen on validation
rows, or where there are none by cross-validation within the training rows, whole patients held out.
Labels that are unknown take no part.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from remedis_jax.errors import UserError
from remedis_jax.evaluation.representation import knn_votes

Probe = Literal["linear", "knn"]
LINEAR, KNN = "linear", "knn"
NAMES = {LINEAR: "linear probe", KNN: "k-NN probe"}
TITLES = {LINEAR: "Linear probe", KNN: "k-NN probe"}
# ours: from a penalty that leaves little to one that is hardly there, in steps of ten.
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
K_GRID = (5, 10, 20, 50, 100)  # ours, about DINO's 10, 20, 100, 200
GRIDS = {LINEAR: C_GRID, KNN: K_GRID}
# What is not chosen where there are a handful of labels: scikit-learn's C, DINO's k.
FEW_SHOT = {LINEAR: 1.0, KNN: 20}
FOLDS = 5
_ITERATIONS = 2000


class NotConverged(UserWarning):
    """The optimisation of a linear probe stopped before it was done."""


def probabilities(
    probe: Probe,
    settings: Sequence[float],
    x: np.ndarray,
    y: np.ndarray,
    query: np.ndarray,
    classes: int,
) -> list[np.ndarray]:
    """Fits a probe with each of several settings and predicts.

    Args:
        probe: 'linear' or 'knn'.
        settings: C of the linear probe, k of the neighbours; each gives a result.
        x: float32 [N, F], training features.
        y: int [N] in [0, classes), one class each; or float [N, classes] of findings, 1, 0 or NaN
            where unknown.
        query: float32 [M, F].
        classes: How many classes or findings there are.

    Returns:
        Of each setting float64 [M, classes]; of a class without a training row 0, of a finding
        whose known labels are all alike their value.

    Raises:
        UserError: A finding has no known label, or there is one class only.
    """
    function = _linear if probe == LINEAR else _neighbours
    if y.ndim == 1:
        if len(np.unique(y)) < 2:
            raise UserError(
                f"the {len(y):,} training rows of a probe are of one class only.",
                "A classifier needs two classes or more; check the split and the labels.",
            )
        return function(settings, x, y.astype(np.int64), query, classes)
    results = [np.zeros((len(query), classes)) for _ in settings]
    for column in range(classes):
        known = ~np.isnan(y[:, column])
        labels = y[known, column].astype(np.int64)
        if not len(labels):
            raise UserError(
                f"finding number {column + 1} has no known label among {len(y):,} training rows.",
                "Leave it out of the labels, or enlarge the training rows.",
            )
        if labels.min() == labels.max():
            for result in results:
                result[:, column] = labels[0]
            continue
        found = function(settings, x[known], labels, query, 2)
        for result, p in zip(results, found, strict=True):
            result[:, column] = p[:, 1]
    return results


def choose_setting(
    probe: Probe,
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: int,
    judge: Callable[[np.ndarray, np.ndarray], Any],
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[float, dict[float, Any]]:
    """Chooses C or k from the grid; of equally good ones the simplest (small C, large k).

    Args:
        probe: 'linear' or 'knn'.
        x: Training features, as `probabilities`.
        y: Their labels.
        groups: Their patients, text [N].
        classes: As `probabilities`.
        judge: (rows, p) -> how good predictions are, the larger the better, a number or a tuple:
            rows are positions in the validation rows, or in the training rows where these are
            cross-validated.
        validation: Features of the validation rows and their positions; None to cross-validate.
        seed: Of the folds.

    Returns:
        The setting, and how good each was.

    Raises:
        UserError: As `probabilities`; too few patients for two folds.
    """
    grid = GRIDS[probe]
    if validation is not None:
        features, rows = validation
        predicted = probabilities(probe, grid, x, y, features, classes)
    else:
        rows = np.arange(len(y))
        predicted = _out_of_fold(probe, grid, x, y, groups, classes, seed)
    values = {s: judge(rows, p) for s, p in zip(grid, predicted, strict=True)}
    simplest_first = grid if probe == LINEAR else grid[::-1]
    return max(simplest_first, key=lambda setting: values[setting]), values


def _out_of_fold(
    probe: Probe,
    grid: Sequence[float],
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: int,
    seed: int,
) -> list[np.ndarray]:
    strata = y if y.ndim == 1 else (y[:, 0] == 1).astype(np.int64)
    folds = min(FOLDS, *(len(np.unique(groups[strata == s])) for s in np.unique(strata)))
    if folds < 2:
        raise UserError(
            "a class has one patient only among the training rows, too few to choose by"
            " cross-validation.",
            "Give validation rows, or more training patients.",
        )
    results = [np.zeros((len(y), classes)) for _ in grid]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, held_out in splitter.split(x, strata, groups):
        found = probabilities(probe, grid, x[train], y[train], x[held_out], classes)
        for result, p in zip(results, found, strict=True):
            result[held_out] = p
    return results


def _linear(
    settings: Sequence[float], x: np.ndarray, y: np.ndarray, query: np.ndarray, classes: int
) -> list[np.ndarray]:
    scaler = StandardScaler().fit(x.astype(np.float64))
    x, query = (scaler.transform(rows.astype(np.float64)) for rows in (x, query))
    results: dict[float, np.ndarray] = {}
    # Each fit starts where the one with a stronger penalty ended.
    model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    for c in sorted(settings):
        model.set_params(C=c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(x, y)
        if any(issubclass(w.category, ConvergenceWarning) for w in caught):
            warnings.warn(
                f"a linear probe with C = {c:g} had not converged after {_ITERATIONS:,} steps",
                NotConverged,
                stacklevel=2,
            )
        results[c] = np.zeros((len(query), classes))
        results[c][:, model.classes_] = model.predict_proba(query)
    return [results[c] for c in settings]


def _neighbours(
    settings: Sequence[float], x: np.ndarray, y: np.ndarray, query: np.ndarray, classes: int
) -> list[np.ndarray]:
    votes = [knn_votes(x, y, query, k=int(k), classes=classes) for k in settings]
    return [v / v.sum(axis=1, keepdims=True) for v in votes]
