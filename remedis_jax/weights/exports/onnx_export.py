"""Weights out as ONNX, once onnxruntime has shown that the file is right."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports.folder import complete_folder
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.readme import readme
from remedis_jax.weights.exports.worker_process import run_worker

PYTHON_VARIABLE = "REMEDIS_ONNX_PYTHON"
MODEL_NAME = "model.onnx"
# protobuf holds no message of 2 GiB; and writing one takes three times its size in memory.
LARGEST_IN_ONE_FILE = 2**30


def export_onnx(
    artifact: Artifact,
    out: Path,
    *,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray],
    tolerance: float,
    python: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Writes a folder with `model.onnx`; tensors of a GiB and more lie in `model.onnx.data`.

    The graph reads "images", float32 [b, h, w, 3] in [0, 1] (channels last, as everywhere here),
    of any number and size, and returns "features" and, with a head, "logits" (before the
    calibration temperature) and "probabilities" (after it). Weights are standardised beforehand.
    The contract, the classes, the licence and the artefact's hash are among its metadata.

    Args:
        artifact: Weights and card.
        out: Folder to make.
        images: float32 [N, H, W, 3] in [0, 1] to compare on.
        expected: Our outputs of them, as `outputs.expected_outputs` gives them.
        tolerance: See `parity.compare_outputs`.
        python: Interpreter with onnxruntime; by default the one that REMEDIS_ONNX_PYTHON names, or
            this one.

    Returns:
        The parity figures of `compare_outputs` and "versions" of onnx and onnxruntime.

    Raises:
        UserError: onnx or onnxruntime is not installed.
        RunFailed: onnxruntime computes something else; nothing is left behind.
        OSError: The folder cannot be written.
    """
    try:
        import onnx

        from remedis_jax.weights.exports.onnx_graph import write_onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"This environment has no package {error.name!r}.",
            "Install it: pip install 'remedis_jax[onnx]'.",
        ) from error
    contract = Contract.from_json(artifact.card["preprocessing"])
    with complete_folder(out) as folder:
        path = folder / MODEL_NAME
        write_onnx(path, artifact, metadata(artifact), LARGEST_IN_ONE_FILE)
        text = readme(artifact, contract, _CODE, scales=True)
        (folder / "README.md").write_text(text, encoding="utf-8")
        report, found = run_worker(
            "exports/onnx_worker.py",
            {"model": str(path)},
            {"images": images},
            extra="onnx",
            variable=PYTHON_VARIABLE,
            python=python,
        )
        parity = compare_outputs("ONNX export", found, expected, tolerance)
    return parity | {"versions": {"onnx": onnx.__version__} | report["versions"]}


_CODE = f"""# pip install onnxruntime
import onnxruntime

session = onnxruntime.InferenceSession("{MODEL_NAME}")
# images: float32 [b, h, w, 3] in [0, 1]
values = session.run(None, {{"images": images}})
outputs = dict(zip((output.name for output in session.get_outputs()), values))"""


def metadata(artifact: Artifact) -> dict[str, str]:
    """What travels in the file's `metadata_props`; values that are not names are JSON."""
    card = artifact.card
    return {
        "artifact_sha256": artifact.sha256,
        "preprocessing": json.dumps(card["preprocessing"], sort_keys=True),
        "encoder": json.dumps(card["encoder"], sort_keys=True),
        "head": json.dumps(card["head"], sort_keys=True),
        "licence": json.dumps(card.get("licence"), sort_keys=True),
    }
