"""Probes on features whose separation is known, and the rows that they are given."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from remedis_jax.errors import UserError
from remedis_jax.evaluation.probe import C_GRID, K_GRID, KNN, LINEAR, choose_setting, probabilities

RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
X = (RNG.normal(size=(60, 4)) + 2 * np.eye(4)[Y]).astype(np.float32)
GROUPS = (np.arange(60) // 2).astype(str)


def test_linear_probe_is_scikit_learn_on_standardised_features_whatever_is_asked_beside_it():
    alone = probabilities(LINEAR, [0.1], X[:40], Y[:40], X[40:], 3)[0]
    x = StandardScaler().fit(X[:40].astype(float))
    model = LogisticRegression(C=0.1, max_iter=2000).fit(x.transform(X[:40].astype(float)), Y[:40])
    np.testing.assert_array_equal(
        alone, model.predict_proba(x.transform(X[40:].astype(float)))
    )
    path = probabilities(LINEAR, [1.0, 0.1], X[:40], Y[:40], X[40:], 3)
    np.testing.assert_allclose(path[1], alone, atol=1e-3)
    assert (path[0].max(axis=1) > alone.max(axis=1)).mean() > 0.8


def test_neighbours_vote_by_similarity_and_sum_to_one():
    near, far = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    x = np.concatenate([near, near, far]).astype(np.float32)
    p = probabilities(KNN, [1, 3], x, np.array([0, 0, 1]), near.astype(np.float32), 3)
    np.testing.assert_array_equal(p[0], [[1, 0, 0]])
    weight = np.exp(0) / (2 * np.exp(1 / 0.07) + 1)
    np.testing.assert_allclose(p[1], [[1 - weight, weight, 0]], atol=1e-9)


def test_findings_are_probed_one_by_one_without_what_is_unknown():
    y = np.stack([Y == 0, Y == 1, np.ones(60)], axis=1).astype(float)
    y[::7, 0] = np.nan
    p = probabilities(LINEAR, [1.0], X, y, X[:5], 3)[0]
    known = ~np.isnan(y[:, 0])
    first = probabilities(LINEAR, [1.0], X[known], y[known, 0].astype(int), X[:5], 2)[0]
    np.testing.assert_array_equal(p[:, 0], first[:, 1])
    np.testing.assert_array_equal(p[:, 2], 1)  # the only value that is known
    y[:, 1] = np.nan
    with pytest.raises(UserError, match="finding number 2 has no known label among 60"):
        probabilities(LINEAR, [1.0], X, y, X[:5], 3)
    with pytest.raises(UserError, match="of one class only"):
        probabilities(LINEAR, [1.0], X, np.zeros(60), X[:5], 3)


@pytest.mark.parametrize(("probe", "grid"), [(LINEAR, C_GRID), (KNN, K_GRID)])
def test_the_best_setting_is_taken_and_of_equals_the_simplest(probe, grid):
    asked = []

    def judge(rows, p):
        asked.append((rows, p.shape))
        return -abs(len(asked) - 3)  # the third of the grid

    validation = (X[40:], np.arange(20))
    setting, values = choose_setting(
        probe, X[:40], Y[:40], GROUPS[:40], 3, judge, validation
    )
    assert setting == grid[2] and list(values) == list(grid)
    assert all(shape == (20, 3) for _, shape in asked)
    same, _ = choose_setting(
        probe, X[:40], Y[:40], GROUPS[:40], 3, lambda rows, p: 0.0, validation
    )
    assert same == (min(grid) if probe == LINEAR else max(grid))


def test_without_validation_every_patient_is_predicted_by_probes_that_have_not_seen_him():
    rng = np.random.default_rng(1)
    # Two images of a patient are equal and their labels are noise: only a leak can predict them.
    x = np.repeat(rng.normal(size=(40, 8)), 2, axis=0).astype(np.float32)
    y = np.repeat(rng.integers(2, size=40), 2)
    groups = np.repeat(np.arange(40).astype(str), 2)
    right = {}

    def judge(rows, p):
        assert len(rows) == 80 and np.allclose(p.sum(axis=1), 1)
        right[len(right)] = float((p.argmax(axis=1) == y).mean())
        return right[len(right) - 1]

    choose_setting(KNN, x, y, groups, 2, judge)
    assert max(right.values()) < 0.75
    y[:2], y[2:] = 1, 0
    with pytest.raises(UserError, match="a class has one patient only"):
        choose_setting(KNN, x, y, groups, 2, judge)
