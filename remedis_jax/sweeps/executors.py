"""Where the cells of a sweep are run: chosen on the command line, not in the config."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.sweeps.cells import CellFolder
from remedis_jax.sweeps.running import run_cell
from remedis_jax.sweeps.work import Run, work_through

Announce = Callable[[str], None]
NAMES = ("inline", "devices", "local", "slurm")


class Executor(Protocol):
    """Brings cells to their outcomes."""

    def run(self, sweep: Path, folders: Sequence[CellFolder], announce: Announce) -> bool:
        """Runs cells that have no outcome yet.

        Args:
            sweep: The sweep's folder.
            folders: The cells.
            announce: Called with lines for the user.

        Returns:
            Whether it has waited for them: False where jobs were submitted and left alone.

        Raises:
            UserError: The executor cannot be used, or the input of a cell is wrong.
            RunFailed: A process that worked on cells ended without an outcome.
            Preempted: The process was told to stop; repeating the command goes on.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Inline:
    """One cell after another in this process, which compiles each program once."""

    run_one: Run = run_cell

    def run(self, sweep: Path, folders: Sequence[CellFolder], announce: Announce) -> bool:
        work_through(folders, announce=announce, run=self.run_one)
        return True


def make_executor(
    text: str = "inline",
    *,
    parameters: Sequence[str] = (),
    cells_per_job: int = 1,
    wait: bool = True,
) -> Executor:
    """The executor that `--executor TEXT` names.

    Args:
        text: "inline", "devices[:N]", "local[:N]" or "slurm"; N processes or jobs at a time.
        parameters: `name=value` pairs for submitit.
        cells_per_job: Cells that one submitted job runs, one after another.
        wait: Whether to wait for submitted jobs.

    Raises:
        UserError: There is no such executor, or it has no such setting.
    """
    name, colon, number = text.partition(":")
    if name not in NAMES:
        raise UserError(
            f"There is no executor {text!r}.{did_you_mean(name, NAMES)}",
            "Use inline, devices, devices:N, local, local:N or slurm.",
        )
    if colon and (name not in ("devices", "local") or not number.isdigit() or int(number) < 1):
        raise UserError(
            f"--executor {text} is not possible.", "Write devices:N or local:N with N from 1."
        )
    submits = name in ("local", "slurm")
    if not submits and (parameters or cells_per_job != 1):
        raise UserError(
            f"The executor {name} submits no jobs.",
            "Leave --executor-set and --cells-per-job out, or use local or slurm.",
        )
    if cells_per_job < 1:
        raise UserError(f"--cells-per-job {cells_per_job} is not possible.", "Give 1 or more.")
    if not wait and name != "slurm":
        raise UserError(
            f"--no-wait is not possible with {name}: its cells end with this command.",
            "Leave it out, or use slurm.",
        )
    if name == "devices":
        from remedis_jax.sweeps.devices import Devices

        return Devices(int(number) if colon else None)
    if submits:
        from remedis_jax.sweeps.cluster import Cluster

        return Cluster(
            name, read_parameters(parameters), cells_per_job, int(number) if colon else 1, wait
        )
    return Inline()


def read_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """`timeout_min=600` -> {"timeout_min": 600}; what is no Python literal stays text.

    Raises:
        UserError: One has no "=".
    """
    import ast

    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(
                f"--executor-set {text!r} has no value.", "Write e.g. timeout_min=600."
            )
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    return parameters
