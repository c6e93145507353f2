"""What judged sets are called in figures, tables and file names, and how they are put together."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.characteristics import banded, of_patients
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.metrics import Level
from remedis_jax.evaluation.not_defined import NotDefined


def set_name(judged: JudgedSet) -> str:
    """'Strong, hospital_b zero-shot'; the one of the two that there is, where there is one."""
    return ", ".join(dict.fromkeys(part for part in (judged.arm, judged.name) if part))


def by_test_set(sets: Iterable[JudgedSet]) -> dict[str, list[JudgedSet]]:
    """Name of the test set -> the arms on it, in the order of first appearance."""
    found: dict[str, list[JudgedSet]] = {}
    for judged in sets:
        found.setdefault(judged.name, []).append(judged)
    return found


def by_arm(sets: Iterable[JudgedSet]) -> dict[str, list[JudgedSet]]:
    """Arm -> its test sets, in the order of first appearance."""
    found: dict[str, list[JudgedSet]] = {}
    for judged in sets:
        found.setdefault(judged.arm, []).append(judged)
    return found


def at_level(judged: JudgedSet, level: Level) -> JudgedSet:
    """The set by image, or with one row per patient (the mean over the images)."""
    if level == "image":
        return judged
    return dataclasses.replace(
        judged,
        runs=tuple(aggregate(run) for run in judged.runs),
        validation=tuple(aggregate(run) for run in judged.validation),
    )


def groups_of(judged: JudgedSet, characteristic: str, level: Level) -> pd.Series:
    """The group of each image of the set, or of each patient; images without a row are unknown.

    Args:
        judged: By image.
        characteristic: A column of its rows.
        level: 'image', or 'group' for patients.
    """
    run = judged.runs[0]
    cells = judged.rows[characteristic].reindex(run.images)
    groups = banded(cells)
    if level == "image":
        return groups
    return of_patients(groups, pd.Series(run.groups, run.images))


def numbers(value: Interval | NotDefined) -> dict[str, object]:
    """The cells of a table of numbers: value, low, high, and the reason where there are none."""
    if isinstance(value, NotDefined):
        return {"value": np.nan, "low": np.nan, "high": np.nan, "reason": value.reason}
    return {"value": value.value, "low": value.low, "high": value.high, "reason": ""}


def records(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[dict]]:
    """Tables of numbers for JSON: what is not a number is null."""
    return {
        stem: table.astype(object).where(table.notna(), None).to_dict("records")
        for stem, table in tables.items()
    }


def seeds_clause(sets: Sequence[JudgedSet]) -> str:
    """'the mean of 5 runs', or '' where every set has one run."""
    runs = sorted({len(judged.runs) for judged in sets})
    if runs == [1]:
        return ""
    return f"the mean of {' or '.join(map(str, runs))} runs"
