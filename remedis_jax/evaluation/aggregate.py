"""From images to patients: one score and one label for all images of a group.

A patient's score is made of those of all his images: their mean, their maximum, or noisy-or,
1 - prod(1 - p), which is the probability that at least one image is positive if the images were
independent (Pearl 1988, Probabilistic Reasoning in Intelligent Systems, section 4.3.2).

Of two classes, and of findings, a patient is positive if any of his images is: ours, as
`data.splits.group_strata` has it. Of more classes all his images have to agree; a patient whose
images do not is left out, see `disagreeing`. Images whose label is unknown have no say in the
label. Of survival all have to agree likewise, and the risk, which is no probability, has a mean and
a maximum only.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import Kind, Predictions

MEAN, NOISY_OR = "mean", "noisy-or"
# 'group' is the name of the column's role, 'patient' of what mostly stands in it.
ROLES = ("patient", "group")


def parse_aggregate(text: str) -> str:
    """How scores are put together, from `patient:mean`, `patient:max` or `patient:noisy-or`.

    Raises:
        UserError: It is none of these.
    """
    role, colon, how = text.partition(":")
    if not colon or role not in ROLES or how not in _COMBINE:
        near = did_you_mean(text, [f"{r}:{h}" for r in ROLES for h in _COMBINE])
        raise UserError(
            f"--aggregate {text!r} is unknown.{near}",
            f"Use {', '.join(f'{ROLES[0]}:{known}' for known in _COMBINE)}.",
        )
    return how


def require_possible(how: str, kind: Kind) -> None:
    """Refuses a way to put scores together that scores of the kind do not have.

    Raises:
        UserError: It is 'noisy-or' of survival.
    """
    if kind == "survival" and how == NOISY_OR:
        raise UserError(
            f"{how} puts probabilities together, and the risk of survival is none.",
            f"Use {ROLES[0]}:{MEAN} or {ROLES[0]}:max.",
        )


def aggregate(predictions: Predictions, how: str = MEAN, *, strict: bool = False) -> Predictions:
    """One row per group.

    Args:
        predictions: N images of G groups.
        how: 'mean', 'max' or 'noisy-or'. Of two classes it makes the score of the positive one,
            and the other has the rest; of more, each class has its own, and they need not sum to 1
            (metrics of probabilities divide by the sum).
        strict: Refuse groups of `disagreeing` instead of leaving them out.

    Returns:
        The groups in sorted order, those of `disagreeing` left out; `images` are their names.

    Raises:
        UserError: `strict`, and there are such groups; or 'noisy-or' of survival.
    """
    require_possible(how, predictions.kind)
    mixed = disagreeing(predictions)
    if strict and len(mixed):
        raise UserError(
            f"{len(mixed):,} patients have images with different"
            f" {'times or events' if predictions.kind == 'survival' else 'labels'}:"
            f" {first_few(list(mixed))}.",
            "Score by image, or give each patient one label.",
        )
    names, index = np.unique(predictions.groups, return_inverse=True)
    combine = _COMBINE[how]
    p = predictions.p
    if predictions.is_binary:
        # Through the positive class alone, so that the two still sum to 1.
        k = predictions.positive_index
        p = np.empty((len(names), 2))
        p[:, k] = combine(predictions.p[:, k], index, len(names))
        p[:, 1 - k] = 1 - p[:, k]
    else:
        p = np.stack([combine(column, index, len(names)) for column in p.T], axis=1)
    agreed = ~np.isin(names, mixed)
    return dataclasses.replace(
        predictions,
        y=_labels(predictions, index, len(names))[agreed],
        p=p[agreed],
        groups=names[agreed],
        images=names[agreed],
    )


def disagreeing(predictions: Predictions) -> np.ndarray:
    """The groups whose images are of several classes, of more than two, or differ in time or
    event; sorted text [M].
    """
    if predictions.kind == "sigmoid" or predictions.is_binary:
        return np.array([], str)
    labels = map(tuple, predictions.y) if predictions.kind == "survival" else predictions.y
    pairs = set(zip(predictions.groups, labels, strict=True))
    names, counts = np.unique([group for group, _ in pairs], return_counts=True)
    return names[counts > 1] if len(pairs) else np.array([], str)


def _labels(predictions: Predictions, index: np.ndarray, groups: int) -> np.ndarray:
    y = predictions.y
    if predictions.kind == "survival":
        label = np.zeros((groups, 2))
        label[index] = y
        return label
    if predictions.kind == "softmax":
        if predictions.is_binary:
            k = predictions.positive_index
            any_positive = np.bincount(index[y == k], minlength=groups) > 0
            return np.where(any_positive, k, 1 - k)
        label = np.zeros(groups, np.int64)
        label[index] = y
        return label
    positive = np.stack([np.bincount(index[c == 1], minlength=groups) > 0 for c in y.T], axis=1)
    known = np.stack(
        [np.bincount(index[~np.isnan(c)], minlength=groups) > 0 for c in y.T], axis=1
    )
    return np.where(known, positive.astype(np.float64), np.nan)


def _mean(p: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    return np.bincount(index, weights=p, minlength=groups) / np.bincount(index, minlength=groups)


def _maximum(p: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    most = np.full(groups, -np.inf)  # a risk may be negative
    np.maximum.at(most, index, p)
    return most


def _noisy_or(p: np.ndarray, index: np.ndarray, groups: int) -> np.ndarray:
    # By logarithms: the product of many small numbers would be 0. log1p(-1) is -inf, and exp of
    # that the 0 it should be.
    with np.errstate(divide="ignore"):
        sums = np.bincount(index, weights=np.log1p(-p), minlength=groups)
    return -np.expm1(sums)


# Scores [N], position of each image's group [N] and number of groups -> scores of the groups.
_COMBINE: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    MEAN: _mean,
    "max": _maximum,
    NOISY_OR: _noisy_or,
}
