"""The report of one or more predictions files: metrics with intervals, per site and split."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.data.label_counts import read_counts
from remedis_jax.data.leaks import Guard, write_guard
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import parse_aggregate
from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval
from remedis_jax.evaluation.metrics import NAMES, NotDefined
from remedis_jax.evaluation.predictions import read_predictions
from remedis_jax.report import classified, survived
from remedis_jax.report.document import Document, Section, write_report, write_text
from remedis_jax.report.figures import roc_figure, stamped
from remedis_jax.report.label_section import label_sections
from remedis_jax.report.leak_section import (
    banner_of,
    common_weights,
    guard_section,
    guards_of,
    merged,
    stamp_of,
)
from remedis_jax.report.scored_parts import Part, as_records, compare, distinct_names, parts_of
from remedis_jax.report.tables import (
    caveats,
    counts_table,
    markdown_table,
    plain,
)
from remedis_jax.report.wording import comparison_clause, difference_text, metric_name, verdict
from remedis_jax.versions import versions

LIMITS = """
- **Not for clinical use.** These are measurements on the images named here; no patient should be
  treated because of them.
- The intervals hold the sampling of these patients, not other hospitals, and not another training
  run.
- An interval from 1.000 to 1.000 says that no resample held an error, not that there is no doubt.
- Many intervals are shown and none is corrected for their number.
"""


def report_from_predictions(
    csv_paths: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    positive: str | None = None,
    aggregate: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Writes report.md, report.html, metrics.json and figures/ for predictions files.

    Two files on the same images are also compared, the first minus the second. Where a
    `leak_guard.json` beside a file says that leakage was allowed, page and figures say so too.

    Args:
        csv_paths: Predictions tables, see `evaluation.predictions`.
        out_dir: Folder to write to.
        positive: Positive class where there are two; the last one if None.
        aggregate: How patients are scored, 'patient:mean', 'patient:max' or 'patient:noisy-or'; if
            None by the mean, where patients have several images.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        show: Print the tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: No file, or one that cannot be read or scored; `aggregate` is unknown.
    """
    how = None if aggregate is None else parse_aggregate(aggregate)
    if not csv_paths:
        raise UserError("there is no predictions file to report on.", "Give one or more.")
    out_dir = Path(out_dir)
    paths = [Path(path) for path in csv_paths]
    names = distinct_names(paths)
    guards = dict(zip(names, guards_of(paths).values(), strict=True))
    scored: list[Part] = []
    notes: list[str] = []
    for name, path in zip(names, csv_paths, strict=True):
        table = read_predictions(path)
        for part, note in parts_of(name, table, positive, resamples, seed, how):
            scored += part
            notes += note
    write_text(out_dir / "metrics.json", json.dumps(as_records(scored), indent=1) + "\n")
    with stamped(stamp_of(guards.values())):
        figures = figure_sections(scored, out_dir)
    if any(guards.values()) and all(path.parent.resolve() != out_dir.resolve() for path in paths):
        # For whoever reports on these metrics in turn.
        write_guard(out_dir, merged(guards.values()), weights=common_weights(guards.values()))
    comparison = compare(scored, *names, resamples, seed) if len(names) == 2 else None
    content = document_of(
        scored, notes, comparison, figures, csv_paths, resamples, seed, guards
    )
    return write_report(out_dir, content, show=show)


