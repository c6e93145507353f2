"""A grid of fine-tuning runs as a function."""

from collections.abc import Callable, Sequence
from pathlib import Path


def run_sweep(
    config: str,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    executor: str = "inline",
    parameters: Sequence[str] = (),
    cells_per_job: int = 1,
    wait: bool = True,
    announce: Callable[[str], None] = print,
    show: bool = False,
) -> Path | None:
    """Runs a grid of fine-tuning runs, or what is left of it, and writes its report.

    Args:
        config: `FILE.py[:ARGUMENTS]` of kind "grid", e.g. experiments/finetune/grid.py.
        out: The sweep's folder; the same call goes on with it.
        overrides: `dotted.key=value` pairs of every run.
        executor: "inline", "devices[:N]", "local[:N]" or "slurm".
        parameters: `name=value` pairs for submitit, of the last two.
        cells_per_job: Cells that one submitted job runs, one after another.
        wait: Whether to wait for the jobs of "slurm".
        announce: Called with a line for each thing that starts or ends.
        show: Also print the table of the report.

    Returns:
        The HTML page; None where jobs were submitted and nothing is waited for.

    Raises:
        UserError: The config or the executor cannot be used, or the input of a run is wrong.
        RunFailed: Some cells failed; the others were run nevertheless.
    """
    from remedis_jax.sweeps.executors import make_executor
    from remedis_jax.sweeps.grid import Grid
    from remedis_jax.sweeps.sweep import run_sweep as run
    from remedis_jax.training.config import load_config

    grid = Grid.of(load_config(config), overrides)
    chosen = make_executor(
        executor, parameters=parameters, cells_per_job=cells_per_job, wait=wait
    )
    return run(grid, Path(out), chosen, announce=announce, show=show)
