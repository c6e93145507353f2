"""Decoded images in one array_record file: read at random, on any disk, without decoding again."""

import bisect
import hashlib
import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.manifest import Columns, Manifest, require_columns
from remedis_jax.data.sources import ImageSource
from remedis_jax.errors import UserError

# Record 0 ... n-1: row number as little-endian uint32, then the pixels, uint8 in C order. The
# last record: the trailer, JSON with the keys below. zstd shrinks natural images little and black
# surrounds a lot, and costs next to nothing to undo.
_FORMAT = "remedis_jax images 1"
_RECORD_HEAD = struct.Struct("<I")
_WRITER_OPTIONS = "group_size:1,zstd:3"


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
        source: The images, at their working size.
        path: The file to write; one that is there is replaced.
        manifest: The rows of the images, kept as text for `ArrayRecordSource.manifest`.
        progress: Called with (done, total) after every few images.

    Raises:
        UserError: An image cannot be read.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    if manifest is not None and len(manifest) != len(source):
        raise ValueError(f"{len(manifest)} rows do not describe {len(source)} images")
    rows = np.arange(len(source)) if manifest is None else manifest.rows
    columns = {} if manifest is None else manifest.table.to_dict(orient="list")
    trailer = {
        "format": _FORMAT,
        "count": len(source),
        "shape": list(source.image_shape),
        "digest": source.digest,
        "rows": rows.tolist(),
        "columns": columns,
    }
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    writer = ArrayRecordWriter(os.fspath(unfinished), _WRITER_OPTIONS)
    try:
        for start in range(0, len(source), 256):
            indices = np.arange(start, min(start + 256, len(source)))
            for index, pixels in zip(indices, source.gather(indices), strict=True):
                writer.write(_RECORD_HEAD.pack(rows[index]) + pixels.tobytes())
            if progress is not None:
                progress(start + len(indices), len(source))
        writer.write(json.dumps(trailer).encode())
        writer.close()
        unfinished.replace(path)
    finally:
        if writer.is_open():
            writer.close()
        unfinished.unlink(missing_ok=True)


class ArrayRecordSource:
    """Images in array_record files written by `write_array_record`, one after the other.

    With a single file the digest is that of the source that was written, so that a run can go on
    from the one or the other.

    Args:
        paths: The files, or one file, in the order wanted.

    Raises:
        UserError: A file is missing, damaged, not of this format, or differs in image shape.
    """

    def __init__(self, paths: str | os.PathLike | Sequence[str | os.PathLike]):
        paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self._paths = [os.path.abspath(path) for path in paths]
        self._open()
        self._trailers = [
            _read_trailer(path, reader)
            for path, reader in zip(self._paths, self._readers, strict=True)
        ]
        shapes = {tuple(trailer["shape"]) for trailer in self._trailers}
        if len(shapes) != 1:
            raise UserError(
                f"the array_record files hold images of different shapes: {sorted(shapes)}.",
                "Write them at one working size.",
            )
        (self._shape,) = shapes
        counts = [trailer["count"] for trailer in self._trailers]
        self._starts = np.cumsum([0, *counts]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._shape

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
        path = Path(self._paths[0])
        parts = [
            pd.DataFrame(t["columns"], pd.Index(t["rows"], name="row", dtype=np.int64), dtype=str)
            for t in self._trailers
        ]
        table = pd.concat(parts)
        if not len(table.columns):
            raise UserError(f"{path}: was written without a manifest.", "Write it with one.")
        require_columns(table.columns, columns.named(), path)
        return Manifest(table, columns, path, self.digest)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), *self._shape), np.uint8)
        for position, index in enumerate(np.asarray(indices).tolist()):
            batch[position] = self._read(index)
        return batch

    def _read(self, index: int) -> np.ndarray:
        file = bisect.bisect_right(self._starts, index) - 1
        number = index - self._starts[file]
        try:
            (record,) = self._readers[file].read([number])
        except RuntimeError as error:
            raise _damaged(self._paths[file], f"record {number}: {error}") from None
        (row,) = _RECORD_HEAD.unpack_from(record)
        if row != self._trailers[file]["rows"][number]:
            raise _damaged(self._paths[file], f"record {number} belongs to row {row}")
        return np.frombuffer(record, np.uint8, offset=_RECORD_HEAD.size).reshape(self._shape)

    def _open(self) -> None:
        from array_record.python.array_record_module import ArrayRecordReader

        for path in self._paths:
            if not os.path.isfile(path):
                raise UserError(f"{path}: there is no such file.", "Write it first.")
        # Without read-ahead, as records are read in random order.
        options = "readahead_buffer_size:0"
        self._readers = [ArrayRecordReader(path, options) for path in self._paths]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_readers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()


def _damaged(path: str, reason: str) -> UserError:
    return UserError(f"{path}: is damaged ({reason.splitlines()[0]}).", "Write the file again.")


def _read_trailer(path: str, reader: Any) -> dict[str, Any]:
    try:
        # A file that cannot be read has no records; asking for the first brings the reason out.
        (record,) = reader.read([max(0, reader.num_records() - 1)])
    except RuntimeError as error:
        raise _damaged(path, str(error)) from None
    try:
        trailer = json.loads(record)
        same_format = trailer["format"] == _FORMAT
    except (ValueError, TypeError, KeyError):
        same_format = False
    if not same_format:
        raise UserError(
            f"{path}: is an array_record file without the trailer {_FORMAT!r}.",
            "Write it with remedis_jax.data.write_array_record.",
        )
    if trailer["count"] != reader.num_records() - 1:
        raise _damaged(path, f"{reader.num_records() - 1} images of {trailer['count']}")
    return trailer
