"""The report of one or more predictions files: metrics with intervals, per site and split."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from remedis_jax.data.leaks import write_guard
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import parse_aggregate
from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.operating_point import YOUDEN
from remedis_jax.report.beyond import beyond_sections
from remedis_jax.report.document import Section, write_report, write_text
from remedis_jax.report.figures import stamped
from remedis_jax.report.judged_words import records as as_json
from remedis_jax.report.leak_section import common_weights, guards_of, merged, stamp_of
from remedis_jax.report.prediction_document import document_of, figure_sections
from remedis_jax.report.prediction_sets import (
    PredictionFile,
    judged_sets,
    of_one_kind,
    read_files,
)
from remedis_jax.report.scored_parts import (
    EVERYTHING,
    Part,
    as_records,
    compare,
    distinct_names,
    parts_of,
)
from remedis_jax.report.subgroup_section import operating_sentence
from remedis_jax.report.tables import plain


def report_from_predictions(
    csv_paths: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    positive: str | None = None,
    aggregate: str | None = None,
    group: str | None = None,
    validation: Sequence[str | os.PathLike] = (),
    manifest: str | os.PathLike | None = None,
    characteristics: Sequence[str] = (),
    operating_point: str = YOUDEN,
    images: str | os.PathLike | None = None,
    beyond: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Writes report.md, report.html, metrics.json, tables/ and figures/ for predictions files.

    Two files on the same images are also compared, the first minus the second. Where a
    `leak_guard.json` beside a file says that leakage was allowed, page and figures say so too.

    Args:
        csv_paths: Predictions tables, see `evaluation.predictions`.
        out_dir: Folder to write to.
        positive: Positive class where there are two; the last one if None.
        aggregate: How patients are scored, 'patient:mean', 'patient:max' or 'patient:noisy-or'; if
            None by the mean, where patients have several images.
        group: Column of the patient, see `read_predictions`.
        validation: Predictions of the same models on validation data, one for all or one per file;
            they choose the thresholds and the temperature. Their patients must be others.
        manifest: Table of the images with their characteristics, joined by the column 'image'.
        characteristics: Columns of the manifest or of the predictions to make subgroups of.
        operating_point: How thresholds are chosen on validation, see `choose_operating_point`.
        images: Folder that the images' names are relative to, for the failure gallery; that of the
            manifest if None.
        beyond: Whether calibration, decision curves, subgroups and failures are shown.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        show: Print the tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: No file, or one that cannot be read or scored; `aggregate`, `operating_point` or
            a characteristic is unknown; a validation that is not of the same classes, or shares
            patients with what it is to judge.
    """
    how = None if aggregate is None else parse_aggregate(aggregate)
    if not csv_paths:
        raise UserError("there is no predictions file to report on.", "Give one or more.")
    out_dir = Path(out_dir)
    paths = [Path(path) for path in csv_paths]
    names = distinct_names(paths)
    guards = dict(zip(names, guards_of(paths).values(), strict=True))
    files, notes = read_files(
        paths, names, positive=positive, group=group, validation=[Path(v) for v in validation],
        manifest=None if manifest is None else Path(manifest), operating_point=operating_point,
        images=None if images is None else Path(images),
    )  # fmt: skip
    scored: list[Part] = []
    for file in files:
        for part, note in parts_of(
            file.name, file.table, positive, resamples, seed, how, file.validation, operating_point
        ):
            scored += part
            notes += note
    comparison = compare(scored, *names, resamples, seed) if len(names) == 2 else None
    with stamped(stamp_of(guards.values())):
        figures = figure_sections(scored, out_dir)
        further = _beyond(
            files, out_dir, characteristics, operating_point, resamples, seed
        ) if beyond else []  # fmt: skip
    if beyond and len(of_one_kind(files)) < len(files):
        notes.append(
            f"Calibration, decisions and subgroups are of {names[0]} and files with its classes"
            " only; report on the others by themselves"
        )
    records = as_records(scored)
    _add_numbers(records, further, comparison, names)
    write_text(out_dir / "metrics.json", json.dumps(records, indent=1) + "\n")
    if any(guards.values()) and all(path.parent.resolve() != out_dir.resolve() for path in paths):
        # For whoever reports on these metrics in turn.
        write_guard(out_dir, merged(guards.values()), weights=common_weights(guards.values()))
    content = document_of(
        scored, notes, comparison, figures, csv_paths, resamples, seed, guards, further,
        _decided(files, scored, operating_point),
    )  # fmt: skip
    return write_report(out_dir, content, show=show)


def _beyond(
    files: Sequence[PredictionFile],
    out_dir: Path,
    characteristics: Sequence[str],
    operating_point: str,
    resamples: int,
    seed: int,
) -> list[Section]:
    sets, parts = judged_sets(of_one_kind(files))
    return beyond_sections(
        sets, out_dir, characteristics=characteristics, operating_point=operating_point,
        calibrated=parts, resamples=resamples, seed=seed,
    )  # fmt: skip


def _add_numbers(
    records: Sequence[dict],
    further: Sequence[Section],
    comparison: dict | str | None,
    names: Sequence[str],
) -> None:
    """Puts calibration, decision curves and subgroups to the files' records, and the comparison.

    Errors by image stand in their table only: names of images may tell who they are of.
    """
    tables = {stem: t for s in further for stem, t in s.tables.items() if stem != "failures"}
    for record in records:
        if record["site"] != EVERYTHING or record["split"] != EVERYTHING:
            continue
        if record["level"] == "image":
            of_file = {
                stem: table[(table["arm"] == record["file"]) | (table["set"] == record["file"])]
                for stem, table in tables.items()
            }
            record |= as_json({stem: table for stem, table in of_file.items() if len(table)})
        if isinstance(comparison, dict) and record["file"] == names[0]:
            record["minus"] = {
                "file": names[1],
                "metrics": {
                    metric: {"not_defined": value.reason}
                    if isinstance(value, NotDefined)
                    else dataclasses.asdict(value)
                    for metric, value in comparison.get(record["level"], {}).items()
                },
            }


def _decided(
    files: Sequence[PredictionFile], scored: Sequence[Part], operating_point: str
) -> str:
    """Where sensitivity and specificity are taken; '' of survival."""
    if files[0].predictions.kind == "survival":
        return ""
    sentence = operating_sentence(judged_sets(files)[0], operating_point)
    chosen = [
        f"{plain(part.file)} by {part.by} p ≥ {part.predictions.thresholds[0]:.3f}"
        for part in scored
        if part.whole and part.predictions.is_binary and part.predictions.thresholds
        and not isinstance(part.predictions.thresholds[0], NotDefined)
    ]  # fmt: skip
    return f"{sentence} The thresholds: {'; '.join(chosen)}." if chosen else sentence
