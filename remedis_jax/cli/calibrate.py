"""`remedis calibrate`: probabilities that mean what they say."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    manifest: Annotated[Path, typer.Argument(help="CSV or Parquet with the validation labels.")],
    weights: Annotated[str, typer.Option(help="Fine-tuned weights.")],
    out: Annotated[Path, typer.Option(help="The calibrated weights, a new .safetensors.")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="The validation rows, e.g. split=val (repeatable; all must hold)."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column(s) of the label, if not those of the training.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Column of the patient, or ''.")] = None,
    namespace: Annotated[
        str,
        typer.Option(help="Who gives out the group ids; those of another are other patients."),
    ] = "",
    allow_leakage: Annotated[
        bool,
        typer.Option(help="Go on although the weights were trained on these rows; is remembered."),
    ] = False,
) -> None:
    """Fit a temperature on validation data; accuracy and AUROC stay as they are."""
    from remedis_jax import api
    from remedis_jax.cli.console import count_progress, disk_errors, read_filters
    from remedis_jax.training.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    given = {"label": label, "group": group}
    with disk_errors():
        fitted = api.calibrate(
            manifest,
            weights,
            out,
            columns={role: name for role, name in given.items() if name is not None},
            where=read_filters(where),
            namespace=namespace,
            allow_leakage=allow_leakage,
            progress=count_progress("predicting"),
        )
    print(
        f"temperature {fitted.value:.3f}: log loss {fitted.log_loss_before:.4f} -> "
        f"{fitted.log_loss_after:.4f} on {fitted.labels:,} labels"
    )
    print(f"calibrated weights in {out}")
