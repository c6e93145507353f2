"""`remedis explain`: where in the images the score of a class comes from."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    images: Annotated[
        str,
        typer.Argument(help="CSV or Parquet of images or predictions, a folder, tfds:NAME:SPLIT."),
    ],
    weights: Annotated[
        str,
        typer.Option(help="weights.safetensors, a run's folder, a registry name, or a URL."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the page, its sheets and the maps.")],
    method: Annotated[
        str, typer.Option(help="gradcam (coarse, quick) or integrated_gradients (by pixel, slow).")
    ] = "gradcam",
    label: Annotated[
        str | None,
        typer.Option(
            help="Class to explain; if left out the most probable one of each image, and with "
            "--errors the wrong one."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with COLUMN=VALUE (repeatable; all must hold)."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of images, or cases, to explain.")] = 16,
    errors: Annotated[
        Path | None,
        typer.Option(help="Predictions CSV of these weights: explain its most confident errors."),
    ] = None,
    sanity: Annotated[
        bool, typer.Option(help="Compare with the maps of heads whose weights are shuffled.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--images", help="What names in a table are relative to; its folder if left out."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Column of the image path.")] = None,
    case: Annotated[
        str | None,
        typer.Option(help="Column of the case; '' to judge every image by itself."),
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="Column of the view, for weights that read several.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Of gradcam: final, or block1 to block4 (finer).")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Of integrated_gradients: black or blurred.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of integrated_gradients: gradients per image, 64.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the shuffled heads.")] = 0,
    allow_outside: Annotated[
        bool, typer.Option(help="Accept images outside the table's folder.")
    ] = False,
) -> None:
    """Draw on images what a classifier's score is sensitive to. No proof of its reasons.

    Column names default to those that the weights were trained with. A case of several images is
    explained through its pooling, one map for each of its images.
    """
    import sys

    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    given = {"image": image, "case": case, "view": view}
    with disk_errors():
        page = api.explain(
            images,
            weights,
            out,
            method=method,
            label=label,
            layer=layer,
            baseline=baseline,
            steps=steps,
            errors=errors,
            folder=folder,
            columns={role: name for role, name in given.items() if name is not None},
            where=read_filters(where),
            limit=limit,
            sanity=sanity,
            seed=seed,
            allow_outside=allow_outside,
            progress=count_progress("explaining"),
            announce=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(f"explanations in {page}")
