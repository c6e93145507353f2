"""The report of a data-efficiency experiment: how few labels of a new hospital an arm needs."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.data.leaks import GUARD_NAME, Guard
from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    difference_of,
)
from remedis_jax.evaluation.curves import (
    LabelsToMatch,
    Point,
    curve_of,
    evaluate_cells,
    labels_to_match_interval,
    read_cells,
)
from remedis_jax.evaluation.metrics import NotDefined, check_metric
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.figures import id_ood_figure, label_fraction_figure, stamped
from remedis_jax.report.leak_section import banner_of, counted_section, guards_of, stamp_of
from remedis_jax.report.tables import (
    caveats,
    counts_table,
    fenced,
    markdown_table,
    plain,
    results_table,
)
from remedis_jax.report.wording import (
    MINUS,
    comparison_clause,
    interval_text,
    match_clause,
    metric_name,
    percent,
)

Setting = tuple[str, float]  # (stage, fraction)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "metric": str,
    "arms": dict,
    "baseline_arm": str,
    "ssl_arm": str,
    "fractions": list,
    "seeds": list,
    "id_site": str,
    "ood_site": str,
    "counts": dict,
    "command": str,
    "versions": dict,
    "notes": list,
}

CURVE, ID_OOD = "label_fractions.png", "id_ood.png"
NOT_DRAWN = "Not drawn: no value of the metric is defined; see the table."
READING = """
- Each point is the mean over the seeds. A seed decides which patients' labels are used and how
  training goes; a larger share of a seed's labels contains its smaller ones.
- Intervals are 95% percentile bootstrap intervals of {resamples:,} resamples. Each resample draws
  test *patients*, all their images together, and seeds, both with replacement.
- Differences are paired: both arms are compared on the same drawn patients and seeds. An arm is
  called better or worse only if the whole interval of the difference is on one side of zero.
- The grey band is {baseline} with {share} of {site}'s training labels. The share that matches it
  is where the arm's mean curve first reaches the band's mean, interpolated along the logarithm of
  the share, and linearly between zero and the first share.
- Scores are by {level}.
"""
LIMITS = """
- **Not for clinical use.** This is a comparison of training methods on the data named here; no
  patient should be treated because of it.
- The intervals hold the sampling of test patients and the spread of {seeds}. They do not hold the
  choice of data sets, hospitals or settings, and with so few seeds they understate the spread of
  training.
