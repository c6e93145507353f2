"""The cells of a binary column of Parquet files, by row, with a bounded part of them in memory."""

import bisect
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from remedis_jax.errors import UserError

# ours: what is kept of the row groups read last, whatever the number of threads.
MEMORY = 256 * 2**20
# ours: a row group is read as a whole, so that larger ones would be no random access at all.
LARGEST_GROUP = 2**30


class BinaryColumn:
    """One column of several Parquet files. Can be pickled, and be read by several threads.

    A row group is read when one of its cells is wanted, and kept until `memory` is used up. Threads
    that want the same one wait for the first of them. Cells in random order therefore cost a row
    group each where the files are larger than `memory`: `remedis cache` is for that.

    Args:
        paths: The files.
        column: Path of the column, with '.' between a struct and its field.
        memory: Bytes of row groups to keep, the one in use excepted.

    Raises:
        UserError: A file is missing or damaged, or a row group is too large.
    """

    def __init__(self, paths: Sequence[str | os.PathLike], column: str, memory: int = MEMORY):
        self.paths = [os.path.abspath(path) for path in paths]
        self._column = column
        self._memory = memory
        # Footers wait for the disk.
        with ThreadPoolExecutor(min(16, len(self.paths))) as pool:
            found = list(pool.map(self._footer, self.paths))
        self._ends = [np.cumsum([rows for rows, _ in groups]).tolist() for groups in found]
        self._sizes = [[size for _, size in groups] for groups in found]
        self._forget()

    def count(self, file: int) -> int:
        """Rows of a file, by its position in `paths`."""
        return self._ends[file][-1] if self._ends[file] else 0

    def share(self, file: int, row: int) -> int:
        """Bytes of the row's group, divided evenly among its rows: sizes of cells are not stored.

        Raises:
            IndexError: There is no such row.
        """
        group, offset = self._place(file, row)
        rows = self._ends[file][group] - (row - offset)
        return -(-self._sizes[file][group] // rows)

    def cell(self, file: int, row: int) -> bytes | None:
        """What a cell holds; None for a null.

        Raises:
            IndexError: There is no such row.
            UserError: The file is gone or damaged.
        """
        group, offset = self._place(file, row)
        return self._read((file, group))[offset].as_py()

    def nulls(self, file: int) -> list[int]:
        """Rows of a file whose cell is null, from the files' own counts where they have them."""
        import pyarrow.parquet as pq

        metadata = pq.read_metadata(self.paths[file])
        leaf = _leaf(metadata, self._column)
        found: list[int] = []
        start = 0
        for group in range(metadata.num_row_groups):
            chunk = metadata.row_group(group)
            statistics = chunk.column(leaf).statistics
            if not (statistics and statistics.has_null_count and statistics.null_count == 0):
                cells = self._load((file, group))
                found += (start + np.flatnonzero(cells.is_null().to_numpy(False))).tolist()
            start += chunk.num_rows
        return found

    def _place(self, file: int, row: int) -> tuple[int, int]:
        """Row group, and row in it."""
        if not 0 <= row < self.count(file):
            raise IndexError(f"row {row} is not in [0, {self.count(file)})")
        group = bisect.bisect_right(self._ends[file], row)
        return group, row - (self._ends[file][group - 1] if group else 0)

    def _footer(self, path: str) -> list[tuple[int, int]]:
        """Rows, and bytes of the column, of each row group."""
        import pyarrow
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(path)
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file.", "Restore it.") from None
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(path, error) from None
        leaf = _leaf(metadata, self._column)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        found = [(g.num_rows, g.column(leaf).total_uncompressed_size) for g in groups]
        largest = max((size for _, size in found), default=0)
        if largest > LARGEST_GROUP:
            raise UserError(
                f"{path}: a row group holds {largest / 2**30:.1f} GiB, more than the"
                f" {LARGEST_GROUP / 2**30:.0f} GiB that is read at a time.",
                "Write the file again with row groups of a hundred images.",
            )
        return found

    def _read(self, key: tuple[int, int]) -> Any:
        with self._lock:
            entry = self._groups.setdefault(key, _Group())
            self._groups.move_to_end(key)
        with entry.lock:
            if entry.cells is None:
                entry.cells = self._load(key)
                self._trim(key)
        return entry.cells

    def _load(self, key: tuple[int, int]) -> Any:
        import pyarrow
        import pyarrow.parquet as pq

        file, group = key
        try:
            with pq.ParquetFile(self.paths[file], memory_map=True) as opened:
                column = opened.read_row_group(group, columns=[self._column]).column(0)
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(self.paths[file], error) from None
        cells = column.combine_chunks()
        if pyarrow.types.is_struct(cells.type):
            # `flatten`, unlike `field`, takes over the nulls of the struct.
            (cells,) = cells.flatten()
        return cells

    def _trim(self, kept: tuple[int, int]) -> None:
        with self._lock:
            used = sum(self._sizes[file][group] for file, group in self._groups)
            for key in [key for key in self._groups if key != kept]:
                if used <= self._memory:
                    break
                used -= self._sizes[key[0]][key[1]]
                del self._groups[key]

    def _forget(self) -> None:
        self._groups: OrderedDict[tuple[int, int], _Group] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_groups", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


class _Group:
    """Cells of a row group, once they have been read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.cells = None


def _leaf(metadata: Any, column: str) -> int:
    """Position of a column among the leaves of a file."""
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return names.index(column)


def _damaged(path: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{path}: is not a readable Parquet file: {reason}.", "Write it again.")
