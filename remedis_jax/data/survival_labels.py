"""Columns of survival: when somebody was last seen, and whether that was by the event."""

from collections.abc import Sequence

import numpy as np

from remedis_jax.data.binary_labels import refuse_rows
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.manifest import Manifest
from remedis_jax.errors import UserError

# The one output of a model of survival: the larger, the sooner the event.
RISK = "risk"
_EVENT = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}


def survival_cells(manifest: Manifest, columns: Sequence[str]) -> np.ndarray:
    """Times and events as they stand there: float64 [N, 2], nan where a cell is empty.

    Args:
        manifest: N images.
        columns: The column of the time and that of the event.

    Raises:
        UserError: A time is no number, not finite or negative; an event is neither 1 nor 0 (or
            true and false, yes and no); one of the two is empty where the other is not.
    """
    time_column, event_column = columns
    time = manifest.numbers(time_column)
    filled = np.array([bool(cell.strip()) for cell in manifest.column(time_column)], bool)
    _refuse(
        manifest, filled & ~np.isfinite(time), time_column, "is not a finite time in",
        "Correct the cells, or leave both the time and the event empty.",
    )  # fmt: skip
    _refuse(
        manifest, time < 0, time_column, "is a negative time in",
        "Count time from the image on (or from the diagnosis) and correct the cells.",
    )  # fmt: skip
    cells = [cell.strip().lower() for cell in manifest.column(event_column)]
    event = np.array([_EVENT.get(cell, np.nan) for cell in cells])
    strange = np.array([bool(cell) and cell not in _EVENT for cell in cells], bool)
    _refuse(
        manifest, strange, event_column, "is no event in",
        "Use 1 (or true, yes) for the event, and 0 (false, no) for those last seen without it.",
    )  # fmt: skip
    manifest.refuse(
        [str(row) for row in manifest.rows[~np.isnan(event) & ~filled]],
        f"column {event_column!r} has an event or none, but {time_column!r} no time, in",
        "Fill in the time: of the event, or when it was last known not to have happened.",
    )
    manifest.refuse(
        [str(row) for row in manifest.rows[np.isnan(event) & filled]],
        f"column {time_column!r} has a time, but {event_column!r} is empty, in",
        "Fill in 1 where the event was at that time, and 0 where it was not seen.",
    )
    return np.stack([time, event], axis=1)


def encode_survival(
    manifest: Manifest, columns: Sequence[str], policy: LabelPolicy, training: bool
) -> np.ndarray:
    """Times and events by the policy.

    Args:
        manifest: N images.
        columns: The column of the time and that of the event.
        policy: Knows of empty cells 'error' and 'ignore' only.
        training: False to evaluate: columns without a single cell are then unknown, whatever
            empty cells are.

    Returns:
        float32 [N, 2]: time, and the event as 1 or 0; nan where unknown.

    Raises:
        UserError: As `survival_cells`; or cells are empty where that is an error.
    """
    usual = policy.usual
    if policy.own or usual.uncertain != "error" or usual.blank == "negative":
        raise UserError(
            "label policy: survival has no uncertain or negative cells.",
            "For survival use blank=error or blank=ignore.",
        )
    labels = survival_cells(manifest, columns)
    empty = np.isnan(labels[:, 0])
    what = f"label columns {columns[0]!r} and {columns[1]!r} are empty in"
    if training:
        refuse_rows(manifest, empty, what)
    elif usual.blank == "error" and not empty.all():
        refuse_rows(manifest, empty, what, " Or pass the label policy blank=ignore.")
    return labels.astype(np.float32)


def _refuse(manifest: Manifest, bad: np.ndarray, column: str, problem: str, remedy: str) -> None:
    cells = manifest.column(column)
    rows = zip(manifest.rows[bad], cells[bad], strict=True)
    manifest.refuse(
        [f"{row} ({cell!r})" for row, cell in rows], f"column {column!r} {problem}", remedy
    )
