"""Rank, spread, alignment and neighbours against values known by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from remedis_jax.evaluation import representation as r
from remedis_jax.objectives.spread import relative_std


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_rank_of_known_spectra(generator):
    q, _ = np.linalg.qr(generator.standard_normal((64, 16)))
    assert r.rankme(q) == pytest.approx(16, rel=1e-4)
    assert r.rankme(q[:, :3] @ generator.standard_normal((3, 16))) < 3.01
    assert r.rankme(np.ones((9, 4))) == pytest.approx(1, rel=1e-4)
    assert r.rankme(np.zeros((9, 4))) == 1
    # exp of the entropy of (3/4, 1/4).
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert r.rankme(np.diag([3.0, 1.0])) == pytest.approx(expected, rel=1e-5)


def test_spread_is_one_for_isotropic_and_zero_for_collapsed(generator):
    isotropic = generator.standard_normal((4000, 32))
    assert r.embedding_std(isotropic) == pytest.approx(1, abs=0.01)
    assert r.embedding_std(np.tile(isotropic[:1], (50, 1))) < 1e-6
    # The host's and the accelerator's are one formula.
    part = (isotropic[:100] + 1).astype(np.float32)
    assert float(relative_std(part)) == pytest.approx(r.embedding_std(part), rel=1e-5)


def test_alignment_and_uniformity_by_hand():
    a = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert r.alignment(a, a * 3) == pytest.approx(0)
    assert r.alignment(a, -a) == pytest.approx(4)
    # Two orthogonal points: |z_i - z_j|^2 = 2.
    assert r.uniformity(a) == pytest.approx(-4)
    assert r.uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-5)


def test_histograms_count_every_pair():
    z = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    edges, positive, negative = r.similarity_histograms(z, z, bins=4)
    assert edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert positive.tolist() == [0, 0, 0, 3]
    # -1 twice and 0 four times.
    assert negative.tolist() == [2, 0, 4, 0]


def test_neighbours_vote_as_in_scikit_learn(generator):
    reference, query = generator.standard_normal((90, 7)), generator.standard_normal((1500, 7))
    labels = generator.integers(0, 4, 90)
    oracle = KNeighborsClassifier(
        20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(reference, labels)
    np.testing.assert_array_equal(
        r.knn_predict(reference, labels, query), oracle.predict(query)
    )


def test_few_references_all_vote_and_scores_are_of_classes():
    reference = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = np.array([0, 0, 1])
    query = np.array([[1.0, 0.05], [0.0, 1.0], [0.1, 1.0], [0.0, 2.0]])
    scores = r.knn_scores(reference, labels, query, np.array([0, 1, 1, 0]))
    assert scores == {"knn_accuracy": 0.75, "knn_balanced_accuracy": 0.75}


def test_linear_probe_separates_what_is_separable(generator):
    labels = generator.integers(0, 3, 200)
    z = generator.standard_normal((200, 10)) + 6 * np.eye(3, 10)[labels]
    scores = r.linear_probe_scores(z[:100], labels[:100], z[100:], labels[100:])
    assert scores["probe_accuracy"] > 0.97
    noise = generator.standard_normal((200, 10))
    scores = r.linear_probe_scores(noise[:100], labels[:100], noise[100:], labels[100:])
    assert scores["probe_accuracy"] < 0.55
