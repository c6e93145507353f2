"""One way in for every kind of data: from what the user names to a manifest with its images."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remedis_jax.data.cache_store import FILE_NAME as CACHE_FILE
from remedis_jax.data.cache_store import open_cache
from remedis_jax.data.image_folder import list_files, open_folder
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.data.parquet_images import holds_images, open_parquet
from remedis_jax.data.slide_tiles import open_tiles
from remedis_jax.data.tfds_images import PREFIX, open_tfds
from remedis_jax.data.tile_features import SUFFIXES as FEATURE_SUFFIXES
from remedis_jax.data.tile_features import open_features_folder
from remedis_jax.errors import UserError


def open_manifest(
    reference: str | os.PathLike,
    columns: Columns,
    *,
    allow_outside: bool = False,
    tiles: Mapping[str, Any] | None = None,
) -> Manifest:
    """Opens whatever data a user names.

    ============================================  =================================================
    reference                                     read by
    ============================================  =================================================
    ``table.csv``, ``table.parquet``              `data.manifest`: a row per image file
    the same with `tiles`                         `data.slide_tiles`: tiles of whole slides
    ``images.parquet``, a folder of such files    `data.parquet_images`: images in the table
    ``tfds:NAME[/CONFIG][:SPLIT][@FOLDER]``       `data.tfds_images`: what TFDS has prepared
    a folder with cache.json                      `data.cache_store`: what `remedis cache` wrote
    a folder of .h5 files                         `data.tile_features`: features of slides
    another folder                                `data.image_folder`: images, by their folders
    ============================================  =================================================

    Args:
        reference: Path, or name of a TFDS data set.
        columns: Which column plays which part.
        allow_outside: Accept images outside the folder of the manifest, and links.
        tiles: How the rows of a table name tiles of slides; None where they name images.

    Raises:
        UserError: There is no such data, or it cannot be used.
    """
    reference = os.fspath(reference)
    if tiles is not None and (reference.startswith(PREFIX) or os.path.isdir(reference)):
        raise UserError(
            f"{reference}: data.tiles is for a table of slides.",
            "Name a .csv or .parquet table, or leave data.tiles empty.",
        )
    if reference.startswith(PREFIX):
        return open_tfds(reference, columns)
    path = Path(reference).absolute()
    if tiles is not None:
        return open_tiles(path, columns, tiles, allow_outside=allow_outside)
    if path.is_dir():
        return _open_folder(path, columns, allow_outside)
    if path.suffix.lower() == ".parquet" and path.is_file() and path.stat().st_size:
        if holds_images(path, columns.image):
            return open_parquet([path], path.parent, columns)
    elif not path.exists() and not path.suffix:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"{path}: there is no such file or folder.{did_you_mean(path.name, siblings)}",
            "Name a .csv or .parquet manifest, a folder of images, or tfds:NAME.",
        )
    return read_manifest(path, columns, allow_outside=allow_outside)


def _open_folder(folder: Path, columns: Columns, allow_outside: bool) -> Manifest:
    if (folder / CACHE_FILE).is_file():
        return open_cache(folder, columns)
    files = list_files(folder, allow_outside=allow_outside)
    for suffixes, what in (({".parquet"}, "Parquet"), (FEATURE_SUFFIXES, "HDF5")):
        found = [name for name in files if Path(name).suffix.lower() in suffixes]
        if not found:
            continue
        others = [name for name in files if name not in set(found) and not _is_text(name)]
        if others:
            raise UserError(
                f"{folder}: holds {what} files ({first_few(found[:1])}) and others"
                f" ({first_few(others)}).",
                "Keep the two apart, or name the one that is meant.",
            )
        if what == "HDF5":
            return open_features_folder(folder, found, columns)
        return open_parquet([folder / name for name in found], folder, columns)
    return open_folder(folder, files, columns, allow_outside=allow_outside)


def _is_text(name: str) -> bool:
    """Whether a file is what data sets come with: a card, a licence, a description."""
    return Path(name).suffix.lower() in (".md", ".txt", ".json", ".yaml", "")
