"""Reading files of weights as a whole and comparing them with their hashes."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import METADATA_KEY, artifact_path, load_artifact
from remedis_jax.weights.registry.checksums import check_file, read_record
from remedis_jax.weights.registry.folders import models_folders, weights_files
from remedis_jax.weights.registry.locate import locate


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was found out about a file.

    Attributes:
        path: The file.
        is_good: False if it is not what it should be.
        text: What it was compared with, or what is wrong.
    """

    path: Path
    is_good: bool
    text: str


def verify_one(reference: str | os.PathLike) -> Verified:
    """Verifies what a reference means; nothing is downloaded for it.

    Raises:
        UserError: There is no such file here.
    """
    path = locate(reference, offline=True)
    return verify_file(artifact_path(path) if path.is_dir() else path)


def verify_all() -> Iterator[Verified]:
    """Verifies every .safetensors and .npz of the models folders, one after the other."""
    for folder in models_folders():
        for path in weights_files(folder):
            yield verify_file(path)


def verify_file(path: Path) -> Verified:
    """Reads a file to its end: its bytes against the record, its tensors against its card."""
    try:
        record = read_record(path)
        digest = check_file(path, whole=True)
        compared = [f"SHA-256 {digest}"]
        if record is not None:
            compared.append("as named" if record.given else "as at its first download")
        if path.suffix == ".safetensors" and _has_card(path):
            artifact = load_artifact(path)
            compared.append(f"every tensor as in its card, artefact {artifact.sha256}")
        elif record is None:
            compared.append("no record and no card to compare it with")
    except UserError as error:
        return Verified(path, False, str(error))
    return Verified(path, True, "; ".join(compared))


def _has_card(path: Path) -> bool:
    """Whether it claims to be an artefact: a state dict of others has no card to fail by."""
    try:
        with safe_open(path, framework="numpy") as file:
            # The key without its version.
            ours = METADATA_KEY.rpartition(" ")[0]
            return any(key.startswith(ours) for key in file.metadata() or {})
    except SafetensorError:
        # Damaged, or of another kind; loading it says which.
        return True
