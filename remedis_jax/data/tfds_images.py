"""Data sets that TFDS has prepared, read without TensorFlow.

``tfds:NAME[/CONFIG][/VERSION][:SPLIT][@FOLDER]``: all splits where none is named, with a column
'split' ('tfds_split' where the data set has one of its own); SPLIT may be cut and added up as TFDS
does, train[:10%]+test. FOLDER is where data sets are kept; TFDS_DATA_DIR, or ~/tensorflow_datasets,
where it is not given. Images are named by split and number, train/12, whatever SPLIT is. What the
columns are is in `remedis_jax.data.tfds_columns`; several images in an example are chosen by
`columns.image`.

Columns come with the images, so that one pass over a split reads them. The table is then kept as
Parquet beside the data set, or in the user's cache where that cannot be written to.
"""

import os
import re
from pathlib import Path

import numpy as np

from remedis_jax.data.made_manifest import made_manifest
from remedis_jax.data.manifest import Columns, Manifest
from remedis_jax.data.messages import did_you_mean
from remedis_jax.data.stores import file_name
from remedis_jax.data.tfds_columns import FeatureColumns, at
from remedis_jax.data.tfds_reader import FORMATS, PreparedSet
from remedis_jax.data.tfds_table import read_split_table
from remedis_jax.errors import UserError

PREFIX = "tfds:"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class TfdsStore:
    """The images of one feature of a prepared data set, named by split and number.

    Args:
        prepared: The data set.
        path: Where the feature lies in an example.
        sizes: Bytes of the images of each split, int64 [N].
        bits: Bits of a channel of the deepest of them: 8 or 16.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        path: tuple[str, ...],
        sizes: dict[str, np.ndarray],
        bits: int,
    ):
        self._prepared = prepared
        self._path = path
        self._sizes = sizes
        self.bits = bits

    def read(self, name: str) -> bytes:
        """The encoded image.

        Raises:
            UserError: There is no such image, or its file is gone or damaged.
        """
        place = self._place(name)
        if place is None:
            raise UserError(f"{name}: there is no such image.", "Prepare the data set again.")
        return at(self._prepared.example(*place, [self._path]), self._path)

    def head(self, name: str, length: int) -> bytes:
        return self.read(name)

    def size(self, name: str) -> int:
        place = self._place(name)
        return -1 if place is None else int(self._sizes[place[0]][place[1]])

    def stamp(self, name: str) -> str:
        return "absent" if self._place(name) is None else f"{self._prepared.digest}:{name}"

    def _place(self, name: str) -> tuple[str, int] | None:
        split, _, number = file_name(name).partition("/")
        sizes = self._sizes.get(split)
        # Only the usual spelling, so that an image has one name.
        if sizes is None or not (number.isdecimal() and str(int(number)) == number):
            return None
        return (split, int(number)) if int(number) < len(sizes) else None


def open_tfds(reference: str, columns: Columns) -> Manifest:
    """The manifest of a prepared data set, one row per example.

    Args:
        reference: As this module's docstring says.
        columns: Which column plays which part; `columns.image` is the image feature.

    Raises:
        UserError: The data set is not known or not prepared, has no such split or feature, or is
            kept in a format that cannot be read at random.
    """
    text, _, folder = reference.removeprefix(PREFIX).partition("@")
    name, _, split = text.partition(":")
    prepared = PreparedSet(_find(reference, name, folder))
    found = FeatureColumns(prepared.name, prepared.features)
    if columns.image not in found.images:
        known = ", ".join(map(repr, found.images))
        raise UserError(
            f"{PREFIX}{name}: there is no image feature {columns.image!r}."
            f"{did_you_mean(columns.image, found.images)}",
            f"There is {known}; name it in data.image." if known else "It has no images.",
        )
    prepared.require_encoded(found.images[columns.image])
    parts = prepared.parts(split)
    tables = {part: read_split_table(prepared, found, part) for part, _, _ in parts}
    names = [f"{part}/{i}" for part, start, end in parts for i in range(start, end)]
    if len(set(names)) < len(names):
        raise UserError(f"{reference}: an example is in the split twice.", "Name it once.")
    cells = {columns.image: names}
    for column in found.names:
        cells[column] = [
            cell for part, start, end in parts for cell in tables[part].cells[column][start:end]
        ]
    own = "tfds_split" if "split" in cells else "split"
    cells[own] = [part for part, start, end in parts for _ in range(start, end)]
    sizes = {part: table.sizes[columns.image] for part, table in tables.items()}
    depths = [tables[part].bits[columns.image][start:end] for part, start, end in parts]
    bits = max((int(depth.max()) for depth in depths if len(depth)), default=8)
    store = TfdsStore(prepared, found.images[columns.image], sizes, bits)
    return made_manifest(cells, columns, prepared.folder / "dataset_info.json", store)


def _find(reference: str, name: str, folder: str) -> Path:
    """The folder of the newest version of a data set."""
    parts = name.split("/")
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"[\w.-]+", part) for part in parts):
        raise UserError(
            f"{reference}: is no name of a data set.",
            "Write tfds:NAME[/CONFIG][:SPLIT][@FOLDER].",
        )
    base = Path(
        folder or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    ).expanduser().absolute()
    version = parts.pop() if len(parts) > 1 and _VERSION.fullmatch(parts[-1]) else None
    place = base.joinpath(*parts)
    if not place.is_dir():
        raise _not_prepared(reference, base, parts)
    inner = [entry.name for entry in place.iterdir() if entry.is_dir()]
    versions = [entry for entry in inner if _VERSION.fullmatch(entry)]
    if not versions:
        configs = [i for i in inner if any(map(_VERSION.fullmatch, _names(place / i)))]
        if len(parts) == 1 and configs:
            raise UserError(
                f"{reference}: which of its configurations is not said.",
                f"Name one: {', '.join(f'tfds:{parts[0]}/{c}' for c in sorted(configs))}.",
            )
        raise _not_prepared(reference, base, parts)
    versions.sort(key=lambda entry: tuple(map(int, entry.split("."))))
    if version is not None and version not in versions:
        raise UserError(
            f"{reference}: version {version} is not prepared in {place}.",
            f"There is {', '.join(versions)}.",
        )
    return place / (version or versions[-1])


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _not_prepared(reference: str, base: Path, parts: list[str]) -> UserError:
    import tensorflow_datasets as tfds

    from remedis_jax.data.tfds_sets.prepare import names

    name, full = parts[0], "/".join(parts)
    prepared = _names(base) if base.is_dir() else []
    ours, theirs = names(), tfds.list_builders(with_community_datasets=False)
    if name in ours:
        how = f"remedis prepare {name} --manual-dir DOWNLOADS --data-dir {base}"
    elif name in theirs:
        # What TensorFlow writes is read without it.
        how = (
            'with TensorFlow for most sets, python -c "import tensorflow_datasets as tfds;'
            f" tfds.builder({full!r}, data_dir={str(base)!r}, file_format='{FORMATS[0]}')"
            '.download_and_prepare()"'
        )
    else:
        known = sorted({*ours, *theirs, *prepared})
        raise UserError(
            f"{reference}: there is no data set {name!r} in {base}, and none of that name is"
            f" known.{did_you_mean(name, known)}",
            "Correct the name, or say where it is: tfds:NAME:SPLIT@FOLDER.",
        )
    return UserError(
        f"{reference}: {full} is not prepared in {base}.",
        f"Prepare it ({how}), or say where it is: tfds:{full}:SPLIT@FOLDER.",
    )
