"""`remedis sweep`: many runs at once, a data-efficiency experiment or a grid of settings."""

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    config: Annotated[
        str,
        typer.Option(
            help="Experiment or grid, e.g. experiments/data_efficiency/ham10000.py:data=FOLDER or "
            'experiments/finetune/grid.py:task=t1,arms="a=FILE;b=FILE"'
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the experiment; repeating the command finishes it.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override of the config, of every run in a grid (repeatable)."
        ),
    ] = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(help="Go on although patients or images are shared; stamps every report."),
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            help="Where the runs of a grid go: inline (one after another), devices[:N] (a process "
            "on every device of this machine), local[:N] or slurm (jobs of submitit)."
        ),
    ] = "inline",
    executor_set: Annotated[
        list[str] | None,
        typer.Option(
            "--executor-set",
            help="Parameter of submitit, e.g. --executor-set slurm_partition=gpu (repeatable).",
        ),
    ] = None,
    cells_per_job: Annotated[
        int, typer.Option(help="Runs that a submitted job does, one after another.")
    ] = 1,
    wait: Annotated[
        bool,
        typer.Option(help="Wait for the jobs of slurm; without, repeating the command picks up."),
    ] = True,
) -> None:
    """Run all arms, settings and seeds of an experiment, and report."""
    from remedis_jax import api
    from remedis_jax.api.sweeps import run_sweep
    from remedis_jax.cli.console import Announcer, disk_errors
    from remedis_jax.errors import UserError
    from remedis_jax.sweeps.grid import is_grid
    from remedis_jax.training.compilation_cache import enable_compilation_cache
    from remedis_jax.training.config import load_config

    enable_compilation_cache()
    announce = Announcer()
    with disk_errors():
        if is_grid(load_config(config)):
            if allow_leakage:
                set_ = [*(set_ or ()), "data.allow_leakage=True"]
            page = run_sweep(
                config,
                out,
                overrides=set_ or (),
                executor=executor,
                parameters=executor_set or (),
                cells_per_job=cells_per_job,
                wait=wait,
                announce=announce,
                show=True,
            )
        else:
            if executor != "inline" or executor_set or cells_per_job != 1 or not wait:
                raise UserError(
                    f"{config} is no grid, and its runs need each other in this process.",
                    "Leave --executor, --executor-set, --cells-per-job and --no-wait out.",
                )
            page = api.run_experiment(
                config,
                out,
                overrides=set_ or (),
                allow_leakage=allow_leakage,
                announce=announce,
                show=True,
            )
    print("submitted; repeat the command to go on" if page is None else f"report in {page}")
