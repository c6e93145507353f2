"""`remedis finetune`: a classifier from a manifest and weights, without a config file."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def finetune(
    manifest: Annotated[
        str,
        typer.Argument(help="CSV or Parquet with one image a row, or a folder of images."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of all results; repeating the command goes on with it.")
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="What to start from: weights.safetensors, a run's folder, a registry name, a URL."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column of the class; repeat for findings of 1 and 0, one each."),
    ] = None,
    group: Annotated[
        str, typer.Option(help="Column of the patient, who is never in two splits.")
    ] = "",
    split: Annotated[
        str,
        typer.Option(
            help="Column that says train, val or test (all other values are tests too). Without "
            "one, patients are dealt out."
        ),
    ] = "",
    case: Annotated[
        str, typer.Option(help="Column of the case whose images are judged together.")
    ] = "",
    case_images: Annotated[
        int, typer.Option(help="Images of a case in a training example, at most; 4 with --case.")
    ] = 0,
    view: Annotated[str, typer.Option(help="Column of the view of each image of a case.")] = "",
    views: Annotated[str, typer.Option(help="The views in order, e.g. CC,MLO.")] = "",
    site: Annotated[str, typer.Option(help="Column of the site.")] = "",
    image: Annotated[str, typer.Option(help="Column of the image path.")] = "image",
    time: Annotated[str, typer.Option(help="Column of the time to the event (survival).")] = "",
    event: Annotated[
        str, typer.Option(help="Column that says whether the event was seen at that time.")
    ] = "",
    horizon: Annotated[
        float, typer.Option(help="When survival is judged, in the unit of --time.")
    ] = 5.0,
    kind: Annotated[
        str,
        typer.Option(
            help="softmax, sigmoid, cox or discrete_time; by the labels if left out."
        ),
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="hyperrule: the whole network; linear: its head alone.")
    ] = "hyperrule",
    model: Annotated[
        str, typer.Option(help="Start from random weights of this network, e.g. r26x1.")
    ] = "",
    size: Annotated[
        int, typer.Option(help="Side of the images in pixels; that of the weights if left out.")
    ] = 0,
    fraction: Annotated[str, typer.Option(help="Share of the training patients.")] = "100%",
    seed: Annotated[int, typer.Option(help="Another seed splits, draws and trains anew.")] = 0,
    steps: Annotated[
        int, typer.Option(help="Length of the run; by BiT-HyperRule if left out.")
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples of a step; 128 if left out.")] = 0,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate; 0.001 at batch 128 if left out (bit).")
    ] = 0.0,
    label_policy: Annotated[
        str | None,
        typer.Option(
            help="What uncertain (-1) and empty labels are, e.g. uncertain=ignore,blank=negative"
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the config, e.g. --set optimizer.layer_decay=0.7"),
    ] = None,
) -> None:
    """Fine-tune weights on labelled images, keep the best validation, and report on the test.

    What it does is `remedis train` and `remedis evaluate` with the settings of
    experiments/finetune/classify.py; OUT/run/config.json has them all.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_share
    from remedis_jax.data.label_policy import parse_policy
    from remedis_jax.errors import UserError
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    if bool(time) != bool(event):
        raise UserError("Survival needs both columns.", "Name --time and --event.")
    overrides = []
    if steps:
        # HyperRule's boundaries belong to its own lengths.
        overrides += [f"total_steps={steps}", "schedule=cosine", "warmup_percent=10"]
        overrides += [f"validation_steps={max(1, steps // 10)}", f"checkpoint_steps={steps}"]
    if batch_size:
        overrides.append(f"batch_size={batch_size}")
    if learning_rate:
        overrides.append(f"optimizer.learning_rate={learning_rate}")
    for name, value in (parse_policy(label_policy) if label_policy else {}).items():
        overrides.append(f"data.{name}={value}")
    columns = {
        "image": image, "group": group, "split": split, "site": site, "case": case, "view": view,
    }  # fmt: skip
    enable_compilation_cache()
    with disk_errors():
        done = api.finetune(
            manifest,
            weights,
            out,
            labels=tuple(label or ()),
            columns={role: name for role, name in columns.items() if name},
            kind=kind,
            survival=(time, event) if time else None,
            horizon=horizon,
            case_images=case_images or (4 if case and not views else 0),
            views=tuple(filter(None, views.split(","))),
            protocol=protocol,
            model=model,
            size=size,
            seed=seed,
            fraction=read_share("--fraction", fraction),
            overrides=(*overrides, *(set_ or ())),
            progress=count_progress("checking images"),
            announce=lambda line: print(line, file=sys.stderr, flush=True),
            show=True,
        )
        page = api.write_report(out / "run")
    print(f"{done.steps} steps done; weights in {done.weights}, curves in {page}")
    for part, folder in done.tests.items():
        print(f"{part}: report in {folder / 'report.html'}")
