"""The table of a prepared TFDS split: read once from its examples, then kept as Parquet."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from remedis_jax.data.decode import depth_of
from remedis_jax.data.tfds_columns import FeatureColumns, at
from remedis_jax.data.tfds_reader import PreparedSet

# Raise it where the rules of `tfds_columns` change: tables that were kept are then made again.
_FORMAT = b"remedis_jax tfds table 1"
_KEY = b"remedis_jax"
# Names of TFDS features have no colon.
_SIZE = "bytes:"
_BITS = "bits:"


@dataclasses.dataclass(frozen=True, eq=False)
class SplitTable:
    """What is known of the N examples of a split.

    Attributes:
        cells: Text of each column, N cells each.
        sizes: Bytes of the encoded images of each image feature, int64 [N].
        bits: Bits of a channel of them, 8 or 16, int64 [N].
    """

    cells: Mapping[str, list[str]]
    sizes: Mapping[str, np.ndarray]
    bits: Mapping[str, np.ndarray]


def read_split_table(prepared: PreparedSet, columns: FeatureColumns, split: str) -> SplitTable:
    """The table of a split: the one that was kept, or else from the examples, and then kept.

    It is kept beside the data set, or where that cannot be written to in the folder REMEDIS_CACHE,
    ~/.cache/remedis_jax if that is not set, readable by its owner only: it holds what the data set
    says of patients.

    Args:
        prepared: The data set.
        columns: Of its features.
        split: A whole split.

    Raises:
        UserError: An example cannot be read.
    """
    key = f"{prepared.digest} {split} {columns.names} {columns.images}".encode()
    beside = prepared.folder / f".remedis_jax-{split}.parquet"
    cached = _cache_folder() / f"{prepared.name}-{prepared.digest[:32]}-{split}.parquet"
    for path in (beside, cached):
        found = _load(path, key, columns)
        if found is not None:
            return found
    found = _examine(prepared, columns, split)
    for path in (beside, cached):
        if _keep(path, key, found):
            break
    return found


def _cache_folder() -> Path:
    root = os.environ.get("REMEDIS_CACHE") or "~/.cache/remedis_jax"
    return Path(root).expanduser() / "tfds"


def _examine(prepared: PreparedSet, columns: FeatureColumns, split: str) -> SplitTable:
    rows = []
    sizes, bits = ({name: [] for name in columns.images} for _ in range(2))
    for number in range(prepared.count(split)):
        example = prepared.example(split, number, columns.paths)
        rows.append(columns.cells(example))
        for name, path in columns.images.items():
            sizes[name].append(len(at(example, path)))
            bits[name].append(depth_of(at(example, path)))
    cells = {name: [row[i] for row in rows] for i, name in enumerate(columns.names)}
    numbers = [{name: np.array(v, np.int64) for name, v in of.items()} for of in (sizes, bits)]
    return SplitTable(cells, *numbers)


def _load(path: Path, key: bytes, columns: FeatureColumns) -> SplitTable | None:
    """The table that was kept; None where there is none, or it is of other data."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        if (pq.read_schema(path).metadata or {}).get(_KEY) != _FORMAT + key:
            return None
        table = pq.read_table(path)
    except (OSError, pyarrow.ArrowException):
        return None  # None was kept, or it is damaged: it can be made again.
    return SplitTable(
        {name: table.column(name).to_pylist() for name in columns.names},
        {name: table.column(_SIZE + name).to_numpy() for name in columns.images},
        {name: table.column(_BITS + name).to_numpy() for name in columns.images},
    )


def _keep(path: Path, key: bytes, found: SplitTable) -> bool:
    """Whether the table could be written; it appears complete or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(cells, pa.string()) for name, cells in found.cells.items()}
    arrays |= {_SIZE + name: pa.array(sizes) for name, sizes in found.sizes.items()}
    arrays |= {_BITS + name: pa.array(bits) for name, bits in found.bits.items()}
    table = pa.table(arrays).replace_schema_metadata({_KEY: _FORMAT + key})
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Readable by its owner only.
        handle, temporary = tempfile.mkstemp(".parquet", ".remedis_jax-", path.parent)
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file)
        os.replace(temporary, path)
        temporary = None
    except OSError:
        return False  # Read-only or full: the table is made again the next time.
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return True