def of_kinds(scored: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    """Those of classes and findings, and those of survival."""
    parts = list(scored)
    survival = [part for part in parts if part.predictions.kind == "survival"]
    return [part for part in parts if part.predictions.kind != "survival"], survival


def figure_sections(scored: Sequence[Part], out_dir: Path) -> list[Section]:
    """Draws the figures and returns the sections that show them."""
    classes, survival = of_kinds(scored)
    sections = []
    if curves := classified.roc_curves(classes):
        roc_figure(out_dir / "figures" / "roc.png", curves)
        figure = "![Receiver operating characteristics](figures/roc.png)"
        sections.append(Section("ROC", f"{figure}\n\n*By image; AUROC with 95% interval.*"))
    return sections + ([survived.survival_section(survival, out_dir)] if survival else [])


def result_tables(scored: Sequence[Part]) -> dict[str, pd.DataFrame]:
    """Title -> table of the metrics."""
    classes, survival = of_kinds(scored)
    tables = {}
    if classes:
        tables["AUROC and AUPRC"] = classified.ranking_table(classes)
        tables["Decisions and probabilities"] = classified.decision_table(classes)
    if survival:
        tables[survived.TABLE] = survived.survival_table(survival)
    return tables


def sets_table(scored: Iterable[Part]) -> pd.DataFrame:
    """Patients and images of every set."""
    counts = {p.name: {"patients": p.patients, "images": p.n_images} for p in scored}
    return counts_table(counts).rename(columns={"Part": "Set"})


def document_of(
    scored: Sequence[Part],
    notes: Sequence[str],
    comparison: dict | str | None,
    figures: Sequence[Section],
    csv_paths: Sequence[str | os.PathLike],
    resamples: int,
    seed: int,
    guards: Mapping[str, Guard | None],
) -> Document:
    """The page's text."""
    classes, survival = of_kinds(scored)
    tables = result_tables(scored) | {"Data": sets_table(scored)}
    sections = [Section(title, markdown_table(table)) for title, table in tables.items()]
    sections.append(guard_section(guards))
    counts = {name: read_counts(Path(p).parent) for name, p in zip(guards, csv_paths, strict=True)}
    if len(counts) == 1:
        counts = {"": next(iter(counts.values()))}
    sections += label_sections(counts)
    sentences = [*notes, *caveats(cells_of(classes))]
    sentences += caveats(cells_of(survival), "no event, or nobody to compare it with")
    if sentences:
        lines = "\n".join(f"- {plain(s.rstrip('.'))}." for s in sentences)
        sections.append(Section("Remarks", lines))
    words = survived if scored[0] in survival else classified
    lead = words.lead_sentence(scored[0])
    horizon = scored[0].horizon
    if isinstance(comparison, dict):
        frame = comparison_table(comparison, horizon)
        tables["Comparison"] = frame
        first, second = dict.fromkeys(part.file for part in scored)
        sections.insert(0, Section(f"Comparison: {first} minus {second}", markdown_table(frame)))
        clause = comparison_clause(first, second, comparison["image"]["auroc"], "auroc", horizon)
        lead = f"By image, {clause}."
    elif isinstance(comparison, str):
        sections.append(Section("Comparison", f"The files are not compared: {plain(comparison)}"))
    sections = [*figures, *sections]
    explained = [w.reading(of, resamples) for w, of in ((classified, classes), (survived, survival))
                 if of]  # fmt: skip
    sections += [
        Section("How to read this", "\n".join(explained)),
        Section("Limits", LIMITS),
        Section(
            "Provenance",
            "".join(f"- file {plain(path)}\n" for path in csv_paths)
            + f"- bootstrap seed {seed}\n"
            + "".join(f"- {plain(name)} {plain(v)}\n" for name, v in versions().items())
            + (classified.provenance(classes) if classes else ""),
        ),
    ]
    return Document("Predictions", lead, tuple(sections), tables, banner_of(guards.values()))


def cells_of(scored: Iterable[Part]) -> dict[str, Interval | NotDefined]:
    """Every cell of the tables by a name that tells it."""
    return {
        f"{part.name}, by {part.by}, {metric_name(metric, part.horizon)}": value
        for part in scored
        for metric, value in part.intervals.items()
        if metric in NAMES
    }


def comparison_table(
    comparison: Mapping[str, Mapping[str, Interval | NotDefined]], horizon: float | None = None
) -> pd.DataFrame:
    """One row per level and metric, with the verdict that the interval allows."""
    return pd.DataFrame(
        [
            {
                "Metric": metric_name(metric, horizon),
                "By": level,
                "Difference": difference_text(difference),
                "The first file is": verdict(difference, metric),
            }
            for level, differences in comparison.items()
            for metric, difference in differences.items()
        ],
        dtype=str,
    )
