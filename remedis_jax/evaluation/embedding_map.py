"""Features in two dimensions, and how much they know of label and of site.

The pictures are PCA and t-SNE; beside them stand numbers of the features themselves, since what a
picture in two dimensions suggests it does not prove.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import Interval, bootstrap
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions

MOST_POINTS = 1_000  # ours: more lie on top of one another, and cost their square
# van der Maaten and Hinton 2008: 5 to 50; 30 is scikit-learn's.
PERPLEXITY = 30.0
# van der Maaten and Hinton 2008, section 4.2 have 30; 50 is scikit-learn's recommendation.
COMPONENTS = 50
FOLDS = 5  # ours, the usual number
_KEYS = ("features", "images", "groups", "labels", "sites")


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Features of N images of one arm, with what is known of the images.

    Attributes:
        arm: Name of the arm.
        features: float32 [N, D], finite.
        images: str [N].
        groups: str [N], the patients.
        labels: str [N]; "" where unknown.
        sites: str [N]; "" where unknown.
    """

    arm: str
    features: np.ndarray
    images: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    sites: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def select(self, rows: np.ndarray) -> "Features":
        """The images at `rows`, in that order."""
        return Features(self.arm, *(getattr(self, key)[rows] for key in _KEYS))


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Places in two dimensions; unpacks as `pca, share, tsne`.

    Attributes:
        pca: float64 [N, 2], the first two principal components.
        share: float64 [2], of the variance that each explains.
        tsne: float32 [N, 2], or why there is none.
        perplexity: Of t-SNE.
        components: Principal components that t-SNE was given.
    """

    pca: np.ndarray
    share: np.ndarray
    tsne: np.ndarray | NotDefined
    perplexity: float
    components: int

    def __iter__(self):
        return iter((self.pca, self.share, self.tsne))


def read_features(path: str | os.PathLike) -> Features:
    """Reads embeddings/ARM.npz of an experiment.

    Raises:
        UserError: The file cannot be read, lacks a key, its arrays differ in length, or a feature
            is not finite.
    """
    path = Path(path)
    remedy = "Make it again."
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in _KEYS if key not in file.files]
            if missing:
                raise UserError(f"{path} has no array {missing[0]!r}.", f"It needs {_KEYS}.")
            arrays = {key: file[key] for key in _KEYS}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as .npz ({error}).", remedy) from error
    features = arrays.pop("features")
    if features.ndim != 2 or features.dtype != np.float32 or not features.size:
        raise UserError(
            f"{path}: features are {features.dtype} {list(features.shape)}, not float32 [N, D].",
            remedy,
        )
    for key, values in arrays.items():
        if values.shape != (len(features),) or values.dtype.kind != "U":
            raise UserError(f"{path}: {key} is not text [{len(features)}].", remedy)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(
            f"{path}: the features of {len(bad):,} image(s) are not finite, the first "
            f"{arrays['images'][bad[0]]}.",
            "Leave images out that have no features.",
        )
    return Features(path.stem, features, **arrays)


def drawn(features: Features, seed: int, most: int = MOST_POINTS) -> Features:
    """`most` of the images, or all, from every site and label as many as is their share.

    Args:
        features: N images.
        seed: Of the draw.
        most: Number of images.

    Returns:
        Their rows in order. Rounding is by the largest remainder.
    """
    if len(features) <= most:
        return features
    strata = np.char.add(np.char.add(features.sites, "\0"), features.labels)
    _, which, counts = np.unique(strata, return_inverse=True, return_counts=True)
    wanted = counts * most / len(features)
    take = np.floor(wanted).astype(np.int64)
    take[np.argsort(take - wanted, kind="stable")[: most - take.sum()]] += 1
    generator = np.random.default_rng(seed)
    rows = [
        generator.choice(np.flatnonzero(which == stratum), count, replace=False)
        for stratum, count in enumerate(take)
    ]
    return features.select(np.sort(np.concatenate(rows)))


def embedding_map(features: np.ndarray, seed: int) -> EmbeddingMap:
    """PCA and t-SNE of features, not scaled.

    t-SNE (van der Maaten and Hinton 2008) is given the first `COMPONENTS` principal components and
    starts at the first two; perplexity is `PERPLEXITY`, of few points (N - 1) / 3.

    Args:
        features: [N, D], finite; N at least 2.
        seed: Of PCA's and t-SNE's random numbers.
    """
    features = np.asarray(features, np.float32)
    count = min(COMPONENTS, *features.shape)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    # Of one dimension the second component is zero.
    shown, share = np.zeros((len(features), 2)), np.zeros(2)
    if (features == features[0]).all():
        reason = NotDefined("all features are equal")
        return EmbeddingMap(shown, share, reason, perplexity, count)
    solver = "randomized" if min(features.shape) > 2 * count else "full"
    pca = PCA(count, svd_solver=solver, random_state=seed)
    places = pca.fit_transform(features)
    shown[:, : min(count, 2)] = places[:, :2]
    share[: min(count, 2)] = pca.explained_variance_ratio_[:2]
    if perplexity < 2:
        return EmbeddingMap(shown, share, NotDefined("fewer than 7 points"), perplexity, count)
    # As scikit-learn's own start from PCA, which needs two dimensions.
    start = (shown / shown[:, 0].std() * 1e-4).astype(np.float32)
    # ours: half of scikit-learn's steps, which take most of the time of the section.
    tsne = TSNE(2, perplexity=perplexity, init=start, max_iter=500, random_state=seed)
    return EmbeddingMap(shown, share, tsne.fit_transform(places), perplexity, count)


def silhouette(features: np.ndarray, names: np.ndarray) -> float | NotDefined:
    """How much nearer images are to their own name than to the next: in [-1, 1], 0 for no order.

    Rousseeuw 1987, mean over images of (b - a) / max(a, b), Euclidean distances of all features.

    Args:
        features: [N, D].
        names: str [N]; images of "" are left out, and names of a single image.
    """
    known = _known(names, 2)
    if len(set(names[known])) < 2:
        return NotDefined("fewer than two values with two images")
    return float(silhouette_score(features[known], names[known]))


def told_apart(
    features: np.ndarray, names: np.ndarray, groups: np.ndarray, seed: int
) -> Interval | NotDefined:
    """Balanced accuracy with which logistic regression tells the names from the features.

    Of patients that it was not fitted to: `FOLDS` folds by patient, stratified by name; all folds
    together are scored once, with the interval of the bootstrap by patient. Features are
    standardised and reduced to `COMPONENTS` principal components, all within the fold; L2 penalty
    C = 1 (scikit-learn's), classes weighted equally.

    Args:
        features: [N, D].
        names: str [N]; images of "" are left out, and names of fewer than `FOLDS` patients.
        groups: str [N], the patients.
        seed: Of the folds and of the bootstrap.

    Returns:
        In [0, 1]; chance is 1 / number of names.
    """
    known = _known(names, FOLDS, groups)
    classes, y = np.unique(names[known], return_inverse=True)
    if len(classes) < 2:
        return NotDefined(f"fewer than two values with {FOLDS} patients")
    x, patients = features[known], groups[known]
    p = np.zeros((len(x), len(classes)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, judge in folds.split(x, y, patients):
        if len(set(y[fit].tolist())) < len(classes):
            return NotDefined("a fold leaves a value without a patient")
        parts = min(COMPONENTS, len(fit), x.shape[1])
        model = make_pipeline(
            StandardScaler(),
            PCA(parts, svd_solver="randomized" if parts == COMPONENTS else "full",
                random_state=seed),
            LogisticRegression(class_weight="balanced", max_iter=1000),
        )  # fmt: skip
        p[judge] = model.fit(x[fit], y[fit]).predict_proba(x[judge])
    numbered = np.arange(len(x)).astype(str)
    told = Predictions("softmax", tuple(classes.tolist()), y, p, patients, numbered)
    return bootstrap(told, ["balanced_accuracy"], seed=seed)["balanced_accuracy"]


def names_told_apart(names: np.ndarray, groups: np.ndarray) -> list[str]:
    """The names that `told_apart` tells apart."""
    return sorted(set(names[_known(names, FOLDS, groups)].tolist()))


def _known(names: np.ndarray, least: int, units: np.ndarray | None = None) -> np.ndarray:
    """Rows whose name is not blank and is that of so many units (rows, if None)."""
    units = np.arange(len(names)) if units is None else units
    enough = [
        name for name in set(names.tolist()) if name and len(set(units[names == name])) >= least
    ]
    return np.flatnonzero(np.isin(names, enough))
