"""`remedis export`: weights in the form of somebody else's tools."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    weights: Annotated[str, typer.Argument(help="Weights file, run, registry name, or URL.")],
    to: Annotated[
        str,
        typer.Option(help="safetensors, npz (BiT), timm, hf, stablehlo, onnx or savedmodel."),
    ],
    out: Annotated[Path, typer.Option(help="The new file (safetensors, npz) or folder.")],
    python: Annotated[
        str | None,
        typer.Option(
            help="Python that has PyTorch or onnxruntime, if not this one ($REMEDIS_TORCH_PYTHON, "
            "$REMEDIS_ONNX_PYTHON say it as well)."
        ),
    ] = None,
) -> None:
    """Write weights for another framework, run them there, and compare the outputs."""
    from remedis_jax.cli.console import disk_errors
    from remedis_jax.training.compilation_cache import enable_compilation_cache
    from remedis_jax.weights.exports.export import export as run
    from remedis_jax.weights.open import open_weights

    enable_compilation_cache()
    with disk_errors():
        artifact = open_weights(weights)
        print(f"writing {out}, and running it on eight images", file=sys.stderr, flush=True)
        parity = run(artifact, to, out, python=python)
    print(f"largest difference  {parity['largest']:.3g} (relative {parity['relative']:.3g}, "
          f"tolerated {parity['tolerance']:g}) on {parity['images']} images")  # fmt: skip
    for note in parity.get("notes", ()):
        print(f"note                {note}")
    print(f"{to} in {out}")
