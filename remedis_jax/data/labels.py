"""Label cells become arrays, and every cell that is not a label is named.

Two kinds. 'softmax': one column, each image has exactly one of the classes. 'sigmoid': one column
per class, each holding 1, 0, nothing, or (in radiology, as CheXpert writes it: Irvin et al. 2019,
arXiv:1901.07031) -1 for a report that is uncertain.
"""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from remedis_jax.data.manifest import Manifest, require_columns
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError

Kind = Literal["softmax", "sigmoid"]
MISSING = ("error", "mask", "negative")
UNCERTAIN = ("error", "mask", "negative", "positive")
_BINARY = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "-1.0": -1}


@dataclasses.dataclass(frozen=True)
class LabelSpec:
    """What a model predicts.

    Attributes:
        kind: 'softmax' (exactly one class) or 'sigmoid' (each class by itself).
        classes: Their names, in the order of the model's outputs.
        columns: The label columns: one for softmax, one per class for sigmoid.
    """

    kind: Kind
    classes: tuple[str, ...]
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("softmax", "sigmoid"):
            raise UserError(
                f"label kind {self.kind!r} is unknown.", "Choose 'softmax' or 'sigmoid'."
            )
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"the classes {self.classes} are not distinct.", "Name each one once.")
        if self.kind == "softmax" and len(self.columns) != 1:
            raise UserError(
                f"softmax needs one label column and got {len(self.columns)}: {self.columns}.",
                "Name one column of class names, or choose 'sigmoid' for one column per class.",
            )
        if self.kind == "softmax" and len(self.classes) < 2:
            raise UserError(
                f"column {self.columns[0]!r} holds one class only: {self.classes}.",
                "A classifier needs two classes or more.",
            )
        if self.kind == "sigmoid" and len(self.columns) != len(self.classes):
            raise UserError(
                f"sigmoid has {len(self.columns)} columns for {len(self.classes)} classes.",
                "Name one column per class.",
            )


def infer_label_spec(
    manifest: Manifest,
    columns: Sequence[str] | None = None,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
) -> LabelSpec:
    """Reads off the manifest what there is to predict.

    Several columns are 'sigmoid', one class each, named as the column is. One column is 'softmax'
    over the values found in it, in numerical order where all of them are numbers and else in
    alphabetical order, unless `kind` says 'sigmoid'. A value that looks like a slip of another
    is refused; naming the classes settles the matter.

    Args:
        manifest: All the data that share the classes: training, validation and test together, so
            that a class absent from one of them keeps its place.
        columns: The label columns; the manifest's own if None.
        kind: 'softmax' or 'sigmoid'; inferred if None.
        classes: The classes in their order; inferred if None.

    Raises:
        UserError: There is no label column, or the columns, kind and classes do not fit together.
    """
    columns = manifest.columns.labels if columns is None else tuple(columns)
    if not columns:
        raise UserError(f"{manifest.path}: no label column is named.", "Name one in the config.")
    require_columns(manifest.table.columns, columns, manifest.path)
    if kind is None:
        kind = "softmax" if len(columns) == 1 else "sigmoid"
    if classes is None and kind == "softmax" and len(columns) == 1:
        counts = Counter(cell.strip() for cell in manifest.column(columns[0]))
        counts.pop("", None)
        _refuse_misspelt_classes(manifest, columns[0], counts)
        classes = _in_order(counts)
    return LabelSpec(kind, tuple(columns if classes is None else classes), columns)


def encode_labels(
    manifest: Manifest,
    spec: LabelSpec,
    *,
    missing: str = "error",
    uncertain: str = "error",
    require_all_classes: bool = True,
) -> np.ndarray:
    """Turns label cells into an array.

    Args:
        manifest: N images.
        spec: K classes.
        missing: What an empty cell of a sigmoid column is: 'error', 'mask' (nan: no loss, no
            score) or 'negative'. For softmax only 'error'. Default: ours.
        uncertain: What -1 in a sigmoid column is: 'error', 'mask', 'negative' or 'positive';
            CheXpert calls the last three U-Ignore, U-Zeros and U-Ones. Default: ours.
        require_all_classes: Refuse data in which a class has no image (sigmoid: no positive or no
            negative one). True for training; False for a test site that may lack a class.

    Returns:
        softmax: int32 [N] in [0, K). sigmoid: float32 [N, K] in {0, 1, nan}.

    Raises:
        UserError: A cell is not a label (with its row), is empty or uncertain where that is an
            error, or a class has no image where all are required.
    """
    for name, value, allowed in (
        ("missing", missing, MISSING if spec.kind == "sigmoid" else ("error",)),
        ("uncertain", uncertain, UNCERTAIN if spec.kind == "sigmoid" else ("error",)),
    ):
        if value not in allowed:
            raise UserError(
                f"{name}={value!r} is not possible for {spec.kind} labels.",
                f"Choose one of {', '.join(map(repr, allowed))}.",
            )
    if spec.kind == "softmax":
        labels = _encode_softmax(manifest, spec)
    else:
        labels = np.stack(
            [_apply_policy(manifest, column, missing, uncertain) for column in spec.columns],
            axis=1,
        )
    if require_all_classes:
        _require_all_classes(manifest, spec, labels)
    return labels


