"""Columns of findings: 1 where one is there, 0 where not, -1 uncertain, empty where nobody said."""

from collections.abc import Iterable

import numpy as np

from remedis_jax.data.label_policy import Treatment
from remedis_jax.data.manifest import Manifest

_BINARY = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "-1.0": -1}


def binary_cells(manifest: Manifest, column: str) -> np.ndarray:
    """A column of a finding as it stands there: float32 [N], 1, 0, -1 uncertain, nan empty.

    Raises:
        UserError: A cell is none of these.
    """
    cells = [cell.strip().lower() for cell in manifest.column(column)]
    manifest.refuse(
        [
            f"{row} ({cell!r})"
            for row, cell in zip(manifest.rows, cells, strict=True)
            if cell and cell not in _BINARY
        ],
        f"column {column!r} is not a binary label in",
        "Use 1, 0, -1 for uncertain, or an empty cell; or choose 'softmax' for class names.",
    )
    return np.array([_BINARY.get(cell, np.nan) for cell in cells], np.float32)


def is_binary_column(cells: Iterable[str]) -> bool:
    """Whether all cells are those of a finding: 1, 0, -1, true, false or empty."""
    return {cell.strip().lower() for cell in cells} <= {*_BINARY, ""}


def encode_finding(
    manifest: Manifest, column: str, treatment: Treatment, training: bool
) -> np.ndarray:
    """A column of a finding by its policy.

    Args:
        manifest: N images.
        column: The column.
        treatment: What uncertain and empty cells are.
        training: False to evaluate: a column without a single label is then unknown, whatever
            empty cells are.

    Returns:
        float32 [N] in [0, 1], nan where unknown.

    Raises:
        UserError: A cell is no label, or is uncertain or empty where that is an error.
    """
    values = binary_cells(manifest, column)
    empty, unsure = np.isnan(values), values == -1
    if treatment.blank == "error" and (training or not empty.all()):
        refuse_rows(
            manifest, empty, f"label column {column!r} is empty in",
            " Or pass the label policy blank=negative or blank=ignore.",
        )  # fmt: skip
    if treatment.uncertain == "error":
        manifest.refuse(
            [str(row) for row in manifest.rows[unsure]],
            f"column {column!r} is uncertain (-1) in",
            "Pass the label policy uncertain=ones, zeros, ignore or soft.",
        )
    values[empty] = {"negative": 0, "ignore": np.nan, "error": np.nan}[treatment.blank]
    values[unsure] = {
        "ones": 1, "zeros": 0, "ignore": np.nan, "soft": treatment.soft_value, "error": np.nan,
    }[treatment.uncertain]  # fmt: skip
    return values


def refuse_rows(
    manifest: Manifest, bad: np.ndarray, problem: str, alternative: str = ""
) -> None:
    """Refuses rows without a label; `bad` is bool [N]."""
    manifest.refuse(
        [str(row) for row in manifest.rows[bad]],
        problem,
        f"Fill the cells in or leave the rows out.{alternative}",
    )
