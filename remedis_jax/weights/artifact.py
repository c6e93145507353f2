"""Weights as one safetensors file that carries its preprocessing contract.

Tensors are named by their parameter paths joined with "/"; the file's metadata holds a JSON card:
architecture, preprocessing, classes, lineage, config and versions. Nothing is unpickled.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from remedis_jax.data.dataset import file_sha256
from remedis_jax.errors import UserError

# The one metadata key: safetensors writes several in an order that changes from run to run.
METADATA_KEY = "remedis_jax artefact 1"
FILE_NAME = "weights.safetensors"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """What a weights file holds.

    Attributes:
        params: Nested dict of float32 arrays; the encoder is under "encoder".
        card: The JSON card.
        sha256: Of the file's bytes.
        path: Where it was read from.
    """

    params: dict[str, Any]
    card: dict[str, Any]
    sha256: str
    path: Path


def flatten(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Nested dict -> {"a/b/c": array}."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(entry.key for entry in path): np.asarray(leaf) for path, leaf in leaves}


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{"a/b/c": array} -> nested dict."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def save_artifact(path: Path, params: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """Writes a weights file; it appears complete or not at all.

    Args:
        path: Ends in .safetensors.
        params: Nested dict of arrays.
        card: JSON values.

    Returns:
        sha256 of the file. The same parameters and card give the same bytes.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    temporary = path.with_suffix(".tmp")
    metadata = {METADATA_KEY: json.dumps(card, sort_keys=True)}
    try:
        save_file(flatten(params), temporary, metadata=metadata)
    except SafetensorError as error:
        # What safetensors makes of a full disk.
        raise OSError(str(error)) from error
    os.replace(temporary, path)
    return file_sha256(path)


def load_artifact(path: Path) -> Artifact:
    """Reads a weights file, or the one in a run's folder.

    Raises:
        UserError: It does not exist, is damaged, or was not written by this project.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise UserError(
                f"{path} holds no {FILE_NAME}.",
                "The run has not finished; repeat its command, or give a weights file.",
            )
        path = path / FILE_NAME
    if not path.is_file():
        raise UserError(f"Weights {path} do not exist.", "Check --weights or config.init.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}).", "Make or copy it again."
        ) from error
    if METADATA_KEY not in metadata:
        raise UserError(
            f"{path} carries no card of this project.",
            "Give a weights.safetensors that `remedis train` wrote.",
        )
    return Artifact(unflatten(tensors), json.loads(metadata[METADATA_KEY]), file_sha256(path), path)


def replace_parts(
    params: dict[str, Any], artifact: Artifact, parts: tuple[str, ...]
) -> dict[str, Any]:
    """`params` with parts of the artefact in place of its own.

    Args:
        params: Nested dict with the parts as top-level keys.
        artifact: Where to take them from.
        parts: E.g. ("encoder",) or ("encoder", "head").

    Raises:
        UserError: Names or shapes differ.
    """
    for part in parts:
        own, loaded = (flatten(side.get(part, {})) for side in (params, artifact.params))
        for name in sorted(own.keys() | loaded.keys()):
            shapes = [side[name].shape if name in side else "absent" for side in (own, loaded)]
            if shapes[0] != shapes[1]:
                encoder = artifact.card["encoder"]
                raise UserError(
                    f"{part}/{name} is {shapes[1]} in {artifact.path} and {shapes[0]} in the "
                    "config's model.",
                    f"Those weights are of model {encoder['name']} with stem {encoder['stem']}"
                    f"{'' if part == 'encoder' else ' and other classes'}; make the config agree.",
                )
        params = params | {part: artifact.params[part]}
    return params
