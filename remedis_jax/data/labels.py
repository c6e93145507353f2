"""Label cells become arrays, and every cell that is not a label is named.

Three kinds. 'softmax': each image has exactly one of the classes. One column says which; or several
readers name one each, and the label is the share of their votes; or there is a column of numbers
per class that sum to 1. 'sigmoid': one column per class, each holding 1, 0, nothing, or (in
radiology, as CheXpert writes it: Irvin et al. 2019, arXiv:1901.07031) -1 for a report that is
uncertain. What the last two are taken for is `data.label_policy`. 'survival': one column holds a
time and one whether the event was then: `data.survival_labels`.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from remedis_jax.data.binary_labels import encode_finding, refuse_rows
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.label_spec import Kind, LabelSpec
from remedis_jax.data.manifest import Manifest, require_columns
from remedis_jax.data.messages import first_few
from remedis_jax.data.readers import class_numbers, parse_shares, vote_shares
from remedis_jax.data.survival_labels import RISK, encode_survival
from remedis_jax.errors import UserError

UNKNOWN = -1  # of a class
_USUAL = LabelPolicy()


def infer_label_spec(
    manifest: Manifest,
    columns: Sequence[str] | None = None,
    kind: Kind | None = None,
    classes: Sequence[str] | None = None,
    readers: Sequence[str] = (),
) -> LabelSpec:
    """Reads off the manifest what there is to predict.

    Several columns are 'sigmoid', one class each, named as the column is; if `kind` says 'softmax',
    they hold the share of each class instead. One column is 'softmax' over the values found in it,
    in numerical order where all of them are numbers and else in alphabetical order, unless `kind`
    says 'sigmoid'; and so are the columns of readers together. A value that looks like a slip of
    another is refused; naming the classes settles the matter. 'survival' is never inferred.

    Args:
        manifest: All the data that share the classes: training, validation and test together, so
            that a class absent from one of them keeps its place.
        columns: The label columns; the manifest's own if None.
        kind: 'softmax', 'sigmoid' or 'survival'; inferred if None.
        classes: The classes in their order; inferred if None.
        readers: Columns of readers who name a class each, in place of `columns`.

    Raises:
        UserError: There is no label column, or the columns, kind and classes do not fit together.
    """
    if readers:
        columns, kind = tuple(readers), kind or "softmax"
    columns = manifest.columns.labels if columns is None else tuple(columns)
    if not columns:
        raise UserError(f"{manifest.path}: no label column is named.", "Name one in the config.")
    require_columns(manifest.table.columns, columns, manifest.path)
    if kind is None:
        kind = "softmax" if len(columns) == 1 else "sigmoid"
    if classes is None and kind == "survival":
        classes = (RISK,)
    if classes is None and kind == "softmax" and (readers or len(columns) == 1):
        cells = {name: [cell.strip() for cell in manifest.column(name)] for name in columns}
        counts = sum(map(Counter, cells.values()), Counter())
        counts.pop("", None)
        _refuse_fewer_than_two(manifest, columns, counts)
        _refuse_misspelt_classes(manifest, cells, counts)
        classes = _in_order(counts)
    classes = columns if classes is None else tuple(classes)
    return LabelSpec(kind, tuple(classes), columns, bool(readers))


def encode_labels(
    manifest: Manifest,
    spec: LabelSpec,
    policy: LabelPolicy = _USUAL,
    *,
    require_all_classes: bool = True,
) -> np.ndarray:
    """Turns label cells into an array.

    Args:
        manifest: N images.
        spec: K classes.
        policy: What uncertain and empty cells are. softmax has no uncertain ones, and knows of
            the empty ones 'error' and 'ignore'; to train it, every image needs a label.
        require_all_classes: For training: refuse data in which a class has no image (sigmoid: no
            positive or no negative one). False to evaluate: a test site may lack a class, and a
            column without a single label is of a finding that nobody looked for, not an error.
            survival: whether an event is required.

    Returns:
        softmax: int32 [N] in [0, K), -1 where unknown; with readers or shares float32 [N, K], rows
        that sum to 1, or nan where unknown. sigmoid: float32 [N, K] in [0, 1], nan where unknown.
        survival: float32 [N, 2], the time and the event as 1 or 0, nan where unknown.

    Raises:
        UserError: A cell is not a label (with its row), is empty or uncertain where that is an
            error, a class has no image where all are required, or the policy is not possible.
    """
    policy.require_known(spec.classes)
    if spec.kind == "sigmoid":
        labels = np.stack(
            [
                encode_finding(manifest, column, policy.for_label(name), require_all_classes)
                for name, column in zip(spec.classes, spec.columns, strict=True)
            ],
            axis=1,
        )
    elif spec.kind == "survival":
        labels = encode_survival(manifest, spec.columns, policy, require_all_classes)
    else:
        labels = _encode_softmax(manifest, spec, policy, require_all_classes)
    if require_all_classes:
        _require_all_classes(manifest, spec, labels)
    return labels


def hard_labels(labels: np.ndarray, spec: LabelSpec) -> np.ndarray:
    """The labels that predictions can be scored against.

    Of readers and shares, the class that has the most; an image in which two have equally many has
    no label. A finding that is neither 0 nor 1 has none either: ours.

    Args:
        labels: As from `encode_labels`.
        spec: What they mean.

    Returns:
        softmax: int32 [N], -1 where unknown. sigmoid: float32 [N, K] of 0, 1 and nan. survival: as
        they are.
    """
    if spec.kind == "survival":
        return labels
    if spec.kind == "sigmoid":
        return np.where((labels == 0) | (labels == 1), labels, np.float32(np.nan))
    if labels.ndim == 1:
        return labels
    most = labels.max(axis=1, keepdims=True)
    single = (labels == most).sum(axis=1) == 1
    return np.where(single, labels.argmax(axis=1), UNKNOWN).astype(np.int32)


def strata_of(labels: np.ndarray, spec: LabelSpec) -> list[str]:
    """What images are stratified by where a share of them is drawn, text [N].

    softmax: the class; of equal shares the first. sigmoid: the first finding, '1' or '0'; what is
    unknown counts as '0'. survival: the event, likewise.

    Args:
        labels: As from `encode_labels`.
        spec: What they mean.
    """
    if spec.kind != "softmax":
        column = {"sigmoid": 0, "survival": 1}[spec.kind]
        return [str(int(value)) for value in labels[:, column] == 1]
    return [str(k) for k in (labels if labels.ndim == 1 else labels.argmax(axis=1))]


def _in_order(values: Iterable[str]) -> list[str]:
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)


def _refuse_fewer_than_two(
    manifest: Manifest, columns: Sequence[str], counts: Mapping[str, int]
) -> None:
    """Refuses columns of a class that are empty, or hold a single one."""
    if len(counts) < 2:
        names = ", ".join(map(repr, columns))
        found = [f"holds one class only, {name!r} ({n:,} cells)" for name, n in counts.items()]
        raise UserError(
            f"{manifest.path}: label column {names} {(found or ['is empty'])[0]} among"
            f" {len(manifest):,} row(s).",
            "A classifier needs two classes or more; check whether the column is the right one.",
        )


def _refuse_misspelt_classes(
    manifest: Manifest, cells: Mapping[str, list[str]], counts: Counter[str]
) -> None:
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
            column = next(name for name, texts in cells.items() if rare in texts)
            row = manifest.rows[cells[column].index(rare)]
            raise UserError(
                f"{manifest.path}: row {row}: {rare!r} in column {column!r} looks like a slip of"
                f" {next(o for o in others if o.lower() == near[0])!r} ({count:,} row(s)).",
                "Correct it, or name the classes if both are meant.",
            )


def _encode_softmax(
    manifest: Manifest, spec: LabelSpec, policy: LabelPolicy, training: bool
) -> np.ndarray:
    usual = policy.usual
    if policy.own or usual.uncertain != "error" or usual.blank == "negative":
        raise UserError(
            "label policy: classes of which an image has exactly one have no uncertain or negative"
            " cells.",
            "For 'softmax' use blank=error or blank=ignore; or choose 'sigmoid'.",
        )
    if spec.readers:
        labels = vote_shares(manifest, spec.columns, spec.classes)
    elif spec.is_soft:
        labels = parse_shares(manifest, spec.columns)
    else:
        labels = class_numbers(manifest, spec.columns[0], spec.classes)
    unknown = labels == UNKNOWN if labels.ndim == 1 else np.isnan(labels[:, 0])
    what = f"label column {spec.columns[0]!r} is empty in"
    if len(spec.columns) > 1:
        what = f"all label columns ({first_few([repr(c) for c in spec.columns])}) are empty in"
    if training:
        refuse_rows(manifest, unknown, what)
    elif usual.blank == "error" and not unknown.all():
        refuse_rows(manifest, unknown, what, " Or pass the label policy blank=ignore.")
    return labels


def _require_all_classes(manifest: Manifest, spec: LabelSpec, labels: np.ndarray) -> None:
    if spec.kind == "survival":
        if not labels[:, 1].any():
            raise UserError(
                f"{manifest.path}: no event (1) in column {spec.columns[1]!r} among"
                f" {len(manifest):,} rows.",
                "Without events nothing can be learnt of when they come: add data, or check"
                " whether the column is the right one.",
            )
        return
    if spec.kind == "softmax":
        if labels.ndim == 1:
            counts = np.bincount(labels, minlength=len(spec.classes))
        else:
            counts = (labels > 0).sum(axis=0)
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
            "Add images of the class, or leave it out of the classes"
            + ("." if spec.kind == "softmax" else ", or choose another label policy."),
        )
