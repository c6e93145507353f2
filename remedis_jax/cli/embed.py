"""`remedis embed`: features of a manifest's images, to a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def embed(
    manifest: Annotated[
        str,
        typer.Argument(help="CSV, Parquet, a folder of images, tfds:NAME:SPLIT, or a cache."),
    ],
    weights: Annotated[
        str,
        typer.Option(help="weights.safetensors, a run's folder, a registry name, or a URL."),
    ],
    out: Annotated[
        Path, typer.Option(help="E.parquet, E.npz or E.h5; with --by a folder of .h5 files.")
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with COLUMN=VALUE (repeatable; all must hold)."),
    ] = None,
    image: Annotated[str, typer.Option(help="Column of the image path.")] = "image",
    tiles: Annotated[
        str | None,
        typer.Option(
            help="The rows are tiles of slides: slide=COLUMN,x=COLUMN,y=COLUMN,size=PIXELS and "
            "level=N or mpp=MICRONS."
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Column (slide) whose values each get an .h5 file of their own.")
    ] = "",
    batch_size: Annotated[
        int | None, typer.Option(help="Images at a time over all devices; chosen if left out.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Devices to use; all if left out.")] = None,
    precision: Annotated[
        str, typer.Option(help="highest (float32 products), or default (the device's fastest).")
    ] = "highest",
    on_bad_image: Annotated[
        str, typer.Option(help="stop, or skip: keep the row without features, with the reason.")
    ] = "stop",
    max_bad: Annotated[float, typer.Option(help="Largest share of images to skip.")] = 0.01,
    allow_outside: Annotated[
        bool, typer.Option(help="Accept images outside the manifest's folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace a file of other weights, images or settings.")
    ] = False,
) -> None:
    """Write one feature vector per image, in manifest order, with all columns of the manifest.

    Repeating the command after an interruption goes on and ends with the same bytes.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters, read_tiles
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    with disk_errors():
        path = api.embed(
            manifest,
            weights,
            out,
            devices=devices,
            precision=precision,
            progress=count_progress("embedding"),
            announce=lambda line: print(line, file=sys.stderr, flush=True),
            image=image,
            where=read_filters(where),
            tiles=read_tiles(tiles),
            by=by,
            batch_size=batch_size,
            on_bad_image=on_bad_image,
            max_bad=max_bad,
            allow_outside=allow_outside,
            overwrite=overwrite,
        )
    print(f"embeddings in {path}")
