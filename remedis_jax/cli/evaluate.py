"""`remedis evaluate`: predictions and metrics of a weights file on a manifest."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="CSV or Parquet with one image a row.")],
    weights: Annotated[
        str,
        typer.Option(help="weights.safetensors, a run's folder, a registry name, or a URL."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for predictions, metrics and report.")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with COLUMN=VALUE (repeatable; all must hold)."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Column of the image path.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the patient, or '' .")] = None,
    label: Annotated[
        str | None, typer.Option(help="Column(s) of the label, or '' to predict only.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Column of the site, or ''.")] = None,
    split: Annotated[str | None, typer.Option(help="Column of the split, or ''.")] = None,
) -> None:
    """Predict every image of a manifest; score with confidence intervals by patient.

    Column names default to those that the weights were trained with.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    given = {"image": image, "group": group, "label": label, "site": site, "split": split}
    with disk_errors():
        path = api.evaluate(
            manifest,
            weights,
            out,
            columns={role: name for role, name in given.items() if name is not None},
            where=read_filters(where),
            progress=count_progress("predicting"),
            show=True,
        )
    print(f"predictions in {path}")
