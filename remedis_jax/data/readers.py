"""Labels of classes as several people gave them: one name, the votes of readers, shares."""

from collections.abc import Sequence

import numpy as np

from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import did_you_mean, first_few

# ours: shares written with three decimals miss 1 by no more, in a handful of classes.
SUM_TOLERANCE = 1e-3


def class_numbers(manifest: Manifest, column: str, classes: Sequence[str]) -> np.ndarray:
    """Which of K classes each cell names.

    Args:
        manifest: N images.
        column: Of class names.
        classes: K names.

    Returns:
        int32 [N] in [0, K), -1 for an empty cell.

    Raises:
        UserError: A cell names none of the classes, with its row and the nearest one.
    """
    number = {name: i for i, name in enumerate(classes)} | {"": -1}
    cells = [cell.strip() for cell in manifest.column(column)]
    wrong = [(r, cell) for r, cell in zip(manifest.rows, cells, strict=True) if cell not in number]
    manifest.refuse(
        [f"{row} ({cell!r})" for row, cell in wrong],
        f"column {column!r} is not one of the classes in",
        f"The classes are {first_few([repr(c) for c in classes])}."
        f"{did_you_mean(wrong[0][1], classes) if wrong else ''}",
    )
    return np.array([number[cell] for cell in cells], np.int32)


def reader_votes(
    manifest: Manifest, columns: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """How many of the readers name each class.

    Args:
        manifest: N images.
        columns: One per reader; an empty cell is of an image that he did not read.
        classes: K names.

    Returns:
        int64 [N, K].

    Raises:
        UserError: A cell names none of the classes.
    """
    votes = np.zeros((len(manifest), len(classes)), np.int64)
    for column in columns:
        named = class_numbers(manifest, column, classes)
        read = np.flatnonzero(named >= 0)
        votes[read, named[read]] += 1
    return votes


def vote_shares(
    manifest: Manifest, columns: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """The share of the votes that each class has; every reader of an image counts alike: ours.

    Arguments and errors as for `reader_votes`.

    Returns:
        float32 [N, K], rows that sum to 1, or nan where nobody read the image.
    """
    votes = reader_votes(manifest, columns, classes)
    total = votes.sum(axis=1, keepdims=True)
    shares = np.full(votes.shape, np.nan)
    np.divide(votes, total, out=shares, where=total > 0)
    return shares.astype(np.float32)


def parse_shares(manifest: Manifest, columns: Sequence[str]) -> np.ndarray:
    """Shares of classes as they stand in the manifest, such as a differential with confidences.

    Args:
        manifest: N images.
        columns: One per class, of numbers from 0 to 1 that sum to 1 in each row; an empty cell
            beside others is 0.

    Returns:
        float32 [N, K], rows that sum to 1, or nan where all cells are empty.

    Raises:
        UserError: A cell is no number from 0 to 1, or a row sums to something else than 1.
    """
    shares = np.stack([manifest.numbers(column) for column in columns], axis=1)
    for column, values in zip(columns, shares.T, strict=True):
        # Infinities and 'nan' written out are no shares either.
        empty = np.array([not cell.strip() for cell in manifest.column(column)])
        wrong = ~empty & ~((values >= 0) & (values <= 1))
        manifest.refuse(
            [f"{manifest.rows[i]} ({values[i]:g})" for i in np.flatnonzero(wrong)],
            f"column {column!r} is no share from 0 to 1 in",
            "softmax with several columns takes the share of each class; for findings that are"
            " each there or not choose 'sigmoid'.",
        )
    unread = np.isnan(shares).all(axis=1)
    sums = np.nansum(shares, axis=1)
    manifest.refuse(
        [
            f"{manifest.rows[i]} ({sums[i]:.4g})"
            for i in np.flatnonzero(~unread & (np.abs(sums - 1) > SUM_TOLERANCE))
        ],
        f"the shares of the classes ({first_few([repr(c) for c in columns])}) do not sum to 1 in",
        "Divide each row by its sum; for findings that are each there or not choose 'sigmoid'.",
    )
    shares = np.nan_to_num(shares) / np.where(unread, 1, sums)[:, None]
    shares[unread] = np.nan
    return shares.astype(np.float32)
