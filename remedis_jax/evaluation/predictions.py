"""The predictions table: one row per image, what it is and what the model says it is.

Softmax tables have a `label` column with the class name and `p_<class>` for every class; sigmoid
tables have `label_<finding>` (1, 0 or blank) and `p_<finding>` for every finding. Tables of
survival have `time` and `event` (1, 0 if last seen without it, both blank where unknown), `risk`
(any number, the larger the sooner) and `horizon`, when it is judged, the same in every row. Every
statistic of this package is computed from such a file, whoever wrote it.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation.foreign_columns import adopted, is_own, to_float
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.prediction_schema import (
    EVENT,
    FINDING,
    HORIZON,
    RISK,
    SCORE,
    TIME,
    Kind,
    check_table,
    score_columns,
    table_schema,
    unlabelled,
)
from remedis_jax.evaluation.table_files import read_text_table

# XLA divides approximately on some accelerators: a probability can come out at 1 + 1e-7.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and probabilities of N images.

    Attributes:
        kind: 'softmax' (exactly one class per image), 'sigmoid' (each finding by itself) or
            'survival' (time to an event).
        classes: Names of the K classes or findings, in the order of `p`'s columns; of survival
            ('risk',).
        y: softmax: int64 [N] in [0, K). sigmoid: float64 [N, K], 1, 0 or NaN where unknown.
            survival: float64 [N, 2], the time and the event as 1 or 0.
        p: float64 [N, K] in [0, 1]; of survival [N, 1], any finite number.
        groups: str [N], the patient of each image: the unit of the bootstrap.
        images: str [N], distinct names.
        positive: For two softmax classes, the one whose probability is the score; the last one
            unless given.
        horizon: Of survival, when the risk is judged, in the unit of the times; None otherwise.
        thresholds: The operating point, one per problem of `binary_problems` (one of two classes,
            else one per class or finding), or why a problem has none; None for 0.5. Sensitivity
            and specificity call a score of so much or more positive.
    """

    kind: Kind
    classes: tuple[str, ...]
    y: np.ndarray
    p: np.ndarray
    groups: np.ndarray
    images: np.ndarray
    positive: str | None = None
    horizon: float | None = None
    thresholds: tuple[float | NotDefined, ...] | None = None

    def __post_init__(self) -> None:
        n, k = len(self.images), len(self.classes)
        labels = {"softmax": (n,), "sigmoid": (n, k), "survival": (n, 2)}[self.kind]
        shapes = {"y": labels, "p": (n, k), "groups": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        if (self.kind == "survival") != (self.horizon is not None):
            raise ValueError(f"{self.kind} with horizon {self.horizon}")
        problems = 0 if self.kind == "survival" else 1 if self.is_binary else k
        if self.thresholds is not None and len(self.thresholds) != problems:
            raise ValueError(f"{len(self.thresholds)} thresholds of {problems} problems")
        if self.positive is not None and (not self.is_binary or self.positive not in self.classes):
            raise UserError(
                f"{self.positive!r} cannot be the positive class of {self.classes}."
                + did_you_mean(self.positive, self.classes),
                "Give a positive class only where there are two classes, and one of them.",
            )

    @classmethod
    def from_table(cls, table: pd.DataFrame, positive: str | None = None) -> "Predictions":
        """Takes the arrays out of a table as `read_predictions` returns it.

        Images of a softmax table without a label, or of one of survival without a time, cannot be
        scored and are left out: see `unlabelled`.
        """
        kind, classes = table_schema(table)
        horizon = None
        if kind == "survival":
            horizon = float(table[HORIZON].iloc[0])
            table = table[~unlabelled(table)]
            y = table[[TIME, EVENT]].to_numpy(np.float64)
        elif kind == "softmax":
            table = table[~unlabelled(table)]
            index = {name: position for position, name in enumerate(classes)}
            y = table["label"].map(index).to_numpy(np.int64)
        else:
            cells = table[[FINDING + name for name in classes]]
            y = cells.replace({"": "nan"}).to_numpy(np.float64)
        return cls(
            kind=kind,
            classes=classes,
            y=y,
            p=table[score_columns(kind, classes)].to_numpy(np.float64),
            groups=table["group"].to_numpy(str),
            images=table["image"].to_numpy(str),
            positive=positive,
            horizon=horizon,
        )

    @property
    def is_binary(self) -> bool:
        return self.kind == "softmax" and len(self.classes) == 2

    @property
    def positive_index(self) -> int:
        """Column of the positive class of a binary problem."""
        return len(self.classes) - 1 if self.positive is None else self.classes.index(self.positive)

    def select(self, rows: np.ndarray) -> "Predictions":
        """The images at `rows` (positions or a mask), in that order."""
        return dataclasses.replace(
            self,
            y=self.y[rows],
            p=self.p[rows],
            groups=self.groups[rows],
            images=self.images[rows],
        )

    def at(self, thresholds: Sequence[float | NotDefined] | None) -> "Predictions":
        """These predictions at an operating point, e.g. `OperatingPoint.thresholds`."""
        chosen = None if thresholds is None else tuple(thresholds)
        return dataclasses.replace(self, thresholds=chosen)


def predictions_table(
    kind: Kind,
    classes: Sequence[str],
    images: Sequence[str],
    p: np.ndarray,
    y: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    site: Sequence[str] | str = "",
    split: Sequence[str] | str = "",
    horizon: float | None = None,
) -> pd.DataFrame:
    """Builds the table.

    Args:
        kind: 'softmax', 'sigmoid' or 'survival'.
        classes: K names; of survival ('risk',).
        images: N names as they stand in the manifest, or of their cases.
        p: [N, K] in [0, 1]; float32 rounding beyond the ends (up to 1e-6) is clipped. survival:
            [N, 1], the risk, any finite number.
        y: softmax: int [N] in [0, K), -1 where unknown; sigmoid: [N, K], NaN where unknown;
            survival: [N, 2], time and event, NaN where unknown; None where nothing is known.
        groups: N patients; None where the data has none, then every image is its own group.
        site: One name per image, or one for all; '' where unknown.
        split: As `site`.
        horizon: Of survival: when the risk is judged, in the unit of the times.

    Returns:
        N rows with the columns of the module's docstring.
    """
    classes = tuple(classes)
    table = pd.DataFrame({"image": list(images)}, dtype=str)
    table["group"] = table["image"] if groups is None else pd.Series(list(groups), dtype=str)
    table["site"] = site
    table["split"] = split
    if kind == "survival":
        if tuple(classes) != (RISK,) or horizon is None:
            raise ValueError(f"survival with classes {classes} and horizon {horizon}")
        return _with_survival(table, np.asarray(p, np.float64), y, horizon)
    if kind == "softmax":
        names = np.array([*classes, ""])  # index -1 is the blank
        y = np.full(len(table), -1) if y is None else np.asarray(y)
        if not np.isin(y, np.arange(-1, len(classes))).all():
            raise ValueError(f"y must be in [-1, {len(classes)}) for {len(classes)} classes")
        table["label"] = names[y]
    else:
        y = np.full((len(table), len(classes)), np.nan) if y is None else np.asarray(y, np.float64)
        for column, name in enumerate(classes):
            cells = np.select([y[:, column] == 1, y[:, column] == 0], ["1", "0"], "")
            if not np.array_equal(cells == "", np.isnan(y[:, column])):
                raise ValueError(f"labels of {name!r} must be 1, 0 or NaN")
            table[FINDING + name] = cells
    p = np.asarray(p, np.float64)
    p = np.where((p > -ROUNDING) & (p < 1 + ROUNDING), p.clip(0, 1), p)
    for column, name in enumerate(classes):
        table[SCORE + name] = p[:, column]
    return table


def _with_survival(
    table: pd.DataFrame, risk: np.ndarray, y: np.ndarray | None, horizon: float
) -> pd.DataFrame:
    y = np.full((len(table), 2), np.nan) if y is None else np.asarray(y, np.float64)
    table[TIME] = y[:, 0]
    cells = np.select([y[:, 1] == 1, y[:, 1] == 0], ["1", "0"], "")
    if not np.array_equal(cells == "", np.isnan(y).all(axis=1)) or np.isnan(y[cells != ""]).any():
        raise ValueError("events must be 1, 0 or NaN, with NaN for the time")
    table[EVENT] = cells
    table[HORIZON] = float(horizon)
    table[RISK] = risk[:, 0]
    return table


def write_predictions(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Writes a table as CSV, whole or not at all.

    Probabilities are written so that reading gives the same float64 bits.

    Raises:
        UserError: The table is not a predictions table (see `read_predictions`).
        RunFailed: The file cannot be written.
    """
    path = Path(path)
    check_table(table, str(path))
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written ({error.strerror}).",
            "Free some space or choose another folder, then repeat the command.",
        ) from error


def read_predictions(
    path: str | os.PathLike, group: str | None = None, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Reads and checks a predictions table, of this package or of another tool.

    Tables with our columns are read as they stand. Of others the columns are found by the names
    that tools give them, or refused where that is not clear: see `evaluation.column_roles` and
    `evaluation.foreign_scores`.

    Args:
        path: CSV, a file separated by tabs or semicolons, or Parquet.
        group: Column of the patient; 'image' for every image by itself.
        columns: Role -> column, where the names do not say it; see `column_roles.parse_columns`.

    Returns:
        Base and label columns as text ('001' stays '001', blank stays blank), scores as float64;
        further columns are kept as text. `attrs["columns"]` says what was read from which column,
        where these are not our own.

    Raises:
        UserError: Not readable as a table, empty, a column missing or not clear, an image twice,
            a blank image or group, a label that is no class, a score that is no number, NaN, or
            outside 0-1, or softmax scores that do not sum to one. Of survival: an event without a
            time or a time without an event, a time that is negative or not finite, or horizons
            that differ.
    """
    table = read_text_table(path)
    given = dict(columns or {}) | ({} if group is None else {"group": group})
    if given or not is_own(table):
        table = adopted(table, str(path), given)
    kind, classes = table_schema(table, str(path))
    numbers = score_columns(kind, classes) + ([TIME, HORIZON] if kind == "survival" else [])
    for column in numbers:
        if table[column].dtype != np.float64:
            table[column] = to_float(table[column], str(path))
    check_table(table, str(path))
    return table
