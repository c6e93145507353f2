"""Decoded images in array_record files: read at random, on any disk, without decoding again."""

import bisect
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.manifest import Columns, Manifest, require_columns
from remedis_jax.data.sources import ImageSource
from remedis_jax.errors import RunFailed, UserError

# Record 0 ... n-1: row number as little-endian uint32, then the pixels in C order, uint8 or
# little-endian uint16. The last record: the trailer, JSON with the keys that `trailer_of` and
# `write_records` set.
_FORMAT = "remedis_jax images 2"
# The first format had no dtype; its pixels are uint8.
_READABLE = ("remedis_jax images 1", _FORMAT)
_RECORD_HEAD = struct.Struct("<I")
# ours, measured at 256 pixels: level 1 leaves 0.42 of dermoscopy and 0.16 of chest films and writes
# 1.5 times as fast as level 3, which leaves 0.37 and 0.14; both are undone at thousands a second.
_WRITER_OPTIONS = "group_size:1,zstd:1"


def write_array_record(
    source: ImageSource,
    path: str | os.PathLike,
    *,
    manifest: Manifest | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the decoded images of a source, and the table that describes them, to one file.

    The file appears under its name only when it is whole.

    Args:
        source: The images, at their working size, uint8 or uint16.
        path: The file to write; one that is there is replaced.
        manifest: The rows of the images, kept as text for `ArrayRecordSource.manifest`.
        progress: Called with (done, total) after every few images.

    Raises:
        UserError: An image cannot be read.
    """
    if manifest is not None and len(manifest) != len(source):
        raise ValueError(f"{len(manifest)} rows do not describe {len(source)} images")

    def images() -> Iterable[np.ndarray]:
        for start in range(0, len(source), 256):
            indices = np.arange(start, min(start + 256, len(source)))
            yield from source.gather(indices)
            if progress is not None:
                progress(start + len(indices), len(source))

    rows = np.arange(len(source)) if manifest is None else manifest.rows
    table = None if manifest is None else manifest.table
    write_records(path, images(), trailer_of(source, rows, table))


def trailer_of(
    source: ImageSource, rows: np.ndarray, table: pd.DataFrame | None
) -> dict[str, Any]:
    """What a file says of its images: their format, and of each the row and the table's cells.

    Args:
        source: Where they come from; its format, and its digest for the file.
        rows: Row of each image that goes into the file, int [n].
        table: Their rows of the manifest, as text; None where there is none.
    """
    return {
        "format": _FORMAT,
        "count": len(rows),
        "shape": list(source.image_shape),
        "dtype": source.dtype.name,
        "digest": source.digest,
        "rows": rows.tolist(),
        "columns": {} if table is None else table.to_dict(orient="list"),
    }


def write_records(
    path: str | os.PathLike, images: Iterable[np.ndarray], trailer: dict[str, Any]
) -> None:
    """Writes one file, which appears under its name only when it is whole.

    Args:
        path: The file to write; one that is there is replaced.
        images: As many as the trailer says, each of its shape and dtype.
        trailer: From `trailer_of`, and whatever else is to be kept, as JSON.

    Raises:
        RunFailed: The disk is full, or does not take the file for another reason.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    dtype = _stored(trailer["dtype"])
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    writer = ArrayRecordWriter(os.fspath(unfinished), _WRITER_OPTIONS)
    try:
        for row, pixels in zip(trailer["rows"], images, strict=True):
            if pixels.dtype.name != trailer["dtype"]:
                raise TypeError(f"pixels are {pixels.dtype}, announced was {trailer['dtype']}")
            record = _RECORD_HEAD.pack(row) + pixels.astype(dtype, copy=False).tobytes()
            _do(path, writer.write, record)
        _do(path, writer.write, json.dumps(trailer).encode())
        _do(path, writer.close)
        unfinished.replace(path)
    finally:
        if writer.is_open():
            _do(path, writer.close)
        unfinished.unlink(missing_ok=True)


def _do(path: Path, action: Callable[..., None], *arguments: Any) -> None:
    """Calls the writer, whose errors are those of the file system in other words."""
    try:
        action(*arguments)
    except RuntimeError as error:
        reason = str(error).split(";")[0].splitlines()[0]
        raise RunFailed(
            f"{path}: could not be written ({reason}).",
            "Check the free space, then repeat the command.",
        ) from None


class RecordFile:
    """The images of one file that `write_records` wrote, by their number.

    The file is opened when the first image is read, in each process anew.

    Args:
        path: The file.
        trailer: From `read_trailer`.
    """

    def __init__(self, path: str | os.PathLike, trailer: dict[str, Any]):
        self.path = os.path.abspath(path)
        self._rows = np.asarray(trailer["rows"], np.int64)
        self._shape = tuple(trailer["shape"])
        self._dtype = _stored(trailer["dtype"])
        self._reader = None

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> np.ndarray:
        """Image `number`, from 0: [H, W, C], read-only.

        Raises:
            UserError: The file is gone or damaged.
        """
        # Two threads may both open it at first; the second reader takes the place of the first.
        reader = self._reader
        if reader is None:
            reader = self._reader = _open(self.path)
        try:
            (record,) = reader.read([number])
        except (RuntimeError, IndexError) as error:
            raise _damaged(self.path, f"record {number}: {error}") from None
        (row,) = _RECORD_HEAD.unpack_from(record)
        if row != self._rows[number]:
            raise _damaged(self.path, f"record {number} belongs to row {row}")
        pixels = np.frombuffer(record, self._dtype, offset=_RECORD_HEAD.size)
        return pixels.reshape(self._shape)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_reader": None}


class ArrayRecordSource:
    """Images in array_record files written by `write_array_record`, one after the other.

    With a single file the digest is that of the source that was written, so that a run can go on
    from the one or the other.

    Args:
        paths: The files, or one file, in the order wanted.

    Raises:
        UserError: A file is missing, damaged, not of this format, or differs in image format.
    """

    def __init__(self, paths: str | os.PathLike | Sequence[str | os.PathLike]):
        paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self._trailers = [read_trailer(path) for path in paths]
        shapes = {(tuple(trailer["shape"]), trailer["dtype"]) for trailer in self._trailers}
        if len(shapes) != 1:
            raise UserError(
                f"the array_record files hold images of different shapes: {sorted(shapes)}.",
                "Write them at one working size.",
            )
        ((self._shape, dtype),) = shapes
        self._dtype = np.dtype(dtype)
        self._files = [
            RecordFile(path, trailer) for path, trailer in zip(paths, self._trailers, strict=True)
        ]
        self._starts = np.cumsum([0, *map(len, self._files)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def digest(self) -> str:
        digests = [trailer["digest"] for trailer in self._trailers]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def manifest(self, columns: Columns) -> Manifest:
        """The rows that were written along with the images, in the order of the images.

        Raises:
            UserError: No table was written, or it lacks a column that `columns` names.
        """
        path = Path(self._files[0].path)
        if not self._trailers[0]["columns"]:
            raise UserError(f"{path}: was written without a manifest.", "Write it with one.")
        if len({tuple(trailer["columns"]) for trailer in self._trailers}) > 1:
            raise UserError(
                f"{path}: has other columns than the files beside it.",
                "Write them from manifests of the same columns.",
            )
        table = table_of(self._trailers)
        require_columns(table.columns, columns.named(), path)
        return Manifest(table, columns, path, self.digest)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), *self._shape), self._dtype)
        for position, index in enumerate(np.asarray(indices).tolist()):
            file = bisect.bisect_right(self._starts, index) - 1
            batch[position] = self._files[file].read(index - self._starts[file])
        return batch


