"""Decision curves: whether acting on the model does more good than treating all, or nobody."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.calibration import fit_on_predictions, recalibrated
from remedis_jax.evaluation.decision_curve import decision_curves
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.report.decision_figure import MOST_PANELS, decision_figure
from remedis_jax.report.document import Section
from remedis_jax.report.judged_words import by_test_set, seeds_clause, set_name
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import DASH, percent, signed

HEADING = "Decision curves"
SHOWN = (0.05, 0.1, 0.2, 0.5)  # of 1% to 99%, in the table; ours
READING = """
Who treats at a probability of *t* and more accepts (1 - *t*) / *t* needless treatments for each
event that is found. The *net benefit* (Vickers and Elkin 2006) is the share of true positives minus
that of false positives weighed by *t* / (1 - *t*), so 0.05 is as good as 5 events found per 100
images and nothing needless. A model is worth acting on at the thresholds at which its curve is
above both of treating all and of treating none. Thresholds are 1% to 99%; bands are 95% percentile
intervals over resampled patients{seeds}. Which threshold is right is a judgement on harm and
benefit, and cannot be read off a curve.{several}
"""
SEVERAL = " Every class or finding is one against the rest."


def decision_section(
    sets: Sequence[JudgedSet], out_dir: Path, *, resamples: int = RESAMPLES, seed: int = 0
) -> Section:
    """Draws the figures, one per test set, and returns the section; of classes or findings.

    Arguments as `calibration_section`.
    """
    seeds = f"; curves are {seeds_clause(sets)}" if seeds_clause(sets) else ""
    several = "" if sets[0].runs[0].is_binary else SEVERAL
    paragraphs = [READING.format(seeds=seeds, several=several).strip()]
    frames, rows = [], []
    tests = by_test_set(sets)
    for number, (test, of_test) in enumerate(tests.items(), start=1):
        curves, scaled = {}, {}
        for judged in of_test:
            curve = decision_curves(judged.runs, resamples=resamples, seed=seed)
            if curve.empty:
                paragraphs.append(f"{plain(set_name(judged))}: no known labels, so no curve.")
                continue
            line = judged.arm or judged.name
            curves[line] = curve
            rows += _rows(judged, curve)
            frames.append(_labelled(judged, "as predicted", curve))
            after = after_scaling(judged)
            if after:
                scaled[line] = decision_curves(after, resamples=1, seed=seed)
                frames.append(
                    _labelled(judged, "after temperature scaling", scaled[line])
                    .assign(low=np.nan, high=np.nan)
                )  # fmt: skip
        if not curves:
            continue
        panels, note = _panels(next(iter(curves.values())))
        name = f"decision-{number}.png" if len(tests) > 1 else "decision.png"
        decision_figure(out_dir / "figures" / name, curves, scaled, panels)
        title = f" on {plain(test)}" if test else ""
        paragraphs.append(f"![Net benefit{title}](figures/{name})")
        if title or note:
            where = f"Test set {plain(test)}." if test else ""
            paragraphs.append(f"*{' '.join(part for part in (where, note) if part)}*")
    if rows:
        paragraphs.append(markdown_table(pd.DataFrame(rows, dtype=str)))
    tables = {"decision_curves": pd.concat(frames, ignore_index=True)} if frames else {}
    return Section(HEADING, "\n\n".join(paragraphs), tables)


def after_scaling(judged: JudgedSet) -> list[Predictions]:
    """The runs with their temperatures, each fitted on its validation; [] where one has none."""
    fitted = [fit_on_predictions(validation) for validation in judged.validation]
    if any(isinstance(one, NotDefined) for one in fitted):
        return []
    return [recalibrated(run, one.value) for run, one in zip(judged.runs, fitted, strict=False)]


def worthwhile(curve: pd.DataFrame) -> str:
    """'12%–64%': the thresholds from the first to the last at which a curve of one class is above
    treating all and none, and how many between are not; 'none'.
    """
    above = (curve["net_benefit"] > np.maximum(curve["treat_all"], 0)).to_numpy()
    if not above.any():
        return "none"
    thresholds = curve["threshold"].to_numpy()
    first, last = np.flatnonzero(above)[[0, -1]]
    text = f"{percent(thresholds[first])}{DASH}{percent(thresholds[last])}"
    missing = int((~above[first : last + 1]).sum())
    return f"{text}, but for {missing} of them" if missing else text


def _rows(judged: JudgedSet, curve: pd.DataFrame) -> list[dict[str, str]]:
    found = []
    for name, of_class in curve.groupby("class", sort=False):
        row = {"Set": set_name(judged)} | ({"Class": name} if name else {})
        row["Above treating all and none"] = worthwhile(of_class)
        for threshold in SHOWN:
            at = of_class[np.isclose(of_class["threshold"], threshold)].iloc[0]
            interval = "" if np.isnan(at["low"]) else (
                f" ({signed(at['low'])} to {signed(at['high'])})"
            )
            row[f"At {percent(threshold)}"] = (
                f"{signed(at['net_benefit'])}{interval}; all {signed(at['treat_all'])}"
            )
        found.append(row)
    return found


def _panels(curve: pd.DataFrame) -> tuple[list[str], str]:
    """The classes that are drawn, and a note on those that are not."""
    events = curve.groupby("class", sort=False)["events"].first()
    if len(events) <= MOST_PANELS:
        return list(events.index), ""
    most = events.sort_values(ascending=False, kind="stable").index[:MOST_PANELS]
    note = f"The {MOST_PANELS} classes with most events of {len(events)} are drawn."
    return [name for name in events.index if name in set(most)], note


def _labelled(judged: JudgedSet, probabilities: str, curve: pd.DataFrame) -> pd.DataFrame:
    of = {"arm": judged.arm, "set": judged.name, "probabilities": probabilities}
    return pd.DataFrame([of] * len(curve)).join(curve)
