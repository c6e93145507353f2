"""What the page of predictions files says, and in which order."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.data.label_counts import read_counts
from remedis_jax.data.leaks import Guard
from remedis_jax.evaluation.bootstrap import Difference, Interval
from remedis_jax.evaluation.metrics import NAMES, NotDefined
from remedis_jax.report import classified, survived
from remedis_jax.report.document import Document, Section
from remedis_jax.report.figures import roc_figure
from remedis_jax.report.label_section import label_sections
from remedis_jax.report.leak_section import banner_of, guard_section
from remedis_jax.report.scored_parts import Part
from remedis_jax.report.tables import caveats, counts_table, markdown_table, plain
from remedis_jax.report.wording import comparison_clause, difference_text, metric_name, verdict
from remedis_jax.versions import versions

LIMITS = """
- **Not for clinical use.** These are measurements on the images named here; no patient should be
  treated because of them.
- The intervals hold the sampling of these patients, not other hospitals, and not another training
  run.
- An interval from 1.000 to 1.000 says that no resample held an error, not that there is no doubt.
- Many intervals and p-values are shown and none is corrected for their number.
"""


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
    further: Sequence[Section] = (),
    decided: str = "",
) -> Document:
    """The page's text: result, figures, tables, what is beyond the average, and how it was made."""
    classes, survival = of_kinds(scored)
    tables = result_tables(scored) | {"Data": sets_table(scored)}
    sections = [Section(title, markdown_table(table)) for title, table in tables.items()]
    sections += further
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
    if decided:
        explained.append(f"- {decided}")
    explained = [text.strip() for text in explained]
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
    comparison: Mapping[str, Mapping[str, Difference | NotDefined]], horizon: float | None = None
) -> pd.DataFrame:
    """One row per level and metric, with the p-value and the verdict that the interval allows."""
    return pd.DataFrame(
        [
            {
                "Metric": metric_name(metric, horizon),
                "By": level,
                "Difference": difference_text(difference),
                "p": p_text(difference),
                "The first file is": verdict(difference, metric),
            }
            for level, differences in comparison.items()
            for metric, difference in differences.items()
        ],
        dtype=str,
    )


def p_text(difference: Difference | NotDefined) -> str:
    """'0.032' with three decimals, '<0.001' below them; '' where there is none."""
    if isinstance(difference, NotDefined):
        return ""
    return "<0.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}"
