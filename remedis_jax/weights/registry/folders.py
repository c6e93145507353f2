"""The folders that models lie in, and what is in them.

`REMEDIS_MODELS` names them, separated as in PATH; downloads go to the first. Without it there is
one, the cache of the user. In a folder, at most two levels down, count the weights files of this
project, the folders of finished runs, and the published .npz files.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import FILE_NAME, read_card
from remedis_jax.weights.registry.published import KnownModel

VARIABLE = "REMEDIS_MODELS"
_DEPTH = 2
# Whatever is not a name of this form is a path, so that no name leads out of the folders.
_NAME = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*){0,2}")


@dataclasses.dataclass(frozen=True)
class Found:
    """A weights file in a folder, known by its header alone.

    Attributes:
        name: What `locate` takes: its path in the folder without the suffix, or that of its run.
        path: The file.
        size: In bytes.
        card: Its card; None if it is not one of ours.
        sha256: Hash of the artefact, as its header says; "" if it is not one of ours.
        problem: Why it is not one of ours; "" if it is.
    """

    name: str
    path: Path
    size: int
    card: dict[str, Any] | None = None
    sha256: str = ""
    problem: str = ""


def models_folders() -> list[Path]:
    """The folders to look in, whether they exist or not; the first is written to."""
    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]
    if named:
        return [Path(part).expanduser() for part in named]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(cache) / "remedis_jax" / "models"]


def find_artifact(name: str) -> Path | None:
    """The weights file of that name in the first folder that has one.

    Args:
        name: As in `Found.name`; anything that could lead out of a folder is never found.
    """
    if not _NAME.fullmatch(name):
        return None
    for folder in models_folders():
        for path in (folder / f"{name}.safetensors", folder / name / FILE_NAME):
            if path.is_file():
                return path
    return None


def find_published(model: KnownModel) -> Path | None:
    """The .npz of a published model as it was published, where it is here."""
    if model.file_name is None:
        return None
    for folder in models_folders():
        for path in (folder / model.name / model.file_name, folder / model.file_name):
            if path.is_file():
                return path
    return None


def find_savedmodel(model: KnownModel) -> Path | None:
    """The folder of a published SavedModel that nobody has imported yet."""
    for folder in models_folders():
        if (folder / model.name / "saved_model.pb").is_file():
            return folder / model.name
    return None


def list_artifacts(folders: Sequence[Path]) -> list[Found]:
    """Every safetensors file in the folders, with its card if it is one of ours.

    Only headers are read. A folder that does not exist holds nothing.

    Raises:
        UserError: A folder may not be read.
    """
    found = []
    for folder in folders:
        for path in weights_files(folder, (".safetensors",)):
            relative = path.relative_to(folder)
            of_run = path.name == FILE_NAME and relative.parent != Path()
            name = (relative.parent if of_run else relative.with_suffix("")).as_posix()
            size = path.stat().st_size
            try:
                card, sha256 = read_card(path)
                found.append(Found(name, path, size, card, sha256))
            except UserError as error:
                found.append(Found(name, path, size, problem=error.problem))
    return found


def weights_files(
    folder: Path, suffixes: tuple[str, ...] = (".safetensors", ".npz"), depth: int = _DEPTH
) -> Iterator[Path]:
    """Files with one of the suffixes, in the order of their names; hidden folders are left out.

    Args:
        folder: Where to look; it may be absent.
        suffixes: Ends of names.
        depth: How many folders down.

    Raises:
        UserError: A folder may not be read.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}).", f"Check {VARIABLE} and its rights."
        ) from error
    for entry in entries:
        if entry.is_file() and entry.name.endswith(suffixes):
            yield folder / entry.name
        elif depth and entry.is_dir() and not entry.name.startswith("."):
            yield from weights_files(folder / entry.name, suffixes, depth - 1)
