"""`remedis split`: which patients train, which validate, which test."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def split(
    manifest: Annotated[
        str, typer.Argument(help="CSV or Parquet with one image a row, or a folder of images.")
    ],
    by: Annotated[
        str, typer.Option(help="Column of the patient, case or lesion that must stay whole.")
    ],
    stratify: Annotated[
        str,
        typer.Option(
            help="Label column(s) that every part is to have alike: a class, or findings a,b,c."
        ),
    ] = "",
    site: Annotated[str, typer.Option(help="Column of the site.")] = "",
    test_site: Annotated[
        list[str] | None,
        typer.Option(help="A site that is held out from all other parts (repeatable)."),
    ] = None,
    fractions: Annotated[
        str, typer.Option(help="Parts with their shares of the patients.")
    ] = "train=0.7,val=0.1,test=0.2",
    ood_fractions: Annotated[
        str,
        typer.Option(help="Parts of the held-out sites; they are called ood_NAME."),
    ] = "test=1",
    seed: Annotated[int, typer.Option(help="Another seed draws other patients.")] = 0,
    seeds: Annotated[
        int, typer.Option(help="Draw so many splits, into one file per seed: NAME_SEED.csv.")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write; NAME.split.csv beside the manifest if left out. In another folder "
            "only where that holds the images."
        ),
    ] = None,
    column: Annotated[str, typer.Option(help="What to call the new column.")] = "split",
    image: Annotated[str, typer.Option(help="Column of the image path.")] = "image",
    keep_duplicates_together: Annotated[
        bool, typer.Option(help="Patients who share a file, byte for byte, go to one part.")
    ] = True,
    near_duplicates: Annotated[
        int | None,
        typer.Option(
            help="So do patients with pictures whose 256-bit fingerprints differ in so many bits "
            "or fewer; 24 if left out, as for check-data and training. -1 looks for equal files "
            "only, without decoding."
        ),
    ] = None,
    allow_absent: Annotated[
        bool, typer.Option(help="Go on although a part lacks a label that others have.")
    ] = False,
    allow_outside: Annotated[
        bool, typer.Option(help="Accept images outside the manifest's folder.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a split that is there.")] = False,
) -> None:
    """Split a manifest by patient, with every label spread over all parts.

    Writes the manifest's table with a column more, which training reads, and beside it
    OUT.json with the seed, the shares, the manifest's hash and the counts. The same command gives
    the same bytes.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors
    from remedis_jax.data.drawn_split import absent_labels
    from remedis_jax.errors import UserError
    from remedis_jax.report.tables import print_tables

    if seeds < 1:
        raise UserError(f"--seeds {seeds} draws no split.", "Draw one or more.")
    labels = tuple(stratify.split(",")) if stratify else ()
    parts = _read_fractions("--fractions", fractions)
    with disk_errors():
        shown, pairs, joined = api.split(
            manifest,
            by,
            out,
            fractions=parts,
            stratify=labels,
            site=site,
            test_sites=test_site or (),
            ood_fractions=_read_fractions("--ood-fractions", ood_fractions),
            seeds=range(seed, seed + seeds),
            image=image,
            near_duplicates=near_duplicates,
            keep_duplicates_together=keep_duplicates_together,
            allow_absent=allow_absent,
            allow_outside=allow_outside,
            column=column,
            overwrite=overwrite,
            progress=count_progress("comparing images"),
        )
    if joined:
        print(
            f"{pairs:,} pair(s) of equal images tie {joined:,} group(s) to others; they go to one"
            " part",
            file=sys.stderr,
            flush=True,
        )
    for path, contents in shown.items():
        print_tables(_tables(path.name, contents))
        for line in absent_labels(contents):
            print(f"note: {line}")
    if not labels:
        print("note: not stratified; name label columns with --stratify")
    trained = next(iter(parts))
    print(
        f"split in {', '.join(map(str, shown))}; train with --set data.manifest={next(iter(shown))}"
        f" --set data.group={by} --set data.split={column}"
        f" --set \"data.train={{'{column}': '{trained}'}}\""
    )


def _read_fractions(option: str, text: str) -> dict[str, float]:
    """Parts and shares from `train=0.7,val=0.1,test=0.2`."""
    from remedis_jax.errors import UserError

    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, equals, share = (word.strip() for word in part.partition("="))
        try:
            if not name or not equals or name in fractions:
                raise ValueError
            fractions[name] = float(share)
        except ValueError:
            raise UserError(
                f"{option} {text!r}: {part.strip()!r} is no part with a share, or named twice.",
                "Write e.g. train=0.7,val=0.1,test=0.2.",
            ) from None
    return fractions


def _tables(title: str, contents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the parts hold, for the terminal."""
    import pandas as pd

    from remedis_jax.report.wording import percent

    groups, images = (
        sum(content[what] for content in contents.values()) for what in ("groups", "images")
    )
    parts, labels = [], []
    for name, content in contents.items():
        row = {
            "Part": name,
            "Groups": f"{content['groups']:,} ({percent(content['groups'] / groups)})",
            "Images": f"{content['images']:,} ({percent(content['images'] / images)})",
        }
        if content["sites"]:
            row["Images by site"] = ", ".join(f"{s} {n:,}" for s, n in content["sites"].items())
        parts.append(row)
    for label in next(iter(contents.values()))["labels"]:
        for name, content in contents.items():
            count = content["labels"][label]
            labels.append(
                {
                    "Label": label,
                    "Part": name,
                    "Groups with it": f"{count['groups']:,}"
                    f" ({percent(count['groups'] / content['groups'])})",
                    "Images with it": f"{count['images']:,}"
                    f" ({percent(count['images'] / content['images'])})",
                }
            )
    tables = {title: pd.DataFrame(parts, dtype=str)}
    if labels:
        tables[f"Labels of {title}"] = pd.DataFrame(labels, dtype=str)
    return tables
