"""From what a user calls weights (a path, a run, a registry name, a URL) to a verified artefact."""

from collections.abc import Sequence
from pathlib import Path

from remedis_jax.weights.artifact import Artifact, load_artifact


def open_weights(reference: str | Path, *, dont_load: Sequence[str] = ()) -> Artifact:
    return load_artifact(Path(reference), dont_load=dont_load)
