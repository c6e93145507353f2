"""A CSV or Parquet file becomes columns of text, or is refused with the row that is wrong.

A million rows take a second or two: most files have no quotation mark, and are cut at their commas
and line ends at once. Whatever that cannot be sure of goes the slow way, row by row, which also
finds the words for what is wrong.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.errors import UserError

# The header of a spreadsheet is row 1, so the first image is in row 2.
FIRST_ROW = 2
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_csv(data: bytes, path: Path) -> pd.DataFrame:
    """The rows of a comma-separated file in UTF-8, as text.

    Lines without any text in them are no rows.

    Args:
        data: Content of the file; a byte order mark is taken off.
        path: What to call it in an error.

    Returns:
        Every column; the index, 'row', counts as a spreadsheet does (header = 1).

    Raises:
        UserError: It is not UTF-8, not CSV, has no header, or a row is too short or too long.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: row {row} is not UTF-8 text.", "Save the table as 'CSV UTF-8'."
        ) from None
    found = _cut(text)
    if found is not None:
        header, columns = found
        _refuse_duplicate_columns(header, path)
        rows = pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(columns[0]), name="row")
        return _frame(header, columns, rows)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[list[str]] = []
    try:
        records.extend(reader)
    except csv.Error as error:
        raise UserError(
            f"{path}: row {len(records) + 1} is not valid CSV: {error}.",
            "Check its quotation marks.",
        ) from None

    header = records[0] if records else []
    if not any(header):
        raise UserError(f"{path}: row 1 is empty.", "The first row names the columns.")
    for separator, name in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise UserError(
                f"{path}: the columns are separated by {name}, not by commas.",
                "Save the table as comma-separated CSV.",
            )
    _refuse_duplicate_columns(header, path)
    filled = [
        (row, cells)
        for row, cells in enumerate(records[1:], FIRST_ROW)
        if any(cell.strip() for cell in cells)
    ]
    for row, cells in filled:
        if len(cells) != len(header):
            raise UserError(
                f"{path}: row {row} has {len(cells)} cells where the header has {len(header)}.",
                "Put text that holds a comma between double quotes, and fill up short rows.",
            )
    rows = pd.Index([row for row, _ in filled], name="row", dtype=np.int64)
    columns = [[cells[i] for _, cells in filled] for i in range(len(header))]
    return _frame(header, columns, rows)


def read_parquet(data: bytes, path: Path) -> pd.DataFrame:
    """The rows of a Parquet file, as text.

    A null is an empty cell, and numbers are written as text: 3, not 3.0, in a column of whole
    numbers.

    Args:
        data: Content of the file.
        path: What to call it in an error.

    Returns:
        As `read_csv`.

    Raises:
        UserError: It cannot be read, or pyarrow is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow.",
            "Install it with 'pip install pyarrow', or save the table as CSV.",
        ) from None
    try:
        frame = pyarrow.parquet.read_table(io.BytesIO(data)).to_pandas(integer_object_nulls=True)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: is not a readable Parquet file: {reason}.", "Write the file again."
        ) from None
    frame = frame.reset_index(drop=not frame.index.names[0])
    header = [str(name) for name in frame.columns]
    _refuse_duplicate_columns(header, path)
    rows = pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(frame), name="row")
    return _frame(header, [_as_text(frame.iloc[:, i]) for i in range(len(header))], rows)


def _cut(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and columns of a file of which each line is one row and each comma parts two cells.

    None where that is not so, or not certain: the csv module has to look.
    """
    if '"' in text:
        return None
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    head, _, body = text.partition("\n")
    body = body.removesuffix("\n")
    header = head.split(",")
    width = len(header)
    if "\r" in text or not body or not any(header):
        return None
    if width == 1 and any(separator in head for separator in _OTHER_SEPARATORS):
        return None
    raw = np.frombuffer(body.encode(), np.uint8)
    places = np.flatnonzero((raw == ord(",")) | (raw == ord("\n")))
    ends = np.flatnonzero(raw[places] == ord("\n"))
    count = len(ends) + 1
    if len(places) != count * width - 1 or not np.array_equal(
        ends, np.arange(width - 1, len(places), width)
    ):
        return None  # A row is too short or too long, or a line is empty.
    if np.diff(places, prepend=-1, append=len(raw)).max() > csv.field_size_limit():
        return None
    cells = body.replace("\n", ",").split(",")
    for row, first in enumerate(cells[::width]):
        if not first.strip() and not "".join(cells[row * width : (row + 1) * width]).strip():
            return None  # A row without text is no row.
    return header, [cells[i::width] for i in range(width)]


def _frame(header: list[str], columns: list[list[str]], rows: pd.Index) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(header, columns, strict=True)), rows, header, dtype=str)


def _as_text(column: pd.Series) -> list[str]:
    empty = column.isna().to_numpy()
    values = column.to_numpy(object)
    if column.dtype.kind == "f" and all(float(v).is_integer() for v in values[~empty]):
        values = [None if e else int(v) for v, e in zip(values, empty, strict=True)]
    return ["" if e else str(v) for v, e in zip(values, empty, strict=True)]


def _refuse_duplicate_columns(header: Sequence[str], path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}: the header names {', '.join(map(repr, twice))} more than once.",
            "Give every column its own name.",
        )
