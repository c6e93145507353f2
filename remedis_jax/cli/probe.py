"""`remedis probe`: the features of any encoder, in the same protocol as our own."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def probe(
    embeddings: Annotated[
        list[str],
        typer.Argument(
            help="Files of embeddings (Parquet, CSV, npz, HDF5), PATH or NAME=PATH, then the "
            "manifest, if --manifest does not name it."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the experiment and its reports.")],
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: image, patient, label, split, site.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column of the patient; 'image': every image is of another patient."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the class, or columns A,B,C of findings.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=COLUMN where the names do not say it (repeatable): image, site, "
                     "split, features."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="VALUE=training, =validation or =test, of other words (repeatable)."),
    ] = None,
    id_site: Annotated[str, typer.Option(help="Site whose labels train the probes.")] = "",
    ood_site: Annotated[str, typer.Option(help="New site: zero-shot, then its labels.")] = "",
    match: Annotated[
        str, typer.Option(help="Match images by path, file (without folders) or stem.")
    ] = "path",
    common: Annotated[
        bool, typer.Option(help="Use the images that manifest and embeddings both have.")
    ] = False,
    probe: Annotated[
        str, typer.Option(help="linear or knn: whose curves over the new site's labels are drawn.")
    ] = "linear",
    metric: Annotated[str, typer.Option(help="What chooses and is reported.")] = "auroc",
    level: Annotated[str, typer.Option(help="Score by group (patient) or image.")] = "group",
    seeds: Annotated[int, typer.Option(help="Draws of labels.")] = 5,
    shots: Annotated[
        str, typer.Option(help="Images of each class, e.g. 1,2,4,8,16; none if left out.")
    ] = "",
    fractions: Annotated[
        str | None,
        typer.Option(
            help="Shares of the (new site's) labels, e.g. 0.1,0.5,1; with a new site those of the "
            "protocol if left out."
        ),
    ] = None,
    new_site_only: Annotated[
        bool, typer.Option(help="Train on the new site's share without the first site's rows.")
    ] = False,
    characteristics: Annotated[
        str | None, typer.Option(help="Columns for subgroups; age and sex if left out.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Within which an encoder equals the first; 0.01.")
    ] = None,
    minutes_per_label: Annotated[
        float | None, typer.Option(help="What a label costs a clinician, for the hours saved.")
    ] = None,
    minutes_source: Annotated[str, typer.Option(help="Who says so.")] = "",
    resamples: Annotated[int, typer.Option(help="Of the bootstrap, by patient.")] = 1000,
    redact: Annotated[
        bool, typer.Option(help="Show hashes in place of patient ids in messages.")
    ] = False,
) -> None:
    """Probe frozen features: linear and k-NN, few-shot, in distribution, at a new site.

    Several files are several encoders on the same images, compared by paired differences; the
    first is the baseline. What chose C and k, and on which rows, stands in the report.
    """
    import shlex

    from remedis_jax import api
    from remedis_jax.cli.console import Announcer, count_progress, disk_errors
    from remedis_jax.errors import UserError
    from remedis_jax.evaluation.column_roles import parse_columns

    if manifest is None:
        *embeddings, last = embeddings
        manifest = Path(last)
    if not embeddings:
        raise UserError(
            "there is one file only, so no manifest or no embeddings.",
            "Write remedis probe EMBEDDINGS MANIFEST --out FOLDER.",
        )
    named = {}
    for text in embeddings:
        name, equals, path = text.partition("=")
        name = name if equals else Path(text).stem
        if name in named:
            raise UserError(
                f"two encoders are called {name!r}.", "Give each a name of its own: NAME=PATH."
            )
        named[name] = Path(path if equals else text)
    columns = parse_columns(column or (), ("features",))
    for role, value in (("group", group), ("label", label)):
        if value is not None:
            columns[role] = value
    splits = {}
    for text in split or ():
        value, equals, role = text.partition("=")
        if not equals:
            raise UserError(f"--split {text!r} has no role.", "Write --split VALUE=test.")
        splits[value] = role
    with disk_errors():
        page = api.probe(
            named,
            manifest,
            out,
            columns=columns,
            splits=splits,
            match=match,
            common=common,
            redact=redact,
            characteristics=None if characteristics is None else characteristics.split(","),
            margin=margin,
            minutes_per_label=minutes_per_label,
            minutes_source=minutes_source,
            resamples=resamples,
            command=shlex.join(["remedis", *sys.argv[1:]]),
            announce=Announcer(),
            progress=count_progress("probing"),
            show=True,
            id_site=id_site,
            ood_site=ood_site,
            probe=probe,
            metric=metric,
            level=level,
            seeds=tuple(range(seeds)),
            shots=tuple(int(n) for n in _numbers("--shots", shots)),
            fractions=None if fractions is None else tuple(_numbers("--fractions", fractions)),
            new_site_only=new_site_only,
        )
    print(f"report in {page}")


def _numbers(option: str, text: str) -> list[float]:
    from remedis_jax.errors import UserError

    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = None
    if numbers is None or (option == "--shots" and any(n != int(n) for n in numbers)):
        raise UserError(f"{option} {text!r} is no list of numbers.", "Write e.g. 1,2,4.")
    return numbers
