"""`remedis report`: the page for experiments, a run or predictions files."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folder of an experiment or run, or a predictions file; or several experiments, "
            "or several predictions files, of which two on the same images are compared.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside the first input if left out.")
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Predictions on validation data, one for all files or one for each (repeatable): "
            "they choose threshold and temperature."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Table of the images with their characteristics, joined by 'image'."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the manifest or of the predictions to make subgroups of, e.g. age "
            "(repeatable)."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, to show the worst errors; the manifest's folder "
                     "if left out."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column of the patient; 'image': every image is of another patient."),
    ] = None,
    positive: Annotated[str | None, typer.Option(help="Positive class of two.")] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="Score patients by patient:mean, patient:max or patient:noisy-or of their images. "
            "If left out by the mean, where patients have several images."
        ),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            help="How validation chooses the threshold: youden (if left out), sensitivity=0.9, "
            "specificity=0.9."
        ),
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Of the bootstrap by patient; 1,000 if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the bootstrap; 0 if left out.")] = None,
) -> None:
    """Write figures, tables and the report page.

    All options but --out are of predictions files, of this and of other tools.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import disk_errors

    given = {
        "validation": validation, "manifest": manifest, "characteristics": by, "images": images,
        "group": group, "positive": positive, "aggregate": aggregate,
        "operating_point": operating_point, "resamples": resamples, "seed": seed,
    }  # fmt: skip
    with disk_errors():
        page = api.write_report(
            paths, out, show=True,
            **{name: value for name, value in given.items() if value not in (None, [])},
        )  # fmt: skip
    print(f"report in {page}")
