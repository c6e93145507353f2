"""How many labels of each kind there are, and what the policy made of them: for card and report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.binary_labels import binary_cells
from remedis_jax.data.label_policy import LabelPolicy, Treatment
from remedis_jax.data.labels import UNKNOWN, LabelSpec, encode_labels, hard_labels
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.readers import class_numbers, reader_votes
from remedis_jax.data.survival_labels import survival_cells
from remedis_jax.errors import RunFailed, UserError

FILE_NAME = "label_treatment.json"


def treatment_counts(
    manifest: Manifest, spec: LabelSpec, policy: LabelPolicy
) -> dict[str, Any]:
    """Counts what the label cells say and what becomes of them.

    Args:
        manifest: N images.
        spec: What their labels mean.
        policy: By which they were encoded.

    Returns:
        Plain JSON values: `kind`, `images` (N), and `labels`, one record per class or finding.
        Of a finding: `label`, `positive`, `negative`, `uncertain` and `blank` as they stand in the
        manifest, `uncertain_as` and `blank_as` (how they were treated; a soft one with its
        `soft_value`). Of a class: `label`, `images`, and with readers or shares `mean_share`.
        softmax also has `blank` (images without a label) and `blank_as`; readers and shares `ties`
        (images that are trained on and not scored), readers `readers` (column -> images read) and
        `disagreements` (images that were not named the same by all who read them). Of survival,
        one record: `label` and `time` (the columns), `events`, `censored`, and `median_time` and
        `last_time` of both, in the unit of the column (None without a label).

    Raises:
        UserError: A cell is not a label.
    """
    if spec.kind == "sigmoid":
        labels = [
            _finding(name, binary_cells(manifest, column), policy.for_label(name))
            for name, column in zip(spec.classes, spec.columns, strict=True)
        ]
        return {"kind": spec.kind, "images": len(manifest), "labels": labels}
    if spec.kind == "survival":
        return _survival(manifest, spec, policy)
    usual = LabelPolicy(Treatment(blank="ignore"))
    encoded = encode_labels(manifest, spec, usual, require_all_classes=False)
    hard = hard_labels(encoded, spec)
    images = np.bincount(hard[hard != UNKNOWN], minlength=len(spec.classes))
    unread = np.isnan(encoded[:, 0]) if spec.is_soft else hard == UNKNOWN
    labels = [
        {"label": name, "images": int(n)} for name, n in zip(spec.classes, images, strict=True)
    ]
    counts: dict[str, Any] = {"kind": spec.kind, "images": len(manifest), "labels": labels}
    counts |= {"blank": int(unread.sum()), "blank_as": _blank_as(policy.usual, unread)}
    if spec.is_soft:
        counts["ties"] = int((hard == UNKNOWN).sum() - unread.sum())
        for record, share in zip(labels, encoded[~unread].sum(axis=0), strict=True):
            record["mean_share"] = float(share / max(1, (~unread).sum()))
    if spec.readers:
        counts["readers"] = {
            column: int((class_numbers(manifest, column, spec.classes) != UNKNOWN).sum())
            for column in spec.columns
        }
        votes = reader_votes(manifest, spec.columns, spec.classes)
        counts["disagreements"] = int(((votes > 0).sum(axis=1) > 1).sum())
    return counts


def policy_table(counts: Mapping[str, Any]) -> pd.DataFrame:
    """What `treatment_counts` found, as text: one row per class or finding, or the event."""
    rows = []
    for record in counts["labels"]:
        if counts["kind"] == "sigmoid":
            row = {
                "Label": record["label"],
                "Positive": f"{record['positive']:,}",
                "Negative": f"{record['negative']:,}",
                "Uncertain": f"{record['uncertain']:,}",
                "Uncertain taken as": _uncertain_words(record),
                "Blank": f"{record['blank']:,}",
                "Blank taken as": _BLANK_WORDS[record["blank_as"]] if record["blank"] else "",
            }
        elif counts["kind"] == "survival":
            row = {
                "Label": record["label"],
                "Events": f"{record['events']:,}",
                "Censored": f"{record['censored']:,}",
                "Time": record["time"],
                "Median time": _time_words(record["median_time"]),
                "Last time": _time_words(record["last_time"]),
            }
        else:
            row = {"Label": record["label"], "Images": f"{record['images']:,}"}
            if "mean_share" in record:
                row["Mean share"] = f"{record['mean_share']:.3f}"
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def policy_remarks(counts: Mapping[str, Any]) -> list[str]:
    """What the table cannot show in its cells, one sentence each."""
    remarks = []
    if counts.get("blank"):
        remarks.append(f"{counts['blank']:,} of {counts['images']:,} images have no label.")
    if "readers" in counts:
        read = ", ".join(f"{name} {n:,}" for name, n in counts["readers"].items())
        remarks.append(
            f"The label is the share of the readers' votes (images read: {read}); they do not agree"
            f" on {counts['disagreements']:,} of {counts['images']:,} images."
        )
    if counts.get("ties"):
        remarks.append(
            f"{counts['ties']:,} images have several classes with equally many votes or shares:"
            " they can be trained on, and are not scored."
        )
    if any(r.get("uncertain") and r["uncertain_as"] == "soft" for r in counts["labels"]):
        remarks.append("Labels that are neither 1 nor 0 can be trained on, and are not scored.")
    return remarks


def write_counts(folder: Path, counts: Mapping[str, Any]) -> Path:
    """Writes `label_treatment.json` into a folder, for its report.

    Raises:
        RunFailed: It cannot be written.
    """
    path = Path(folder) / FILE_NAME
    try:
        path.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written ({error.strerror}).",
            "Free some space or choose another folder, then repeat the command.",
        ) from error
    return path


def read_counts(folder: Path) -> dict[str, Any] | None:
    """A folder's `label_treatment.json`; None where it has none.

    Raises:
        UserError: It is not what `write_counts` writes.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
        policy_table(counts), policy_remarks(counts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} does not hold counts of labels ({error!r}).", "Delete it or make it anew."
        ) from error
    return counts


