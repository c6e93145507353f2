"""The tables of an experiment's page, as text for the page and as numbers for CSV."""

from collections.abc import Iterable

import pandas as pd

from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.binary_problems import binary_problems
from remedis_jax.evaluation.bootstrap import Interval, interval_of, spread_of
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.metrics import NotDefined, metrics_of
from remedis_jax.evaluation.operating_point import OperatingPoint, choose_operating_point
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampling import resample_arms
from remedis_jax.report.experiment_results import Results, Setting
from remedis_jax.report.wording import (
    difference_text,
    interval_text,
    metric_name,
    percent,
)

RULE = "youden"
_STAGES = {"id": "in distribution", "ood_zero_shot": "zero-shot", "ood_finetuned": "fine-tuned"}


def results_table(results: Results) -> pd.DataFrame:
    """In distribution, zero-shot, then each share of labels: every arm with its interval, and the
    self-supervised arms' differences to the baseline. Labels are shares of the new site's.
    """
    record, labels = results.record, results.labels
    compared = [arm for arm in results.others if arm in record["ssl_arms"]]
    rows = []
    for setting in results.settings:
        row = {"Test set": _test_set(results, setting), "Labels": "none", "Patients / images": ""}
        found = {arm: p for (arm, *at), p in results.points.items() if tuple(at) == setting}
        if setting[0] == "ood_finetuned":
            point = next(iter(found.values()))
            row["Labels"] = percent(setting[1])
            row["Patients / images"] = f"{point.n_patients:,} / {point.n_images:,}"
        row |= {
            label: interval_text(found[arm].interval) if arm in found else ""
            for arm, label in labels.items()
        }
        for arm in compared:
            heading = "Difference" if len(compared) == 1 else f"Difference, {labels[arm]}"
            row[heading] = difference_text(results.differences.get((arm, setting)))
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def results_numbers(results: Results) -> pd.DataFrame:
    """One row per arm and setting, with everything that the page says of it."""
    rows = []
    for (arm, stage, fraction), point in results.points.items():
        spread = None if isinstance(point.runs, NotDefined) else spread_of(point.runs)
        difference = results.differences.get((arm, (stage, fraction)))
        row = {
            "arm": arm,
            "stage": stage,
            "fraction": fraction,
            "n_patients": point.n_patients,
            "n_images": point.n_images,
            "seeds": len(point.seeds),
            **_ends("", point.interval),
            "sampling_sd": _number(spread and spread.sampling_sd),
            "seed_sd": _number(spread and spread.seed_sd),
            **_ends("difference_", difference),
            "p_value": getattr(difference, "p_value", None),
        }
        row["reason"] = point.interval.reason if isinstance(point.interval, NotDefined) else ""
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def spread_table(results: Results) -> pd.DataFrame:
    """What of the uncertainty is the sampling of patients, and what the seeds."""
    rows = []
    for setting in results.settings:
        row = {"Test set": _test_set(results, setting)}
        row["Labels of the new site"] = percent(setting[1]) if setting[1] else "none"
        for arm, label in results.labels.items():
            point = results.points.get((arm, *setting))
            if point is None:
                row[label] = ""
            elif isinstance(point.runs, NotDefined):
                row[label] = str(point.runs)
            else:
                spread = spread_of(point.runs)
                row[label] = f"{_sd(spread.sampling_sd)} / {_sd(spread.seed_sd)}"
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def further_tables(
    results: Results, settings: Iterable[Setting], resamples: int, seed: int
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """All metrics of the kind in some settings.

    Sensitivity and specificity are at the threshold that each run's own validation rows chose.

    Returns:
        Name of the setting -> one row per metric and one column per arm; and the numbers of all.
    """
    level = results.record["level"]
    tables, numbers = {}, []
    for setting in settings:
        sets = results.judged([setting])
        if not sets:
            continue
        arms = {one.arm: at_level(one, level) for one in sets}
        first = next(iter(arms.values()))[0]
        metrics = metrics_of(first.kind, len(first.classes))
        resampled = resample_arms(list(arms.values()), metrics, resamples, seed)
        columns = {}
        for arm, of_metric in zip(arms, resampled, strict=True):
            intervals = {metric: interval_of(runs) for metric, runs in of_metric.items()}
            columns[arm] = [interval_text(intervals[metric]) for metric in metrics]
            numbers += [
                {"setting": results.setting_name(setting), "arm": arm, "metric": metric}
                | _ends("", interval)
                | {"reason": interval.reason if isinstance(interval, NotDefined) else ""}
                for metric, interval in intervals.items()
            ]
        names = [metric_name(metric, results.horizon) for metric in metrics]
        tables[results.setting_name(setting)] = pd.DataFrame(
            {"Metric": names} | columns, dtype=str
        )
    return tables, pd.DataFrame(numbers, dtype=object)


def at_level(judged: JudgedSet, level: str) -> list[Predictions]:
    """The runs by image or by patient, with the thresholds that their validation chose."""

    def scored(predictions: Predictions) -> Predictions:
        return aggregate(predictions) if level == "group" else predictions

    runs = [scored(run) for run in judged.runs]
    for i, validation in enumerate(judged.validation):
        chosen = choose_operating_point(scored(validation), RULE)
        if isinstance(chosen, OperatingPoint):
            runs[i] = runs[i].at(chosen.thresholds)
        elif runs[i].kind != "survival":
            # Not 0.5 in its place: a run without a threshold has no sensitivity.
            runs[i] = runs[i].at((chosen,) * len(binary_problems(runs[i])))
    return runs


def _test_set(results: Results, setting: Setting) -> str:
    site = results.record["id_site" if setting[0] == "id" else "ood_site"]
    return f"{site}, {_STAGES[setting[0]]}"


def _ends(prefix: str, interval: Interval | NotDefined | None) -> dict[str, float | None]:
    known = isinstance(interval, Interval)
    return {
        f"{prefix}{name}": getattr(interval, name) if known else None
        for name in ("value", "low", "high")
    }


def _number(value: float | NotDefined | None) -> float | None:
    return None if value is None or isinstance(value, NotDefined) else value


def _sd(value: float | NotDefined) -> str:
    return "one seed" if isinstance(value, NotDefined) else f"{value:.3f}"
