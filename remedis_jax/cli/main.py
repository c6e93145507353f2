"""The `remedis` command: its sub-commands, and how errors reach the user.

Nothing heavy is imported here; every sub-command imports what it needs when it runs.
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from remedis_jax import __version__
from remedis_jax.cli import (
    cache,
    calibrate,
    check_data,
    compare,
    demo,
    embed,
    evaluate,
    explain,
    export,
    finetune,
    import_weights,
    models,
    prepare,
    probe,
    report,
    reproduce,
    serve,
    split,
    sweep,
    train,
)
from remedis_jax.errors import RemedisError

app = typer.Typer(
    help="Medical imaging with few labels: pre-train on unlabelled images, fine-tune, and report "
    "with confidence intervals. Research software, not for clinical use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo.demo)
app.command()(prepare.prepare)
app.command()(check_data.check_data)
app.command()(split.split)
app.command()(train.train)
app.command()(finetune.finetune)
app.command()(evaluate.evaluate)
app.command()(calibrate.calibrate)
app.command()(embed.embed)
app.command()(cache.cache)
app.add_typer(import_weights.app, name="import")
app.command()(export.export)
app.add_typer(models.app, name="models")
app.command()(serve.serve)
app.command()(sweep.sweep)
app.command()(report.report)
app.command()(compare.compare)
app.command()(probe.probe)
app.command()(explain.explain)
app.command()(reproduce.reproduce)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"remedis_jax {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


def run_and_exit(command: Callable[[], object]) -> None:
    """Runs a command: a user's mistake is one line and exit code 2, a failed run one line and 1."""
    try:
        command()
    except RemedisError as error:
        print(f"remedis: error: {error}", file=sys.stderr, flush=True)
        if "remedis_jax.training.processes" in sys.modules:
            sys.modules["remedis_jax.training.processes"].leave(error.exit_code)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) went away; that is its right.
        sys.stderr.close()
        sys.exit(1)


def main() -> None:
    """Entry point of `remedis` and of `python -m remedis_jax`."""
    run_and_exit(app)
