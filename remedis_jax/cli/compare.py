"""`remedis compare`: predictions files beside each other, paired by patient."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    predictions: Annotated[
        list[Path],
        typer.Argument(help="Two or more files (CSV, TSV, Parquet); each is put beside the first."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; 'comparison' beside the first file if left out."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column of the patient; 'image': every image is of another patient."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=COLUMN where the names do not say it (repeatable), e.g. image=file, "
            "label=y, p_malignant=prob."
        ),
    ] = None,
    positive: Annotated[str | None, typer.Option(help="Positive class of two.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="auroc, brier, auroc/CLASS ... (repeatable); all if left out."),
    ] = None,
    common: Annotated[
        bool, typer.Option(help="Compare on the images that all files have, where they differ.")
    ] = False,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap, by patient.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Compare models on the same patients: differences with intervals and p-values.

    Reads predictions of this and of other tools. A difference is the first file minus another one;
    it is paired, so patients that both models find hard do not blur it.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import disk_errors
    from remedis_jax.evaluation.column_roles import parse_columns
    from remedis_jax.evaluation.foreign_columns import ROLES

    with disk_errors():
        page = api.compare(
            predictions,
            out,
            group=group,
            columns=parse_columns(column or (), ROLES),
            positive=positive,
            metrics=metric or (),
            common=common,
            resamples=resamples,
            seed=seed,
            show=True,
        )
    print(f"report in {page}")
