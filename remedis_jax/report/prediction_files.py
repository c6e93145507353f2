"""The report of one or more predictions files: metrics with intervals, per site and split."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.label_counts import read_counts
from remedis_jax.data.leaks import Guard, write_guard
from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import MEAN as MEAN_SCORE
from remedis_jax.evaluation.aggregate import aggregate as by_patient
from remedis_jax.evaluation.aggregate import disagreeing, parse_aggregate
from remedis_jax.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    bootstrap,
    paired_difference,
)
from remedis_jax.evaluation.metrics import (
    METRICS,
    NAMES,
    RANKING,
    NotDefined,
    binary_problems,
    label_counts,
    parts,
)
from remedis_jax.evaluation.predictions import Predictions, read_predictions, unlabelled
from remedis_jax.report.document import Document, Section, write_report, write_text
from remedis_jax.report.figures import RocCurve, roc_figure, stamped
from remedis_jax.report.label_section import label_sections
from remedis_jax.report.leak_section import (
    banner_of,
    common_weights,
    guard_section,
    guards_of,
    merged,
    stamp_of,
)
from remedis_jax.report.tables import (
    caveats,
    counts_table,
    fenced,
    markdown_table,
    plain,
)
from remedis_jax.report.wording import (
    comparison_clause,
    difference_text,
    interval_text,
    percent,
    verdict,
)
from remedis_jax.versions import versions

EVERYTHING = "all"
MEAN = "mean over classes"
READING = """
- Intervals are 95% percentile bootstrap intervals of {resamples:,} resamples. Each resample draws
  *patients*, all their images together, with replacement.
- By image, every image counts. By patient, the score is {score}.
  {label}
- AUPRC is average precision. Chance is the share of positives, so it compares only on one set of
  images.
- {several}Accuracies of findings call p ≥ 0.5 positive; of classes, the most probable one.
"""
SEVERAL = """Scores of several classes are one against the rest; the value without a class name is
  the mean over classes. Unknown labels take no part.
- """
SCORES = {
    "mean": "the mean probability of a patient's images",
    "max": "the greatest probability of a patient's images",
    "noisy-or": "1 - prod(1 - p) over the probabilities p of a patient's images",
}
ANY_POSITIVE = "A patient is positive if any of the images is."
ALL_AGREE = "A patient has a class if all images with a label have it."
LIMITS = """
- **Not for clinical use.** These are measurements on the images named here; no patient should be
  treated because of them.
- The intervals hold the sampling of these patients, not other hospitals, and not another training
  run.
- An interval from 1.000 to 1.000 says that no resample held an error, not that there is no doubt.
- Many intervals are shown and none is corrected for their number.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Images of one file, site and split, scored by image or by patient.

    Attributes:
        file: Name of the file.
        site: Name of the site, or 'all'.
        split: Name of the split, or 'all'.
        level: 'image' or 'patient'.
        n_images: Images that are scored.
        predictions: One row per image or per patient.
        intervals: Metric, or `<metric>/<class>`, -> interval.
        aggregate: How patients' scores are made of their images': 'mean', 'max', 'noisy-or'; ""
            by image.
    """

    file: str
    site: str
    split: str
    level: str
    n_images: int
    predictions: Predictions
    intervals: Mapping[str, Interval | NotDefined]
    aggregate: str = ""

    @property
    def by(self) -> str:
        """'image', or 'patient (mean)'."""
        return f"{self.level} ({self.aggregate})" if self.aggregate else self.level

    @property
    def patients(self) -> int:
        return len(np.unique(self.predictions.groups))

    @property
    def whole(self) -> bool:
        """Whether this is all of its file."""
        return self.site == self.split == EVERYTHING

    @property
    def where(self) -> str:
        """Which part of its file it is."""
        return EVERYTHING if self.whole else f"site {self.site}, split {self.split}"

    @property
    def name(self) -> str:
        """What its rows are called in the tables."""
        return f"{self.file}: {self.where}"


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
    curves = roc_curves(scored)
    if curves:
        with stamped(stamp_of(guards.values())):
            roc_figure(out_dir / "figures" / "roc.png", curves)
    if any(guards.values()) and all(path.parent.resolve() != out_dir.resolve() for path in paths):
        # For whoever reports on these metrics in turn.
        write_guard(out_dir, merged(guards.values()), weights=common_weights(guards.values()))
    comparison = compare(scored, *names, resamples, seed) if len(names) == 2 else None
    content = document_of(
        scored, notes, comparison, bool(curves), csv_paths, resamples, seed, guards
    )
    return write_report(out_dir, content, show=show)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """As much of the end of each path as tells the files apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError(
        f"{paths[0]} or another file is given twice.", "Give every predictions file once."
    )


