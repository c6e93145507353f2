"""How good embeddings are before anything is trained on them: rank, spread, neighbours, a probe.

All on the host, in numpy and scikit-learn, for some hundreds or thousands of embeddings.
"""

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.preprocessing import StandardScaler


def normalised(z: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length (rows of zeros stay), float32 [n, d]."""
    z = np.asarray(z, np.float32)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)


def embedding_std(z: np.ndarray) -> float:
    """Spread of directions: 0 for a collapse, 1 for no preferred direction.

    sqrt(d) times the mean over dimensions of the standard deviation over rows of unit length
    (Chen and He 2021, SimSiam, figure 2).

    Args:
        z: [n, d].
    """
    return float(normalised(z).std(axis=0).mean() * np.sqrt(z.shape[1]))


def rankme(z: np.ndarray, eps: float = 1e-7) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023).

    p_k = sigma_k / sum sigma + eps; exp(-sum p_k ln p_k).

    Args:
        z: [n, d], not centred.
        eps: As published.

    Returns:
        Between 1 and min(n, d); 1 where all embeddings lie on a line, or are zero.
    """
    sigma = np.linalg.svd(np.asarray(z, np.float64), compute_uv=False)
    total = sigma.sum()
    if total == 0:
        return 1.0
    p = sigma / total + eps
    return float(np.exp(-(p * np.log(p)).sum()))


def alignment(z1: np.ndarray, z2: np.ndarray) -> float:
    """Mean squared distance of the two views of an image on the unit sphere, in [0, 4].

    Wang and Isola 2020, alpha = 2; lower is better, at equal uniformity.

    Args:
        z1: [n, d].
        z2: [n, d]; row i is of the image of row i of z1.
    """
    return float(np.square(normalised(z1) - normalised(z2)).sum(axis=1).mean())


def uniformity(z: np.ndarray) -> float:
    """ln of the mean over pairs of exp(-2 |z_i - z_j|^2), in [-8, 0] (Wang and Isola 2020, t = 2).

    0 for a collapse; lower is more evenly spread.

    Args:
        z: [n, d], n at least 2.
    """
    cosine = _cosines(z)[np.triu_indices(len(z), 1)]
    return float(np.log(np.exp(-4 * (1 - cosine.astype(np.float64))).mean()))


def similarity_histograms(
    z1: np.ndarray, z2: np.ndarray, bins: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How similar views of one image are, and views of different images.

    Args:
        z1: [n, d].
        z2: [n, d]; row i is of the image of row i of z1.
        bins: Of equal width over [-1, 1].

    Returns:
        Edges [bins + 1], counts of positives (n in all), counts of negatives (n (n - 1) in all).
    """
    edges = np.linspace(-1, 1, bins + 1)
    cosine = np.clip(normalised(z1) @ normalised(z2).T, -1, 1)
    positive = np.eye(len(cosine), dtype=bool)
    return edges, *(np.histogram(cosine[m], edges)[0] for m in (positive, ~positive))


def knn_votes(
    reference: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    *,
    k: int = 20,
    temperature: float = 0.07,
    classes: int | None = None,
) -> np.ndarray:
    """Votes of the nearest neighbours by cosine, each with exp(similarity / T).

    Wu et al. 2018 (InstDisc); k = 20 and T = 0.07 as in DINO and solo-learn. With fewer than k
    references all of them vote.

    Args:
        reference: [n, d].
        labels: int [n], the classes of the references.
        query: [m, d].
        k: Number of neighbours.
        temperature: Of the votes.
        classes: How many there are; as many as the largest label says if None.

    Returns:
        float64 [m, classes].
    """
    reference, query = normalised(reference), normalised(query)
    numbers = np.arange(labels.max() + 1 if classes is None else classes)
    k = min(k, len(reference))
    votes_of = []
    for start in range(0, len(query), 1024):
        cosine = query[start : start + 1024] @ reference.T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        votes = np.exp(np.take_along_axis(cosine, nearest, axis=1).astype(np.float64) / temperature)
        of_class = labels[nearest][..., None] == numbers
        votes_of.append((votes[..., None] * of_class).sum(axis=1))
    return np.concatenate(votes_of)


def knn_predict(
    reference: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> np.ndarray:
    """The class with most of the `knn_votes`, int64 [m]; of equal votes the lower class wins."""
    return knn_votes(reference, labels, query, k=k, temperature=temperature).argmax(axis=1)


def knn_scores(
    reference: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    query_labels: np.ndarray,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> dict[str, float]:
    """`knn_accuracy` and `knn_balanced_accuracy` (mean recall of the classes) of `knn_predict`."""
    predicted = knn_predict(reference, labels, query, k=k, temperature=temperature)
    return _scores("knn", query_labels, predicted)


def linear_probe_scores(
    reference: np.ndarray, labels: np.ndarray, query: np.ndarray, query_labels: np.ndarray
) -> dict[str, float]:
    """`probe_accuracy` and `probe_balanced_accuracy` of a linear classifier on frozen features.

    scikit-learn's RidgeClassifier (penalty 1 per reference) on standardised features: one
    linear solve, so that it fits between training steps.

    Args:
        reference: [n, d].
        labels: int [n], at least two classes.
        query: [m, d].
        query_labels: int [m].
    """
    scaler = StandardScaler().fit(reference)
    probe = RidgeClassifier(alpha=float(len(reference)))
    probe.fit(scaler.transform(reference), labels)
    return _scores("probe", query_labels, probe.predict(scaler.transform(query)))


def _scores(name: str, labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_accuracy": float(accuracy_score(labels, predicted)),
        f"{name}_balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
    }


def _cosines(z: np.ndarray) -> np.ndarray:
    z = normalised(z)
    return np.clip(z @ z.T, -1, 1)
