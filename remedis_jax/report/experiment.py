"""The report of a data-efficiency experiment: how few labels of a new hospital an arm needs."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.beyond import beyond_sections
from remedis_jax.report.checklist_section import checklist_section
from remedis_jax.report.demographics_section import demographics_section
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.embedding_section import embedding_sections
from remedis_jax.report.experiment_facts import facts_of
from remedis_jax.report.experiment_figures import CURVE, ID_OOD, draw_figures
from remedis_jax.report.experiment_results import Results, Setting, evaluate_experiment
from remedis_jax.report.experiment_tables import (
    RULE,
    further_tables,
    results_numbers,
    results_table,
    spread_table,
)
from remedis_jax.report.figures import stamped
from remedis_jax.report.flow_section import flow_section
from remedis_jax.report.leak_section import banner_of, counted_section, stamp_of
from remedis_jax.report.provenance_section import provenance_section
from remedis_jax.report.saving_figure import SavingRow, saving_figure
from remedis_jax.report.saving_section import saving_section
from remedis_jax.report.tables import caveats, markdown_table, plain
from remedis_jax.report.wording import (
    MINUS,
    comparison_clause,
    match_clause,
    metric_name,
    percent,
)

SAVING = "label_saving.png"
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
SPREAD = """\
Standard deviation of the mean by the sampling of test patients / between the single seeds. The
first shrinks with more test patients, the second with more runs."""
SELECTION = {
    "checkpoint": "Which step of a run is taken",
    "hyperparameters": "Settings of fine-tuning",
    "operating_point": "Thresholds (sensitivity and specificity)",
    "temperature": "Temperatures (calibration)",
}


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
        experiment_dir: Holds `experiment.json` and `cells.jsonl`, and mostly `rows.csv` and
            `embeddings/`; see `evaluation.data_efficiency`.
        out_dir: Where report.md, report.html, figures/ and tables/ go; `experiment_dir` if None.
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
        content = document_of(results, figures, out_dir, resamples, seed)
    return write_report(out_dir, content, show=show)


def result_sentence(results: Results) -> str:
    """The result: zero-shot on the new site, then the labels that match the baseline."""
    record, labels = results.record, results.labels
    if not results.others:
        return f"“{labels[record['baseline_arm']]}” is the only arm; there is nothing to compare."
    arm = results.others[0]
    ssl, baseline = labels[arm], labels[record["baseline_arm"]]
    clause = comparison_clause(
        f"“{ssl}”",
        f"“{baseline}”",
        results.differences.get((arm, ("ood_zero_shot", 0.0))),
        record["metric"],
        results.horizon,
    )
    share = results.baseline.fraction if results.baseline else 1.0
    crossing = results.savings[arm].crossing if arm in results.savings else None
    match = match_clause(crossing, f"“{baseline}”", share, record["ood_site"])
    return f"Without any label of {record['ood_site']}, {clause}; {match}."


def shown_settings(results: Results) -> list[Setting]:
    """What is looked at closer: in distribution, zero-shot, and with the most labels."""
    untuned = [setting for setting in results.settings if setting[0] != "ood_finetuned"]
    tuned = [setting for setting in results.settings if setting[0] == "ood_finetuned"]
    return untuned + tuned[-1:]


def document_of(
    results: Results, figures: Sequence[str], out_dir: Path, resamples: int, seed: int
) -> Document:
    """The page's text and the figures of its further parts.

    Args:
        results: The experiment.
        figures: Those that `draw_figures` wrote.
        out_dir: Where the page will be.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    record = results.record
    metric = metric_name(record["metric"], results.horizon)
    guards = [*results.stage_guards, *results.guards]
    banner = banner_of(guards)
    table = results_table(results)
    sections = [
        _curve_section(results, metric, figures, banner),
        *_saving_sections(results, out_dir),
        _results_section(results, metric, table),
        Section(
            "In distribution and zero-shot",
            f"![{plain(metric)} in distribution and zero-shot](figures/{ID_OOD})"
            if ID_OOD in figures
            else NOT_DRAWN,
        ),
        _further_section(results, resamples, seed),
        Section(
            "Patients and seeds apart", f"{SPREAD}\n\n{markdown_table(spread_table(results))}"
        ),
    ]
    shown = shown_settings(results)
    sections += beyond_sections(
        results.judged(s for s in shown if s[0] != "ood_finetuned"), out_dir,
        characteristics=record["characteristics"], level=record["level"],
        calibrated=results.judged(shown), resamples=resamples, seed=seed,
    )  # fmt: skip
    sections += embedding_sections(results.folder / "embeddings", out_dir, results.labels)
    sections += [
        _done_section(results),
        flow_section(record["flow"], out_dir, record["counts"]),
    ]
    if len(results.rows):
        tests = (f"{record['id_site']} test", f"{record['ood_site']} test")
        sections.append(
            demographics_section(results.rows, record["characteristics"], compare=tests)
        )
    sections += [
        counted_section(results.guards, "test predictions", results.stage_guards),
        reading_section(results, resamples),
        Section("Limits", _limits(results)),
        checklist_section(facts_of(results, sections, result_sentence(results))),
        provenance_section(record),
    ]
    return Document(
        record["title"],
        result_sentence(results),
        tuple(sections),
        {f"{record['title']}: {metric}": table},
        banner,
    )