- Many intervals are shown and none is corrected for their number.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """An experiment, evaluated.

    Attributes:
        record: What `experiment.json` says.
        points: (arm, stage, fraction) -> point.
        settings: (stage, fraction) in the order of the table.
        differences: Setting -> self-supervised arm minus baseline, where both were measured.
        baseline: The baseline arm with the largest share of labels; None if it never was tuned.
        match: Share of labels with which the self-supervised arm matches `baseline`.
        guards: The leak guard of every cell's predictions; None where there is none.
        stage_guards: Those of the experiment itself and of the stages that made its encoders.
    """

    record: Mapping[str, Any]
    points: Mapping[tuple[str, str, float], Point]
    settings: tuple[Setting, ...]
    differences: Mapping[Setting, Interval | NotDefined]
    baseline: Point | None
    match: LabelsToMatch | NotDefined | None
    guards: tuple[Guard | None, ...] = ()
    stage_guards: tuple[Guard, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """Arm -> label."""
        return {arm: entry["label"] for arm, entry in self.record["arms"].items()}

    @property
    def horizon(self) -> float | None:
        """Of survival, when the risk is judged."""
        runs = (point.runs for point in self.points.values())
        return next((r.reference.horizon for r in runs if not isinstance(r, NotDefined)), None)


def report_from_experiment(
    experiment_dir: str | os.PathLike,
    out_dir: str | os.PathLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Writes the report of an experiment.

    Args:
        experiment_dir: Holds `experiment.json` and `cells.jsonl`; see `read_experiment` and
            `evaluation.curves.read_cells`.
        out_dir: Where report.md, report.html and figures/ go; `experiment_dir` if None.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        show: Print the tables to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: The folder does not hold a finished experiment.
    """
    out_dir = Path(experiment_dir if out_dir is None else out_dir)
    results = evaluate_experiment(experiment_dir, resamples=resamples, seed=seed)
    with stamped(stamp_of([*results.stage_guards, *results.guards])):
        figures = draw_figures(results, out_dir / "figures")
    return write_report(out_dir, document_of(results, figures, resamples), show=show)


def read_experiment(experiment_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads and checks `experiment.json`.

    Returns:
        Keys title, metric, arms {name: {label, stages}}, baseline_arm, ssl_arm, fractions, seeds,
        id_site, ood_site, counts {part: {patients, images}}, command, versions, notes, and level,
        'image' (where the file has none) or 'group'.

    Raises:
        UserError: It is missing, no JSON, or a key is missing or of another type.
    """
    path = Path(experiment_dir) / "experiment.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}).", "Give the folder of a finished experiment."
        ) from error
    for key, kind in _TYPES.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            known = list(record) if isinstance(record, dict) else []
            raise UserError(
                f"{path}: {key!r} is missing or is no {kind.__name__}.{did_you_mean(key, known)}",
                "Write the experiment again.",
            )
    record.setdefault("level", "image")
    if record["level"] not in ("image", "group"):
        raise UserError(f"{path}: level is {record['level']!r}.", "Use 'image' or 'group'.")
    check_metric(record["metric"])
    for key in ("baseline_arm", "ssl_arm"):
        if record[key] not in record["arms"]:
            raise UserError(
                f"{path}: {key} {record[key]!r} is no arm."
                + did_you_mean(record[key], record["arms"]),
                f"The arms are {', '.join(record['arms'])}.",
            )
    return record


def evaluate_experiment(
    experiment_dir: str | os.PathLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Results:
    """Evaluates every cell, the paired differences, and the share that matches the baseline.

    Raises:
        UserError: As `read_experiment` and `read_cells`; a cell of an arm that does not exist.
    """
    record = read_experiment(experiment_dir)
    cells = read_cells(Path(experiment_dir) / "cells.jsonl")
    for cell in cells:
        if cell.arm not in record["arms"]:
            raise UserError(
                f"a cell is of arm {cell.arm!r}, which experiment.json does not have."
                + did_you_mean(cell.arm, record["arms"]),
                "Write the experiment again.",
            )
    evaluated = evaluate_cells(
        cells, record["metric"], level=record["level"], resamples=resamples, seed=seed
    )
    points = {(p.arm, p.stage, p.fraction): p for p in evaluated}
    order = {"id": 0, "ood_zero_shot": 1, "ood_finetuned": 2}
    settings = sorted({key[1:] for key in points}, key=lambda s: (order[s[0]], s[1]))
    baseline, ssl = record["baseline_arm"], record["ssl_arm"]
    tuned = [p for p in evaluated if p.arm == baseline and p.stage == "ood_finetuned"]
    curve = [p for p in evaluated if p.arm == ssl and p.stage != "id"]
    full = tuned[-1] if tuned else None
    return Results(
        record=record,
        points=points,
        settings=tuple(settings),
        differences={
            setting: paired(points[ssl, *setting], points[baseline, *setting])
            for setting in settings
            if ssl != baseline and (ssl, *setting) in points and (baseline, *setting) in points
        },
        baseline=full,
        match=labels_to_match_interval(curve, full, record["metric"]) if full and curve else None,
        guards=tuple(guards_of([cell.predictions for cell in cells]).values()),
        stage_guards=stage_guards(Path(experiment_dir)),
    )


def stage_guards(folder: Path) -> tuple[Guard, ...]:
    """The leak guards of an experiment and of the stages that made its encoders."""
    places = [folder / GUARD_NAME, *sorted((folder / "stages").glob(f"*/{GUARD_NAME}"))]
    return tuple(guard for guard in guards_of(places).values() if guard is not None)


def paired(a: Point, b: Point) -> Interval | NotDefined:
    """The difference of two points, or why they cannot be paired."""
    if a.seeds != b.seeds:
        return NotDefined(f"the arms have different seeds, {_list(a.seeds)} and {_list(b.seeds)}")
    return difference_of(a.runs, b.runs)


def draw_figures(results: Results, folder: Path) -> tuple[str, ...]:
    """Writes the figures for which there are numbers; returns their file names."""
    record, full = results.record, results.baseline
    metric = metric_name(record["metric"], results.horizon)
    drawn = []
    curve = curve_of(results.points.values())
    if curve["mean"].notna().any():
        band = full.interval if full and isinstance(full.interval, Interval) else None
        label_fraction_figure(
            folder / CURVE,
            curve,
            results.labels,
            metric_name=metric,
            site=record["ood_site"],
            baseline=band,
            baseline_label=f"{_baseline_name(results)}: {interval_text(band)}",
            crossing=results.match if isinstance(results.match, LabelsToMatch) else None,
            crossing_arm=record["ssl_arm"],
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


def result_sentence(results: Results) -> str:
    """The result: zero-shot on the new site, then the labels that match the baseline."""
    record, labels = results.record, results.labels
    ssl, baseline = labels[record["ssl_arm"]], labels[record["baseline_arm"]]
    clause = comparison_clause(
        f"“{ssl}”",
        f"“{baseline}”",
        results.differences.get(("ood_zero_shot", 0.0)),
        record["metric"],
        results.horizon,
    )
    share = results.baseline.fraction if results.baseline else 1.0
    match = match_clause(results.match, f"“{baseline}”", share, record["ood_site"])
    return f"Without any label of {record['ood_site']}, {clause}; {match}."


def experiment_table(results: Results) -> pd.DataFrame:
    """The table of the page: in distribution, zero-shot, then each share of labels."""
    record, labels = results.record, results.labels
    rows = []
    for setting in results.settings:
        stage, fraction = setting
        found = {arm: p for (arm, *at), p in results.points.items() if tuple(at) == setting}
        name = {
            "id": f"{record['id_site']} (in distribution)",
            "ood_zero_shot": f"{record['ood_site']}, zero-shot",
            "ood_finetuned": f"{record['ood_site']}, fine-tuned",
        }[stage]
        trained_on = "none"
        if stage == "ood_finetuned":
            point = next(iter(found.values()))
            trained_on = (
                f"{percent(fraction)} ({point.n_patients:,} patients, {point.n_images:,} images)"
            )
        intervals = {arm: point.interval for arm, point in found.items()}
        rows.append((name, trained_on, intervals, results.differences.get(setting)))
    return results_table(rows, labels)


def document_of(results: Results, figures: Sequence[str], resamples: int) -> Document:
    """The page's text; `figures` are those that `draw_figures` wrote."""
    record = results.record
    metric = metric_name(record["metric"], results.horizon)
    table, flow = experiment_table(results), counts_table(record["counts"])
    cells = {
        f"{results.labels[arm]}, {stage.replace('_', ' ')}, {percent(fraction)}": point.interval
        for (arm, stage, fraction), point in results.points.items()
    }
    seeds = f"{len(record['seeds'])} training seed{'s' if len(record['seeds']) != 1 else ''}"
    share = results.baseline.fraction if results.baseline else 1.0
    ssl, baseline = (results.labels[record[key]] for key in ("ssl_arm", "baseline_arm"))
    stages = [
        f"- **{plain(arm['label'])}**: " + " → ".join(plain(stage) for stage in arm["stages"])
        for arm in record["arms"].values()
    ]
    level = "image" if record["level"] == "image" else "patient (mean over the patient's images)"
    banner = banner_of([*results.stage_guards, *results.guards])
    never = "" if banner else ", who are never trained on"
    curve_figure = (
        f"![{plain(metric)} over the share of labels](figures/{CURVE})\n\n"
        f"*{plain(metric)} on the test patients of {plain(record['ood_site'])}{never}. "
        "Shaded and barred: 95% intervals by patient and seed.*"
    )
    id_figure = f"![{plain(metric)} in distribution and zero-shot](figures/{ID_OOD})"
    sections = [
        Section("Labels of the new site", curve_figure if CURVE in figures else NOT_DRAWN),
        Section(
            "Results",
            f"{plain(metric)}, mean over {seeds} with 95% interval. The difference is "
            f"{plain(ssl)} {MINUS} {plain(baseline)}.\n\n"
            + markdown_table(table)
            + "".join(f"\n\n{plain(sentence)}" for sentence in caveats(cells)),
        ),
        Section("In distribution and zero-shot", id_figure if ID_OOD in figures else NOT_DRAWN),
        Section(
            "What was done",
            "\n".join(stages)
            + f"\n\nEach arm was fine-tuned on {plain(record['id_site'])} and tested there and, "
            f"with the same weights, on {plain(record['ood_site'])}; then fine-tuned on "
            f"{_list(percent(f) for f in record['fractions'])} of the new site's training labels. "
            f"Shares are nested subsets of patients. Seeds: {_list(record['seeds'])}.\n\n"
            + markdown_table(flow),
        ),
        Section(
            "How to read this",
            READING.format(
                resamples=resamples,
                baseline=plain(baseline),
                share="all" if share == 1 else percent(share),
                site=plain(record["ood_site"]),
                level=level,
            ),
        ),
        Section(
            "Limits",
            LIMITS.format(seeds=seeds) + "".join(f"- {plain(n)}\n" for n in record["notes"]),
        ),
        Section("Provenance", provenance(record)),
    ]
    sections.insert(4, counted_section(results.guards, "test predictions", results.stage_guards))
    return Document(
        record["title"],
        result_sentence(results),
        tuple(sections),
        {f"{record['title']}: {metric}": table, "Data": flow},
        banner,
    )


def provenance(record: Mapping[str, Any]) -> str:
    """Command, versions, and the experiment's own record, word for word."""
    lines = "\n".join(f"- {plain(name)} {plain(v)}" for name, v in record["versions"].items())
    whole = json.dumps(record, indent=1, ensure_ascii=False)
    return (
        f"{fenced(record['command'], 'sh')}\n\n{lines}\n\n`experiment.json`:\n\n"
        f"{fenced(whole, 'json')}"
    )


def _baseline_name(results: Results) -> str:
    share = results.baseline.fraction if results.baseline else 1.0
    with_labels = "all labels" if share == 1 else f"{percent(share)} of the labels"
    return f"{results.labels[results.record['baseline_arm']]} with {with_labels}"


def _list(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items)
