"""Whether two predictions may be compared: they are on the same images with the same labels."""

import numpy as np

from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import Predictions


def require_same_images(a: Predictions, b: Predictions) -> None:
    """Raises UserError unless `a` and `b` have the same images, patients, classes and labels."""
    only = np.setxor1d(a.images, b.images)
    if only.size:
        raise UserError(
            f"the predictions are not on the same images: {only.size:,} are in one of them only "
            f"({first_few(sorted(only))}).",
            "Compare models on one test set.",
        )
    order_a, order_b = np.argsort(a.images), np.argsort(b.images)
    if a.classes != b.classes or a.kind != b.kind or a.positive_index != b.positive_index:
        raise UserError(
            f"the predictions do not have the same classes: {a.kind} {a.classes} and "
            f"{b.kind} {b.classes}.",
            "Give both the same classes in the same order.",
        )
    if a.horizon != b.horizon:
        raise UserError(
            f"the predictions have the horizons {a.horizon:g} and {b.horizon:g}.",
            "Predict both for one horizon.",
        )
    for what, of_a, of_b in (
        ("patients", a.groups[order_a], b.groups[order_b]),
        ("labels", a.y[order_a], b.y[order_b]),
    ):
        if not np.array_equal(of_a, of_b, equal_nan=what == "labels"):
            raise UserError(
                f"the predictions have the same images and not the same {what}.",
                "Make both from one manifest.",
            )
