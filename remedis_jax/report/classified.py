"""What the report of predictions says of classes and findings."""

from collections.abc import Iterable, Sequence

import pandas as pd

from remedis_jax.evaluation.aggregate import MEAN as MEAN_SCORE
from remedis_jax.evaluation.metrics import (
    NAMES,
    RANKING,
    binary_problems,
    label_counts,
    metrics_of,
)
from remedis_jax.report.figures import RocCurve
from remedis_jax.report.scored_parts import Part
from remedis_jax.report.tables import fenced
from remedis_jax.report.wording import interval_text, percent

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
    return pd.DataFrame(
        [
            {"Set": part.name, "By": part.by}
            | {
                NAMES[metric]: interval_text(part.intervals[metric])
                for metric in metrics_of(part.predictions.kind, len(part.predictions.classes))
                if metric not in RANKING
            }
            for part in scored
        ],
        dtype=str,
    ).fillna("")


def reading(scored: Sequence[Part], resamples: int) -> str:
    """The section that explains the numbers."""
    first = scored[0].predictions
    several = "" if first.is_binary else SEVERAL
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


def provenance(scored: Sequence[Part]) -> str:
    """The classes of the first file."""
    names = fenced("\n".join(scored[0].predictions.classes))
    return f"\nClasses, in the order of the scores:\n\n{names}"
