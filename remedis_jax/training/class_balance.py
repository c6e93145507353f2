"""What a config does about classes of unequal size: weights in the loss, or how they are drawn."""

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.dataset import Dataset
from remedis_jax.data.labels import strata_of
from remedis_jax.errors import UserError

WEIGHTINGS = ("none", "balanced")
SAMPLINGS = ("shuffled", "balanced")


def class_weights_of(config: ConfigDict, dataset: Dataset) -> tuple[float, ...]:
    """The weights of the loss for `objective.class_weighting`; () for none.

    "balanced": of classes n / (K n_k), as in scikit-learn (King and Zeng 2001), where n_k are the
    examples of class k, shares counted as such; of findings the known negatives over the positives,
    for the positives.

    Raises:
        UserError: There is no such weighting, or a class or finding has no positive example.
    """
    if config.stage != "supervised" or config.objective.class_weighting == "none":
        return ()
    if config.objective.class_weighting not in WEIGHTINGS:
        raise UserError(
            f"objective.class_weighting is {config.objective.class_weighting!r}.",
            f"Use {' or '.join(WEIGHTINGS)}.",
        )
    labels, classes = dataset.example_labels, dataset.classes
    if dataset.spec.kind == "survival":
        raise UserError(
            "Times to an event have no classes to balance.", "Leave objective.class_weighting out."
        )
    if dataset.spec.kind == "softmax":
        if labels.ndim == 1:
            counts = np.bincount(labels, minlength=len(classes)).astype(np.float64)
        else:
            counts = labels.sum(axis=0, dtype=np.float64)
        others = np.full(len(classes), counts.sum() / len(classes))
    else:
        counts = np.nansum(labels, axis=0, dtype=np.float64)
        others = np.nansum(1 - labels, axis=0, dtype=np.float64)
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise UserError(
            f"No training example is of {', '.join(empty)}, which cannot be balanced.",
            "Leave the class out, or set objective.class_weighting='none'.",
        )
    return tuple(float(weight) for weight in others / counts)


def strata_of_examples(config: ConfigDict, dataset: Dataset) -> np.ndarray | None:
    """The stratum of each example for `data.sampling="balanced"`; None for shuffled epochs.

    Raises:
        UserError: There is no such sampling.
    """
    if config.data.sampling not in SAMPLINGS:
        raise UserError(
            f"data.sampling is {config.data.sampling!r}.", f"Use {' or '.join(SAMPLINGS)}."
        )
    if config.data.sampling == "shuffled" or config.stage != "supervised":
        return None
    labels = dataset.example_labels
    _, strata = np.unique(strata_of(labels, dataset.spec), return_inverse=True)
    return strata.astype(np.int64)
