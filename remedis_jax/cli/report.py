"""`remedis report`: the page for an experiment, a run or a predictions file."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[
        Path, typer.Argument(help="Folder of an experiment or run, or a predictions CSV.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside the input if left out.")
    ] = None,
) -> None:
    """Write figures, tables and the report page."""
    from remedis_jax import api
    from remedis_jax.cli.console import disk_errors

    with disk_errors():
        page = api.write_report(path, out, show=True)
    print(f"report in {page}")
