"""What the report of predictions says of survival."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.evaluation.aggregate import MEAN as MEAN_SCORE
from remedis_jax.evaluation.metrics import metrics_of
from remedis_jax.report.document import Section
from remedis_jax.report.scored_parts import Part
from remedis_jax.report.survival_figure import risk_halves, survival_figure
from remedis_jax.report.tables import plain
from remedis_jax.report.wording import interval_text, metric_name

TABLE = "AUROC at the horizon, and concordance"
FIGURE_READING = (
    "Kaplan-Meier curves of those whose risk is up to the median of the file, and of those above"
    " it; by {level}. The median was not chosen to part them, and it is no threshold for use."
)
NO_HALVES = "All have the same risk, so there are no halves to draw."
READING = """
- Intervals are 95% percentile bootstrap intervals of {resamples:,} resamples. Each resample draws
  *patients*, all their images together, with replacement.
- By image, every row of the file (an image or a case) counts. By patient, the risk is the {score}
  of the patient's rows, which have to agree in time and event.
- AUROC at the horizon: those with the event up to it against those followed beyond it. Those
  censored before it are neither; others stand for them by the inverse of the chance not to be
  censored (Uno et al. 2007), which is estimated from the same set and anew in every resample.
- Concordance (Harrell): of the pairs of which it is known who had the event first, the share in
  which that one has the higher risk; ties count one half. It is over all times, and its value for
  random risks is 0.5, as that of AUROC.
- A confusion matrix, a ROC curve of labels, AUPRC, accuracies and calibration by temperature are
  left out: the label is a time, and the risk is no probability of a class.
"""


def survival_table(scored: Iterable[Part]) -> pd.DataFrame:
    """One row per set and level: events, those followed beyond the horizon, and the metrics."""
    rows = []
    for part in scored:
        time, event = part.predictions.y.T
        horizon = part.predictions.horizon
        rows.append(
            {
                "Set": part.name,
                "By": part.by,
                "Number": f"{len(time):,}",
                "Events": f"{int(event.sum()):,}",
                "By the horizon": f"{int((event * (time <= horizon)).sum()):,}",
                "Followed beyond": f"{int((time > horizon).sum()):,}",
            }
            | {
                metric_name(metric, horizon): interval_text(part.intervals[metric])
                for metric in metrics_of("survival")
            }
        )
    return pd.DataFrame(rows, dtype=str).fillna("")


def survival_section(scored: Sequence[Part], out_dir: Path) -> Section:
    """Draws the curves of every file, by patient where there is such a level."""
    several = len({part.file for part in scored}) > 1
    wholes = {part.file: part for part in scored if part.whole}
    paragraphs = []
    for number, (file, part) in enumerate(wholes.items(), start=1):
        time, event = part.predictions.y.T
        groups = risk_halves(time, event, part.predictions.p[:, 0]) if len(time) else None
        text = NO_HALVES
        if groups is not None:
            name = f"survival-{number}.png" if several else "survival.png"
            survival_figure(out_dir / "figures" / name, groups, horizon=part.predictions.horizon)
            text = FIGURE_READING.format(level=part.level)
            text = f"![Survival of lower and higher risk](figures/{name})\n\n*{text}*"
        paragraphs.append(f"{plain(file)}:\n\n{text}" if several else text)
    return Section("Survival by risk", "\n\n".join(paragraphs))


def reading(scored: Sequence[Part], resamples: int) -> str:
    """The section that explains the numbers."""
    how = next((part.aggregate for part in scored if part.aggregate), MEAN_SCORE)
    words = {"mean": "mean", "max": "maximum"}
    return READING.format(resamples=resamples, score=words[how])


def lead_sentence(part: Part) -> str:
    """What the first file says as a whole."""
    name = metric_name("auroc", part.predictions.horizon)
    return (
        f"{part.file}: {name} by image is {interval_text(part.intervals['auroc'])} and concordance "
        f"{interval_text(part.intervals['concordance'])} on {part.n_images:,} images of "
        f"{part.patients:,} patients."
    )
