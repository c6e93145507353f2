"""Files of embeddings: Parquet, npz, and the HDF5 layout of the pathology tools.

Whatever the format, a file holds `features` (or, in Parquet, a column `embedding`), every column of
the manifest as text, the manifest row of each image, and a JSON header with the hash of the
weights, the preprocessing contract and the hash of the manifest. No clock enters a file: the same
embeddings are the same bytes. Nothing in them is pickled.
"""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.errors import UserError

HEADER_KEY = "remedis_jax embeddings 1"
FORMATS = (".parquet", ".npz", ".h5")
# Names that a file needs for itself.
RESERVED = ("row", "embedding", "features", "coords", "problem", "header")
_ROWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of N images and what belongs to them.

    Attributes:
        features: float32 [N, F]; NaN for images that could not be used.
        table: Columns of the manifest as text, N rows; `row` is the row in the manifest file, and
            `problem`, where images were allowed to be left out, says why.
        header: What `remedis embed` wrote; None in a file of another tool.
        coords: int64 [N, 2], where the manifest names places in a slide.
    """

    features: np.ndarray
    table: pd.DataFrame
    header: dict[str, Any] | None = None
    coords: np.ndarray | None = None


def check_target(path: Path) -> None:
    """Raises UserError unless a format is known by this name's ending."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            f"{path}: embeddings are written as {', '.join(FORMATS)}.",
            "Give --out a name with one of these endings.",
        )


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Writes a file by its ending; it appears complete or not at all.

    Args:
        path: Ends in one of `FORMATS`.
        embeddings: May be larger than memory where `features` is memory-mapped.

    Raises:
        UserError: Another ending, or h5py is not installed.
        OSError: It cannot be written.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        _WRITERS[path.suffix.lower()](temporary, embeddings)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_by_group(folder: Path, embeddings: Embeddings, groups: np.ndarray) -> list[Path]:
    """One HDF5 file for each group (slide), named by it: what MIL tools expect.

    Args:
        folder: Made if it does not exist.
        embeddings: N rows.
        groups: Text [N].

    Returns:
        The files, in the order in which groups appear.

    Raises:
        UserError: A group's name cannot be the name of a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for group, path in group_files(folder, groups).items():
        rows = np.flatnonzero(groups == group)
        part = dataclasses.replace(
            embeddings,
            features=embeddings.features[rows],
            table=embeddings.table.iloc[rows],
            coords=None if embeddings.coords is None else embeddings.coords[rows],
        )
        write_embeddings(path, part)
        written.append(path)
    return written


def group_files(folder: Path, groups: np.ndarray) -> dict[str, Path]:
    """The file of each group, in the order in which groups appear.

    Raises:
        UserError: A group's name cannot be the name of a file.
    """
    names = list(dict.fromkeys(groups.tolist()))
    bad = [name for name in names if not re.fullmatch(r"\w[\w .+-]*", name)]
    if bad:
        raise UserError(
            f"The group {bad[0]!r} cannot be the name of a file.",
            "Rename groups to letters, digits, '_', '-', '.'.",
        )
    return {name: folder / f"{name}.h5" for name in names}


def read_embeddings(path: str | Path) -> Embeddings:
    """Reads a file that `remedis embed` wrote.

    Raises:
        UserError: It does not exist, is damaged, or has another layout.
    """
    path = Path(path)
    check_target(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Give a file of embeddings.")
    try:
        return _READERS[path.suffix.lower()](path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ArithmeticError) as error:
        raise UserError(
            f"{path} is no readable file of embeddings ({str(error).splitlines()[0]}).",
            "Make it again with remedis embed.",
        ) from error


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a file of embeddings, without its features; None if it has none."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            metadata = pyarrow.parquet.read_schema(path).metadata or {}
            text = metadata.get(HEADER_KEY.encode())
        elif path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                text = str(file["header"])
        else:
            with _h5py().File(path, "r") as file:
                text = file.attrs.get(HEADER_KEY)
        return None if text is None else json.loads(text)
    except (OSError, ValueError, KeyError):
        # Whatever it is, it is not a file of embeddings of ours.
        return None


def _header_text(embeddings: Embeddings) -> str:
    return json.dumps(embeddings.header, sort_keys=True)


def _write_parquet(path: Path, embeddings: Embeddings) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, width = embeddings.table, embeddings.features.shape[1]
    fields = [pa.field("row", pa.int64())]
    fields += [pa.field(name, pa.string()) for name in table.columns if name != "row"]
    fields.append(pa.field("embedding", pa.list_(pa.float32(), width)))
    schema = pa.schema(fields, metadata={HEADER_KEY: _header_text(embeddings)})
    # Float32 features hardly compress.
    with pq.ParquetWriter(path, schema, compression="NONE", use_dictionary=False) as writer:
        for start in range(0, len(table), _ROWS):
            part = table.iloc[start : start + _ROWS]
            features = np.ascontiguousarray(embeddings.features[start : start + _ROWS])
            unusable = np.isnan(features[:, 0])
            lists = pa.FixedSizeListArray.from_arrays(
                pa.array(features.reshape(-1), pa.float32()),
                width,
                mask=pa.array(unusable) if unusable.any() else None,
            )
            arrays = [pa.array(part["row"].to_numpy(np.int64))]
            texts = [part[name].tolist() for name in table.columns if name != "row"]
            arrays += [pa.array(text, pa.string()) for text in texts]
            writer.write_table(pa.Table.from_arrays([*arrays, lists], schema=schema))


def _read_parquet(path: Path) -> Embeddings:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    column = table.column("embedding").combine_chunks()
    width = column.type.list_size
    # Nulls take their place among the values.
    features = column.values.to_numpy(zero_copy_only=False).reshape(len(table), width)
    features = np.array(features, np.float32)
    features[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    text = (table.schema.metadata or {}).get(HEADER_KEY.encode())
    header = None if text is None else json.loads(text)
    return Embeddings(features, table.drop(["embedding"]).to_pandas(), header)


def _columns(embeddings: Embeddings) -> dict[str, np.ndarray]:
    return {
        name: embeddings.table[name].to_numpy(np.int64 if name == "row" else str)
        for name in embeddings.table.columns
    }


def _write_npz(path: Path, embeddings: Embeddings) -> None:
    extra = {} if embeddings.coords is None else {"coords": embeddings.coords}
    np.savez(
        path,
        features=embeddings.features,
        header=np.array(_header_text(embeddings)),
        **extra,
        **_columns(embeddings),
    )


def _read_npz(path: Path) -> Embeddings:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    header, features = json.loads(str(arrays.pop("header"))), arrays.pop("features")
    coords = arrays.pop("coords", None)
    return Embeddings(features, pd.DataFrame(arrays), header, coords)


def _write_h5(path: Path, embeddings: Embeddings) -> None:
    h5py = _h5py()
    # HDF5 would otherwise store when each object was made.
    timeless = {"track_times": False}
    with h5py.File(path, "w") as file:
        file.attrs[HEADER_KEY] = _header_text(embeddings)
        features = file.create_dataset(
            "features", embeddings.features.shape, np.float32, **timeless
        )
        for start in range(0, len(embeddings.features), _ROWS):
            features[start : start + _ROWS] = embeddings.features[start : start + _ROWS]
        if embeddings.coords is not None:
            file.create_dataset("coords", data=embeddings.coords, **timeless)
        group = file.create_group("manifest", track_order=True)
        for name, values in _columns(embeddings).items():
            if values.dtype.kind == "U":
                text = h5py.string_dtype("utf-8")
                group.create_dataset(name, data=values.astype(object), dtype=text, **timeless)
            else:
                group.create_dataset(name, data=values, **timeless)


def _read_h5(path: Path) -> Embeddings:
    with _h5py().File(path, "r") as file:
        columns = {
            name: dataset.asstr()[:] if dataset.dtype.kind == "O" else dataset[:]
            for name, dataset in file["manifest"].items()
        }
        coords = file["coords"][:] if "coords" in file else None
        header = json.loads(file.attrs[HEADER_KEY])
        return Embeddings(file["features"][:], pd.DataFrame(columns), header, coords)


def _h5py():
    try:
        import h5py
    except ImportError:
        raise UserError(
            "HDF5 files need h5py.", "Install the extra: pip install 'remedis_jax[h5]'."
        ) from None
    return h5py


_WRITERS: Mapping[str, Callable[[Path, Embeddings], None]] = {
    ".parquet": _write_parquet,
    ".npz": _write_npz,
    ".h5": _write_h5,
}
_READERS: Mapping[str, Callable[[Path], Embeddings]] = {
    ".parquet": _read_parquet,
    ".npz": _read_npz,
    ".h5": _read_h5,
}
