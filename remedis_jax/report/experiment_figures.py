"""The figures of an experiment's page: data-efficiency curves, in distribution and zero-shot."""

from pathlib import Path

import pandas as pd

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, curve_of
from remedis_jax.report.experiment_results import Results
from remedis_jax.report.figures import id_ood_figure, label_fraction_figure
from remedis_jax.report.wording import interval_text, metric_name, percent

CURVE, ID_OOD = "label_fractions.png", "id_ood.png"


def draw_figures(results: Results, folder: Path) -> tuple[str, ...]:
    """Writes the figures for which there are numbers; returns their file names."""
    record, full = results.record, results.baseline
    metric = metric_name(record["metric"], results.horizon)
    drawn = []
    curve = curve_of(results.points.values())
    if curve["mean"].notna().any():
        band = full.interval if full and isinstance(full.interval, Interval) else None
        # Several crossings would hide each other; the others stand in the table.
        marked = next((arm for arm in results.others if arm in results.savings), "")
        crossing = results.savings[marked].crossing if marked else None
        label_fraction_figure(
            folder / CURVE,
            curve,
            results.labels,
            metric_name=metric,
            site=record["ood_site"],
            baseline=band,
            baseline_label=f"{baseline_name(results)}: {interval_text(band)}",
            crossing=crossing if isinstance(crossing, LabelsToMatch) else None,
            crossing_arm=marked,
        )
        drawn.append(CURVE)
    names = {
        "id": f"{record['id_site']}\n(in distribution)",
        "ood_zero_shot": f"{record['ood_site']}\n(new site, zero-shot)",
    }
    rows = [
        {
            "arm": arm,
            "setting": names[stage],
            "value": point.interval.value,
            "low": point.interval.low,
            "high": point.interval.high,
        }
        for stage in names
        for (arm, at, _), point in results.points.items()
        if at == stage and isinstance(point.interval, Interval)
    ]
    if rows:
        id_ood_figure(folder / ID_OOD, pd.DataFrame(rows), results.labels, metric_name=metric)
        drawn.append(ID_OOD)
    return tuple(drawn)


def baseline_name(results: Results) -> str:
    """'natural images only with all labels'."""
    share = results.baseline.fraction if results.baseline else 1.0
    with_labels = "all labels" if share == 1 else f"{percent(share)} of the labels"
    return f"{results.labels[results.record['baseline_arm']]} with {with_labels}"
