"""A table of text out of a CSV, a tab- or semicolon-separated file, or Parquet."""

import csv
import os
from pathlib import Path

import pandas as pd

from remedis_jax.data.tables import read_parquet
from remedis_jax.errors import UserError


def read_text_table(path: str | os.PathLike) -> pd.DataFrame:
    """Reads a table as it stands: '001' stays '001', blank stays blank.

    The cells of a file whose header holds tabs or semicolons and no comma are parted by these. A
    null of a Parquet file is blank.

    Returns:
        Text, with a RangeIndex.

    Raises:
        UserError: Not readable, empty, no table in UTF-8, or rows of more cells than the header.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".parquet":
            return read_parquet(path.read_bytes(), path).reset_index(drop=True)
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        # utf-8-sig also takes files without the byte-order mark that spreadsheets write.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=_separator(header)
        )
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}).", "Check the path and its permissions."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty.", "Write the table again.") from error
    except (pd.errors.ParserError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} is not a CSV file in UTF-8 ({error}).",
            "Save it as comma-separated UTF-8 text.",
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the first column for an index where every row has a cell too many.
        raise UserError(
            f"{path}: the rows have not as many cells as the header.",
            "Quote cells that hold a comma.",
        )
    return table


def _separator(header: str) -> str:
    if "," not in header:
        for separator in "\t;":
            if separator in header:
                return separator
    return ","
