"""Running one cell of the table of reproductions, where its data are."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.reproduced.cell import Cell
from remedis_jax.errors import RunFailed, UserError

# What an interrupted command ends with, after it has saved.
INTERRUPTED = 75


def filled_in(cell: Cell, data: str, out: str) -> list[list[str]]:
    """The cell's commands as words, with the folders in their places."""
    return [
        [word.replace("{data}", data).replace("{out}", out) for word in shlex.split(command)]
        for command in cell.commands
    ]


def check_data(cell: Cell, data: Path | None) -> None:
    """Refuses a cell that cannot begin.

    Raises:
        UserError: There is nothing to run, or a file is not there.
    """
    if cell.computed_from:
        raise UserError(
            f"{cell.id} is nothing to run: it follows from other cells.",
            f"Run {', '.join(cell.computed_from[:4])}{' ...' * (len(cell.computed_from) > 4)}.",
        )
    if not cell.commands:
        raise UserError(f"{cell.id} is nothing to run.", cell.note)
    if not cell.needs:
        return
    how = "; ".join(f"{s.name} ({s.access}): {s.how}" for s in cell.sources)
    if data is None:
        raise UserError(
            f"{cell.id} needs {', '.join(cell.needs)}.", f"Give their folder by --data. {how}."
        )
    missing = [name for name in cell.needs if not (data / name).is_file()]
    if missing:
        raise UserError(
            f"{cell.id} needs {', '.join(missing)} in {data}, where there is no such file.",
            f"{how}. What stands in it: the config's own text.",
        )


def run_cell(cell: Cell, out: Path, data: Path | None, announce: Callable[[str], None]) -> None:
    """Runs the commands of a cell, one after another; repeated, they go on where they stopped.

    Args:
        cell: Of the table.
        out: Folder of all that comes out.
        data: Folder of the files in `cell.needs`.
        announce: Called with every command before it runs.

    Raises:
        UserError: The cell cannot begin.
        RunFailed: A command did not end well; it has said why.
    """
    check_data(cell, data)
    for words in filled_in(cell, str(data), str(out)):
        announce(shlex.join(words))
        ended = subprocess.run(_program(words), check=False).returncode
        if ended == INTERRUPTED:
            raise SystemExit(INTERRUPTED)
        if ended:
            raise RunFailed(
                f"{cell.id}: {' '.join(words[:2])} ended with exit code {ended}.",
                "Its own message is above; the same command goes on from there.",
            )


def _program(words: list[str]) -> list[str]:
    """The words for this Python, whatever the search path says."""
    start = [sys.executable, "-m", "remedis_jax"] if words[0] == "remedis" else [sys.executable]
    return [*start, *words[1:]]
