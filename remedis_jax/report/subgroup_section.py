"""Subgroups: the metric by age band, sex, site, or whatever column of characteristics there is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval
from remedis_jax.evaluation.characteristics import MOST_GROUPS
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.metrics import AT_THRESHOLD, NAMES, Level, value_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.operating_point import YOUDEN, choose_operating_point
from remedis_jax.evaluation.subgroups import MINIMUM, Subgroup, subgroups
from remedis_jax.report.document import Section
from remedis_jax.report.forest_figure import forest_figure
from remedis_jax.report.judged_words import (
    at_level,
    by_test_set,
    groups_of,
    numbers,
    seeds_clause,
    set_name,
)
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import difference_text, interval_text, percent

HEADING = "Subgroups"
READING = """
{count} groups are shown, and {scored} gaps have an interval. None is corrected for their number: of
so many gaps about {expected} would be off zero by chance alone if there were no difference at all.
A gap is the group minus all others, on the same resamples of patients. Groups with fewer than
{minimum} events or {minimum} {units} without are counted and not scored; what is unknown is a group
of its own. Ages are cut at 40, 60 and 80 years, other numbers at their quartiles.{operating}{seeds}
{several}
"""
SEVERAL = """Values are means over the classes or findings that have enough events in the group (the
number stands behind the value), gaps over those that have enough in the group and outside; events
are those of the rarest one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """The groups of one characteristic in one set."""

    judged: JudgedSet
    characteristic: str
    groups: list[Subgroup]


