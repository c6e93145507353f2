"""One prepared TFDS data set: its splits, and its examples by number, without TensorFlow."""

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.messages import did_you_mean
from remedis_jax.data.row_groups import BinaryColumn
from remedis_jax.data.tfds_columns import at, nested
from remedis_jax.errors import UserError

# Those that can be read at random, the faster one first.
FORMATS = ("array_record", "parquet")
# How TFDS calls the one column of its Parquet files.
_COLUMN = "data"


class PreparedSet:
    """Examples of a data set by split and number. Can be pickled, and be read by several threads.

    Args:
        folder: Of one version of the data set, where its dataset_info.json is.

    Raises:
        UserError: It is not complete, damaged, or kept in a format that cannot be read at random.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.RLock()
        self.digest = self._digest()

    @cached_property
    def _builder(self) -> Any:
        """TFDS's own, made from the files alone: it needs no code of the data set."""
        import tensorflow_datasets as tfds
        from google.protobuf.json_format import ParseError
        from tensorflow_datasets.core import dataset_info

        try:
            about = dataset_info.read_proto_from_builder_dir(self.folder)
            kept = [about.file_format, *about.alternative_file_formats]
            usable = [form for form in FORMATS if form in kept]
            if not usable:
                raise UserError(
                    f"{self.folder}: is kept as {', '.join(kept)}, which cannot be read at random.",
                    f"Prepare the data set with file_format='{FORMATS[0]}'.",
                )
            return tfds.builder_from_directory(self.folder, file_format=usable[0])
        except (OSError, ValueError, KeyError, ParseError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.folder}: is no prepared data set ({reason}).", "Prepare it again."
            ) from None

    @property
    def name(self) -> str:
        """As it is known to TFDS."""
        return self._builder.name

    @property
    def features(self) -> Any:
        """A FeaturesDict."""
        return self._builder.info.features

    def count(self, split: str) -> int:
        """Examples of a split."""
        return self._builder.info.splits[split].num_examples

    def parts(self, split: str) -> list[tuple[str, int, int]]:
        """Split, first number and the one after the last, of what a description of splits means.

        Args:
            split: As TFDS writes it: train, train[:10%]+test, all; empty for all.

        Raises:
            UserError: There is no such split, or the description is none.
        """
        import tensorflow_datasets as tfds

        splits = self._builder.info.splits
        if not split:
            return [(name, 0, self.count(name)) for name in splits]
        try:
            found = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
        except (ValueError, AssertionError, KeyError) as error:
            del error  # Its text runs over several lines; what matters is which splits there are.
            raise UserError(
                f"{self.folder}: has no split {split!r}.{did_you_mean(split, splits)}",
                f"There is {', '.join(splits)}; a part is written train[:10%].",
            ) from None
        return [
            (
                part.splitname,
                part.from_ or 0,
                self.count(part.splitname) if part.to is None else part.to,
            )
            for part in found
        ]

    def require_encoded(self, path: tuple[str, ...]) -> None:
        """Refuses an image feature whose files are no images of 8 or 16 bits.

        Raises:
            UserError: Its pixels are of another type.
        """
        feature = self._feature(path)
        if feature.np_dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"{self.folder}: the image {'/'.join(path)!r} has pixels of type"
                f" {np.dtype(feature.np_dtype).name}.",
                "Images have 8 or 16 bits a channel.",
            )

    def example(self, split: str, number: int, paths: Sequence[tuple[str, ...]]) -> dict[str, Any]:
        """Some features of one example; an image as its encoded file.

        Args:
            split: Of the data set.
            number: From 0.
            paths: Where the wanted features lie.

        Raises:
            UserError: The file is gone or damaged.
        """
        from google.protobuf.message import DecodeError

        features, decoders = self._partial(tuple(paths))
        what = f"{self.folder}: example {number} of {split}"
        try:
            record = self._records(split)[number]
        except (OSError, RuntimeError, IndexError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{what} cannot be read ({reason}).", "Prepare the data set again."
            ) from None
        try:
            return features.deserialize_example_np(record, decoders=decoders)
        except (RuntimeError, ValueError, KeyError, DecodeError):
            # Without TFDS's own words, which may hold what the example says of a patient.
            raise UserError(f"{what} is damaged.", "Prepare the data set again.") from None

    def _partial(self, paths: tuple[tuple[str, ...], ...]) -> tuple[Any, Any]:
        """The wanted part of the features, and how it is decoded: images stay files."""
        import tensorflow_datasets as tfds

        with self._lock:
            if paths not in self._parts:
                # Not by TFDS's PartialDecoding, which needs TensorFlow for nested scalars.
                wanted = nested({path: self._feature(path) for path in paths})
                images = [path for path in paths if self._is_image(path)]
                decoders = nested({path: tfds.decode.SkipDecoding() for path in images})
                self._parts[paths] = tfds.features.FeaturesDict(wanted), decoders
            return self._parts[paths]

    def _is_image(self, path: tuple[str, ...]) -> bool:
        import tensorflow_datasets as tfds

        return isinstance(self._feature(path), tfds.features.Image)

    def _feature(self, path: tuple[str, ...]) -> Any:
        return at(self.features, path)

    @cached_property
    def _parts(self) -> dict[tuple[tuple[str, ...], ...], tuple[Any, Any]]:
        return {}

    @cached_property
    def _opened(self) -> dict[str, Any]:
        return {}

    def _records(self, split: str) -> Any:
        """The serialised examples of a split, by number."""
        with self._lock:
            if split not in self._opened:
                if self._builder.info.file_format.value == "parquet":
                    self._opened[split] = _ParquetRecords(self._builder.info.splits[split])
                else:
                    source = self._builder.as_data_source(split=split)
                    self._opened[split] = source.data_source
            return self._opened[split]

    def _digest(self) -> str:
        """SHA-256 (hex) of the description, and of the names and sizes of the files."""
        self._builder  # noqa: B018  Says what is wrong with the folder before anything else does.
        content = hashlib.sha256()
        for split in self._builder.info.splits.values():
            for path in map(Path, split.filepaths):
                try:
                    content.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                except OSError as error:
                    raise UserError(
                        f"{path}: cannot be read ({(error.strerror or 'unknown reason').lower()}).",
                        "Restore it, or prepare the data set again.",
                    ) from None
        described = (*self.folder.glob("*.json"), *self.folder.glob("*.labels.txt"))
        for path in sorted(described):
            content.update(path.name.encode() + b"\0" + path.read_bytes())
        return content.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()


class _ParquetRecords:
    """The examples of a split that is kept as Parquet."""

    def __init__(self, split: Any):
        self._column = BinaryColumn(split.filepaths, _COLUMN)
        counts = [self._column.count(file) for file in range(len(self._column.paths))]
        self._ends = np.cumsum(counts)

    def __getitem__(self, number: int) -> bytes:
        file = int(np.searchsorted(self._ends, number, side="right"))
        record = self._column.cell(file, number - int(self._ends[file - 1] if file else 0))
        if record is None:
            raise ValueError("the record is empty")
        return record
