"""Parquet files that hold encoded images, as Hugging Face data sets do.

The image column is binary, or a struct of `bytes` and `path`. Every other column becomes text, by
the rules of `remedis_jax.data.tables`: a null is an empty cell, and a class that the file's own
description names becomes its name, and an empty cell where it is -1, which there means unknown. A
list becomes JSON, or columns label_00, label_01 ... where the description gives its length. The
paths of the struct become the column <image>_path. Shards named after a split, such as
train-00000-of-00002.parquet, give a column 'split' where the files have none.

Images are named by file and row, as in ``train-00000-of-00002.parquet/12``, counted from 0.
"""

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.made_manifest import made_manifest
from remedis_jax.data.manifest import FIRST_ROW, Columns, Manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.data.row_groups import BinaryColumn
from remedis_jax.data.stores import file_name
from remedis_jax.errors import UserError

# The key of the schema under which `datasets` describes its features, as JSON.
_DESCRIPTION = b"huggingface"
_SPLIT = re.compile(r"(train|training|validation|valid|val|dev|test|testing)(?=[-_.]|$)", re.I)


class ParquetImagesStore:
    """Images in a binary column of Parquet files, named by file and row.

    Args:
        folder: Where the files lie.
        files: Their paths relative to it.
        column: Path of the column, with '.' between a struct and its field.

    Raises:
        UserError: A file is damaged, or its row groups are too large.
    """

    def __init__(self, folder: Path, files: Sequence[str], column: str):
        self._column = BinaryColumn([folder / name for name in files], column)
        self._files = {name: number for number, name in enumerate(files)}

    @property
    def column(self) -> BinaryColumn:
        """The images by file and row."""
        return self._column

    def read(self, name: str) -> bytes:
        """The encoded image.

        Raises:
            UserError: There is no such image, it is null, or the file is damaged.
        """
        place = self._place(name)
        data = None if place is None else self._column.cell(*place)
        if data is None:
            reason = "there is no such image" if place is None else "the cell is empty"
            raise UserError(f"{name}: {reason}.", "Write the Parquet file again.")
        return data

    def head(self, name: str, length: int) -> bytes:
        return self.read(name)

    def size(self, name: str) -> int:
        """The image's share of its row group, since Parquet does not store the size of a cell."""
        place = self._place(name)
        return -1 if place is None else self._column.share(*place)

    def stamp(self, name: str) -> str:
        place = self._place(name)
        if place is None:
            return "absent"
        try:
            found = Path(self._column.paths[place[0]]).stat()
        except OSError:
            return "absent"
        return f"{found.st_size}:{found.st_mtime_ns}"

    def _place(self, name: str) -> tuple[int, int] | None:
        """File and row of an image."""
        file, _, row = file_name(name).rpartition("/")
        number = self._files.get(file)
        # Only the usual spelling, so that an image has one name.
        if number is None or not (row.isdecimal() and str(int(row)) == row):
            return None
        return (number, int(row)) if int(row) < self._column.count(number) else None


def holds_images(path: Path, image: str) -> bool:
    """Whether a Parquet file holds encoded images in column `image`, or, without it, in another.

    Raises:
        UserError: It cannot be read.
    """
    schema = _read_schema(path)
    found = _image_columns(schema)
    return image in found or (bool(found) and image not in schema.names)


def open_parquet(paths: Sequence[Path], folder: Path, columns: Columns) -> Manifest:
    """The manifest of Parquet files with images, one row per image.

    Args:
        paths: The files, absolute, in the order wanted.
        folder: Where their names start, absolute.
        columns: Which column plays which part.

    Raises:
        UserError: A file is damaged, the files differ in their columns, there is no such column,
            or an image is missing.
    """
    with ThreadPoolExecutor(min(16, len(paths))) as pool:
        schemas = list(pool.map(_read_schema, paths))
    for path, schema in zip(paths, schemas, strict=True):
        if not schema.equals(schemas[0]):
            differ = sorted({f.name for f in set(schema) ^ set(schemas[0])})
            raise UserError(
                f"{path}: has other columns than {paths[0].name} ({first_few(differ)}).",
                "Keep the files of one data set in a folder.",
            )
    schema, source = schemas[0], paths[0] if len(paths) == 1 else folder
    found = _image_columns(schema)
    if columns.image not in found:
        known = f"The columns that can are {', '.join(map(repr, found))}; name one in data.image."
        raise UserError(
            f"{source}: no column {columns.image!r} holds images."
            f"{did_you_mean(columns.image, found)}",
            known if found else "Give files with a binary column of encoded images.",
        )
    names = [path.relative_to(folder).as_posix() for path in paths]
    store = ParquetImagesStore(folder, names, found[columns.image])
    counts = [store.column.count(file) for file in range(len(paths))]
    starts = np.cumsum([0, *counts])
    empty = [
        str(starts[file] + row + FIRST_ROW)
        for file in range(len(paths))
        for row in store.column.nulls(file)
    ]
    cells = {
        columns.image: [
            f"{name}/{row}" for name, c in zip(names, counts, strict=True) for row in range(c)
        ],
        **_text_columns(paths, schema, columns.image),
    }
    splits = [_SPLIT.match(path.name) for path in paths]
    if "split" not in cells and all(splits):
        repeated = zip(splits, counts, strict=True)
        cells["split"] = [split[1] for split, count in repeated for _ in range(count)]
    manifest = made_manifest(cells, columns, source, store)
    manifest.refuse(
        empty,
        f"column {columns.image!r} holds no bytes in",
        "Write the files with the images in them, not their paths alone.",
    )
    return manifest


