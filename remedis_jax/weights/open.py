"""From what a user calls weights (a path, a run, a registry name, a URL) to a verified artefact."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from remedis_jax.data.dataset import file_sha256
from remedis_jax.weights.artifact import Artifact, load_artifact, read_card, save_artifact
from remedis_jax.weights.imports import import_bit, published_name
from remedis_jax.weights.registry.folders import models_folders
from remedis_jax.weights.registry.locate import locate

Progress = Callable[[int, int], None]


def open_weights(
    reference: str | os.PathLike,
    *,
    dont_load: Sequence[str] = (),
    progress: Progress | None = None,
) -> Artifact:
    """Finds, if need be downloads and imports, and verifies weights.

    Args:
        reference: See `weights.registry.locate`.
        dont_load: See `weights.artifact.load_artifact`.
        progress: Called with (bytes here, bytes in all) during a download.

    Returns:
        The artefact.

    Raises:
        UserError: There are none, they may not be had, or they are not what they should be.
        RunFailed: A download did not succeed this time.
    """
    path = artifact_file(locate(reference, progress=progress))
    return load_artifact(path, dont_load=dont_load)


def artifact_file(path: Path) -> Path:
    """The artefact of a located file: itself, or that of a downloaded .npz, imported once.

    Only files inside the models folders are imported by themselves. An artefact is taken for that
    of a file only if its lineage names the file's hash, so that two files of one name, or a file
    that was replaced, never share one.
    """
    folder = next((f for f in models_folders() if f in path.parents), None)
    if path.suffix != ".npz" or folder is None:
        return path
    digest = file_sha256(path)
    name = published_name(path)
    first = models_folders()[0]
    for place in dict.fromkeys((folder, first)):
        for known in (place / f"{name}.safetensors", place / f"{name}-{digest[:12]}.safetensors"):
            if known.is_file() and _source(known) == digest:
                return known
    target = first / f"{name}.safetensors"
    if target.exists():
        target = first / f"{name}-{digest[:12]}.safetensors"
    first.mkdir(parents=True, exist_ok=True)
    save_artifact(target, *import_bit(path))
    return target


def _source(path: Path) -> str | None:
    """SHA-256 of the file that an artefact was imported from; None if it was not."""
    card, _ = read_card(path)
    return (card["lineage"].get("source") or {}).get("sha256")
