"""`remedis train`: one stage."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        str,
        typer.Option(
            help="Config file with arguments, e.g. "
            "experiments/contrastive/simclr.py:model=r50x1,task=t3"
        ),
    ],
    workdir: Annotated[
        Path, typer.Option(help="Folder of this run; repeating the command goes on with it.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, e.g. --set data.manifest=images.csv (repeatable)."),
    ] = None,
) -> None:
    """Run one stage: supervised or contrastive training, or fine-tuning."""
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    with disk_errors():
        result = api.train(
            config, workdir, overrides=set_ or (), progress=count_progress("checking images")
        )
        page = api.write_report(workdir)
    print(f"{result.steps} steps done; weights in {result.weights}, curves in {page}")