def read_trailer(path: str | os.PathLike) -> dict[str, Any]:
    """The last record of a file, which says what the others are.

    Raises:
        UserError: The file is missing, damaged or not of this format.
    """
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file.", "Write it first.")
    reader = _open(path)
    try:
        # A file that cannot be read has no records; asking for the first brings the reason out.
        (record,) = reader.read([max(0, reader.num_records() - 1)])
    except RuntimeError as error:
        raise _damaged(path, str(error)) from None
    try:
        trailer = json.loads(record)
        same_format = trailer["format"] in _READABLE
    except (ValueError, TypeError, KeyError):
        same_format = False
    if not same_format:
        raise UserError(
            f"{path}: is an array_record file without the trailer {_FORMAT!r}.",
            "Write it with remedis_jax.data.write_array_record.",
        )
    if trailer["count"] != reader.num_records() - 1:
        raise _damaged(path, f"{reader.num_records() - 1} images of {trailer['count']}")
    return {"dtype": "uint8"} | trailer


def table_of(trailers: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The manifest's rows that the files hold, one after the other, as text by row number."""
    rows = [row for trailer in trailers for row in trailer["rows"]]
    columns = {
        name: [cell for trailer in trailers for cell in trailer["columns"][name]]
        for name in trailers[0]["columns"]
    }
    return pd.DataFrame(columns, pd.Index(rows, name="row", dtype=np.int64), dtype=str)


def _stored(dtype: str) -> np.dtype:
    return np.dtype(dtype).newbyteorder("<")


def _open(path: str) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    # Without read-ahead, as records are read in random order.
    return ArrayRecordReader(path, "readahead_buffer_size:0")


def _damaged(path: str, reason: str) -> UserError:
    return UserError(f"{path}: is damaged ({reason.splitlines()[0]}).", "Write the file again.")
