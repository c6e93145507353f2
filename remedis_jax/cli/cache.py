"""`remedis cache`: images decoded once, for training from slow sources."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def cache(
    manifest: Annotated[
        str,
        typer.Argument(help="What training would read: CSV, Parquet, a folder, tfds:NAME:SPLIT."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write; repeating the command goes on with it.")
    ],
    size: Annotated[int, typer.Option(help="Side of the images in pixels, as data.size.")] = 256,
    image: Annotated[str, typer.Option(help="Column of the image path.")] = "image",
    tiles: Annotated[
        str | None,
        typer.Option(
            help="The rows are tiles of slides: slide=COLUMN,x=COLUMN,y=COLUMN,size=PIXELS and "
            "level=N or mpp=MICRONS."
        ),
    ] = None,
    channels: Annotated[int, typer.Option(help="1 or 3.")] = 3,
    to_grey: Annotated[
        bool, typer.Option(help="Turn colour to grey where --channels is 1.")
    ] = False,
    fit: Annotated[str, typer.Option(help="squash, pad or crop.")] = "squash",
    bits: Annotated[
        int, typer.Option(help="8, 16, or 0 for as many as the images have.")
    ] = 0,
    window: Annotated[
        str, typer.Option(help="DICOM: file (its own), full (its range), or CENTRE,WIDTH.")
    ] = "file",
    frames: Annotated[
        str, typer.Option(help="Files of several images: error, first or middle.")
    ] = "error",
    reduced: Annotated[
        bool, typer.Option(help="Decode JPEGs at a reduced scale where that is large enough.")
    ] = True,
    shard_mib: Annotated[int, typer.Option(help="Decoded pixels in each file.")] = 256,
    threads: Annotated[
        int, typer.Option(help="Images decoded at a time; 0 for the machine's processors.")
    ] = 0,
    allow_outside: Annotated[
        bool, typer.Option(help="Accept images outside the manifest's folder.")
    ] = False,
) -> None:
    """Decode every image once and write it at the working size, with the whole manifest.

    Train from it with data.manifest=OUT and the same settings: the pixels are those of the files.
    Worth it for DICOM, slides, large PNGs and TIFFs, and disks far away.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_tiles

    # By the names of the config's `data` keys.
    settings = {
        "channels": channels, "to_grey": to_grey, "fit": fit, "window": window, "frames": frames,
        "reduced": reduced,
    }  # fmt: skip
    with disk_errors():
        folder = api.cache(
            manifest,
            out,
            size=size,
            image=image,
            tiles=read_tiles(tiles),
            bits=bits,
            shard_mib=shard_mib,
            threads=threads,
            allow_outside=allow_outside,
            progress=count_progress("decoding"),
            announce=lambda line: print(line, file=sys.stderr, flush=True),
            **settings,
        )
    usual = {
        "channels": 3, "to_grey": False, "fit": "squash", "window": "file", "frames": "error",
        "reduced": True,
    }  # fmt: skip
    changed = {name: value for name, value in settings.items() if value != usual[name]}
    overrides = {"manifest": folder, "size": size, "image": image} | changed
    if image == "image":
        del overrides["image"]
    shown = " ".join(f"--set data.{name}={value}" for name, value in overrides.items())
    print(f"cache in {folder}; train with {shown}")
