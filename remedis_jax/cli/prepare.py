"""`remedis prepare`: public data sets, from their downloaded files, without TensorFlow."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    name: Annotated[
        str | None, typer.Argument(help="The data set; without it they are listed.")
    ] = None,
    manual_dir: Annotated[
        Path | None,
        typer.Option(help="What you downloaded; without it, what to download and from where."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where TFDS keeps data sets; $TFDS_DATA_DIR if left out."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Build again what is there.")] = False,
    beam_runner: Annotated[
        str | None, typer.Option(help="Build by Apache Beam, such as DirectRunner.")
    ] = None,
    beam_options: Annotated[
        str, typer.Option(help="Of the runner: direct_num_workers=4,NAME=VALUE.")
    ] = "",
) -> None:
    """Build a public stand-in of a task as array_record, to be named as tfds:NAME:SPLIT."""
    import os

    from remedis_jax.cli.console import disk_errors
    from remedis_jax.data.tfds_sets.prepare import instructions, names
    from remedis_jax.data.tfds_sets.prepare import prepare as build
    from remedis_jax.errors import UserError

    if name is None:
        print("\n".join(names()))
        return
    if manual_dir is None:
        print(instructions(name))
        return
    folder = data_dir or os.environ.get("TFDS_DATA_DIR")
    if not folder:
        raise UserError("Nothing says where to build.", "Give --data-dir, or set TFDS_DATA_DIR.")
    with disk_errors():
        builder = build(
            name,
            manual_dir,
            folder,
            overwrite=overwrite,
            beam_runner=beam_runner,
            beam_options=_beam_options(beam_options),
        )
    for split, about in builder.info.splits.items():
        print(f"tfds:{name}:{split}  {about.num_examples:,} examples")
    print(f"in {builder.data_path}")


def _beam_options(text: str) -> dict[str, object]:
    """From ``name=value,name=value``; a name alone is a switch."""
    options: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        name, given, value = part.strip().partition("=")
        options[name] = (int(value) if value.isdigit() else value) if given else True
    return options
