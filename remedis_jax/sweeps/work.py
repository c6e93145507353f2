"""One process that works through cells, one after another."""

import time
from collections.abc import Callable, Sequence

from remedis_jax.errors import UserError
from remedis_jax.sweeps.cells import FINISHED, REFUSED, CellFolder, Outcome
from remedis_jax.sweeps.running import run_cell

Announce = Callable[[str], None]
Run = Callable[..., Outcome | None]

# ours: seconds between two looks at cells that another process works on.
LOOK_SECONDS = 1.0


def work_through(
    folders: Sequence[CellFolder],
    *,
    announce: Announce,
    wait: bool = True,
    run: Run = run_cell,
) -> None:
    """Brings cells to their outcomes; one that fails does not keep the others from going on.

    Several processes may be given the same cells: each takes what no other has.

    Args:
        folders: In the order in which they are taken.
        announce: Called with a line for each cell that starts and ends.
        wait: Whether to wait for cells that other processes hold, and to take over those that
            they leave unfinished.
        run: As `run_cell`.

    Raises:
        UserError: The input of a cell is wrong; that of the others is then, too.
        Preempted: The process was told to stop.
    """
    begun, ended = time.monotonic(), 0
    remaining, waiting = list(folders), False
    while remaining:
        held = []
        for place, folder in enumerate(remaining, 1):
            if folder.outcome() is not None:
                continue
            cell = folder.cell()
            if not waiting:
                announce(f"cell {place} of {len(remaining)}: {cell.title}")
            outcome = run(folder, announce=announce)
            if outcome is None:
                held.append(folder)
                continue
            ended += 1
            left = (time.monotonic() - begun) / ended * (len(remaining) - place)
            announce(f"{cell.title}: {result_text(outcome, cell.metric)}; {left:.0f} s left")
            if outcome.status == REFUSED:
                raise UserError(f"{cell.title}: {outcome.problem}", outcome.remedy)
        if not held or not wait:
            return
        if not waiting:
            announce(f"waiting for {len(held)} cell(s) that another process works on")
        remaining, waiting = held, True
        time.sleep(LOOK_SECONDS)


def result_text(outcome: Outcome, metric: str) -> str:
    """What came of a cell, in a few words."""
    if outcome.status != FINISHED:
        return f"{outcome.status}: {outcome.problem}"
    if outcome.validation is None:
        return f"{metric} is not defined on the validation rows"
    return f"{metric} {outcome.validation:.3f} (validation)"