def count_labels(manifest: Manifest, spec: LabelSpec) -> dict[str, dict[str, int]]:
    """Counts what the cells say, before any policy for missing or uncertain ones.

    Returns:
        softmax: ``{class: {'images': n}}``. sigmoid: ``{class: {'positive': n, 'negative': n,
        'uncertain': n, 'missing': n}}``.

    Raises:
        UserError: A cell is not a label.
    """
    if spec.kind == "softmax":
        counts = np.bincount(_encode_softmax(manifest, spec), minlength=len(spec.classes))
        return {name: {"images": int(n)} for name, n in zip(spec.classes, counts, strict=True)}
    names = {1.0: "positive", 0.0: "negative", -1.0: "uncertain"}
    result = {}
    for name, column in zip(spec.classes, spec.columns, strict=True):
        values = _parse_binary(manifest, column)
        result[name] = {what: int((values == value).sum()) for value, what in names.items()}
        result[name]["missing"] = int(np.isnan(values).sum())
    return result


def _in_order(values: Iterable[str]) -> list[str]:
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)


def _refuse_misspelt_classes(manifest: Manifest, column: str, counts: Counter[str]) -> None:
    """Refuses 'postive' beside twenty times as many 'positive', and 'Positive' at any count.

    Names with a digit are left alone: 'grade 3' beside 'grade 2' is no slip.
    """
    for rare, count in counts.items():
        others = [
            name
            for name, n in counts.items()
            if name != rare and n >= count and (n >= 20 * count or name.lower() == rare.lower())
        ]
        near = difflib.get_close_matches(rare.lower(), [o.lower() for o in others], 1, 0.85)
        if near and not any(c.isdigit() for c in rare):
            row = manifest.rows[[c.strip() for c in manifest.column(column)].index(rare)]
            raise UserError(
                f"{manifest.path}: row {row}: {rare!r} in column {column!r} looks like a slip of"
                f" {next(o for o in others if o.lower() == near[0])!r} ({count:,} row(s)).",
                "Correct it, or name the classes if both are meant.",
            )


def _encode_softmax(manifest: Manifest, spec: LabelSpec) -> np.ndarray:
    column = spec.columns[0]
    number = {name: i for i, name in enumerate(spec.classes)}
    cells = [cell.strip() for cell in manifest.column(column)]
    _refuse_empty(manifest, column, np.array([not cell for cell in cells]))
    wrong = [(r, cell) for r, cell in zip(manifest.rows, cells, strict=True) if cell not in number]
    manifest.refuse(
        [f"{row} ({cell!r})" for row, cell in wrong],
        f"column {column!r} is not one of the classes in",
        f"The classes are {first_few([repr(c) for c in spec.classes])}."
        f"{did_you_mean(wrong[0][1], spec.classes) if wrong else ''}",
    )
    return np.array([number[cell] for cell in cells], np.int32)


def _parse_binary(manifest: Manifest, column: str) -> np.ndarray:
    """float32 [N]: 1 positive, 0 negative, -1 uncertain, nan empty."""
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


def _apply_policy(manifest: Manifest, column: str, missing: str, uncertain: str) -> np.ndarray:
    values = _parse_binary(manifest, column)
    empty, unsure = np.isnan(values), values == -1
    if missing == "error":
        _refuse_empty(manifest, column, empty, " Or pass missing='mask' or 'negative'.")
    if uncertain == "error":
        manifest.refuse(
            [str(row) for row in manifest.rows[unsure]],
            f"column {column!r} is uncertain (-1) in",
            "Pass uncertain='mask', 'negative' or 'positive'.",
        )
    meaning = {"mask": np.nan, "negative": 0, "positive": 1, "error": np.nan}
    values[empty] = meaning[missing]
    values[unsure] = meaning[uncertain]
    return values


def _refuse_empty(
    manifest: Manifest, column: str, empty: np.ndarray, alternative: str = ""
) -> None:
    manifest.refuse(
        [str(row) for row in manifest.rows[empty]],
        f"label column {column!r} is empty in",
        f"Fill the cells in or leave the rows out.{alternative}",
    )


def _require_all_classes(manifest: Manifest, spec: LabelSpec, labels: np.ndarray) -> None:
    if spec.kind == "softmax":
        counts = np.bincount(labels, minlength=len(spec.classes))
        table = [f"{name} {n:,}" for name, n in zip(spec.classes, counts, strict=True)]
        lacking = [name for name, n in zip(spec.classes, counts, strict=True) if n == 0]
    else:
        pairs = [((col == 1).sum(), (col == 0).sum()) for col in labels.T]
        table = [f"{c} {p:,}+/{n:,}-" for c, (p, n) in zip(spec.classes, pairs, strict=True)]
        lacking = [c for c, pair in zip(spec.classes, pairs, strict=True) if min(pair) == 0]
    if lacking:
        raise UserError(
            f"{manifest.path}: no image for {', '.join(map(repr, lacking))} among"
            f" {len(manifest):,} rows ({', '.join(table)}).",
            "Add images of the class, or leave it out of the classes.",
        )
