"""The report of a sweep: one table of arms, the grid as a figure, what was done."""

import json
from pathlib import Path

import pandas as pd

from remedis_jax.data.leaks import read_guard
from remedis_jax.report.document import Document, Section, write_report, write_text
from remedis_jax.report.figures import stamped
from remedis_jax.report.leak_section import banner_of, counted_section, stamp_of
from remedis_jax.report.tables import caveats, fenced, markdown_table, plain
from remedis_jax.report.wording import (
    comparison_clause,
    difference_text,
    interval_text,
    metric_name,
)
from remedis_jax.sweeps.cells import FINAL, GRID, setting_text
from remedis_jax.sweeps.heatmap import grid_figure
from remedis_jax.sweeps.results import Results, record_of

FIGURE = "figures/grid.png"
READING = """
- The setting of each arm was chosen by its score on the validation rows, with the first seed. Every
  arm had the same grid. Test rows chose nothing.
- Intervals are 95% percentile bootstrap intervals: each resample draws *patients*, all their images
  together, and *seeds*, with replacement. Differences are paired by patient and seed.
- {level}
"""
LIMITS = """
- **Not for clinical use.** These are measurements on the images named here; no patient should be
  treated because of them.
- The validation score of the chosen setting is the best of many and so too good; the test scores
  are not.
- The intervals hold the sampling of these patients and the spread over {seeds} seed(s), not other
  hospitals.
"""
LEVELS = {
    "group": "Scores are by patient: the mean over what is predicted of the patient.",
    "image": "Scores are by image.",
}


def arms_table(results: Results) -> pd.DataFrame:
    """One row per arm and test set: the chosen setting, its validation, its test, its difference.

    The difference is the paired one to the first arm.
    """
    grid = results.grid
    name = metric_name(grid.metric, results.horizon)
    rows = []
    for test, _ in grid.tests:
        for arm, _ in grid.arms:
            choice = results.choices[arm]
            row = {
                "Arm": arm,
                "Chosen setting": setting_text(choice.axes),
                f"Validation {name}": f"{choice.validation:.3f}",
                "Test set": test,
                name: interval_text(results.scores[arm, test]),
            }
            if len(grid.arms) > 1:
                difference = results.differences.get((arm, test))
                row[f"Difference to {results.baseline}"] = difference_text(difference)
            rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def further_table(results: Results) -> pd.DataFrame:
    """One row per arm and test set: the grid's other metrics."""
    grid = results.grid
    return pd.DataFrame(
        [
            {"Test set": test, "Arm": arm}
            | {
                metric_name(metric, results.horizon): interval_text(
                    results.further[metric, arm, test]
                )
                for metric in grid.also
            }
            for test, _ in grid.tests
            for arm, _ in grid.arms
        ],
        dtype=str,
    )


def lead_sentence(results: Results) -> str:
    """The result on the first test set."""
    test = results.grid.tests[0][0]
    others = [arm for arm, _ in results.grid.arms[1:]]
    if not others:
        score = interval_text(results.scores[results.baseline, test])
        name = metric_name(results.grid.metric, results.horizon)
        return f"{test}: {results.baseline} reaches {name} {score}."
    clauses = [
        comparison_clause(
            arm, results.baseline, results.differences[arm, test], results.grid.metric
        )
        for arm in others
    ]
    return f"{test}: {'; '.join(clauses)}."


