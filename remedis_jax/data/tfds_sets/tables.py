"""The tables that data sets come with: delimited text, read whole, every cell as text."""

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from remedis_jax.data.manifest import FIRST_ROW
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError


class Row(dict):
    """The cells of one row by column, stripped; its errors name the file and the row.

    Args:
        cells: Text by column.
        path: The file.
        number: The row, as a spreadsheet counts it (header = 1).
    """

    def __init__(self, cells: Mapping[str, str], path: epath.Path, number: int):
        super().__init__(cells)
        self.path = path
        self.number = number

    def wrong(self, problem: str, remedy: str = "Download the table again.") -> UserError:
        """An error about this row."""
        return UserError(f"{self.path}: row {self.number}: {problem}", remedy)

    def choose(self, column: str, meanings: Mapping[str, Any]) -> Any:
        """What the cell of a column means.

        Args:
            column: Its name.
            meanings: Every text that may stand there, and what it means.

        Raises:
            UserError: Another text stands there.
        """
        if self[column] not in meanings:
            raise self.wrong(
                f"{column!r} is {self[column]!r}, which is none of"
                f" {', '.join(map(repr, meanings))}."
            )
        return meanings[self[column]]

    def choose_name(self, column: str, names: Collection[str]) -> str:
        """The cell of a column, which has to be one of `names`."""
        return self.choose(column, {name: name for name in names})


def read_table(path: epath.Path, columns: Sequence[str], *, index: bool = False) -> list[Row]:
    """Reads a table of delimited text, compressed where its name ends in .gz.

    Tabs separate the cells where the header has one, and else commas.

    Blanks around headers and cells are cut off, and so are empty columns without a header, which a
    separator at the end of each line makes. Lines without any text are no rows.

    Args:
        path: The file.
        columns: The columns that it must have.
        index: Its first column may lack a header, as a data frame writes its index.

    Returns:
        The rows in the order of the file.

    Raises:
        UserError: The file is missing, is not text, lacks a column, names one twice, or a row has
            more or fewer cells than the header.
    """
    text = _text(path)
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    numbered = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(lines, start=FIRST_ROW - 1)
        if any(cell.strip() for cell in cells)
    ]
    if len(numbered) < 2:
        raise UserError(f"{path}: the table has no rows.", "Download it again.")
    (_, header), *body = numbered
    return rows_of(path, header, body, columns, index=index)


def rows_of(
    path: epath.Path,
    header: Sequence[str],
    body: Iterable[tuple[int, Sequence[str]]],
    columns: Sequence[str],
    *,
    index: bool = False,
) -> list[Row]:
    """Makes rows of cells; arguments and errors as for `read_table`.

    Args:
        header: The name of each column, stripped.
        body: The number and the stripped cells of each row.
    """
    for column in columns:
        if column not in header:
            raise UserError(
                f"{path}: there is no column {column!r}.{did_you_mean(column, header)}",
                "Use the table as it was released.",
            )
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}: {first_few([repr(name) for name in twice])} is the name of several columns.",
            "Use the table as it was released.",
        )
    width = max(i for i, name in enumerate(header) if name) + 1
    rows = []
    for number, cells in body:
        row = Row({n: c for n, c in zip(header, cells, strict=False) if n}, path, number)
        # Empty cells after the last named column come of a separator at the end of the line.
        held = max(i for i, cell in enumerate(cells) if cell) + 1
        if held > width or len(cells) < width:
            raise row.wrong(f"the header names {width} columns and the row has {len(cells)} cells.")
        unnamed = [c for n, c in zip(header, cells, strict=False) if c and not n]
        if len(unnamed) > (1 if index and not header[0] else 0):
            raise row.wrong(f"{unnamed[-1]!r} stands in a column without a name.")
        rows.append(row)
    return rows


def refuse_duplicates(rows: Sequence[Row], *columns: str) -> None:
    """Raises UserError where several rows agree in all of `columns`, naming the rows."""
    first: dict[tuple[str, ...], Row] = {}
    twice = []
    for row in rows:
        key = tuple(row[column] for column in columns)
        other = first.setdefault(key, row)
        if other is not row:
            twice.append(f"rows {other.number} and {row.number} ({' '.join(key)})")
    if twice:
        raise UserError(
            f"{rows[0].path}: {' and '.join(map(repr, columns))} should differ in every row, but"
            f" {first_few(twice)} are the same.",
            "Download the table again.",
        )


def by_key(rows: Sequence[Row], column: str) -> dict[str, Row]:
    """The rows by a column that differs in every row.

    Raises:
        UserError: It does not.
    """
    refuse_duplicates(rows, column)
    return {row[column]: row for row in rows}


def refuse_unmatched(rows: Mapping[str, Row], others: Collection[str], path: epath.Path) -> None:
    """Raises UserError where rows have no counterpart in another file.

    Args:
        rows: Rows by what they have in common with the other file.
        others: What is in the other file.
        path: The other file.
    """
    missing = [f"row {row.number} ({key})" for key, row in rows.items() if key not in others]
    if missing:
        table = next(iter(rows.values())).path
        raise UserError(
            f"{table}: {len(missing):,} row(s) have no counterpart in {path.name}:"
            f" {first_few(missing)}.",
            "Both files have to be of the same release, and whole.",
        )


def _text(path: epath.Path) -> str:
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such file.", "Download it, as the data set's instructions say."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: the file cannot be read ({error}).", "Download it again."
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the file is not text in UTF-8.", "Download it again.") from None
