"""A phantom's folder: PNG images and manifests, complete or absent, with a receipt."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from remedis_jax.errors import UserError

_RECEIPT = "phantom.json"


def complete_folder(
    folder: Path,
    arguments: Mapping[str, Any],
    parts: Sequence[str],
    write: Callable[[Path], None],
) -> dict[str, Path]:
    """Makes a phantom's folder, or returns at once where the same phantom stands already.

    Everything is written to a hidden folder beside it and renamed at the end.

    Args:
        folder: The folder to make.
        arguments: All that decides the bytes; written as JSON, and compared where it exists.
        parts: Names of the parts, each a folder with `manifest.csv`.
        write: Writes all parts below the path that it is given.

    Returns:
        part -> path of its manifest.

    Raises:
        UserError: The folder holds something else, a phantom of other arguments, or a phantom whose
            manifests were changed.
    """
    if not _is_vacant(folder):
        return _existing(folder, arguments, parts)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as hidden:
        # One level down: the hidden folder itself is readable by its owner alone.
        complete = Path(hidden) / "phantom"
        write(complete)
        receipt = {**arguments, "sha256": {part: _digest(complete, part) for part in parts}}
        (complete / _RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n")
        try:
            complete.rename(folder)
        except OSError:
            # Another process may have been first; then its phantom has to be this one.
            if _is_vacant(folder):
                raise
    return _existing(folder, arguments, parts)


def write_part(
    folder: Path, images: np.ndarray, table: pd.DataFrame, latents: pd.DataFrame | None = None
) -> None:
    """Writes images/, manifest.csv and latents.csv; file names become paths from the folder.

    Args:
        folder: The part's folder, which must not exist.
        images: [N, S, S] or [N, S, S, 3] uint8.
        table: N rows; column `image` holds the file names.
        latents: N rows that the manifest must not tell, with `image` too; None writes no file.
    """
    (folder / "images").mkdir(parents=True)
    for name, image in zip(table["image"], images, strict=True):
        Image.fromarray(image).save(folder / "images" / name, compress_level=1)
    for name, frame in (("manifest.csv", table), ("latents.csv", latents)):
        if frame is not None:
            frame = frame.assign(image="images/" + frame["image"])
            frame.to_csv(folder / name, index=False, lineterminator="\n")


def _is_vacant(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _existing(
    folder: Path, arguments: Mapping[str, Any], parts: Sequence[str]
) -> dict[str, Path]:
    """Manifests of the phantom that stands in the folder, if it is the one asked for."""
    elsewhere = "Choose another folder, or delete this one."
    if not (folder / _RECEIPT).is_file():
        raise UserError(f"{folder} exists and is no phantom.", elsewhere)
    receipt = json.loads((folder / _RECEIPT).read_text())
    differing = [name for name, value in arguments.items() if receipt.get(name) != value]
    if differing:
        raise UserError(
            f"{folder} holds a phantom with another {' and '.join(differing)}.", elsewhere
        )
    for part in parts:
        manifest = _manifest(folder, part)
        if not manifest.is_file() or _digest(folder, part) != receipt["sha256"][part]:
            raise UserError(f"{manifest} is missing or was changed.", elsewhere)
    return {part: _manifest(folder, part) for part in parts}


def _manifest(folder: Path, part: str) -> Path:
    return folder / part / "manifest.csv"


def _digest(folder: Path, part: str) -> str:
    return hashlib.sha256(_manifest(folder, part).read_bytes()).hexdigest()
