"""Calibration: whether probabilities are what they say, before and after temperature scaling."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval, seed_bootstrap
from remedis_jax.evaluation.calibration import fit_on_predictions, recalibrated
from remedis_jax.evaluation.calibration_line import calibration_lines
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.metrics import NAMES
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.point_values import BINS
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.reliability import reliability_curve
from remedis_jax.report.document import Section
from remedis_jax.report.judged_words import by_arm, numbers, seeds_clause, set_name
from remedis_jax.report.reliability_figure import (
    AS_PREDICTED,
    SCALED,
    ReliabilityPanel,
    reliability_figure,
)
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import interval_text

HEADING = "Calibration"
_METRICS = ("ece", "brier", "log_loss")
_LINES = {"intercept": "Intercept", "slope": "Slope"}
_SUBJECTS = {
    "binary": ("predicted probability of the positive class", "observed share of positives",
               "the probability of the positive class"),
    "softmax": ("probability of the most probable class", "share in which it is right",
                "the probability of the most probable class, and whether that class is right"),
    "sigmoid": ("predicted probability of the finding", "observed share of the finding",
                "the probabilities of all findings together, and whether each finding is there; "
                "the ECE is the mean over findings"),
}  # fmt: skip
READING = """
Of {subject}. Bins are {bins} of equal width, those of the ECE, empty ones not shown; bars are 95%
percentile intervals of the observed share over resampled patients, and the counts of labels in a
bin stand below. ECE, Brier score and log loss are better when lower. The *slope* (ideal: 1) is less
than 1 where predictions are too extreme, and the *intercept* (ideal: 0; with the slope held at 1)
is below 0 where they are too high. Noise in the bins adds to an ECE and never takes away, in a
resample more than in the data, so its interval lies high and need not hold its value.{seeds}
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """The calibration of one set, as predicted or after temperature scaling.

    Attributes:
        judged: The set.
        probabilities: 'as predicted' or 'after temperature scaling'.
        temperatures: Of each run; () as predicted.
        curve: As from `reliability_curve`.
        values: 'ece', 'brier', 'log_loss', 'intercept', 'slope' -> value.
    """

    judged: JudgedSet
    probabilities: str
    temperatures: tuple[float, ...]
    curve: pd.DataFrame
    values: dict[str, Interval | NotDefined]


