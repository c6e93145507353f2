"""Reads a published TensorFlow 2 SavedModel of a BiT encoder, with a proof that it is the same.

The eight released REMEDIS models are such folders. Their variables become our parameters, and what
their documentation leaves open, whether the input is scaled and the last GroupNorm applied inside,
is decided by running both networks on the same images; see `readings`. TensorFlow runs in
a process of its own; see `process`.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_shapes
from remedis_jax.weights.artifact import unflatten
from remedis_jax.weights.savedmodel.process import check_folder, folder_sha256, run_worker
from remedis_jax.weights.savedmodel.readings import (
    PROBE,
    SCALINGS,
    Row,
    compare,
    decide,
    probe_images,
    table_lines,
    tolerance,
)
from remedis_jax.weights.savedmodel.variables import Match, Variable, propose

# Where the model takes any size: ours, the published pathology models' own.
DEFAULT_SIZE = 224
# Odd and not square: paddings that differ between frameworks differ here (bit).
ODD_SIZE = (97, 75)


@dataclasses.dataclass(frozen=True)
class Imported:
    """A SavedModel as a network of ours.

    Attributes:
        params: {"encoder": nested dict of float32 arrays}.
        spec: The network; `final_norm` as decided.
        decision: JSON values for the card: how the SavedModel was read and on what grounds.
        table: The parity table, one line a row.
    """

    params: dict[str, Any]
    spec: BiTSpec
    decision: dict[str, Any]
    table: list[str]


def import_savedmodel(
    folder: str | os.PathLike,
    *,
    python: str | os.PathLike | None = None,
    scaling: Literal["auto", "inside", "outside"] = "auto",
    final_norm: bool | Literal["auto"] = "auto",
    output: str | None = None,
    size: int | None = None,
    name: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Imported:
    """Reads a SavedModel and decides how it is to be read by running it beside our network.

    Args:
        folder: Holds saved_model.pb and variables/.
        python: Interpreter with TensorFlow; $REMEDIS_TF_PYTHON or this one if None.
        scaling: "inside" if the SavedModel brings [0, 1] to [-1, 1] itself, "outside" if what it is
            fed is what its network reads. "auto" decides; anything else has to agree.
        final_norm: Whether its output has passed the last GroupNorm and ReLU; as `scaling`.
        output: Name of the output to take, where it has several.
        size: Side in pixels to compare at, where the SavedModel takes any; 224 if None.
        name: What to call it in messages; its folder if None.
        progress: Called with lines of text, the parity table among them.

    Returns:
        Parameters, network, decision and parity table.

    Raises:
        UserError: The folder is incomplete, damaged, unsafe or no BiT, or no single reading agrees
            with its outputs.
        RunFailed: TensorFlow's process ended without an answer.
    """
    if scaling not in ("auto", *SCALINGS) or final_norm not in ("auto", True, False):
        raise UserError(
            f"scaling={scaling!r}, final_norm={final_norm!r} are not possible.",
            "scaling is auto, inside or outside; final_norm auto, True or False.",
        )
    if size is not None and size < 1:
        raise UserError(f"size={size} is no size of an image.", "Give pixels, e.g. 224.")
    say = progress or (lambda line: None)
    root = check_folder(Path(folder))
    source = f"SavedModel {name or folder}"
    say(f"reading and running {source} with TensorFlow")
    with tempfile.TemporaryDirectory(prefix="remedis-savedmodel-") as temporary:
        work = Path(temporary)
        sizes = [(size or DEFAULT_SIZE,) * 2, ODD_SIZE]
        found = run_worker(root, work, probe_images(), sizes=sizes, python=python, output=output)
        _check_size(source, size, found["shape"])
        described = found["variables"]
        variables = [
            Variable.of_shape(v["name"], v["path"], v["shape"], v["dtype"]) for v in described
        ]
        matches = propose(variables, source)
        for run in found["runs"]:
            if run["error"]:
                say(f"not compared at {_text(run['size'])}: {source} fails there ({run['error']})")
        done = [run for run in found["runs"] if not run["error"]]

        def read(match: Match) -> dict[str, np.ndarray]:
            files = {ours: described[i]["file"] for ours, i in match.indices.items()}
            shapes = {ours: variables[i].shape for ours, i in match.indices.items()}
            return {
                ours: np.load(work / file, allow_pickle=False).reshape(shapes[ours])
                for ours, file in files.items()
            }

        allowed = max(tolerance(match.spec) for match in matches)
        rows: list[Row] = []
        pooled = False
        for number, match in enumerate(matches):
            say(f"comparing {match.spec.name}, variables by {match.matched_by} ({match.detail})")
            runs = ((np.load(work / r["input"]), np.load(work / r["output"])) for r in done)
            more, pooled = compare(number, match.spec, read(match), runs, source)
            rows += more
        try:
            chosen = decide(
                rows,
                source,
                allowed,
                scaling=None if scaling == "auto" else scaling,
                final_norm=None if final_norm == "auto" else final_norm,
            )
        except UserError:
            for line in table_lines(rows, None, allowed):
                say(line)
            raise
        match = matches[chosen[0]]
        spec = dataclasses.replace(match.spec, final_norm=chosen[2])
        flat = read(match)
    table = table_lines(rows, chosen, allowed)
    for line in table:
        say(line)
    used = {index for ours, index in match.indices.items() if ours in encoder_shapes(spec)}
    left_out = [str(v) for index, v in enumerate(variables) if index not in used]
    if left_out:
        say(f"left out, {len(left_out)} variables that the output does not pass: {_few(left_out)}")
    decision = {
        "scaling": chosen[1],
        "value_range": list(SCALINGS[chosen[1]]),
        "final_norm": spec.final_norm,
        "pooled": pooled,
        "matched_by": match.matched_by,
        "matched_detail": match.detail,
        "left_out": left_out,
        "parity": [row.to_json() | {"agrees": row.reading == chosen} for row in rows],
        "not_compared": [run for run in found["runs"] if run["error"]],
        "tolerance": allowed,
        "probe": PROBE,
        "called": found["called"],
        "output": found["output"] or None,
        "input_shape": found["shape"],
        "tensorflow": found["tensorflow"],
        "saved_model_sha256": folder_sha256(root),
    }
    encoder = {ours: flat[ours] for ours in encoder_shapes(spec)}
    return Imported({"encoder": unflatten(encoder)}, spec, decision, table)


def _check_size(source: str, size: int | None, shape: list[int | None]) -> None:
    for fixed in shape[1:3]:
        if size is not None and fixed is not None and fixed != size:
            raise UserError(
                f"{source} reads images of {fixed} pixels and size={size} was asked for.",
                "Leave size out; it is only for models that take any.",
            )


def _text(size: list[int]) -> str:
    return "x".join(map(str, size))


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
