"""`remedis evaluate`: predictions and metrics of a weights file on a manifest."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    manifest: Annotated[
        str,
        typer.Argument(help="CSV or Parquet with one image a row, a folder, tfds:NAME:SPLIT."),
    ],
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
        str | None,
        typer.Option(
            help="Column(s) of the label, of survival TIME,EVENT; or '' to predict only."
        ),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Column of the site, or ''.")] = None,
    case: Annotated[
        str | None, typer.Option(help="Column of the case, for weights that judge cases.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="Column of the view, for weights that read several.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Column of the split, or ''.")] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="Score patients (the groups) too, by patient:mean, patient:max or "
            "patient:noisy-or (not of survival) of their images' probabilities. If left out by "
            "the mean, where patients have several images."
        ),
    ] = None,
    label_policy: Annotated[
        str | None,
        typer.Option(
            help="What uncertain (-1) and empty labels are, e.g. "
            "uncertain=ignore,blank=negative,Edema:uncertain=ones; as in training if left out."
        ),
    ] = None,
    on_bad_image: Annotated[
        str, typer.Option(help="error, or skip: go on without, and list them.")
    ] = "error",
    max_bad: Annotated[str, typer.Option(help="Largest share to skip, e.g. 0.1%.")] = "0.1%",
    namespace: Annotated[
        str,
        typer.Option(help="Who gives out the group ids; those of another are other patients."),
    ] = "",
    near_duplicates: Annotated[
        int | None,
        typer.Option(
            help="Bits in which fingerprints of copies differ at most; 24 if left out, -1 looks "
            "for equal files only."
        ),
    ] = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(help="Go on although the weights have seen patients or images; stamps every "
                     "report."),
    ] = False,
    redact: Annotated[
        bool, typer.Option(help="Show hashes in place of patient ids in messages.")
    ] = False,
) -> None:
    """Predict every image of a manifest; score with confidence intervals by patient.

    Column names default to those that the weights were trained with. Images without a label are
    predicted and not scored; what is not defined (a site without positives) says why.
    """
    import sys

    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters, read_share
    from remedis_jax.data.label_policy import parse_policy
    from remedis_jax.evaluation.aggregate import parse_aggregate
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    # So that a slip is told before thousands of images are predicted.
    if aggregate is not None:
        parse_aggregate(aggregate)
    if label_policy is not None:
        parse_policy(label_policy)
    enable_compilation_cache()
    given = {
        "image": image, "group": group, "label": label, "site": site, "split": split,
        "case": case, "view": view,
    }  # fmt: skip
    with disk_errors():
        path = api.evaluate(
            manifest,
            weights,
            out,
            columns={role: name for role, name in given.items() if name is not None},
            where=read_filters(where),
            aggregate=aggregate,
            label_policy=label_policy,
            announce=lambda line: print(line, file=sys.stderr, flush=True),
            on_bad_image=on_bad_image,
            max_bad=read_share("--max-bad", max_bad),
            namespace=namespace,
            allow_leakage=allow_leakage,
            redact=redact,
            **({} if near_duplicates is None else {"near_duplicates": near_duplicates}),
            progress=count_progress("predicting"),
            show=True,
        )
    print(f"predictions in {path}")
