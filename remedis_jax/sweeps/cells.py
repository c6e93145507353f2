"""One cell of a grid: a folder that says what to run, who runs it now, and what came of it.

    cell.json      what is to be run; written once, by the command that plans the grid
    run/           the run's folder, as `remedis train` makes it
    events.jsonl   started, continued, stopped, failed, finished: a line each, with the step
    outcome.json   written last; a cell that has it is never run again unless it says "failed"
    lock           held by the process that works on it
    tests/         predictions on the test sets, of final cells
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from remedis_jax.errors import UserError
from remedis_jax.training.workdir import write_json

CELLS = "cells"
GRID, FINAL = "grid", "final"
FINISHED, FAILED, REFUSED = "finished", "failed", "refused"
Event = Literal["started", "continued", "stopped", "failed", "refused", "finished"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is to be run, as it stands in `cell.json`.

    Attributes:
        name: Path of its folder within the sweep's.
        phase: "grid", or "final": the chosen setting with one seed, which is tested.
        arm: Name of the initial weights.
        seed: Of the run and of the draw of the label fraction.
        axes: (dotted key, value) pairs: the cell's place in the grid.
        config: `FILE.py:ARGUMENTS` of the run.
        overrides: `dotted.key=value` pairs.
        run: Path of the run's folder within the sweep's. The final cell of the seed that chose is
            the grid's run.
        metric: What the validation is read by.
        tests: (name, {"where", "manifest", "columns"}) of the test sets; none in the grid.
        command: The same run as a command.
    """

    name: str
    phase: str
    arm: str
    seed: int
    axes: tuple[tuple[str, Any], ...]
    config: str
    overrides: tuple[str, ...]
    run: str
    metric: str
    tests: tuple[tuple[str, Mapping[str, Any]], ...]
    command: str

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.arm}, {setting_text(self.axes)}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a cell, as it stands in `outcome.json`.

    Attributes:
        status: "finished"; "failed" where the run began and did not end well; "refused" where its
            input is wrong.
        validation: The metric on the validation rows at `step`; None where it is not defined.
        step: The step that the weights are of.
        steps: Updates made in all.
        seconds: Of the process that finished the run.
        tests: Name of the test set -> its predictions file within the cell's folder.
        problem: Why it failed or was refused.
        remedy: What to do about it.
    """

    status: str
    validation: float | None = None
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    tests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problem: str = ""
    remedy: str = ""


class CellFolder:
    """The folder of a cell within a sweep.

    Args:
        sweep: The sweep's folder.
        name: The cell's, as in `Cell.name`.
    """

    def __init__(self, sweep: Path, name: str):
        self.sweep = Path(sweep)
        self.path = self.sweep / name

    def claim(self, cell: Cell) -> None:
        """Creates the folder with its `cell.json`, or checks that it is of the same cell.

        Raises:
            UserError: It is of another one.
        """
        path = self.path / "cell.json"
        wanted = json.loads(json.dumps(dataclasses.asdict(cell)))
        if path.is_file():
            found = _read(path)
            different = sorted(key for key in wanted if found.get(key) != wanted[key])
            if different:
                raise UserError(
                    f"{self.path} holds a cell of another sweep: {', '.join(different)} differ.",
                    "Choose another --out, or restore the config.",
                )
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)

    def cell(self) -> Cell:
        """The cell; raises UserError if `cell.json` cannot be read."""
        found = _read(self.path / "cell.json")
        pairs = {name: tuple((key, value) for key, value in found[name])
                 for name in ("axes", "tests")}  # fmt: skip
        return Cell(**found | pairs | {"overrides": tuple(found["overrides"])})

    def outcome(self) -> Outcome | None:
        """What came of it; None before it has ended."""
        path = self.path / "outcome.json"
        return Outcome(**_read(path)) if path.is_file() else None

    def write_outcome(self, outcome: Outcome) -> None:
        """The last thing that is written of a cell."""
        write_json(self.path / "outcome.json", dataclasses.asdict(outcome))

    def forget_failure(self) -> bool:
        """Removes an outcome that is not "finished", so that the cell is run again."""
        outcome = self.outcome()
        if outcome is None or outcome.status == FINISHED:
            return False
        (self.path / "outcome.json").unlink(missing_ok=True)
        return True

    def note(self, event: Event, step: int, **details: Any) -> None:
        """Adds a line to `events.jsonl`."""
        line = {
            "event": event, "step": step, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "host": socket.gethostname(), "pid": os.getpid(), **details,
        }  # fmt: skip
        with open(self.path / "events.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """The lines of `events.jsonl`; one that a kill has cut short is left out."""
        path = self.path / "events.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    @contextlib.contextmanager
    def locked(self, run: str) -> Iterator[bool]:
        """Whether this process may work on a run; no other may until the block ends.

        The lock is the kernel's and goes with the process, however that ends.

        Args:
            run: As `Cell.run`; two cells of one run exclude each other too.
        """
        path = (self.sweep / run).parent / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def setting_text(axes: Sequence[tuple[str, Any]]) -> str:
    """'learning_rate 0.001, weight_decay 0' of a place in the grid."""
    return ", ".join(f"{axis_name(key)} {value_text(value)}" for key, value in axes)


def axis_name(key: str) -> str:
    """The last part of a dotted key."""
    return key.rpartition(".")[2]


def value_text(value: Any) -> str:
    """A value as short as it stays what it is to four digits: '0.001', '0.3162'."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}).", "Remove its folder, then repeat the command."
        ) from error
