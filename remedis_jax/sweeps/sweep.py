"""A sweep from its config to its report: the grid, the choice, the final runs, the table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from remedis_jax.data.messages import first_few
from remedis_jax.errors import RunFailed
from remedis_jax.sweeps.cells import Cell, CellFolder, setting_text
from remedis_jax.sweeps.executors import Executor
from remedis_jax.sweeps.grid import Grid
from remedis_jax.sweeps.report import write_sweep_report
from remedis_jax.sweeps.results import collect, write_results
from remedis_jax.sweeps.selection import choose

Announce = Callable[[str], None]


def run_sweep(
    grid: Grid, sweep: Path, executor: Executor, *, announce: Announce, show: bool = False
) -> Path | None:
    """Runs a sweep, or what is left of it, and writes its report.

    Args:
        grid: What to run.
        sweep: Its folder. The same call goes on with it; cells that failed are tried again.
        executor: Where the cells are run.
        announce: Called with lines for the user.
        show: Also print the table.

    Returns:
        The HTML page; None where jobs were submitted and nothing is waited for.

    Raises:
        UserError: The folder is of another sweep, or the input of a cell is wrong.
        RunFailed: Some cells failed. The others were run nevertheless, and the report is written.
        Preempted: The process was told to stop.
    """
    sweep = Path(sweep)
    grid_cells = grid.cells()
    if not _run(grid_cells, sweep, executor, announce, "grid"):
        return None
    results = [(cell, CellFolder(sweep, cell.name).outcome()) for cell in grid_cells]
    choices = choose(results, grid.metric)
    for arm, choice in choices.items():
        announce(
            f"{arm}: chosen {setting_text(choice.axes)}, {grid.metric} {choice.validation:.3f} "
            f"(validation), of {choice.tried} cells"
        )
    final_cells = grid.final_cells({arm: choice.axes for arm, choice in choices.items()})
    if not _run(final_cells, sweep, executor, announce, "final"):
        return None
    found = collect(sweep, grid, choices, grid_cells, final_cells)
    write_results(sweep, found)
    page = write_sweep_report(sweep, found, show=show)
    if found.failed:
        named = [f"{cell.title} ({outcome.problem})" for cell, outcome in found.failed]
        raise RunFailed(
            f"{len(named)} of {len(found.cells)} cells failed: {first_few(named, '; ')}",
            f"The report of the others is in {page}; repeat the command to try these again.",
        )
    return page


def _run(
    cells: Sequence[Cell], sweep: Path, executor: Executor, announce: Announce, phase: str
) -> bool:
    """Brings cells to their outcomes; False where the executor does not wait for that."""
    folders = [CellFolder(sweep, cell.name) for cell in cells]
    for folder, cell in zip(folders, cells, strict=True):
        folder.claim(cell)
    again = sum(folder.forget_failure() for folder in folders)
    left = [folder for folder in folders if folder.outcome() is None]
    announce(
        f"{phase}: {len(cells) - len(left)} of {len(cells)} cells are finished"
        + (f", {again} failed before and are tried again" if again else "")
    )
    return not left or executor.run(sweep, left, announce)