def parts_of(
    name: str,
    table: pd.DataFrame,
    positive: str | None,
    resamples: int,
    seed: int,
    how: str | None = None,
) -> Iterable[tuple[list[Part], list[str]]]:
    """Scores a table as a whole and, where it has several, each site and split of it.

    Yields:
        The part by image and, where patients have several images or `how` is named, by patient;
        and sentences on what is not scored.
    """
    without = unlabelled(table)
    if without.any():
        yield [], [f"{name}: {without.sum():,} of {len(table):,} images have no label and are not"
                   " scored"]  # fmt: skip
    predictions = Predictions.from_table(table, positive)
    table = table[~without]
    masks = {(EVERYTHING, EVERYTHING): np.ones(len(table), bool)}
    pairs = table[["site", "split"]].drop_duplicates().sort_values(["site", "split"])
    if len(pairs) > 1:
        for site, split in pairs.itertuples(index=False):
            mask = (table["site"] == site) & (table["split"] == split)
            masks[site or "unknown", split or "unknown"] = mask.to_numpy()
    for (site, split), mask in masks.items():
        chosen = predictions.select(mask)
        levels, notes = {"image": chosen}, []
        patients = len(np.unique(chosen.groups))
        if how or patients < len(chosen.groups):
            levels["patient"] = by_patient(chosen, how or MEAN_SCORE)
            if mixed := len(disagreeing(chosen)):
                where = "" if site == split == EVERYTHING else f", site {site}, split {split}"
                notes.append(
                    f"{name}{where}: {mixed:,} of {patients:,} patients have images of different"
                    " classes (labels disagree) and are not scored by patient"
                )
        scored = []
        for level, at_level in levels.items():
            names = [n for m in METRICS for n in (m, *(f"{m}/{c}" for c in parts(at_level, m)))]
            intervals = bootstrap(at_level, names, resamples, seed)
            made_by = (how or MEAN_SCORE) if level == "patient" else ""
            count = int(mask.sum())
            scored.append(Part(name, site, split, level, count, at_level, intervals, made_by))
        yield scored, notes


def as_records(scored: Iterable[Part]) -> list[dict]:
    """The numbers for other programs; what is not defined is {"not_defined": reason}."""
    return [
        {
            "file": part.file,
            "site": part.site,
            "split": part.split,
            "level": part.level,
            **({"aggregate": part.aggregate} if part.aggregate else {}),
            "n_images": part.n_images,
            "n_patients": part.patients,
            "metrics": {
                name: {"not_defined": value.reason}
                if isinstance(value, NotDefined)
                else dataclasses.asdict(value)
                for name, value in part.intervals.items()
            },
        }
        for part in scored
    ]


def roc_curves(scored: Sequence[Part]) -> list[RocCurve]:
    """By image: of two classes one line per file, site and split; else one line per class."""
    curves = []
    several = len({part.file for part in scored}) > 1
    for part in scored:
        if part.level != "image" or not (part.predictions.is_binary or part.whole):
            continue
        for problem in binary_problems(part.predictions):
            if problem.one_class_only:
                continue
            where = part.name if several else part.where
            name = f"{where}, {problem.name}" if problem.name else where
            key = f"auroc/{problem.name}" if problem.name else "auroc"
            label = f"{name}: AUROC {interval_text(part.intervals[key])}"
            curves.append(RocCurve(label, problem.y, problem.score))
    return curves


def compare(
    scored: Iterable[Part], first: str, second: str, resamples: int, seed: int
) -> dict[str, Mapping[str, Interval | NotDefined]] | str:
    """Level -> metric -> first file minus second; or why they cannot be compared."""
    whole = {(part.file, part.level): part.predictions for part in scored if part.whole}
    levels = [level for file, level in whole if file == first and (second, level) in whole]
    try:
        return {
            level: {
                metric: paired_difference(
                    whole[first, level], whole[second, level], metric, resamples, seed
                )
                for metric in METRICS
            }
            for level in levels
        }
    except UserError as error:
        return error.problem


def ranking_table(scored: Iterable[Part]) -> pd.DataFrame:
    """AUROC and AUPRC: of every set the mean over classes, of every file each class by itself."""
    rows = []
    for part in scored:
        counts = label_counts(part.predictions)
        entries = {name: f"/{name}" for name in counts} if part.whole else {}
        if part.predictions.is_binary:
            entries = {next(iter(counts)): ""}
        else:
            entries = {MEAN: ""} | entries
        for name, key in entries.items():
            positives, known, masked = counts.get(name, (0, 0, 0))
            shown = f"{positives:,} of {known:,} ({percent(positives / known)})" if known else ""
            row = {"Set": part.name, "By": part.by, "Class": name, "Positives": shown}
            row["Unknown"] = f"{masked:,}" if name in counts else ""
            row |= {NAMES[m]: interval_text(part.intervals[m + key]) for m in RANKING}
            rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def decision_table(scored: Iterable[Part]) -> pd.DataFrame:
    """Metrics of decisions and of probabilities, one row per set and level."""
    metrics = [metric for metric in METRICS if metric not in RANKING]
    return pd.DataFrame(
        [
            {"Set": part.name, "By": part.by}
            | {NAMES[metric]: interval_text(part.intervals[metric]) for metric in metrics}
            for part in scored
        ],
        dtype=str,
    )


