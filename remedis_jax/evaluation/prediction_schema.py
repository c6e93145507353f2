"""What a predictions table has to be: its columns by kind, and what its cells may hold."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError

Kind = Literal["softmax", "sigmoid", "survival"]

BASE_COLUMNS = ("image", "group", "site", "split")
SCORE = "p_"
FINDING = "label_"
RISK, TIME, EVENT, HORIZON = "risk", "time", "event", "horizon"
SURVIVAL = (TIME, EVENT, HORIZON, RISK)
# A softmax written with two decimals and dozens of classes misses one by this much at most.
SUM_TOLERANCE = 0.01  # ours
FIRST_LINE = 2  # the header is line 1


def table_schema(table: pd.DataFrame, name: str = "the table") -> tuple[Kind, tuple[str, ...]]:
    """Kind and classes, as the columns tell them.

    Raises:
        UserError: A column is missing.
    """
    columns = list(table.columns)
    if len(columns) == 1 and ";" in columns[0]:
        raise UserError(f"{name} is separated by semicolons.", "Save it separated by commas.")
    missing = [column for column in BASE_COLUMNS if column not in columns]
    scored = [c.removeprefix(SCORE) for c in columns if c.startswith(SCORE)]
    labelled = [c.removeprefix(FINDING) for c in columns if c.startswith(FINDING)]
    # A table of classes or findings may have further columns of these names.
    if not scored and not labelled and "label" not in columns and RISK in columns:
        missing += [column for column in SURVIVAL if column not in columns]
        if not missing:
            return "survival", (RISK,)
    elif not scored:
        missing.append(f"{SCORE}<class>")
    if "label" not in columns and not labelled:
        missing.append("label")
    elif "label" not in columns:
        missing += [FINDING + finding for finding in scored if finding not in labelled]
        missing += [SCORE + finding for finding in labelled if finding not in scored]
    if missing:
        raise UserError(
            f"{name} has no column {missing[0]!r}.{did_you_mean(missing[0], columns)}"
            f" It has {first_few(columns)}.",
            "Predictions need " + ", ".join(BASE_COLUMNS) + ", then 'label' and one 'p_<class>' "
            "per class, or one 'label_<finding>' and one 'p_<finding>' per finding, or "
            + ", ".join(SURVIVAL) + " of survival.",
        )
    if "label" in columns and labelled:
        raise UserError(
            f"{name} has both 'label' and '{FINDING}{labelled[0]}'.",
            "Keep 'label' for exactly one class per image, or the findings' columns.",
        )
    kind: Kind = "softmax" if "label" in columns else "sigmoid"
    if kind == "softmax" and len(scored) < 2:
        raise UserError(
            f"{name} has scores for one class only, '{SCORE}{scored[0]}'.",
            "Give one column per class; for a single finding use 'label_<finding>'.",
        )
    return kind, tuple(scored)


def score_columns(kind: Kind, classes: Sequence[str]) -> list[str]:
    """The columns of the scores, in the order of the classes."""
    return [RISK] if kind == "survival" else [SCORE + name for name in classes]


def unlabelled(table: pd.DataFrame) -> np.ndarray:
    """Which images have no label, bool [N]: of softmax, and of survival; none of sigmoid."""
    column = {"softmax": "label", "survival": EVENT}.get(table_schema(table)[0])
    if column is None:
        return np.zeros(len(table), bool)
    return (table[column] == "").to_numpy()


def check_table(table: pd.DataFrame, name: str) -> None:
    """Raises UserError where `table` is not a predictions table; see `read_predictions`."""
    kind, classes = table_schema(table, name)
    if table.empty:
        raise UserError(f"{name} holds no images.", "Write the predictions again.")

    def refuse(rows: np.ndarray, problem: Callable[[int], str], remedy: str) -> None:
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            more = f" ({int(rows.sum()):,} such rows)" if rows.sum() > 1 else ""
            raise UserError(f"{name}, line {first + FIRST_LINE}: {problem(first)}{more}.", remedy)

    for column in ("image", "group"):
        refuse(
            (table[column] == "").to_numpy(),
            lambda row, column=column: f"{column!r} is blank",
            "Every image needs a name and a patient; use the image's name where there is none.",
        )
    refuse(
        table["image"].duplicated().to_numpy(),
        lambda row: f"image {table['image'].iloc[row]!r} stands in the file twice",
        "Keep one row per image.",
    )
    if kind == "softmax":
        refuse(
            ~table["label"].isin([*classes, ""]).to_numpy(),
            lambda row: f"label {table['label'].iloc[row]!r} has no column '{SCORE}"
            f"{table['label'].iloc[row]}'.{did_you_mean(table['label'].iloc[row], classes)}",
            "Labels must be the names of the score columns.",
        )
    for finding in classes if kind == "sigmoid" else ():
        cells = table[FINDING + finding]
        refuse(
            ~cells.isin(["1", "0", ""]).to_numpy(),
            lambda row, cells=cells: f"{cells.name!r} is {cells.iloc[row]!r}",
            "Write 1 for present, 0 for absent and leave unknown blank.",
        )
    if kind == "survival":
        _check_survival(table, name, refuse)
        return
    scores = table[score_columns(kind, classes)]
    for column in scores:
        values = scores[column].to_numpy(np.float64)
        refuse(
            np.isnan(values),
            lambda row, column=column: f"{column!r} is blank or NaN",
            "Predict these images again; a model that returns NaN has diverged.",
        )
        refuse(
            (values < 0) | (values > 1),
            lambda row, column=column, values=values: f"{column!r} is {values[row]:g}",
            "Scores must be probabilities between 0 and 1, not logits.",
        )
    if kind == "softmax":
        sums = scores.to_numpy(np.float64).sum(axis=1)
        refuse(
            np.abs(sums - 1) > SUM_TOLERANCE,
            lambda row: f"the scores of the classes sum to {sums[row]:.4g}",
            "Softmax scores sum to 1; for independent findings use 'label_<finding>' columns.",
        )


def _check_survival(
    table: pd.DataFrame, name: str, refuse: Callable[[np.ndarray, Callable, str], None]
) -> None:
    time, horizon = (table[column].to_numpy(np.float64) for column in (TIME, HORIZON))
    refuse(
        ~table[EVENT].isin(["1", "0", ""]).to_numpy(),
        lambda row: f"{EVENT!r} is {table[EVENT].iloc[row]!r}",
        "Write 1 for the event, 0 for those last seen without it and leave unknown blank.",
    )
    refuse(
        np.isinf(time) | (time < 0),
        lambda row: f"{TIME!r} is {time[row]:g}",
        "Times are finite and not negative.",
    )
    refuse(
        np.isnan(time) != (table[EVENT] == "").to_numpy(),
        lambda row: f"{TIME!r} is {table[TIME].iloc[row]} and {EVENT!r} is "
        f"{table[EVENT].iloc[row] or 'blank'!r}",
        "Give both, or leave both blank.",
    )
    risk = table[RISK].to_numpy(np.float64)
    refuse(
        ~np.isfinite(risk),
        lambda row: f"{RISK!r} is " + ("blank or NaN" if np.isnan(risk[row]) else f"{risk[row]}"),
        "Predict these images again; a model that returns NaN has diverged.",
    )
    refuse(
        ~(np.isfinite(horizon) & (horizon > 0)),
        lambda row: f"{HORIZON!r} is {horizon[row]:g}",
        "It is the time at which the risk is judged, above 0.",
    )
    refuse(
        horizon != horizon[0],
        lambda row: f"{HORIZON!r} is {horizon[row]:g}, and {horizon[0]:g} in the first row",
        "Write predictions for different horizons into different files.",
    )