def _read_schema(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.", "Restore it.") from None
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: is not a readable Parquet file: {reason}.", "Write the file again."
        ) from None


def _image_columns(schema: Any) -> dict[str, str]:
    """Path of the bytes of every column that can hold images, by its name."""
    found = {}
    for field in schema:
        if _is_binary(field.type):
            found[field.name] = field.name
        elif _is_struct(field.type):
            inner = {field.type.field(i).name: field.type.field(i) for i in range(_width(field))}
            if "bytes" in inner and _is_binary(inner["bytes"].type):
                found[field.name] = f"{field.name}.bytes"
    return found


def _width(field: Any) -> int:
    return field.type.num_fields


def _is_struct(kind: Any) -> bool:
    import pyarrow

    return pyarrow.types.is_struct(kind)


def _is_binary(kind: Any) -> bool:
    import pyarrow

    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _text_columns(paths: Sequence[Path], schema: Any, image: str) -> dict[str, list[str]]:
    """Every column without image bytes, as text; further image columns give their paths only."""
    import pyarrow.parquet as pq

    images = _image_columns(schema)
    structs = {name for name, path in images.items() if path != name}
    wanted = [field.name for field in schema if field.name not in images]
    with_path = [name for name in sorted(structs) if _has_path(schema.field(name))]
    leaves = wanted + [f"{name}.path" for name in with_path]
    values: dict[str, list[Any]] = {name: [] for name in (*wanted, *with_path)}
    for path in paths:
        table = pq.ParquetFile(path).read(columns=leaves)
        for name, cells in values.items():
            cells += table.column(name).to_pylist()
    features = _features(schema)
    text: dict[str, list[str]] = {}
    for name in wanted:
        try:
            text |= _as_columns(name, values[name], features.get(name, {}))
        except ValueError as error:
            raise UserError(
                f"{paths[0]}: column {name!r}: {error}.", "Write the file again."
            ) from None
    for name in with_path:
        cells = [(value or {}).get("path") or "" for value in values[name]]
        if any(cells) and f"{name}_path" not in text:
            text[f"{name}_path"] = cells
    if image in text:
        raise UserError(
            f"{paths[0]}: two columns are called {image!r}.", "Rename one in the Parquet files."
        )
    return text


def _has_path(field: Any) -> bool:
    return any(field.type.field(i).name == "path" for i in range(_width(field)))


def _features(schema: Any) -> Mapping[str, Any]:
    """What the file says of its columns; empty where it says nothing that is understood."""
    text = (schema.metadata or {}).get(_DESCRIPTION)
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _as_columns(name: str, values: list[Any], feature: Any) -> dict[str, list[str]]:
    """A column as text; several where it holds lists of a stated length."""
    feature = feature if isinstance(feature, dict) else {}
    inner, length = feature.get("feature"), feature.get("length", -1)
    if isinstance(inner, dict) and isinstance(length, int) and length > 0:
        # A missing list is a list of missing values.
        lists = [value if value is not None else [None] * length for value in values]
        if any(len(value) != length for value in lists):
            raise ValueError(f"a list is not of the length {length} that the file states")
        return {
            f"{name}_{i:02d}": _as_text([value[i] for value in lists], inner.get("names"))
            for i in range(length)
        }
    if isinstance(inner, dict) and inner.get("names"):
        classes = inner["names"]
        values = [v if v is None else [_class(code, classes) for code in v] for v in values]
    return {name: _as_text(values, feature.get("names"))}


def _as_text(values: list[Any], classes: list[str] | None) -> list[str]:
    if classes:
        return [_class(value, classes) for value in values]
    numbers = [value for value in values if value is not None]
    whole = bool(numbers) and all(isinstance(v, float) and v.is_integer() for v in numbers)
    return [_cell(int(v) if whole and v is not None else v) for v in values]


def _class(value: Any, classes: list[str]) -> str:
    """The name of a class; a value that is none, such as a name already, stays as it is."""
    if isinstance(value, int) and -1 <= value < len(classes):
        return "" if value == -1 else str(classes[value])
    return _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and np.isnan(value):
        return ""  # As pandas reads a null among numbers.
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return str(value)
