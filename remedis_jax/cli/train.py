"""`remedis train`: one stage, in one process or in several."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        str,
        typer.Option(
            help="Config file with arguments, e.g. "
            "experiments/contrastive/simclr.py:model=r50x1,task=t3"
        ),
    ],
    workdir: Annotated[
        Path, typer.Option(help="Folder of this run; repeating the command goes on with it.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, e.g. --set data.manifest=images.csv (repeatable)."),
    ] = None,
    label_policy: Annotated[
        str | None,
        typer.Option(
            help="What uncertain (-1) and empty labels are, e.g. "
            "uncertain=ignore,blank=negative,Edema:uncertain=ones"
        ),
    ] = None,
    on_bad_image: Annotated[
        str | None,
        typer.Option(help="error (before training starts), or skip: go on without, and list them."),
    ] = None,
    max_bad: Annotated[
        str | None, typer.Option(help="Largest share to skip, e.g. 0.1%.")
    ] = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(help="Go on although patients or images are shared; stamps every report."),
    ] = False,
    redact: Annotated[
        bool, typer.Option(help="Show hashes in place of patient ids in messages.")
    ] = False,
    profile_input: Annotated[
        bool, typer.Option(help="Measure whether the accelerator waits for images.")
    ] = False,
    distributed: Annotated[
        str,
        typer.Option(
            help="Join other processes: auto (where SLURM or a TPU pod says that there are "
            "several), on, off."
        ),
    ] = "auto",
    coordinator: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of process 0, where nothing says it; with the next two."),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many processes there are.")] = None,
    process_id: Annotated[int | None, typer.Option(help="Which one this is, from 0.")] = None,
) -> None:
    """Run one stage: supervised or self-supervised training, or fine-tuning.

    On a SLURM cluster: srun remedis train ...; on a TPU pod: the same command on every worker;
    elsewhere: with --coordinator, --processes and --process-id on every machine. The --workdir has
    to be a folder that all of them see.
    """
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_share
    from remedis_jax.data.label_policy import parse_policy
    from remedis_jax.training.compilation_cache import enable_compilation_cache
    from remedis_jax.training.processes import is_first, start_processes

    overrides = list(set_ or ())
    given = {
        "on_bad_image": on_bad_image,
        "max_bad": None if max_bad is None else read_share("--max-bad", max_bad),
        "allow_leakage": allow_leakage or None,
        "redact": redact or None,
    } | (parse_policy(label_policy) if label_policy else {})
    overrides += [f"data.{key}={value}" for key, value in given.items() if value is not None]
    if profile_input:
        overrides.append("profile_input=True")

    enable_compilation_cache()
    start_processes(distributed, coordinator, processes, process_id)
    first = is_first()
    with disk_errors():
        result = api.train(
            config,
            workdir,
            overrides=overrides,
            progress=count_progress("checking images") if first else None,
            announce=lambda line: print(line, file=sys.stderr, flush=True),
        )
        if not first:
            return
        page = api.write_report(workdir)
    print(f"{result.steps} steps done; weights in {result.weights}, curves in {page}")
