"""One page over several experiments: what self-supervision is worth, task by task."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval
from remedis_jax.evaluation.curves import curve_of
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.experiment_results import Results, evaluate_experiment
from remedis_jax.report.figures import stamped
from remedis_jax.report.leak_section import banner_of, counted_section, stamp_of
from remedis_jax.report.overview_figures import TaskPanel, curves_figure, settings_figure
from remedis_jax.report.overview_sections import notes, provenance, task_section
from remedis_jax.report.overview_tables import (
    ID,
    ZERO_SHOT,
    Task,
    arm_labels,
    curve_numbers,
    labelled_savings,
    lead_sentence,
    overview_table,
    saving_tables,
    settings_numbers,
)
from remedis_jax.report.saving_figure import SavingRow, saving_figure
from remedis_jax.report.saving_section import reading
from remedis_jax.report.tables import markdown_table

SETTINGS, SAVING, CURVES = "settings.png", "saving.png", "curves.png"
NOT_DRAWN = "Not drawn: no value is defined; see the tables of the tasks."
LIMITS = """
- **Not for clinical use.** This is a comparison of training methods on the data named here; no
  patient should be treated because of it.
- Tasks are shown side by side and never pooled: they differ in patients, metric and baseline, and
  their number is small. How many tasks an arm is better in is a count and no test.
- Intervals hold the sampling of test patients and the spread of the seeds, which few seeds
  understate. They do not hold the choice of data sets, hospitals or settings.
- Many intervals are shown and none is corrected for their number.
"""


def report_from_experiments(
    experiment_dirs: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Writes the overview of several experiments.

    Args:
        experiment_dirs: One or more, each as `report_from_experiment` takes it.
        out_dir: Where report.md, report.html, figures/ and tables/ go; none of the experiments.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        show: Print the overview to the terminal as well.

    Returns:
        The HTML page.

    Raises:
        UserError: There is no experiment, one twice, one that is not finished, or `out_dir` is
            one of them.
    """
    out_dir = Path(out_dir)
    folders = _checked([Path(folder) for folder in experiment_dirs], out_dir)
    found = [evaluate_experiment(folder, resamples=resamples, seed=seed) for folder in folders]
    tasks = [Task(name, results) for name, results in zip(_names(found), found, strict=True)]
    guards = [
        guard for task in tasks for guard in (*task.results.stage_guards, *task.results.guards)
    ]
    with stamped(stamp_of(guards)):
        figures = draw_figures(tasks, out_dir / "figures")
    return write_report(
        out_dir, document_of(tasks, figures, out_dir, resamples, banner_of(guards)), show=show
    )


def draw_figures(tasks: Sequence[Task], folder: Path) -> tuple[str, ...]:
    """Writes the figures for which there are numbers; returns their file names."""
    labels = arm_labels(tasks)
    panels = [_panel(task) for task in tasks]
    drawn = []
    if any(not panel.settings.empty for panel in panels):
        settings_figure(folder / SETTINGS, panels, labels)
        drawn.append(SETTINGS)
    if any(panel.curve["mean"].notna().any() for panel in panels):
        curves_figure(folder / CURVES, panels, labels)
        drawn.append(CURVES)
    rows = [
        SavingRow(task.name, arm, task.results.savings[arm])
        for task in tasks
        for arm in task.results.others
        if arm in task.results.savings
    ]
    if rows:
        saving_figure(folder / SAVING, rows, labels)
        drawn.append(SAVING)
    return tuple(drawn)


