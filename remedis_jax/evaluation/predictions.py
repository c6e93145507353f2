"""The predictions table: one row per image, what it is and what the model says it is.

Softmax tables have a `label` column with the class name and `p_<class>` for every class; sigmoid
tables have `label_<finding>` (1, 0 or blank) and `p_<finding>` for every finding. Every statistic
of this package is computed from such a file, whoever wrote it.
"""

import csv
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import RunFailed, UserError

Kind = Literal["softmax", "sigmoid"]

BASE_COLUMNS = ("image", "group", "site", "split")
SCORE = "p_"
FINDING = "label_"
# XLA divides approximately on some accelerators: a probability can come out at 1 + 1e-7.
ROUNDING = 1e-6
# A softmax written with two decimals and dozens of classes misses one by this much at most.
SUM_TOLERANCE = 0.01  # ours
FIRST_LINE = 2  # the header is line 1


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and probabilities of N images.

    Attributes:
        kind: 'softmax' (exactly one class per image) or 'sigmoid' (each finding by itself).
        classes: Names of the K classes or findings, in the order of `p`'s columns.
        y: softmax: int64 [N] in [0, K). sigmoid: float64 [N, K], 1, 0 or NaN where unknown.
        p: float64 [N, K] in [0, 1].
        groups: str [N], the patient of each image: the unit of the bootstrap.
        images: str [N], distinct names.
        positive: For two softmax classes, the one whose probability is the score; the last one
            unless given.
    """

    kind: Kind
    classes: tuple[str, ...]
    y: np.ndarray
    p: np.ndarray
    groups: np.ndarray
    images: np.ndarray
    positive: str | None = None

    def __post_init__(self) -> None:
        n, k = len(self.images), len(self.classes)
        shapes = {"y": (n,) if self.kind == "softmax" else (n, k), "p": (n, k), "groups": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        if self.positive is not None and (not self.is_binary or self.positive not in self.classes):
            raise UserError(
                f"{self.positive!r} cannot be the positive class of {self.classes}."
                + did_you_mean(self.positive, self.classes),
                "Give a positive class only where there are two classes, and one of them.",
            )

    @classmethod
    def from_table(cls, table: pd.DataFrame, positive: str | None = None) -> "Predictions":
        """Takes the arrays out of a table as `read_predictions` returns it.

        Images of a softmax table without a label cannot be scored and are left out: see
        `unlabelled`.
        """
        kind, classes = table_schema(table)
        if kind == "softmax":
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
            p=table[[SCORE + name for name in classes]].to_numpy(np.float64),
            groups=table["group"].to_numpy(str),
            images=table["image"].to_numpy(str),
            positive=positive,
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


def unlabelled(table: pd.DataFrame) -> np.ndarray:
    """Which images of a softmax table have no label, bool [N]; none of a sigmoid table."""
    if "label" not in table:
        return np.zeros(len(table), bool)
    return (table["label"] == "").to_numpy()


def predictions_table(
    kind: Kind,
    classes: Sequence[str],
    images: Sequence[str],
    p: np.ndarray,
    y: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    site: Sequence[str] | str = "",
    split: Sequence[str] | str = "",
) -> pd.DataFrame:
    """Builds the table.

    Args:
        kind: 'softmax' or 'sigmoid'.
        classes: K names.
        images: N names as they stand in the manifest.
        p: [N, K] in [0, 1]; float32 rounding beyond the ends (up to 1e-6) is clipped.
        y: softmax: int [N] in [0, K), -1 where unknown; sigmoid: [N, K], NaN where unknown; None
            where nothing is known.
        groups: N patients; None where the data has none, then every image is its own group.
        site: One name per image, or one for all; '' where unknown.
        split: As `site`.

    Returns:
        N rows with the columns of the module's docstring.
    """
    classes = tuple(classes)
    table = pd.DataFrame({"image": list(images)}, dtype=str)
    table["group"] = table["image"] if groups is None else pd.Series(list(groups), dtype=str)
    table["site"] = site
    table["split"] = split
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


def read_predictions(path: str | os.PathLike) -> pd.DataFrame:
    """Reads and checks a predictions table.

    Returns:
        Base and label columns as text ('001' stays '001', blank stays blank), scores as float64;
        further columns are kept as text.

    Raises:
        UserError: Not readable as CSV, empty, a column missing, an image twice, a blank image or
            group, a label that is no class, a score that is no number, NaN, or outside 0-1, or
            softmax scores that do not sum to one.
    """
    path = Path(path)
    try:
        # utf-8-sig also takes files without the byte-order mark that spreadsheets write.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}).", "Check the path and its permissions."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty.", "Write the predictions again.") from error
    except (pd.errors.ParserError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} is not a CSV file in UTF-8 ({error}).",
            "Save it as comma-separated UTF-8 text.",
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the first column for an index where every row has a cell too many.
        raise UserError(
            f"{path}: the rows have not as many cells as the header.",
            "Quote cells that hold a comma.",
        )
    table_schema(table, str(path))
    for column in table.columns[table.columns.str.startswith(SCORE)]:
        table[column] = _to_float(table[column], str(path))
    check_table(table, str(path))
    return table


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
    if not scored:
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
            "per class, or one 'label_<finding>' and one 'p_<finding>' per finding.",
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
    scores = table[[SCORE + class_name for class_name in classes]]
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


def _to_float(cells: pd.Series, name: str) -> np.ndarray:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell) if cell.strip() else np.nan
        except ValueError as error:
            raise UserError(
                f"{name}, line {row + FIRST_LINE}: {cells.name!r} is {cell!r}, not a number.",
                "Write scores as decimal numbers with a point.",
            ) from error
    return values
