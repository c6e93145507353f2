"""Predictions drawn by seed, of every kind, with tied scores and several images per patient."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from remedis_jax.evaluation.predictions import Predictions, predictions_table

CLASSES = ("ant", "bee", "cat", "dog")


def draw_table(
    kind: str, classes: int, *, seed: int = 0, images: int = 300, patients: int = 60
) -> pd.DataFrame:
    """Scores are rounded to two decimals, so that many are tied; some findings are unknown."""
    rng = np.random.default_rng(seed)
    groups = [f"p{i:03d}" for i in rng.integers(patients, size=images)]
    if kind == "softmax":
        y = rng.integers(classes, size=images)
        p = np.round(0.7 * rng.dirichlet(np.ones(classes), images), 2) + 0.3 * np.eye(classes)[y]
        p /= p.sum(axis=1, keepdims=True)
    else:
        y = rng.integers(2, size=(images, classes)).astype(np.float64)
        p = np.round(0.3 * y + 0.7 * rng.random(y.shape), 2)
        y[rng.random(y.shape) < 0.2] = np.nan
    names = [f"{i}.png" for i in range(images)]
    return predictions_table(
        kind, CLASSES[:classes], names, p, y, groups=groups, site="A", split="test"
    )


@pytest.fixture
def table() -> Callable[..., pd.DataFrame]:
    return draw_table


@pytest.fixture
def draw() -> Callable[..., Predictions]:
    return lambda *args, **kwargs: Predictions.from_table(draw_table(*args, **kwargs))


@pytest.fixture(params=[("softmax", 2), ("softmax", 4), ("sigmoid", 3)], ids=str)
def predictions(request) -> Predictions:
    """Binary, multi-class and multi-label."""
    return Predictions.from_table(draw_table(*request.param))
