"""What a sweep found: every cell in a CSV, every arm with intervals, all of it as JSON."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    RunResamples,
    difference_of,
    interval_of,
    resample_runs,
)
from remedis_jax.evaluation.metrics import NotDefined, value_of
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.report.document import write_text
from remedis_jax.sweeps.cells import FINISHED, Cell, CellFolder, Outcome, axis_name
from remedis_jax.sweeps.grid import Grid
from remedis_jax.sweeps.held_out import folder_name
from remedis_jax.sweeps.selection import Choice
from remedis_jax.versions import versions


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """All that the report needs.

    Attributes:
        grid: What was run.
        cells: All cells in their order, with their outcomes.
        choices: Arm -> its chosen point.
        scores: (arm, test set) -> interval of the mean over its seeds.
        differences: (arm, test set) -> paired difference to the first arm.
        values: (cell's name, test set) -> the metric of that one run.
        further: (metric, arm, test set) -> as `scores`, of the grid's other metrics.
        horizon: When survival is judged; None where it is not survival.
    """

    grid: Grid
    cells: Sequence[tuple[Cell, Outcome]]
    choices: Mapping[str, Choice]
    scores: Mapping[tuple[str, str], Interval | NotDefined]
    differences: Mapping[tuple[str, str], Interval | NotDefined]
    values: Mapping[tuple[str, str], float | NotDefined]
    further: Mapping[tuple[str, str, str], Interval | NotDefined]
    horizon: float | None = None

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.grid.arms[0][0]

    @property
    def failed(self) -> list[tuple[Cell, Outcome]]:
        """The cells that did not finish."""
        return [pair for pair in self.cells if pair[1].status != FINISHED]


def collect(
    sweep: Path,
    grid: Grid,
    choices: Mapping[str, Choice],
    grid_cells: Sequence[Cell],
    final_cells: Sequence[Cell],
    *,
    resamples: int = RESAMPLES,
) -> Results:
    """Reads the outcomes and the test predictions of a sweep whose cells have all ended.

    An arm's score is of the mean over its seeds, by patient and seed; a difference is paired by
    patient and by seed. Seeds whose cell failed are left out of their arm, and of the arm that it
    is compared with.
    """
    cells = [(cell, CellFolder(sweep, cell.name).outcome()) for cell in grid_cells]
    finals = [(cell, CellFolder(sweep, cell.name).outcome()) for cell in final_cells]
    values, scores, differences, further = {}, {}, {}, {}
    horizon = None
    for test, _ in grid.tests:
        runs: dict[str, dict[int, Predictions]] = {arm: {} for arm, _ in grid.arms}
        for cell, outcome in finals:
            if outcome.status == FINISHED:
                found = _predictions(sweep / cell.name / outcome.tests[test], grid.level)
                runs[cell.arm][cell.seed] = found
                horizon = found.horizon
                values[cell.name, test] = value_of(found, grid.metric)
        first = runs[grid.arms[0][0]]
        for arm, own in runs.items():
            scores[arm, test] = interval_of(_resamples(own, own, grid.metric, resamples))
            for metric in grid.also:
                further[metric, arm, test] = interval_of(_resamples(own, own, metric, resamples))
            if own is not first:
                differences[arm, test] = difference_of(
                    _resamples(own, first, grid.metric, resamples),
                    _resamples(first, own, grid.metric, resamples),
                )
    return Results(
        grid, (*cells, *finals), choices, scores, differences, values, further, horizon
    )


def write_results(sweep: Path, results: Results) -> None:
    """Writes `cells.csv` and `sweep.json`."""
    table = cells_table(results)
    write_text(sweep / "cells.csv", table.to_csv(index=False, lineterminator="\n"))
    text = json.dumps(record_of(results), indent=1, ensure_ascii=False)
    write_text(sweep / "sweep.json", text + "\n")


def cells_table(results: Results) -> pd.DataFrame:
    """A row for every cell; `seconds` is the one column that two sweeps do not share."""
    grid = results.grid
    rows = []
    for cell, outcome in results.cells:
        row = {"phase": cell.phase, "arm": cell.arm}
        row |= {axis_name(key): value for key, value in cell.axes}
        row |= {"seed": cell.seed, "status": outcome.status, "steps": outcome.steps}
        row |= {"step": outcome.step, f"validation_{grid.metric}": outcome.validation}
        row["chosen"] = results.choices[cell.arm].axes == cell.axes
        for test, _ in grid.tests:
            value = results.values.get((cell.name, test))
            row[f"{folder_name(test)}_{grid.metric}"] = (
                None if isinstance(value, NotDefined) else value
            )
        rows.append(row | {"seconds": outcome.seconds, "problem": outcome.problem})
    return pd.DataFrame(rows)


def record_of(results: Results) -> dict[str, Any]:
    """The whole sweep as plain values, for `sweep.json`."""
    grid = results.grid
    return {
        "title": grid.title,
        "metric": grid.metric,
        "level": grid.level,
        "base": grid.base,
        "overrides": list(grid.overrides),
        "axes": [[key, list(values)] for key, values in grid.axes],
        "seeds": list(grid.seeds),
        "confidence": CONFIDENCE,
        "arms": [
            {
                "name": arm,
                "weights": weights,
                "chosen": dict(results.choices[arm].axes),
                "validation": results.choices[arm].validation,
                "cells_with_a_score": results.choices[arm].tried,
                "cells_failed": results.choices[arm].failed,
                "cells_without_a_score": results.choices[arm].undefined,
                "tests": {
                    test: _interval_record(results.scores[arm, test]) for test, _ in grid.tests
                },
                "also": {
                    metric: {
                        test: _interval_record(results.further[metric, arm, test])
                        for test, _ in grid.tests
                    }
                    for metric in grid.also
                },
                f"difference_to_{results.baseline}": {
                    test: _interval_record(results.differences[arm, test])
                    for test, _ in grid.tests
                    if (arm, test) in results.differences
                },
            }
            for arm, weights in grid.arms
        ],
        "tests": {test: dict(settings) for test, settings in grid.tests},
        "command": grid.command,
        "notes": list(grid.notes),
        "versions": versions(),
    }


def _resamples(
    runs: Mapping[int, Predictions],
    others: Mapping[int, Predictions],
    metric: str,
    resamples: int,
) -> RunResamples | NotDefined:
    """One metric of the runs whose seeds are also in `others`, in the order of the seeds."""
    shared = [runs[seed] for seed in sorted(runs.keys() & others.keys())]
    if not shared:
        return NotDefined("no seed was finished")
    return resample_runs(shared, metric, resamples)


def _predictions(path: Path, level: str) -> Predictions:
    found = Predictions.from_table(read_predictions(path))
    return aggregate(found) if level == "group" else found


def _interval_record(interval: Interval | NotDefined) -> dict[str, Any]:
    if isinstance(interval, NotDefined):
        return {"not_defined": interval.reason}
    return dataclasses.asdict(interval)
