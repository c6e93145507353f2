"""Which training rows a probe gets: nested shares of the patients, and a few images of each class.

Shares are drawn as training draws them (`data.dataset.training_rows`): a seed draws the same
patients for every encoder, and for a fine-tuned network.
"""

from collections.abc import Sequence

import numpy as np

from remedis_jax.data.labels import LabelSpec, strata_of
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.splits import nested_subsets, seeded_order
from remedis_jax.errors import UserError


def share_of(
    manifest: Manifest,
    labels: np.ndarray,
    spec: LabelSpec,
    rows: np.ndarray,
    fraction: float,
    seed: int,
) -> np.ndarray:
    """A stratified share of the patients of some rows; smaller ones of a seed are within it.

    Args:
        manifest: N images.
        labels: Of all of them, as from `encode_labels`.
        spec: What they mean.
        rows: Positions to draw from.
        fraction: In (0, 1].
        seed: Another seed draws other patients.

    Returns:
        Positions, int64, in order.

    Raises:
        UserError: The fraction is not in (0, 1], or holds no patient of a class.
    """
    if fraction == 1:
        return rows
    strata = strata_of(labels[rows], spec)
    groups = manifest.groups[rows].tolist()
    return rows[nested_subsets(groups, strata, [fraction], seed)[fraction]]


def shots_of(
    manifest: Manifest,
    labels: np.ndarray,
    spec: LabelSpec,
    rows: np.ndarray,
    shots: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A few images of each class, each of another patient; those of fewer shots are among them.

    Of findings, that many with and that many without each finding; an image that is drawn for one
    finding is not used for the others.

    Args:
        manifest, labels, spec, rows, seed: As for `share_of`.
        shots: Images of each class.

    Returns:
        Positions of the drawn images, int64 [M], and their labels with what they were not drawn
        for unknown, as `labels`.

    Raises:
        UserError: A class has fewer patients.
    """
    drawn: dict[int, np.ndarray] = {}
    images, groups = manifest.images, manifest.groups
    for column, name in enumerate(spec.classes if spec.kind == "sigmoid" else ("",)):
        values = labels[rows, column] if spec.kind == "sigmoid" else labels[rows]
        classes = (0, 1) if spec.kind == "sigmoid" else range(len(spec.classes))
        for value in classes:
            of_class = rows[values == value]
            first: dict[str, int] = {}
            place = {images[i]: i for i in of_class}
            for image in seeded_order(place, seed):
                first.setdefault(groups[place[image]], place[image])
            order = seeded_order(first, seed)
            if len(order) < shots:
                what = f"{name!r} as {value}" if name else f"class {spec.classes[value]!r}"
                raise UserError(
                    f"{shots} shots of {what} cannot be drawn: {len(order):,} training patients"
                    " have it.",
                    "Ask for fewer shots.",
                )
            for group in order[:shots]:
                known = drawn.setdefault(first[group], np.full(labels.shape[1:], np.nan))
                if spec.kind == "sigmoid":
                    known[column] = value
    positions = np.array(sorted(drawn), np.int64)
    if spec.kind == "softmax":
        return positions, labels[positions]
    return positions, np.stack([drawn[i] for i in positions])


def possible_shares(
    manifest: Manifest,
    labels: np.ndarray,
    spec: LabelSpec,
    parts: Sequence[np.ndarray],
    fractions: Sequence[float],
    seeds: Sequence[int],
) -> tuple[tuple[float, ...], str]:
    """Those of the usual fractions of which every part has patients, and what is left out."""
    possible, left_out = [], []
    for fraction in fractions:
        try:
            for rows in parts:
                for seed in seeds:
                    share_of(manifest, labels, spec, rows, fraction, seed)
            possible.append(fraction)
        except UserError:
            # Of a fraction that nobody asked for; which ones is said in the report.
            left_out.append(f"{fraction:g}")
    note = ""
    if left_out:
        note = f"The shares {first_few(left_out)} hold no patient of some class and were left out."
    return tuple(possible), note