def _curve_section(
    results: Results, metric: str, figures: Sequence[str], banner: str
) -> Section:
    site = plain(results.record["ood_site"])
    never = "" if banner else ", who are never trained on"
    text = (
        f"![{plain(metric)} over the share of labels](figures/{CURVE})\n\n"
        f"*{plain(metric)} on the test patients of {site}{never}. "
        "Shaded and barred: 95% intervals by patient and seed.*"
    )
    numbers = {"results": results_numbers(results)}
    return Section("Labels of the new site", text if CURVE in figures else NOT_DRAWN, numbers)


def _saving_sections(results: Results, out_dir: Path) -> list[Section]:
    savings = {arm: results.savings[arm] for arm in results.others if arm in results.savings}
    if not savings:
        return []
    record = results.record
    rows = [
        SavingRow(record["title"], arm, saving)
        for arm, saving in savings.items()
        if not isinstance(saving.crossing, NotDefined)
    ]
    if rows:
        saving_figure(out_dir / "figures" / SAVING, rows, results.labels)
    return [
        saving_section(
            {results.labels[arm]: saving for arm, saving in savings.items()},
            baseline=results.labels[record["baseline_arm"]],
            site=record["ood_site"],
            minutes_source=record["minutes_source"],
            figure=SAVING if rows else "",
        )
    ]


def _results_section(results: Results, metric: str, table) -> Section:
    record, labels = results.record, results.labels
    baseline = plain(labels[record["baseline_arm"]])
    compared = [arm for arm in results.others if arm in record["ssl_arms"]]
    which = " and ".join(f"{plain(labels[arm])} {MINUS} {baseline}" for arm in compared)
    difference = f" The difference is {which}." if compared else ""
    cells = {
        f"{labels[arm]}, {results.setting_name((stage, fraction))}": point.interval
        for (arm, stage, fraction), point in results.points.items()
    }
    return Section(
        "Results",
        f"{plain(metric)}, mean over {_seeds(results)} with 95% interval; labels are those of the "
        f"new site, with the patients and images that have them.{difference}\n\n"
        + markdown_table(table)
        + "".join(f"\n\n{plain(sentence)}" for sentence in caveats(cells)),
    )


def _further_section(results: Results, resamples: int, seed: int) -> Section:
    tables, numbers = further_tables(results, shown_settings(results), resamples, seed)
    chosen = results.record["selection"].get("operating_point", "the validation rows of each run")
    point = "Without validation predictions, a p of 0.5 or more is called positive."
    if any(cell.validation for cell in results.cells):
        point = (
            "Sensitivity and specificity are at the threshold of the greatest sum of the two "
            f"({RULE.capitalize()}'s index) on {plain(chosen)}."
        )
    if results.horizon is not None:
        point = ""
    text = "\n\n".join(
        f"### {plain(name)}\n\n{markdown_table(table)}" for name, table in tables.items()
    )
    return Section("Further metrics", f"{point}\n\n{text}", {"metrics": numbers})


def _done_section(results: Results) -> Section:
    record = results.record
    stages = [
        f"- **{plain(arm['label'])}**: " + " → ".join(plain(stage) for stage in arm["stages"])
        for arm in record["arms"].values()
    ]
    text = (
        "\n".join(stages)
        + f"\n\nEach arm was fine-tuned on {plain(record['id_site'])} and tested there and, with "
        f"the same weights, on {plain(record['ood_site'])}; then fine-tuned on "
        f"{_list(percent(f) for f in record['fractions'])} of the new site's training labels. "
        f"Shares are nested subsets of patients. Seeds: {_list(record['seeds'])}."
    )
    if record["selection"]:
        rules = "\n".join(
            f"- {SELECTION[name]}: {plain(record['selection'][name])}."
            for name in SELECTION
            if name in record["selection"]
        )
        text += f"\n\nWhat chose what (test patients chose nothing):\n\n{rules}"
    return Section("What was done", text)


def reading_section(results: Results, resamples: int) -> Section:
    record = results.record
    share = results.baseline.fraction if results.baseline else 1.0
    level = "image" if record["level"] == "image" else "patient (mean over the patient's images)"
    return Section(
        "How to read this",
        READING.format(
            resamples=resamples,
            baseline=plain(results.labels[record["baseline_arm"]]),
            share="all" if share == 1 else percent(share),
            site=plain(record["ood_site"]),
            level=level,
        ),
    )


def _limits(results: Results) -> str:
    notes = "".join(f"- {plain(note)}\n" for note in results.record["notes"])
    return LIMITS.format(seeds=_seeds(results)) + notes


def _seeds(results: Results) -> str:
    count = len(results.record["seeds"])
    return f"{count} training seed{'s' if count != 1 else ''}"


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)
