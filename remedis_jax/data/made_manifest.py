"""A manifest of data that come without a table of their own: the table is made from what is there.

Rows count as if the table were a file with a header, so that the first image is in row 2.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.manifest import FIRST_ROW, Columns, Manifest, require_columns
from remedis_jax.data.stores import ImageStore
from remedis_jax.errors import UserError


def made_manifest(
    cells: Mapping[str, Sequence[str]],
    columns: Columns,
    path: Path,
    store: ImageStore,
    rows: Sequence[int] | np.ndarray | None = None,
) -> Manifest:
    """The manifest of a table that was put together in memory.

    Args:
        cells: Text of every column, N cells each; the image column holds names for `store`.
        columns: Which column plays which part.
        path: What the table was made from, absolute; named in errors.
        store: Where the images lie.
        rows: Row of each image, int [N]; counted from 2 if None.

    Returns:
        The manifest. Its `sha256` is that of the table, as there is no file to hash.

    Raises:
        UserError: A column that `columns` names is missing, or there are no rows.
    """
    require_columns(list(cells), columns.named(), path)
    count = len(cells[columns.image])
    if not count:
        raise UserError(f"{path}: there are no images.", "Give a place that holds some.")
    if rows is None:
        rows = np.arange(FIRST_ROW, FIRST_ROW + count)
    index = pd.Index(np.asarray(rows, np.int64), name="row")
    table = pd.DataFrame(dict(cells), index, dtype=str)
    return Manifest(table, columns, path, _digest(table), store)


def _digest(table: pd.DataFrame) -> str:
    """SHA-256 (hex) of the names and cells of a table of text, and of its row numbers."""
    content = hashlib.sha256(table.index.to_numpy("<i8").tobytes())
    for name in table.columns:
        # JSON, since a cell may hold any separator.
        content.update(json.dumps([name, table[name].tolist()]).encode())
    return content.hexdigest()