def document_of(
    tasks: Sequence[Task], figures: Sequence[str], out_dir: Path, resamples: int, banner: str
) -> Document:
    """The page's text; `figures` are those that `draw_figures` wrote."""
    labels = arm_labels(tasks)
    table = overview_table(tasks)
    compared = dict.fromkeys(arm for task in tasks for arm in task.results.record["ssl_arms"])
    compared = [arm for arm in compared if any(arm in task.results.others for task in tasks)]
    lead = " ".join(lead_sentence(arm, labels[arm], tasks) for arm in compared)
    savings = [s for task in tasks for s in labelled_savings(task.results).values()]
    count = f"{len(tasks):,} task{'s' if len(tasks) != 1 else ''}"
    sections = [
        Section(
            "Overview",
            "Differences are arm minus baseline, paired by patient and seed, with 95% intervals; "
            "the baseline is named under each task. The share that matches and the saving are "
            "against the baseline with all labels of the new site.\n\n" + markdown_table(table),
        ),
        Section(
            "In distribution and zero-shot",
            _figure(
                SETTINGS, figures, "Every arm in distribution and zero-shot, by task",
                "Mean over the seeds with 95% interval by patient and seed; n is the number of test"
                " patients. Axes differ between tasks.",
            ),
            {"in_distribution_and_zero_shot": settings_numbers(tasks)},
        ),
        Section(
            "Labels saved",
            _figure(
                SAVING, figures, "Label saving by task and arm",
                "Where the mean curve meets the baseline with all labels, with its 95% interval; "
                "a bar below says where the arm is shown to be within the margin. “Never reached” "
                "and “already at zero labels” stand in the grey fields beyond the scale; an arrow "
                "there is the end of an interval. Dashed: as many labels as the baseline.",
            )
            + ("\n\n" + reading(savings) if savings else ""),
            saving_tables(tasks),
        ),
        Section(
            "Labels of the new site",
            _figure(
                CURVES, figures, "Every metric over the share of the new site's labels",
                "Shaded and barred: 95% intervals by patient and seed. Axes differ between tasks.",
            ),
            {"curves": curve_numbers(tasks)},
        ),
        *(task_section(task, out_dir) for task in tasks),
        counted_section(
            [guard for task in tasks for guard in task.results.guards],
            "test predictions",
            [guard for task in tasks for guard in task.results.stage_guards],
        ),
        Section("Limits", LIMITS + notes(tasks)),
        provenance(tasks, out_dir, resamples),
    ]  # fmt: skip
    return Document(
        f"Data-efficient generalisation: {count}",
        lead or "There is no arm to compare with a baseline.",
        tuple(sections),
        {"Overview": table},
        banner,
    )


def _checked(folders: list[Path], out_dir: Path) -> list[Path]:
    if not folders:
        raise UserError("there is no experiment to report on.", "Give one folder or more.")
    seen: dict[Path, Path] = {}
    for folder in folders:
        place = folder.resolve()
        if place in seen:
            raise UserError(f"{folder} is given twice.", "Give each experiment once.")
        seen[place] = folder
    if out_dir.resolve() in seen:
        raise UserError(
            f"{out_dir} is an experiment, and has a report of its own.",
            "Write the overview to another folder.",
        )
    return folders


def _names(found: Sequence[Results]) -> list[str]:
    """The titles; with the folder's name where two are the same."""
    titles = [results.record["title"] for results in found]
    return [
        f"{title} ({results.folder.resolve().name})" if titles.count(title) > 1 else title
        for title, results in zip(titles, found, strict=True)
    ]


def _panel(task: Task) -> TaskPanel:
    results = task.results
    places = {ID: "in distribution", ZERO_SHOT: "new site,\nzero-shot"}
    rows = [
        {"arm": arm, "setting": name}
        | {end: getattr(point.interval, end) for end in ("value", "low", "high")}
        for setting, name in places.items()
        for (arm, *at), point in results.points.items()
        if tuple(at) == setting and isinstance(point.interval, Interval)
    ]
    full = results.baseline.interval if results.baseline else None
    # Of the new site, which all figures are about; in distribution there are others.
    tested = [
        len(set(point.runs.reference.groups))
        for (_, stage, _), point in results.points.items()
        if stage != "id" and isinstance(point.interval, Interval)
    ]
    # With spaces that no line breaks at.
    space = "\N{NO-BREAK SPACE}"
    title = f"{task.name} (n{space}={space}{tested[0]:,})" if tested else task.name
    return TaskPanel(
        title=title,
        metric_name=task.metric,
        curve=curve_of(results.points.values()),
        settings=pd.DataFrame(rows, columns=["arm", "setting", "value", "low", "high"]),
        baseline=full if isinstance(full, Interval) else None,
    )


def _figure(name: str, figures: Sequence[str], alt: str, caption: str) -> str:
    return f"![{alt}](figures/{name})\n\n*{caption}*" if name in figures else NOT_DRAWN
