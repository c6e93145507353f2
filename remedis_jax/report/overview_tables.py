"""The tables of an overview of several tasks, as text for the page and as numbers for CSV."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import NoCrossing, curve_of
from remedis_jax.evaluation.label_saving import LabelSaving
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.report.experiment_results import Results
from remedis_jax.report.saving_section import (
    margin_numbers,
    margin_text,
    match_text,
    saving_numbers,
    saving_text,
)
from remedis_jax.report.wording import difference_text, metric_name, verdict

ID, ZERO_SHOT = ("id", 0.0), ("ood_zero_shot", 0.0)
NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One experiment of the overview.

    Attributes:
        name: Distinct among the tasks.
        results: The experiment, evaluated.
    """

    name: str
    results: Results

    @property
    def metric(self) -> str:
        """Name of its metric."""
        return metric_name(self.results.record["metric"], self.results.horizon)


def arm_labels(tasks: Sequence[Task]) -> dict[str, str]:
    """Arm -> label, of all tasks; its key where the tasks do not call it the same."""
    labels: dict[str, str] = {}
    for task in tasks:
        for arm, label in task.results.labels.items():
            labels[arm] = label if labels.get(arm, label) == label else arm
    return labels


def overview_table(tasks: Sequence[Task]) -> pd.DataFrame:
    """One row per task and arm: differences to the baseline, share that matches, saving."""
    rows = []
    for task in tasks:
        results = task.results
        for arm in results.others:
            saving = results.savings.get(arm)
            rows.append(
                {
                    "Task": task.name,
                    "Arm": results.labels[arm],
                    "Metric": task.metric,
                    "In distribution": difference_text(results.differences.get((arm, ID)))
                    or NOT_MEASURED,
                    "Zero-shot": difference_text(results.differences.get((arm, ZERO_SHOT)))
                    or NOT_MEASURED,
                    "Share that matches": _of(saving, match_text),
                    "First share within the margin": _of(
                        saving, lambda s: f"{margin_text(s)} (margin {s.non_inferior.margin:g})"
                    ),
                    "Fewer labels": _of(saving, saving_text),
                }
            )
    return pd.DataFrame(rows, dtype=str)


def settings_numbers(tasks: Sequence[Task]) -> pd.DataFrame:
    """In distribution and zero-shot: every arm, and its difference to the baseline."""
    rows = []
    for task in tasks:
        results = task.results
        for (arm, stage, fraction), point in results.points.items():
            if (stage, fraction) not in (ID, ZERO_SHOT):
                continue
            difference = results.differences.get((arm, (stage, fraction)))
            undefined = point.interval if isinstance(point.interval, NotDefined) else difference
            rows.append(
                {"task": task.name, "metric": results.record["metric"], "arm": arm}
                | {"label": results.labels[arm], "setting": stage}
                | _ends("", point.interval)
                | _ends("difference_", difference)
                | {"p_value": getattr(difference, "p_value", None)}
                | {"reason": undefined.reason if isinstance(undefined, NotDefined) else ""}
            )
    return pd.DataFrame(rows, dtype=object)


def curve_numbers(tasks: Sequence[Task]) -> pd.DataFrame:
    """The label-efficiency curves of all tasks."""
    return _of_all(tasks, lambda results: curve_of(results.points.values()))


def saving_tables(tasks: Sequence[Task]) -> dict[str, pd.DataFrame]:
    """Label savings of all tasks, and the differences that the margin is held against."""
    return {
        "label_saving": _of_all(tasks, lambda results: saving_numbers(labelled_savings(results))),
        "non_inferiority": _of_all(
            tasks, lambda results: margin_numbers(labelled_savings(results))
        ),
    }


def labelled_savings(results: Results) -> dict[str, LabelSaving]:
    """Label of the arm -> what it saves, the self-supervised arms first."""
    return {
        results.labels[arm]: results.savings[arm]
        for arm in results.others
        if arm in results.savings
    }


def lead_sentence(arm: str, label: str, tasks: Sequence[Task]) -> str:
    """In how many tasks an arm is better without labels, and matches with fewer of them."""
    measured = [task.results for task in tasks if arm in task.results.others]
    compared = Counter(
        verdict(results.differences.get((arm, ZERO_SHOT)), results.record["metric"])
        for results in measured
    )
    matched = Counter(_match(results.savings.get(arm)) for results in measured)
    count = f"{len(measured):,} task{'s' if len(measured) != 1 else ''}"
    return (
        f"“{label}” against the baseline, in {count}: without any label of the new site "
        f"{_counts(compared, _VERDICTS)}; the baseline with all labels is "
        f"{_counts(matched, _MATCHES)}."
    )


_VERDICTS = {
    "better": "better in {}",
    "not distinguishable": "not distinguishable in {}",
    "worse": "worse in {}",
    "not defined": "not comparable in {}",
}
_MATCHES = {
    "fewer": "matched with fewer labels in {}",
    "all": "matched with all labels only in {}",
    "zero": "matched without any label in {}",
    "never": "never reached in {}",
    "not defined": "without an answer in {}",
}


def _match(saving: LabelSaving | None) -> str:
    """By the mean curve alone; the intervals stand in the table."""
    if saving is None or isinstance(saving.crossing, NotDefined):
        return "not defined"
    value = saving.crossing.value
    if isinstance(value, NoCrossing):
        return "never" if value is NoCrossing.NEVER_REACHED else "zero"
    return "fewer" if value < saving.share_of_all else "all"


def _counts(found: Mapping[str, int], words: Mapping[str, str]) -> str:
    parts = [text.format(found[name]) for name, text in words.items() if found.get(name)]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _of_all(
    tasks: Sequence[Task], table: Callable[[Results], pd.DataFrame]
) -> pd.DataFrame:
    frames = [table(task.results).astype(object) for task in tasks]
    for frame, task in zip(frames, tasks, strict=True):
        frame.insert(0, "task", task.name)
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _of(saving: LabelSaving | None, text: Callable[[LabelSaving], str]) -> str:
    return NOT_MEASURED if saving is None else text(saving)


def _ends(prefix: str, interval: Interval | NotDefined | None) -> dict[str, float | None]:
    known = isinstance(interval, Interval)
    return {
        f"{prefix}{name}": getattr(interval, name) if known else None
        for name in ("value", "low", "high")
    }
