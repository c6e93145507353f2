"""`remedis check-data`: what is wrong with a manifest and its images, before training."""

from pathlib import Path
from typing import Annotated

import typer

from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS


def check_data(
    manifest: Annotated[
        str,
        typer.Argument(help="CSV, Parquet, a folder of images, tfds:NAME:SPLIT, or a cache."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; ./check-NAME if left out.")
    ] = None,
    image: Annotated[str, typer.Option(help="Column of the image path.")] = "image",
    group: Annotated[str, typer.Option(help="Column of the patient, case or lesion.")] = "",
    group_pattern: Annotated[
        str,
        typer.Option(help=r"Regular expression that finds the group in a cell, e.g. patient\d+."),
    ] = "",
    label: Annotated[
        str, typer.Option(help="Column of the class, or columns of findings: a,b,c.")
    ] = "",
    site: Annotated[str, typer.Option(help="Column of the site.")] = "",
    split: Annotated[str, typer.Option(help="Column of the split.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with COLUMN=VALUE (repeatable; all must hold)."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Another manifest that must share no patient and no image with this one, such "
            "as the test set of an unlabelled pool (repeatable). Same image column; patients are "
            "compared where it has the same group column."
        ),
    ] = None,
    label_policy: Annotated[
        str | None,
        typer.Option(help="As for train, e.g. uncertain=ignore,blank=negative."),
    ] = None,
    near: Annotated[
        int,
        typer.Option(
            help="Pictures whose 256-bit fingerprints differ in so many bits or fewer count as "
            "copies; -1 looks for equal files only."
        ),
    ] = NEAR_DUPLICATE_BITS,
    channels: Annotated[int, typer.Option(help="1 to refuse colour, or 3.")] = 3,
    to_grey: Annotated[
        bool, typer.Option(help="Turn colour to grey where --channels is 1.")
    ] = False,
    frames: Annotated[
        str, typer.Option(help="Files of several images: error, first or middle.")
    ] = "error",
    window: Annotated[
        str, typer.Option(help="DICOM: file (its own), full (its range), or CENTRE,WIDTH.")
    ] = "file",
    redact: Annotated[
        bool, typer.Option(help="Show hashes of patient ids, and rows instead of names.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Images decoded at a time.")] = None,
    allow_outside: Annotated[
        bool, typer.Option(help="Accept images outside the manifest's folder.")
    ] = False,
) -> None:
    """Decode every image; find copies, leaks and wrong labels; draw contact sheets.

    Exit code 2 where training would be wrong. What was decoded is remembered in the user's cache
    folder, and training does not decode it again to look whether it can.
    """
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters
    from remedis_jax.errors import UserError
    from remedis_jax.report import manifest_check

    with disk_errors():
        page, found = manifest_check.check_data(
            manifest,
            out,
            image=image,
            group=group,
            group_pattern=group_pattern,
            label=label,
            site=site,
            split=split,
            where=read_filters(where),
            against=against or (),
            label_policy=label_policy,
            near=near,
            channels=channels,
            to_grey=to_grey,
            frames=frames,
            window=window,
            redact=redact,
            threads=threads,
            allow_outside=allow_outside,
            progress=count_progress("checking images"),
            show=True,
        )
    print(f"report in {page}")
    errors = found.of("error")
    if errors:
        more = f" And {len(errors) - 1} more, see {page}." if len(errors) > 1 else ""
        raise UserError(f"{found.rows.path}: {errors[0].text}", f"{errors[0].remedy}{more}")
