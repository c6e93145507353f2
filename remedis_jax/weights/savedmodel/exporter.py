"""Writes a network as a TensorFlow SavedModel that computes the same, checked before it is there.

The network goes out as JAX compiled it (`jax.experimental.jax2tf`), its parameters as TensorFlow
variables. Needs TensorFlow in the same interpreter (extra `tf`); whoever reads the result needs
TensorFlow 2 alone.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.weights.artifact import flatten
from remedis_jax.weights.exports.parity import compare_outputs
from remedis_jax.weights.savedmodel.process import check_folder, folder_sha256, run_worker

CARD_PATH = "assets.extra/remedis_card.json"
# Any of them can run the file, whatever it was written on. Checked on the CPU.
_PLATFORMS = ("cpu", "cuda", "tpu")


def export_savedmodel(
    forward: Callable[[Any, jax.Array], jax.Array],
    params: Mapping[str, Any],
    images: np.ndarray,
    out: str | os.PathLike,
    *,
    expected: np.ndarray,
    tolerance: float,
    card: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes `forward` as a SavedModel, once it gives the expected output in a fresh process.

    The result is callable, `tf.saved_model.load(out)(images)`, and has the signature
    `serving_default`; both take float32 [any batch, h, w, 3] with the size of `images`. The folder
    appears complete and checked, or not at all.

    Args:
        forward: (params, images) -> [B, D], with everything between images in [0, 1] and the
            output inside: value range, network, pooling.
        params: Nested dict of arrays.
        images: [N, h, w, 3] float32 in [0, 1] to check on; 8 of them (ours).
        out: Folder to write; must not exist.
        expected: [N, D] float32, what this project computes for `images`.
        tolerance: See `parity.compare_outputs`.
        card: JSON values to put in assets.extra/remedis_card.json.

    Returns:
        The parity figures of `compare_outputs`, "versions" of TensorFlow, and "sha256" of the
        folder.

    Raises:
        UserError: `out` exists, or TensorFlow is not installed here.
        RunFailed: The SavedModel computes something else; nothing is left of it.
        OSError: It cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise UserError(f"{out} exists.", "Give a folder that does not, or remove it.")
    try:
        import tensorflow as tf
        from jax.experimental import jax2tf
    except ModuleNotFoundError as error:
        raise UserError(
            f"Writing a SavedModel needs TensorFlow in this interpreter ({error}).",
            "Install it: pip install 'remedis_jax[tf]'.",
        ) from error
    # TensorFlow writes files here; the accelerator is JAX's.
    tf.config.set_visible_devices([], "GPU")
    size = images.shape[1:]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / "saved_model"
        converted = jax2tf.convert(
            forward,
            polymorphic_shapes=[None, f"b, {', '.join(map(str, size))}"],
            with_gradient=False,
            native_serialization_platforms=_PLATFORMS,
        )
        _write(tf, converted, params, size, folder)
        if card is not None:
            (folder / CARD_PATH).parent.mkdir()
            (folder / CARD_PATH).write_text(
                json.dumps(card, sort_keys=True, indent=1), encoding="utf-8"
            )
        work = Path(temporary) / "check"
        work.mkdir()
        try:
            found = run_worker(
                check_folder(folder),
                work,
                images,
                sizes=None,
                python=sys.executable,
                variables=False,
                own_export=True,
            )
        except UserError as error:
            raise RunFailed(
                f"The SavedModel cannot be read back ({error.problem}); {out} was not written."
            ) from error
        theirs = np.load(work / found["runs"][0]["output"], allow_pickle=False)
        parity = compare_outputs(
            "SavedModel", {"features": theirs}, {"features": expected}, tolerance
        )
        digest = folder_sha256(folder)
        # Another process may have made it meanwhile; a rename would put ours inside it.
        if out.exists():
            raise UserError(f"{out} exists.", "Give a folder that does not, or remove it.")
        os.rename(folder, out)
    return parity | {"versions": {"tensorflow": found["tensorflow"]}, "sha256": digest}


def _write(
    tf: Any, converted: Callable, params: Mapping[str, Any], size: tuple[int, ...], folder: Path
) -> None:
    """Saves the converted function with its parameters as variables.

    Constants would count towards the 2 GB that a protocol buffer holds.
    """
    names = list(flatten(params))
    leaves, structure = jax.tree_util.tree_flatten(params)

    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            self.parameters = [
                tf.Variable(np.asarray(leaf), name=name)
                for name, leaf in zip(names, leaves, strict=True)
            ]

        @tf.function(
            input_signature=[tf.TensorSpec([None, *size], tf.float32, name="images")],
            autograph=False,
        )
        def __call__(self, images):
            return converted(jax.tree_util.tree_unflatten(structure, self.parameters), images)

    network = Network()
    signature = tf.function(
        lambda images: {"output": network(images)},
        input_signature=[tf.TensorSpec([None, *size], tf.float32, name="images")],
        autograph=False,
    )
    tf.saved_model.save(network, str(folder), signatures=signature)
