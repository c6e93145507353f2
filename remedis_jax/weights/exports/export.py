"""Weights out, in the form that somebody else's tools load; each checked before it is called done.

Every export is run on eight images by the tool that it is for, in a process of its own, and its
outputs are compared with ours. An export that differs leaves nothing behind.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import Artifact, forget, load_artifact, save_artifact
from remedis_jax.weights.bit_npz import read_bit_npz, write_bit_npz
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports.outputs import expected_outputs, network_function
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.probe import probe_images

FORMATS = ("safetensors", "npz", "timm", "hf", "stablehlo", "onnx", "savedmodel")
# float32, relative to the largest output where that is above 1: sums in another order. The deeper
# networks add up more of them.
TOLERANCE = 1e-4
TOLERANCE_DEEP = 5e-4

Check = Callable[[Mapping[str, np.ndarray]], dict[str, Any]]


def export(
    artifact: Artifact, to: str, out: str | os.PathLike, *, python: str | None = None
) -> dict[str, Any]:
    """Writes weights in another form, checked on eight images.

    Args:
        artifact: The weights.
        to: One of `FORMATS`: "safetensors" is an artefact of this project, "npz" the layout of
            the published BiT files; the others are folders for timm, transformers, JAX alone,
            onnxruntime and TensorFlow.
        out: The file or folder to make; must not exist.
        python: Interpreter with the foreign framework, where this one has it not (timm, hf, onnx).

    Returns:
        "largest" and "relative" difference of the outputs, "images", "tolerance", and what the
        format has to add.

    Raises:
        UserError: The format cannot express the network, a package is missing, or `out` exists.
        RunFailed: The export computes something else; nothing is left behind.
        OSError: It cannot be written.
    """
    out = Path(out)
    if to not in FORMATS:
        raise UserError(f"There is no format {to!r}.", f"Use {', '.join(FORMATS)}.")
    if out.exists():
        raise UserError(f"{out} exists.", "Choose another --out, or remove it.")
    if not out.parent.is_dir():
        raise UserError(f"The folder {out.parent} does not exist.", "Make it, or correct --out.")
    spec = encoder_spec(artifact.card)
    contract = Contract.from_json(artifact.card["preprocessing"])
    images = probe_images(contract.size)
    expected = expected_outputs(artifact, images)
    tolerance = TOLERANCE if spec.depth <= 101 else TOLERANCE_DEEP
    given = {"images": images, "expected": expected, "tolerance": tolerance}
    if to in ("timm", "hf"):
        from remedis_jax.weights.pytorch.exporter import export_torch

        return export_torch(artifact, out, to, python=python, **given)
    if to == "onnx":
        from remedis_jax.weights.exports.onnx_export import export_onnx

        return export_onnx(artifact, out, python=python, **given)
    if to == "stablehlo":
        from remedis_jax.weights.exports.stablehlo_export import export_stablehlo

        return export_stablehlo(artifact, out, **given)
    if to == "savedmodel":
        return _savedmodel(artifact, out, **given)
    return _own(artifact, to, out, **given)


def _own(
    artifact: Artifact,
    to: str,
    out: Path,
    *,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray],
    tolerance: float,
) -> dict[str, Any]:
    """The two forms that this project reads itself: written, read back, and run."""
    ending = f".{to}"
    if out.suffix != ending:
        raise UserError(f"{out} is no name for this format.", f"End it in {ending}.")
    if to == "npz":
        _check_npz(artifact)
    temporary = out.with_name(f".{out.stem}.{os.getpid()}{ending}")
    try:
        if to == "npz":
            write_bit_npz(temporary, artifact.params)
            params = read_bit_npz(temporary)[0]
        else:
            save_artifact(temporary, artifact.params, artifact.card, artifact.seen)
            params = load_artifact(temporary).params
        again = Artifact(params, artifact.card, artifact.sha256, temporary)
        found = expected_outputs(again, images)
        parity = compare_outputs(f"{to} export", found, expected, tolerance)
        shutil.move(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return parity


def _check_npz(artifact: Artifact) -> None:
    spec = encoder_spec(artifact.card)
    head = artifact.card["head"]
    if spec.stem != "bit" or not spec.final_norm or spec.value_range != (-1.0, 1.0):
        raise UserError(
            f"The layout of the BiT files cannot say that this network has stem {spec.stem}, "
            f"final_norm={spec.final_norm} and reads {spec.value_range}.",
            "Export to safetensors, onnx or stablehlo.",
        )
    if head is not None and head.get("temperature"):
        raise UserError(
            "The layout of the BiT files has no place for the temperature of this classifier.",
            "Export the weights from before the calibration.",
        )


def _savedmodel(
    artifact: Artifact,
    out: Path,
    *,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray],
    tolerance: float,
) -> dict[str, Any]:
    from remedis_jax.weights.savedmodel.exporter import export_savedmodel

    function = network_function(artifact.card)

    def features(params: Any, batch: jax.Array) -> jax.Array:
        return function(params, batch)["features"]

    return export_savedmodel(
        features,
        artifact.params,
        images,
        out,
        expected=expected["features"],
        tolerance=tolerance,
        # A SavedModel has no place for the hashes that the card's "seen" belongs to.
        card=forget(artifact).card,
    )
