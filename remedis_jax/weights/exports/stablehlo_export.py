"""Weights out as a StableHLO program (`jax.export`) beside the artefact whose tensors it takes.

The program takes the parameters as an argument: as constants they would be in the file a second
time, and compiling a gigabyte of constants takes minutes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from remedis_jax.weights.artifact import (
    FILE_NAME,
    SEEN_PREFIX,
    Artifact,
    flatten,
    save_artifact,
    unflatten,
)
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.exports.folder import complete_folder
from remedis_jax.weights.exports.outputs import network_function
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.exports.readme import readme
from remedis_jax.weights.exports.worker_process import run_worker

PROGRAM_NAME = "network.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
PYTHON_VARIABLE = "REMEDIS_JAX_PYTHON"

_CODE = f"""# pip install jax flatbuffers safetensors
from pathlib import Path

import jax
import jax.export
from safetensors.numpy import load_file

network = jax.export.deserialize(bytearray(Path("{PROGRAM_NAME}").read_bytes()))
tensors = load_file("{FILE_NAME}").items()
# What is named {SEEN_PREFIX} are no parameters but hashes of what the weights have seen.
weights = {{name: values for name, values in tensors if not name.startswith("{SEEN_PREFIX}")}}
# images: float32 [b, {{size}}, 3] in [0, 1]
outputs = jax.jit(network.call)(weights, images)"""


def export_stablehlo(
    artifact: Artifact,
    out: Path,
    *,
    images: np.ndarray,
    expected: Mapping[str, np.ndarray],
    tolerance: float,
) -> dict[str, Any]:
    """Writes a folder with `network.stablehlo`, `weights.safetensors` and `README.md`.

    The program is a function of the parameters {name: tensor} in the safetensors file and of
    images, float32 [b, size, size, 3] in [0, 1] with b free; it returns the dictionary of
    `outputs.network_function`. It runs on CPU, CUDA and TPU with JAX alone, in full float32, for
    at least the six months for which StableHLO promises to read older programs.

    Args:
        artifact: Weights and card.
        out: Folder to make.
        images: float32 [N, size, size, 3] in [0, 1] to compare on; their size is the program's.
        expected: Our outputs of them, as `outputs.expected_outputs` gives them.
        tolerance: See `parity.compare_outputs`.

    Returns:
        The parity figures of `compare_outputs`, which a fresh process with JAX alone gave on the
        CPU, "versions" of JAX, and "bytes" of the program.

    Raises:
        RunFailed: What it computes is something else; nothing is left behind.
        OSError: The folder cannot be written.
    """
    contract = Contract.from_json(artifact.card["preprocessing"])
    serialised = program(artifact, images.shape[1:3])
    with complete_folder(out) as folder:
        (folder / PROGRAM_NAME).write_bytes(serialised)
        save_artifact(folder / FILE_NAME, artifact.params, artifact.card, artifact.seen)
        height, width = images.shape[1:3]
        code = _CODE.replace("{size}", f"{height}, {width}")
        text = readme(artifact, contract, code, scales=True, keeps_seen=True)
        (folder / "README.md").write_text(text, encoding="utf-8")
        report, found = run_worker(
            "exports/stablehlo_worker.py",
            {"program": str(folder / PROGRAM_NAME), "weights": str(folder / FILE_NAME)},
            {"images": images},
            extra="",
            variable=PYTHON_VARIABLE,
        )
        parity = compare_outputs("StableHLO export", found, expected, tolerance)
    return parity | {"versions": report["versions"], "bytes": len(serialised)}


def program(artifact: Artifact, size: tuple[int, int]) -> bytearray:
    """The serialised program for images of (height, width) pixels."""
    function = network_function(artifact.card)

    def outputs(weights: dict[str, jax.Array], images: jax.Array) -> dict[str, jax.Array]:
        return function(unflatten(weights), images)

    shape = export.symbolic_shape(f"b, {size[0]}, {size[1]}, 3")
    weights = {
        name: jax.ShapeDtypeStruct(values.shape, values.dtype)
        for name, values in flatten(artifact.params).items()
    }
    exported = export.export(jax.jit(outputs), platforms=PLATFORMS)(
        weights, jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return exported.serialize()
