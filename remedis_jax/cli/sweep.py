"""`remedis sweep`: a whole data-efficiency experiment."""

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    config: Annotated[
        str,
        typer.Option(
            help="Experiment, e.g. experiments/data_efficiency/ham10000.py:data=FOLDER"
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the experiment; repeating the command finishes it.")
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override of the config (repeatable).")
    ] = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(help="Go on although patients or images are shared; stamps every report."),
    ] = False,
) -> None:
    """Run all arms, label fractions and seeds of an experiment, and report."""
    from remedis_jax import api
    from remedis_jax.cli.console import Announcer, disk_errors
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    with disk_errors():
        page = api.run_experiment(
            config,
            out,
            overrides=set_ or (),
            allow_leakage=allow_leakage,
            announce=Announcer(),
            show=True,
        )
    print(f"report in {page}")