def calibration_section(
    sets: Sequence[JudgedSet], out_dir: Path, *, resamples: int = RESAMPLES, seed: int = 0
) -> Section:
    """Draws the figures, one per arm, and returns the section; of classes or findings.

    Args:
        sets: One or more, all of one kind.
        out_dir: Folder of the report.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    of_kind = sets[0].runs[0]
    kind = "binary" if of_kind.is_binary else of_kind.kind
    predicted, observed, subject = _SUBJECTS[kind]
    seeds = seeds_clause(sets)
    paragraphs = [
        READING.format(
            subject=subject, bins=BINS, seeds=f" Values are {seeds}; the bins hold the labels of"
            " each run, and the count is their mean." if seeds else "",
        ).strip()
    ]  # fmt: skip
    arms = by_arm(sets)
    found: list[Calibration] = []
    for number, (arm, of_arm) in enumerate(arms.items(), start=1):
        panels: list[ReliabilityPanel] = []
        sentences: dict[str, list[str]] = {}
        for judged in of_arm:
            both, sentence = calibrations(judged, resamples, seed)
            found += both
            sentences.setdefault(sentence, []).append(set_name(judged))
            curves = {one.probabilities: one.curve for one in both if len(one.curve)}
            if curves:
                title = judged.name or judged.arm
                panels.append(ReliabilityPanel(title, curves))
        for sentence, names in sentences.items():
            of = arm if arm and len(sentences) == 1 else "; ".join(names)
            paragraphs.append(f"{plain(of)}: {plain(sentence)}")
        if panels:
            name = f"calibration-{number}.png" if len(arms) > 1 else "calibration.png"
            figure = out_dir / "figures" / name
            reliability_figure(figure, panels, predicted=predicted, observed=observed)
            paragraphs.append(f"![Reliability of {plain(arm)}](figures/{name})")
    paragraphs.append(markdown_table(calibration_table(found)))
    tables = {"calibration": calibration_numbers(found), "reliability": reliability_numbers(found)}
    return Section(HEADING, "\n\n".join(paragraphs), tables)


def calibrations(
    judged: JudgedSet, resamples: int, seed: int
) -> tuple[list[Calibration], str]:
    """As predicted and, where it can be, after temperature scaling; and a sentence on the latter.
    """
    found = [_calibration(judged, AS_PREDICTED, (), judged.runs, resamples, seed)]
    if not judged.validation:
        return found, (
            "not recalibrated, because there are no validation predictions of this model; a"
            " temperature that is fitted on the test set would judge itself."
        )
    fitted = [fit_on_predictions(validation) for validation in judged.validation]
    for number, one in enumerate(fitted, start=1):
        if isinstance(one, NotDefined):
            which = f" of run {number}" if len(fitted) > 1 else ""
            return found, f"not recalibrated, because no temperature{which} is defined:" \
                          f" {one.reason}."  # fmt: skip
    temperatures = tuple(one.value for one in fitted)
    scaled = tuple(
        recalibrated(run, value) for run, value in zip(judged.runs, temperatures, strict=True)
    )
    found.append(_calibration(judged, SCALED, temperatures, scaled, resamples, seed))
    first = judged.validation[0]
    shown = f"{np.mean(temperatures):.3f}"
    if len(fitted) > 1:
        shown = f"{min(temperatures):.3f} to {max(temperatures):.3f} in {len(fitted)} runs"
    return found, (
        f"temperature {shown}, fitted on validation only ({len(first.images):,} images of"
        f" {len(np.unique(first.groups)):,} patients); above 1 it makes predictions less extreme."
    )


def calibration_table(found: Sequence[Calibration]) -> pd.DataFrame:
    """Two rows per set, before and after."""
    return pd.DataFrame(
        [
            {
                "Set": set_name(one.judged),
                "Probabilities": one.probabilities,
                "Temperature": f"{np.mean(one.temperatures):.3f}" if one.temperatures else "",
            }
            | {NAMES[metric]: interval_text(one.values[metric]) for metric in _METRICS}
            | {title: interval_text(one.values[name]) for name, title in _LINES.items()}
            for one in found
        ],
        dtype=str,
    )


def calibration_numbers(found: Sequence[Calibration]) -> pd.DataFrame:
    """The same as numbers, one row per value."""
    return pd.DataFrame(
        [
            {
                "arm": one.judged.arm,
                "set": one.judged.name,
                "probabilities": one.probabilities,
                "temperature": float(np.mean(one.temperatures)) if one.temperatures else np.nan,
                "metric": name,
            }
            | numbers(value)
            for one in found
            for name, value in one.values.items()
        ]
    )


def reliability_numbers(found: Sequence[Calibration]) -> pd.DataFrame:
    """The points of the figures."""
    frames = []
    for one in found:
        of = {"arm": one.judged.arm, "set": one.judged.name, "probabilities": one.probabilities}
        frames.append(pd.DataFrame([of] * len(one.curve)).join(one.curve))
    return pd.concat(frames, ignore_index=True)


def _calibration(
    judged: JudgedSet,
    probabilities: str,
    temperatures: tuple[float, ...],
    runs: Sequence[Predictions],
    resamples: int,
    seed: int,
) -> Calibration:
    values = {metric: seed_bootstrap(runs, metric, resamples, seed) for metric in _METRICS}
    lines = calibration_lines(runs, resamples, seed)
    values |= dict(zip(_LINES, lines, strict=True))
    curve = reliability_curve(runs, resamples, seed)
    return Calibration(judged, probabilities, temperatures, curve, values)