_UNCERTAIN_WORDS = {"ones": "positive", "zeros": "negative", "ignore": "unknown", "error": ""}
_BLANK_WORDS = {"negative": "negative", "ignore": "unknown", "error": ""}


def _uncertain_words(record: Mapping[str, Any]) -> str:
    if not record["uncertain"]:
        return ""
    if record["uncertain_as"] == "soft":
        return f"{record['soft_value']:g}"
    return _UNCERTAIN_WORDS[record["uncertain_as"]]


def _time_words(time: float | None) -> str:
    return "" if time is None else f"{time:g}"


def _survival(manifest: Manifest, spec: LabelSpec, policy: LabelPolicy) -> dict[str, Any]:
    cells = survival_cells(manifest, spec.columns)
    empty = np.isnan(cells[:, 0])
    time, event = cells[~empty].T
    record = {
        "label": spec.columns[1],
        "time": spec.columns[0],
        "events": int((event == 1).sum()),
        "censored": int((event == 0).sum()),
        "median_time": float(np.median(time)) if len(time) else None,
        "last_time": float(time.max()) if len(time) else None,
    }
    counts = {"kind": spec.kind, "images": len(manifest), "labels": [record]}
    return counts | {"blank": int(empty.sum()), "blank_as": _blank_as(policy.usual, empty)}


def _finding(name: str, values: np.ndarray, treatment: Treatment) -> dict[str, Any]:
    record = {
        "label": name,
        "positive": int((values == 1).sum()),
        "negative": int((values == 0).sum()),
        "uncertain": int((values == -1).sum()),
        "uncertain_as": treatment.uncertain,
        "blank": int(np.isnan(values).sum()),
        "blank_as": _blank_as(treatment, np.isnan(values)),
    }
    return record | ({"soft_value": treatment.soft_value} if treatment.uncertain == "soft" else {})


def _blank_as(treatment: Treatment, empty: np.ndarray) -> str:
    # A column without a single label is unknown even where an empty cell is an error.
    return "ignore" if treatment.blank == "error" and empty.all() else treatment.blank
