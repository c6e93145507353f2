"""Two or more predictions files beside each other on the same patients, as a table of numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import Difference, difference_of, interval_of
from remedis_jax.evaluation.foreign_columns import mapping_sentence
from remedis_jax.evaluation.metrics import check_metric, metrics_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.evaluation.resampling import RESAMPLES, RunResamples, resample_arms
from remedis_jax.report.scored_parts import distinct_names
from remedis_jax.report.wording import metric_name, signed, verdict


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Files that were compared.

    Attributes:
        names: Of the files, as in the table.
        tables: Their rows that were compared, as `read_predictions` returns them.
        results: One row per file beside the first, level and metric: file, metric, by, a, b,
            difference (a minus b), low, high, p, and what may be said of a, a_is. `NotDefined`
            stands where there is no number.
        notes: Sentences on which columns were read, and on images that were left out.
        horizon: Of survival, when the risk is judged.
    """

    names: tuple[str, ...]
    tables: tuple[pd.DataFrame, ...]
    results: pd.DataFrame
    notes: tuple[str, ...]
    horizon: float | None


def compare_files(
    paths: Sequence[Path],
    *,
    group: str | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | None = None,
    metrics: Sequence[str] = (),
    common: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Compared:
    """Compares the first file with each of the others, paired by patient.

    Args:
        paths: Two or more, see `read_predictions`.
        group: Column of the patient.
        columns: Role -> column, of all files.
        positive: Positive class where there are two; the last one if None.
        metrics: As in `metrics.score`; those of the kind of predictions if none.
        common: Compare on the images that all files have, where they differ.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: A file cannot be read, an image is not in all of them, or their patients, labels
            or classes differ.
    """
    if len(paths) < 2:
        raise UserError("there are no two predictions files to compare.", "Give two or more.")
    names = distinct_names([Path(path) for path in paths])
    tables = [read_predictions(path, group, columns) for path in paths]
    notes = [
        f"{name}: {sentence}"
        for name, table in zip(names, tables, strict=True)
        if (sentence := mapping_sentence(table))
    ]
    if common:
        tables, left_out = _common_rows(names, tables)
        notes += left_out
    else:
        _require_same_names(names, tables)
    of_files = [Predictions.from_table(table, positive) for table in tables]
    levels = {"image": of_files}
    if any(len(np.unique(p.groups)) < len(p.groups) for p in of_files):
        levels["patient"] = [aggregate(predictions) for predictions in of_files]
    first = of_files[0]
    metrics = list(metrics) or list(metrics_of(first.kind, len(first.classes)))
    for metric in metrics:
        check_metric(metric, first.kind)
    records = []
    for level, predictions in levels.items():
        drawn = resample_arms([[p] for p in predictions], metrics, resamples, seed)
        for name, of_other in zip(names[1:], drawn[1:], strict=True):
            records += [
                _record(name, level, metric, drawn[0][metric], of_other[metric])
                for metric in metrics
            ]
    results = pd.DataFrame(records)
    return Compared(tuple(names), tuple(tables), results, tuple(notes), first.horizon)


def _record(
    other: str, level: str, metric: str, a: RunResamples | NotDefined, b: RunResamples | NotDefined
) -> dict[str, object]:
    first, second, difference = interval_of(a), interval_of(b), difference_of(a, b)
    record = {
        "file": other,
        "metric": metric,
        "by": level,
        "a": first if isinstance(first, NotDefined) else first.value,
        "b": second if isinstance(second, NotDefined) else second.value,
        "difference": difference,
    }
    if isinstance(difference, Difference):
        record |= {
            "difference": difference.value, "low": difference.low, "high": difference.high,
            "p": difference.p_value,
        }  # fmt: skip
    return record | {"a_is": verdict(difference, metric)}


def by_pair(compared: Compared) -> dict[str, pd.DataFrame]:
    """Title -> table in words, for each file beside the first."""
    shown = {name: [] for name in compared.names[1:]}
    for row in compared.results.itertuples(index=False):
        defined = not isinstance(row.difference, NotDefined)
        shown[row.file].append(
            {
                "Metric": metric_name(row.metric, compared.horizon),
                "By": row.by,
                "A": _number(row.a),
                "B": _number(row.b),
                "A minus B": signed(row.difference) if defined else str(row.difference),
                "95% interval": f"{signed(row.low)} to {signed(row.high)}" if defined else "",
                "p": f"{row.p:.3f}" if defined else "",
                "A is": row.a_is,
            }
        )
    return {
        f"A: {compared.names[0]}   B: {name}": pd.DataFrame(rows, dtype=str)
        for name, rows in shown.items()
    }


def _number(value: float | NotDefined) -> str:
    return str(value) if isinstance(value, NotDefined) else f"{value:.3f}"


def _require_same_names(names: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
    first = set(tables[0]["image"])
    for name, table in zip(names[1:], tables[1:], strict=True):
        other = set(table["image"])
        clauses = [
            f"{len(only):,} are in {file} only ({first_few(sorted(only))})"
            for file, only in ((names[0], first - other), (name, other - first))
            if only
        ]
        if clauses:
            shared = len(first & other)
            raise UserError(
                f"the files are not on the same images: {' and '.join(clauses)}.",
                f"Compare on the {shared:,} images of both with --common."
                if shared
                else "They have no image in common: compare models on one test set.",
            )


def _common_rows(
    names: Sequence[str], tables: Sequence[pd.DataFrame]
) -> tuple[list[pd.DataFrame], list[str]]:
    shared = set.intersection(*(set(table["image"]) for table in tables))
    if not shared:
        raise UserError(
            "the files have no image in common.", "Compare models on one test set."
        )
    kept = [table[table["image"].isin(shared)].reset_index(drop=True) for table in tables]
    notes = [
        f"{name}: {len(table) - len(shared):,} of {len(table):,} images are left out, as not every"
        " file has them"
        for name, table in zip(names, tables, strict=True)
        if len(table) > len(shared)
    ]
    return kept, notes
