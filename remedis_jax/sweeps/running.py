"""Works on one cell: trains its run or goes on with it, reads its validation, tests it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.sweeps.cells import FAILED, FINISHED, REFUSED, Cell, CellFolder, Outcome
from remedis_jax.sweeps.held_out import predict_tests
from remedis_jax.training.loop import Preempted

Announce = Callable[[str], None]


class Train(Protocol):
    """`remedis_jax.api.train`, or what stands in for it."""

    def __call__(
        self, config: str, workdir: Path, *, overrides: tuple[str, ...], announce: Announce
    ) -> Any: ...


Test = Callable[[Cell, CellFolder], dict[str, str]]


def run_cell(
    folder: CellFolder,
    *,
    announce: Announce = lambda line: None,
    train: Train | None = None,
    test: Test = predict_tests,
) -> Outcome | None:
    """Brings a cell to its outcome, from wherever it stands.

    Args:
        folder: The cell's.
        announce: Called with lines for the user.
        train: What runs a stage; `remedis_jax.api.train` if None.
        test: What writes the predictions on the test sets.

    Returns:
        The outcome, which may have been there before; None if another process works on the cell.

    Raises:
        Preempted: The run was told to stop, and has saved what it had.
    """
    if train is None:
        from remedis_jax import api

        train = api.train
    cell = folder.cell()
    with folder.locked(cell.run) as ours:
        if not ours:
            return None
        # Another process may have ended it between our look and our lock.
        outcome = folder.outcome()
        if outcome is not None:
            return outcome
        run = folder.sweep / cell.run
        begun = "continued" if folder.events() else "started"
        folder.note(begun, steps_done(run))
        try:
            train(cell.config, run, overrides=cell.overrides, announce=announce)
            outcome = _finished(cell, folder, run, test)
        except Preempted as error:
            folder.note("stopped", steps_done(run), problem=error.problem)
            raise
        except UserError as error:
            outcome = Outcome(REFUSED, problem=error.problem, remedy=error.remedy)
        except RunFailed as error:
            outcome = Outcome(FAILED, problem=error.problem, remedy=error.remedy)
        folder.note(outcome.status, steps_done(run), problem=outcome.problem)
        folder.write_outcome(outcome)
    return outcome


def steps_done(run: Path) -> int:
    """The step that a run would go on from: its last, or that of its newest checkpoint."""
    result = run / "result.json"
    if result.is_file():
        return int(json.loads(result.read_text(encoding="utf-8"))["steps"])
    names = [path.name for path in (run / "checkpoints").glob("*") if path.name.isdigit()]
    return max(map(int, names), default=0)


def validation_of(run: Path, metric: str) -> tuple[float | None, int]:
    """A metric on the validation rows of a finished run, and the step that its weights are of.

    Args:
        run: Holds `metrics.jsonl` and `result.json`.
        metric: As in `remedis_jax.evaluation.metrics.NAMES`.

    Returns:
        (value, step); None where the metric was not defined on the validation rows.
    """
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    # Runs that keep the best of their validations say which step that was.
    step = int(result.get("best_step", result["steps"]))
    value = None
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["step"] == step:
            value = row.get(f"validation_{metric}", value)
    return value, step


def _finished(cell: Cell, folder: CellFolder, run: Path, test: Test) -> Outcome:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    value, step = validation_of(run, cell.metric)
    return Outcome(
        FINISHED, value, step, int(result["steps"]), float(result["seconds"]),
        tests=test(cell, folder) if cell.tests else {},
    )  # fmt: skip