def subgroup_section(
    sets: Sequence[JudgedSet],
    characteristics: Sequence[str],
    out_dir: Path,
    *,
    metric: str,
    level: Level = "image",
    operating_point: str = YOUDEN,
    minimum: int = MINIMUM,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Section:
    """Draws the figures, one per characteristic and test set, and returns the section.

    Args:
        sets: By image; one or more of one kind.
        characteristics: Columns of the sets' rows, one or more.
        out_dir: Folder of the report.
        metric: Of the gaps; as in `metrics.score`.
        level: 'image', or 'group' for patients.
        operating_point: Rule by which the thresholds are chosen on validation.
        minimum: Events, and images without, that a scored group has.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: A characteristic is a column of no set.
    """
    for name in characteristics:
        require_characteristic(name, sets)
    survival = sets[0].runs[0].kind == "survival"
    metrics = [metric] if survival else [metric, *AT_THRESHOLD]
    units = "images" if level == "image" else "patients"
    paragraphs, frames = [], []
    count = scored = figures = 0
    for name in characteristics:
        paragraphs.append(f"### {plain(name)}")
        rows: list[dict[str, str]] = []
        for test, of_test in by_test_set(sets).items():
            found: list[Judged] = []
            for judged in of_test:
                if name not in judged.rows:
                    paragraphs.append(f"{plain(set_name(judged))} has no column {plain(name)}.")
                    continue
                groups = groups_of(judged, name, level)
                if len(groups.cat.categories) > MOST_GROUPS:
                    paragraphs.append(
                        f"{plain(set_name(judged))}: {len(groups.cat.categories):,} different"
                        f" values are too many for a table of groups (at most {MOST_GROUPS})."
                    )
                    continue
                at = with_thresholds(at_level(judged, level), operating_point)
                of = subgroups(
                    at.runs, groups, metrics, minimum=minimum, resamples=resamples, seed=seed
                )
                found.append(Judged(at, name, of))
                count += len(of)
                scored += sum(isinstance(group.gap, Interval) for group in of)
            if not found:
                continue
            figures += 1
            png = f"subgroups-{figures}.png"
            _draw(out_dir / "figures" / png, found, metric, units)
            where = f" on {plain(test)}" if test else ""
            paragraphs.append(f"![{NAMES[metric]} by {plain(name)}{where}](figures/{png})")
            for one in found:
                rows += table_rows(one, metrics, units)
                frames.append(_numbers(one, metrics))
        if rows:
            paragraphs.append(markdown_table(pd.DataFrame(rows, dtype=str)))
    first = at_level(sets[0], level).runs[0]
    several = len(first.classes) > 2 or (first.kind == "sigmoid" and len(first.classes) > 1)
    text = READING.format(
        count=f"{count:,}",
        scored=f"{scored:,}",
        expected=f"{0.05 * scored:.1g}" if scored else "0",
        minimum=minimum,
        units=units,
        operating="" if survival else f" {operating_sentence(sets, operating_point)}",
        seeds=f" Values are {seeds_clause(sets)}." if seeds_clause(sets) else "",
        several=SEVERAL if several else "",
    )
    tables = {"subgroups": pd.concat(frames, ignore_index=True)} if frames else {}
    return Section(HEADING, "\n\n".join([text.strip(), *paragraphs]), tables)


def require_characteristic(name: str, sets: Sequence[JudgedSet]) -> None:
    """Raises UserError where no set has such a column."""
    known = list(dict.fromkeys(str(column) for judged in sets for column in judged.rows))
    if name not in known:
        raise UserError(
            f"there is no characteristic {name!r}.{did_you_mean(name, known)}",
            f"The columns are {first_few(known)}." if known else
            "Give a manifest with --manifest, or predictions with further columns.",
        )  # fmt: skip


def with_thresholds(judged: JudgedSet, rule: str) -> JudgedSet:
    """Every run at the operating point that its own validation chooses.

    Runs without a validation stay as they are; where it has no operating point, its reason stands
    in place of the thresholds.
    """
    if not judged.validation:
        return judged
    runs = []
    for run, validation in zip(judged.runs, judged.validation, strict=True):
        point = choose_operating_point(validation, rule)
        if isinstance(point, NotDefined):
            problems = 0 if run.kind == "survival" else 1 if run.is_binary else len(run.classes)
            runs.append(run.at([point] * problems) if problems else run)
        else:
            runs.append(run.at(point.thresholds))
    return dataclasses.replace(judged, runs=tuple(runs))


def operating_sentence(sets: Sequence[JudgedSet], rule: str) -> str:
    """Where sensitivity and specificity are taken."""
    without = [judged for judged in sets if not judged.validation]
    chosen = f"at the threshold that validation chose ({plain(rule)})"
    fixed = {run.thresholds is None for judged in without for run in judged.runs}
    default = "at p ≥ 0.5, as no validation chose a threshold" if fixed == {True} else (
        "at the thresholds that the predictions came with"
    )
    if not without:
        return f"Sensitivity and specificity are {chosen}."
    if len(without) == len(sets):
        return f"Sensitivity and specificity are {default}."
    names = first_few([plain(set_name(judged)) for judged in without], "; ")
    return f"Sensitivity and specificity are {chosen}; of {names} {default}."


def table_rows(
    one: Judged, metrics: Sequence[str], units: str = "images"
) -> list[dict[str, str]]:
    """One row per group; `units` are what is scored, images or patients."""
    classes = len(one.judged.runs[0].classes)
    return [
        {
            "Group": group.name,
            "Set": set_name(one.judged),
            **({"Images": f"{group.images:,}"} if units == "images" else {}),
            "Patients": f"{group.patients:,}",
            "Events": f"{group.events:,} ({percent(group.events / max(group.images, 1))})",
            NAMES[metrics[0]]: interval_text(group.values[metrics[0]])
            + (f" [{len(group.scored)} of {classes}]" if group.scored else ""),
            "Gap to the rest": _unless_said(group, group.gap, metrics[0])
            or difference_text(group.gap),
        }
        | {
            NAMES[metric]: _unless_said(group, group.values[metric], metrics[0])
            or interval_text(group.values[metric])
            for metric in metrics[1:]
        }
        for group in one.groups
    ]


def _unless_said(group: Subgroup, value: Interval | NotDefined, metric: str) -> str:
    """'not defined' where the row has given the same reason before; else ''."""
    first = group.values[metric]
    return "not defined" if isinstance(value, NotDefined) and value == first else ""


def _draw(path: Path, found: Sequence[Judged], metric: str, units: str) -> None:
    arms = {one.judged.arm or one.judged.name: one.groups for one in found}
    overall = {}
    for arm, one in zip(arms, found, strict=True):
        values = [value_of(run, metric) for run in one.judged.runs]
        if not any(isinstance(value, NotDefined) for value in values):
            overall[arm] = sum(values) / len(values)
    first = found[0]
    title = f"{first.characteristic}, {first.judged.name}" if first.judged.name else (
        first.characteristic
    )
    forest_figure(
        path, arms, overall, metric=metric, metric_name=NAMES[metric], characteristic=title,
        unit=units,
    )  # fmt: skip


def _numbers(one: Judged, metrics: Sequence[str]) -> pd.DataFrame:
    rows = []
    for group in one.groups:
        of = {
            "arm": one.judged.arm, "set": one.judged.name, "characteristic": one.characteristic,
            "group": group.name, "images": group.images, "patients": group.patients,
            "events": group.events, "classes": "; ".join(group.scored),
        }  # fmt: skip
        rows += [of | {"metric": name} | numbers(group.values[name]) for name in metrics]
        rows.append(of | {"metric": f"{metrics[0]}, gap to the rest"} | numbers(group.gap))
    return pd.DataFrame(rows)