def sets_table(scored: Iterable[Part]) -> pd.DataFrame:
    """Patients and images of every set."""
    counts = {p.name: {"patients": p.patients, "images": p.n_images} for p in scored}
    return counts_table(counts).rename(columns={"Part": "Set"})


def document_of(
    scored: Sequence[Part],
    notes: Sequence[str],
    comparison: dict | str | None,
    has_figure: bool,
    csv_paths: Sequence[str | os.PathLike],
    resamples: int,
    seed: int,
    guards: Mapping[str, Guard | None],
) -> Document:
    """The page's text."""
    tables = {
        "AUROC and AUPRC": ranking_table(scored),
        "Decisions and probabilities": decision_table(scored),
        "Data": sets_table(scored),
    }
    cells = {
        f"{part.name}, by {part.by}, {NAMES[metric]}": value
        for part in scored
        for metric, value in part.intervals.items()
        if metric in NAMES
    }
    sections = [Section(title, markdown_table(table)) for title, table in tables.items()]
    sections.append(guard_section(guards))
    counts = {name: read_counts(Path(p).parent) for name, p in zip(guards, csv_paths, strict=True)}
    if len(counts) == 1:
        counts = {"": next(iter(counts.values()))}
    sections += label_sections(counts)
    sentences = [*notes, *caveats(cells)]
    if sentences:
        lines = "\n".join(f"- {plain(s.rstrip('.'))}." for s in sentences)
        sections.append(Section("Remarks", lines))
    lead = lead_sentence(scored[0])
    if isinstance(comparison, dict):
        frame = comparison_table(comparison)
        tables["Comparison"] = frame
        first, second = dict.fromkeys(part.file for part in scored)
        sections.insert(0, Section(f"Comparison: {first} minus {second}", markdown_table(frame)))
        clause = comparison_clause(first, second, comparison["image"]["auroc"], "auroc")
        lead = f"By image, {clause}."
    elif isinstance(comparison, str):
        sections.append(Section("Comparison", f"The files are not compared: {plain(comparison)}"))
    if has_figure:
        figure = "![Receiver operating characteristics](figures/roc.png)"
        sections.insert(0, Section("ROC", f"{figure}\n\n*By image; AUROC with 95% interval.*"))
    several = "" if scored[0].predictions.is_binary else SEVERAL
    sections += [
        Section("How to read this", reading_of(scored, resamples, several)),
        Section("Limits", LIMITS),
        Section(
            "Provenance",
            "".join(f"- file {plain(path)}\n" for path in csv_paths)
            + f"- bootstrap seed {seed}\n"
            + "".join(f"- {plain(name)} {plain(v)}\n" for name, v in versions().items())
            + "\nClasses, in the order of the scores:\n\n"
            + fenced("\n".join(scored[0].predictions.classes)),
        ),
    ]
    return Document("Predictions", lead, tuple(sections), tables, banner_of(guards.values()))


def reading_of(scored: Sequence[Part], resamples: int, several: str) -> str:
    """The section that explains the numbers."""
    first = scored[0].predictions
    agree = first.kind == "softmax" and not first.is_binary
    how = next((part.aggregate for part in scored if part.aggregate), MEAN_SCORE)
    label = ALL_AGREE if agree else ANY_POSITIVE
    return READING.format(
        resamples=resamples, several=several, score=SCORES[how], label=label
    )


def lead_sentence(part: Part) -> str:
    """What the first file says as a whole."""
    value = part.intervals["auroc"]
    average = "" if part.predictions.is_binary else f" ({MEAN})"
    return (
        f"{part.file}: AUROC{average} by image is {interval_text(value)} on {part.n_images:,} "
        f"images of {part.patients:,} patients."
    )


def comparison_table(
    comparison: Mapping[str, Mapping[str, Interval | NotDefined]],
) -> pd.DataFrame:
    """One row per level and metric, with the verdict that the interval allows."""
    return pd.DataFrame(
        [
            {
                "Metric": NAMES[metric],
                "By": level,
                "Difference": difference_text(difference),
                "The first file is": verdict(difference, metric),
            }
            for level, differences in comparison.items()
            for metric, difference in differences.items()
        ],
        dtype=str,
    )
