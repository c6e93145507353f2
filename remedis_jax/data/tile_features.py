"""Tile features of slides, one HDF5 file per slide, as TRIDENT, CLAM and STAMP write them.

========  ==========  ========  ==================================================
tool      features    coords    unit of coords
========  ==========  ========  ==================================================
TRIDENT   features    coords    pixels of level 0
CLAM      features    coords    pixels of level 0
STAMP     feats       coords    micrometres (px where the attribute 'unit' says so)
========  ==========  ========  ==================================================

Features are [N, D], or [1, N, D] as some versions have it; coords [N, 2]: x, y of each tile's upper
left corner. The files that `remedis embed` writes for slides have the same layout.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from remedis_jax.data.h5_files import attributes, find_array, open_h5
from remedis_jax.data.made_manifest import made_manifest
from remedis_jax.data.manifest import Columns, Manifest
from remedis_jax.data.stores import FolderStore
from remedis_jax.errors import UserError

SUFFIXES = frozenset({".h5", ".hdf5"})
_FEATURES = ("features", "feats")


@dataclasses.dataclass(frozen=True, eq=False)
class TileBag:
    """The tiles of one slide; features stay in their file until they are asked for.

    Attributes:
        path: The file.
        count: Number of tiles, N.
        width: Length of a feature vector, D.
        coords: [N, 2], int64 pixels or float64 micrometres; None where the file has none.
        unit: Of `coords`: 'px' or 'um'; '' without them.
        attrs: What the file says of itself, as far as it is a number or a text.
    """

    path: Path
    count: int
    width: int
    coords: np.ndarray | None
    unit: str
    attrs: Mapping[str, Any]

    def features(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Features of the tiles, or of some of them, float32 [n, D].

        Args:
            rows: A slice, or numbers of tiles, int [n], in any order.

        Raises:
            UserError: The file has changed, is damaged, or a value is not finite.
        """
        with open_h5(self.path) as file:
            found = _features(file, self.path)
            if _shape(found) != (self.count, self.width):
                raise UserError(f"{self.path}: has changed since it was opened.", "Start again.")
            values = _read(found, rows, self.path)
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError(
                f"{self.path}: 'features' has values that are not finite.", "Make it again."
            )
        return values


@dataclasses.dataclass(frozen=True, eq=False)
class SlideBag:
    """A row of a manifest of slides, with its bag.

    Attributes:
        row: In the manifest.
        name: Of the file, as the manifest has it.
        group: The patient; the file where the manifest has no groups.
        labels: Text of each label column.
        bag: The tiles.
    """

    row: int
    name: str
    group: str
    labels: tuple[str, ...]
    bag: TileBag


def open_bag(path: str | os.PathLike) -> TileBag:
    """Looks into the file of one slide.

    Args:
        path: Its .h5 file; .pt files are refused, as they are pickles.

    Raises:
        UserError: It is missing, damaged, or not laid out as this module's docstring says.
    """
    path = Path(path).absolute()
    with open_h5(path) as file:
        features = _features(file, path)
        count, width = _shape(features)
        coords = find_array(file, ("coords",), "iuf", path)
        places = [file, features] + ([] if coords is None else [coords])
        attrs = attributes(*places)
        unit = ""
        if coords is not None:
            if _shape(coords) != (count, 2):
                raise UserError(
                    f"{path}: 'coords' is of shape {list(coords.shape)} beside {count:,} features.",
                    "Make the features again.",
                )
            unit = _unit(features.name.strip("/"), attrs, path)
            coords = _read(coords, slice(None), path)
            coords = coords.astype(np.int64 if coords.dtype.kind in "iu" else np.float64)
    return TileBag(path, count, width, coords, unit, MappingProxyType(attrs))


def slide_bags(manifest: Manifest) -> Iterator[SlideBag]:
    """The slides of a manifest whose images are .h5 files, one after the other.

    Raises:
        UserError: A file cannot be used, with its row, or features differ in width.
    """
    if not isinstance(manifest.store, FolderStore):
        raise UserError(
            f"{manifest.path}: its images are no files of their own.",
            "Give a manifest that names the .h5 file of each slide.",
        )
    labels = [manifest.column(name) for name in manifest.columns.labels]
    width = first = None
    for i, (row, name, group) in enumerate(
        zip(manifest.rows.tolist(), manifest.images, manifest.groups, strict=True)
    ):
        try:
            bag = open_bag(manifest.store.path(name))
        except UserError as error:
            raise UserError(f"{manifest.path}: row {row}: {error.problem}", error.remedy) from None
        if width is None:
            width, first = bag.width, row
        if bag.width != width:
            raise UserError(
                f"{manifest.path}: row {row} ({name}): features are {bag.width} wide, those of row"
                f" {first} {width}.",
                "Make all of them with one encoder.",
            )
        yield SlideBag(row, name, group, tuple(column[i] for column in labels), bag)


def open_features_folder(folder: Path, names: list[str], columns: Columns) -> Manifest:
    """The manifest of a folder of .h5 files: column 'slide' is the file's name without ending.

    Args:
        folder: Absolute.
        names: Paths of the files relative to it.
        columns: Which column plays which part.
    """
    cells = {columns.image: names}
    if columns.image != "slide":
        cells["slide"] = [Path(name).stem for name in names]
    return made_manifest(cells, columns, folder, FolderStore(folder))


def _features(file: Any, path: Path) -> Any:
    found = find_array(file, _FEATURES, "f", path)
    if found is None:
        raise UserError(
            f"{path}: has neither 'features' nor 'feats'.",
            "Give files with features, not those with coordinates alone.",
        )
    shape = _shape(found)
    if shape is None or 0 in shape:
        name = found.name.strip("/")
        raise UserError(
            f"{path}: {name!r} is of shape {list(found.shape)}, not [tiles, width].",
            "Give features of tiles, not one vector for a slide.",
        )
    return found


def _shape(array: Any) -> tuple[int, int] | None:
    """Of a matrix, or of a matrix with a leading axis of length 1; None for all else."""
    shape = array.shape[1:] if array.ndim == 3 and array.shape[0] == 1 else array.shape
    return shape if len(shape) == 2 else None


def _read(array: Any, rows: np.ndarray | slice, path: Path) -> np.ndarray:
    try:
        if array.ndim == 3:
            return array[0][rows]
        if isinstance(rows, slice):
            return array[rows]
        # HDF5 reads rows in rising order only, and each once.
        rising, back = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        return array[rising][back]
    except OSError:
        raise UserError(f"{path}: is damaged.", "Make the features again.") from None


def _unit(features: str, attrs: Mapping[str, Any], path: Path) -> str:
    # STAMP says it, apart from its first versions, which wrote micrometres.
    unit = attrs.get("unit", "um" if features == "feats" else "px")
    if unit not in ("px", "um"):
        raise UserError(f"{path}: 'coords' are in {unit!r}.", "They are read in 'px' or 'um'.")
    return unit