def write_sweep_report(sweep: Path, results: Results, *, show: bool = False) -> Path:
    """Writes report.md, report.html, table.md and the figure as PNG and SVG.

    Args:
        sweep: The sweep's folder.
        results: From `results.collect`.
        show: Print the table to the terminal as well.

    Returns:
        The HTML page.
    """
    grid = results.grid
    name = metric_name(grid.metric, results.horizon)
    run_guards, test_guards = _guards(sweep, results)
    banner = banner_of([*run_guards, *test_guards])
    table = arms_table(results)
    write_text(sweep / "table.md", markdown_table(table) + "\n")
    with stamped(stamp_of([*run_guards, *test_guards])):
        grid_figure(
            sweep / FIGURE,
            {arm: _scores(results, arm) for arm, _ in grid.arms},
            grid.axes,
            {arm: tuple(value for _, value in results.choices[arm].axes) for arm, _ in grid.arms},
            metric_name=name,
        )
    cells = {
        f"{arm}, {test}": interval for (arm, test), interval in results.scores.items()
    }
    remarks = "".join(f"\n\n{plain(sentence)}" for sentence in caveats(cells))
    sections = [
        Section("Results", markdown_table(table) + remarks),
        Section(
            "The grid",
            f"![Validation {plain(name)} of every setting]({FIGURE})\n\n"
            f"*{plain(name)} on the validation rows; the chosen setting is framed, and a setting "
            "without a score is crossed.*" + _failures(results),
        ),
        Section("What was done", _what_was_done(results)),
        # Leaks of a run are found before it begins, and are the same for all cells of an arm.
        counted_section(test_guards, "test predictions", [g for g in run_guards if g is not None]),
        Section("How to read this", READING.format(level=LEVELS[grid.level])),
        Section(
            "Limits",
            LIMITS.format(seeds=len(grid.seeds)) + "".join(f"- {plain(n)}\n" for n in grid.notes),
        ),
        Section("Provenance", _provenance(results)),
    ]
    tables = {f"{grid.title}: {name}": table}
    if grid.also:
        tables["Further metrics"] = further_table(results)
        sections.insert(1, Section("Further metrics", markdown_table(further_table(results))))
    document = Document(grid.title, lead_sentence(results), tuple(sections), tables, banner)
    return write_report(sweep, document, show=show)


def _scores(results: Results, arm: str) -> dict[tuple, float | None]:
    return {
        tuple(value for _, value in cell.axes): outcome.validation
        for cell, outcome in results.cells
        if cell.phase == GRID and cell.arm == arm
    }


def _failures(results: Results) -> str:
    lines = [
        f"- {plain(cell.title)} ({cell.phase}): {plain(outcome.problem)}"
        for cell, outcome in results.failed
    ]
    undefined = sum(choice.undefined for choice in results.choices.values())
    if undefined:
        lines.append(f"- {undefined} cell(s) have no score: the metric is not defined there.")
    return "\n\nCells that could not be chosen:\n\n" + "\n".join(lines) if lines else ""


def _what_was_done(results: Results) -> str:
    grid = results.grid
    arms = "; ".join(f"{arm} from {weights or 'random weights'}" for arm, weights in grid.arms)
    lines = [f"- Arms: {plain(arms)}."]
    lines += [f"- {plain(key)}: {plain(', '.join(map(str, values)))}." for key, values in grid.axes]
    in_grid = sum(cell.phase == GRID for cell, _ in results.cells)
    final = sum(cell.phase == FINAL for cell, _ in results.cells)
    lines.append(
        f"- {in_grid} cells in the grid with seed {grid.seeds[0]}, then {final} with the chosen "
        f"settings and the seeds {', '.join(map(str, grid.seeds))}."
    )
    lines += [
        f"- Test set {plain(test)}: {plain(json.dumps(settings))}." for test, settings in grid.tests
    ]
    return "\n".join(lines)


def _guards(sweep: Path, results: Results) -> tuple[list, list]:
    """The leak guards of the tested runs, and of their test predictions."""
    tested = [(cell, outcome) for cell, outcome in results.cells if outcome.tests]
    runs = [read_guard(sweep / cell.run) for cell, _ in tested]
    tests = [
        read_guard((sweep / cell.name / path).parent)
        for cell, outcome in tested
        for path in outcome.tests.values()
    ]
    return runs, tests


def _provenance(results: Results) -> str:
    record = record_of(results)
    lines = "\n".join(f"- {plain(name)} {plain(v)}" for name, v in record["versions"].items())
    example = fenced(results.cells[0][0].command, "sh")
    whole = fenced(json.dumps(record, indent=1, ensure_ascii=False), "json")
    return (
        (f"{fenced(results.grid.command, 'sh')}\n\n" if results.grid.command else "")
        + f"The first cell, as a command:\n\n{example}\n\n{lines}\n\n`sweep.json`:\n\n{whole}"
    )
