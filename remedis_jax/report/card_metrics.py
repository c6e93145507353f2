"""The numbers of a model card: what `remedis evaluate` measured, with intervals and on what."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.metrics import NAMES, RANKING, NotDefined
from remedis_jax.evaluation.predictions import read_predictions
from remedis_jax.report.tables import caveats
from remedis_jax.report.wording import interval_text, metric_name

_ALL = "all"


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a `metrics.json` holds.

    Attributes:
        records: One for each set of images and level; see `report.scored_parts.as_records`.
        sites: Names of the sites that were evaluated, as far as they are known.
        verified: Whether a `weights.json` beside it says that it is of these weights.
    """

    records: Sequence[Mapping[str, Any]]
    sites: frozenset[str]
    verified: bool


def read_evaluation(path: Path, sha256: str) -> Evaluation:
    """Reads the `metrics.json` of an evaluation of the weights with that hash.

    Args:
        path: The file; `weights.json` and `predictions.csv` beside it are read too, if there.
        sha256: The artefact's hash.

    Raises:
        UserError: It cannot be read, is something else, or is of other weights.
    """
    records = _json(path)
    try:
        for record in records:
            int(record["n_images"]), int(record["n_patients"])
            str(record["site"]), str(record["split"]), str(record["level"])
            for value in record["metrics"].values():
                interval_of(value)
            if "horizon" in record:
                float(record["horizon"])
        if not records:
            raise ValueError("it is empty")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not what `remedis evaluate` writes ({error!r}).", "Give its metrics.json."
        ) from error
    beside = path.with_name("weights.json")
    verified = beside.is_file()
    if verified:
        evaluated = _json(beside)
        found = evaluated.get("sha256") if isinstance(evaluated, Mapping) else None
        if found != sha256:
            raise UserError(
                f"{path} is of weights with the hash {found}, and these have {sha256}.",
                "Give the metrics of these weights, or evaluate them.",
            )
    return Evaluation(records, _sites(path, records), verified)


def results_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row per set of images and level, a metric a column."""
    return pd.DataFrame(
        [
            {
                "Images": _where(record),
                "By": _level(record),
                "Number": f"{record['n_images']:,} images of {record['n_patients']:,} patients",
            }
            | {
                metric_name(metric, record.get("horizon")): interval_text(interval_of(value))
                for metric, value in record["metrics"].items()
                if metric in NAMES
            }
            for record in evaluation.records
        ],
        dtype=str,
    ).fillna("")


def classes_table(evaluation: Evaluation) -> pd.DataFrame:
    """AUROC and AUPRC of every class on all images; empty where there are only two classes."""
    rows = []
    for record in evaluation.records:
        if (record["site"], record["split"]) != (_ALL, _ALL):
            continue
        metrics = record["metrics"]
        classes = [name.partition("/")[2] for name in metrics if name.startswith("auroc/")]
        for name in classes:
            row = {"Class": name, "By": _level(record)}
            for metric in RANKING:
                value = metrics.get(f"{metric}/{name}")
                row[NAMES[metric]] = "" if value is None else interval_text(interval_of(value))
            rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def remarks(evaluation: Evaluation) -> list[str]:
    """What the cells of the table cannot show."""
    survival = any("horizon" in record for record in evaluation.records)
    lacking = "no event, or nobody to compare it with" if survival else "one class only"
    return caveats(
        {
            f"{_where(record)}, by {_level(record)},"
            f" {metric_name(metric, record.get('horizon'))}": interval_of(value)
            for record in evaluation.records
            for metric, value in record["metrics"].items()
            if metric in NAMES
        },
        lacking,
    )


def resamples(evaluation: Evaluation) -> int:
    """Of the bootstrap; the most that any interval has, 0 without one."""
    values = (interval_of(v) for r in evaluation.records for v in r["metrics"].values())
    return max((v.resamples for v in values if isinstance(v, Interval)), default=0)


def interval_of(value: Mapping[str, Any]) -> Interval | NotDefined:
    """What `as_records` made of an interval, back."""
    if "not_defined" in value:
        return NotDefined(str(value["not_defined"]))
    numbers = {name: float(value[name]) for name in ("value", "low", "high")}
    counts = {name: int(value[name]) for name in ("resamples", "undefined_resamples")}
    return Interval(**numbers, **counts, left_out=tuple(map(str, value.get("left_out", ()))))


def _level(record: Mapping[str, Any]) -> str:
    """'image', or 'patient (mean)'."""
    how = record.get("aggregate")
    return f"{record['level']} ({how})" if how else record["level"]


def _where(record: Mapping[str, Any]) -> str:
    if (record["site"], record["split"]) == (_ALL, _ALL):
        return _ALL
    return f"site {record['site']}, split {record['split']}"


def _sites(path: Path, records: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Those that the records name; where they are all of one site, its predictions say which."""
    named = {str(record["site"]) for record in records}
    predictions = path.with_name("predictions.csv")
    if named == {_ALL} and predictions.is_file():
        named = set(read_predictions(predictions)["site"])
    return frozenset(named - {_ALL, "unknown", ""})


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Give a metrics.json.") from error
