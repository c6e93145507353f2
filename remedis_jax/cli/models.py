"""`remedis models`: which models there are, getting them, checking them, their cards."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Which models are known and which are here; get, check and describe them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
Reference = Annotated[
    str,
    typer.Argument(
        help="Name from `remedis models`, a path, or a file:, https:, gs: or hf: address, "
        "optionally with #sha256=HEX at its end."
    ),
]


@app.callback()
def models(
    context: typer.Context,
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="List what is in this folder too, e.g. runs (repeatable)."),
    ] = None,
    json_: Json = False,
) -> None:
    """List the published models and those in the folders of $REMEDIS_MODELS."""
    if context.invoked_subcommand is not None:
        return
    from remedis_jax.cli.model_listing import as_json, print_listing
    from remedis_jax.weights.registry.folders import list_artifacts, models_folders

    folders = list(dict.fromkeys([*models_folders(), *(folder or ())]))
    found = list_artifacts(folders)
    if json_:
        print(as_json(found))
    else:
        print_listing(found, folders)


@app.command()
def show(reference: Reference, json_: Json = False) -> None:
    """Everything about one model: terms and access, or the card of weights that are here."""
    from remedis_jax.cli.model_listing import describe_as_json, description

    print(describe_as_json(reference) if json_ else description(reference))


@app.command()
def get(reference: Reference) -> None:
    """Download a model, as far as it may be, and make it ready for use.

    A download that was broken off is gone on with. What is here already is checked.
    """
    from remedis_jax.cli.console import disk_errors
    from remedis_jax.cli.model_listing import next_step
    from remedis_jax.weights.open import artifact_file
    from remedis_jax.weights.registry.locate import locate

    with disk_errors():
        path = artifact_file(locate(reference, progress=byte_progress("downloading")))
    print(next_step(path))


@app.command()
def verify(
    reference: Annotated[
        str | None, typer.Argument(help="As for `get`; everything that is here if left out.")
    ] = None,
) -> None:
    """Read files of weights as a whole and compare them with their hashes."""
    from remedis_jax.cli.model_listing import clean
    from remedis_jax.errors import RunFailed
    from remedis_jax.weights.registry.verify import verify_all, verify_one

    bad = count = 0
    for result in verify_all() if reference is None else [verify_one(reference)]:
        count += 1
        bad += not result.is_good
        print(clean(f"{'good' if result.is_good else 'BAD '}  {result.path}: {result.text}"))
        sys.stdout.flush()
    if bad:
        raise RunFailed(
            f"{bad} of {count} files are not what they should be.",
            "Remove them and get them again.",
        )
    if not count:
        print("There are no files of weights in the models folders.")


@app.command()
def card(
    weights: Annotated[str, typer.Argument(help="Weights, as for `get`.")],
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.json of `remedis evaluate` with these weights.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Markdown file to write; standard output if left out.")
    ] = None,
) -> None:
    """Write the model card of weights, as Markdown that Hugging Face reads too."""
    from remedis_jax.cli.console import disk_errors
    from remedis_jax.report.model_card import model_card, write_model_card
    from remedis_jax.weights.open import artifact_file
    from remedis_jax.weights.registry.locate import locate

    with disk_errors():
        path = artifact_file(locate(weights, progress=byte_progress("downloading")))
        if out is None:
            print(model_card(path, metrics), end="")
        else:
            print(f"model card in {write_model_card(path, out, metrics)}")


def byte_progress(what: str, interval: float = 2.0) -> Callable[[int, int], None]:
    """A callback (bytes here, bytes of the whole or 0) that prints a line now and then."""
    start = last = time.monotonic()
    first: int | None = None

    def progress(done: int, total: int) -> None:
        nonlocal last, first
        # Of a part that an earlier run has left nothing was downloaded now.
        first = done if first is None else first
        now = time.monotonic()
        if now - last < interval:
            return
        last = now
        rate = (done - first) / (now - start)
        text = f"{what}: {done / 1e6:,.0f}"
        text += f" of {total / 1e6:,.0f} MB" if total else " MB"
        if rate:
            text += f", {rate / 1e6:,.1f} MB/s"
            text += f", {(total - done) / rate:.0f} s left" if total else ""
        print(text, file=sys.stderr, flush=True)

    return progress
