"""`remedis import`: published weights become artefacts of this project."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Bring published weights in: BiT .npz, REMEDIS SavedModels, timm and Hugging Face BiT.",
    no_args_is_help=True,
)

Out = Annotated[
    Path | None,
    typer.Option(
        help="The .safetensors to write; by default the source's name in the models folder, where "
        "every command finds it by that name."
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace the .safetensors if it exists.")]
Size = Annotated[
    int | None,
    typer.Option(help="Side of the network's input in pixels; the published one if left out."),
]


@app.command()
def bit(
    file: Annotated[Path, typer.Argument(help="BiT-M-R50x1.npz, or another of that layout.")],
    out: Out = None,
    overwrite: Overwrite = False,
    size: Size = None,
) -> None:
    """Import a BiT .npz."""
    from remedis_jax.weights.imports import import_bit, published_name

    _import(out, overwrite, published_name(file), lambda: import_bit(file, size=size))


@app.command()
def remedis(
    folder: Annotated[Path, typer.Argument(help="Folder of a SavedModel (saved_model.pb).")],
    out: Out = None,
    overwrite: Overwrite = False,
    size: Size = None,
    python: Annotated[
        str | None,
        typer.Option(
            help="Python with TensorFlow, if not this one; $REMEDIS_TF_PYTHON says it as well."
        ),
    ] = None,
    scaling: Annotated[
        str,
        typer.Option(help="Whether [0, 1] becomes [-1, 1] inside or outside; auto measures it."),
    ] = "auto",
    final_norm: Annotated[
        str,
        typer.Option(help="Whether the output has passed the last norm: yes, no, auto."),
    ] = "auto",
    output: Annotated[
        str | None, typer.Option(help="Name of the output, where it has several.")
    ] = None,
) -> None:
    """Import a released REMEDIS SavedModel, and show that it computes the same here."""
    from remedis_jax.errors import UserError
    from remedis_jax.weights.imports import import_remedis

    answers = {"auto": "auto", "yes": True, "no": False}
    if final_norm not in answers:
        raise UserError(f"--final-norm {final_norm!r} is unknown.", "Use yes, no or auto.")
    _import(
        out,
        overwrite,
        folder.resolve().name,
        lambda: import_remedis(
            folder,
            size=size,
            progress=_say,
            python=python,
            scaling=scaling,
            final_norm=answers[final_norm],
            output=output,
        ),
    )


@app.command()
def torch(
    path: Annotated[
        Path, typer.Argument(help="Safetensors file of timm or transformers, or its folder.")
    ],
    out: Out = None,
    overwrite: Overwrite = False,
    size: Size = None,
) -> None:
    """Import a timm or Hugging Face BiT state dict (safetensors; pickles are refused)."""
    from remedis_jax.weights.imports import import_state_dict

    _import(out, overwrite, path.resolve().stem, lambda: import_state_dict(path, size=size))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _import(
    out: Path | None,
    overwrite: bool,
    name: str,
    read: Callable[[], tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    from remedis_jax.cli.console import disk_errors
    from remedis_jax.errors import UserError
    from remedis_jax.training.compilation_cache import enable_compilation_cache
    from remedis_jax.weights.artifact import save_artifact
    from remedis_jax.weights.imports import describe
    from remedis_jax.weights.registry.folders import models_folders

    enable_compilation_cache()
    if out is None:
        out = models_folders()[0] / f"{name.lower()}.safetensors"
        with disk_errors():
            out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix != ".safetensors":
        raise UserError(f"{out} is no name for an artefact.", "End it in .safetensors.")
    if not out.parent.is_dir():
        raise UserError(f"The folder {out.parent} does not exist.", "Make it, or correct --out.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists.", "Choose another --out, or give --overwrite.")
    with disk_errors():
        params, card = read()
        digest = save_artifact(out, params, card)
    for line in describe(params, card):
        print(line)
    print(f"hash           {digest}")
    print(f"written to     {out}")
