"""A folder of decoded images, written by `remedis_jax.data.cache`, as a manifest like any other."""

import bisect
import dataclasses
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.array_record import RecordFile, read_trailer, table_of
from remedis_jax.data.manifest import Columns, Manifest, require_columns
from remedis_jax.data.messages import first_few
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError

FILE_NAME = "cache.json"
_FORMAT = "remedis_jax cache 1"


@dataclasses.dataclass(frozen=True)
class CachePlan:
    """What a cache folder holds, or will hold: the content of its cache.json.

    Attributes:
        digest: Of the `ManifestSource` that the images come from.
        manifest_sha256: Of the manifest that named them.
        image: The column of the manifest that names them.
        size: Side of the images in pixels.
        fit: As for `decode_image`.
        reading: How they were read.
        counts: Images in each shard.
        complete: Whether every shard has been written.
    """

    digest: str
    manifest_sha256: str
    image: str
    size: int
    fit: str
    reading: Reading
    counts: tuple[int, ...]
    complete: bool = False

    def shards(self) -> list[tuple[str, range]]:
        """File name and images (positions in the manifest) of each shard."""
        names = [
            f"images-{number:05d}-of-{len(self.counts):05d}.array_record"
            for number in range(len(self.counts))
        ]
        ends = np.cumsum(self.counts).tolist()
        ranges = [range(end - n, end) for end, n in zip(ends, self.counts, strict=True)]
        return list(zip(names, ranges, strict=True))

    def settings(self) -> dict[str, Any]:
        """How the images were made, by the names of the config's `data` keys."""
        return {"size": self.size, "fit": self.fit, **self.reading.to_json()}

    def write(self, folder: Path) -> None:
        """Writes cache.json so that it is whole or as it was."""
        values = {"format": _FORMAT, **dataclasses.asdict(self), "reading": self.reading.to_json()}
        temporary = folder / (FILE_NAME + ".unfinished")
        temporary.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, folder / FILE_NAME)


def read_plan(folder: Path) -> CachePlan:
    """What the cache.json of a folder says.

    Raises:
        UserError: There is none, or it is damaged or of another version.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        reading = Reading.from_json(values.pop("reading"))
        return CachePlan(reading=reading, counts=tuple(values.pop("counts")), **values)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}).", "Give the folder of a cache."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"{path}: is not a description of a cache of this version.",
            "Delete the folder and write it with 'remedis cache'.",
        ) from None


def open_cache(folder: str | os.PathLike, columns: Columns) -> Manifest:
    """The manifest of a cache, with every column of the one that it was written from.

    A `ManifestSource` of the settings that the cache was written with gives the same pixels and
    has the same digest as one of the original files, so that a run can go on from either.

    Args:
        folder: The folder that `write_cache` wrote.
        columns: Which column plays which part.

    Raises:
        UserError: It is no cache, not finished or damaged, or a column is missing.
    """
    folder = Path(folder).absolute()
    plan = read_plan(folder)
    path = folder / FILE_NAME
    if not plan.complete:
        written = sum((folder / name).is_file() for name, _ in plan.shards())
        raise UserError(
            f"{folder}: the cache is not finished: {written} of {len(plan.counts)} files.",
            "Repeat the 'remedis cache' command; it goes on where it was interrupted.",
        )
    if columns.image != plan.image:
        raise UserError(
            f"{path}: holds the images of column {plan.image!r}, not of {columns.image!r}.",
            f"Name the image column: data.image={plan.image}.",
        )
    paths = [folder / name for name, _ in plan.shards()]
    # Waiting for disks, not computing.
    with ThreadPoolExecutor(min(16, len(paths))) as pool:
        trailers = list(pool.map(read_trailer, paths))
    mixed = [
        shard.name
        for shard, trailer, count in zip(paths, trailers, plan.counts, strict=True)
        if trailer["count"] != count or trailer.get("of") != plan.digest
    ]
    if mixed:
        raise UserError(
            f"{folder}: {first_few(mixed)} belong(s) to another cache.",
            "Write the cache again in a new folder.",
        )
    table = table_of(trailers)
    require_columns(table.columns, columns.named(), path)
    files = [RecordFile(p, trailer) for p, trailer in zip(paths, trailers, strict=True)]
    sizes = np.array([size for trailer in trailers for size in trailer["sizes"]], np.int64)
    store = CacheStore(plan, files, table[plan.image].tolist(), sizes)
    return Manifest(table, columns, path, plan.manifest_sha256, store)


class CacheStore:
    """The images of a cache by the names that they had in their manifest.

    Args:
        plan: Of the cache.
        files: Its shards.
        names: Name of each image, in their order.
        sizes: Bytes that each had before it was decoded, int64 [N].
    """

    def __init__(
        self, plan: CachePlan, files: Sequence[RecordFile], names: Sequence[str], sizes: np.ndarray
    ):
        self.plan = plan
        self._files = list(files)
        self._starts = np.cumsum([0, *map(len, files)]).tolist()
        self._positions = {name: position for position, name in enumerate(names)}
        self._sizes = sizes

    @property
    def bits(self) -> int:
        """Bits of every pixel: 8 or 16."""
        return self.plan.reading.bits

    def require(self, size: int, reading: Reading, fit: str) -> None:
        """Refuses settings under which the cached pixels are not those that the files would give.

        Args:
            size: Side of the images in pixels.
            reading: How they are to be read.
            fit: As for `decode_image`.

        Raises:
            UserError: They differ from those of the cache; which, and what to set.
        """
        wanted = {"size": size, "fit": fit, **reading.to_json()}
        differ = {
            name: value for name, value in self.plan.settings().items() if wanted[name] != value
        }
        if differ:
            found = [f"{name} {value}, not {wanted[name]}" for name, value in differ.items()]
            needed = [f"data.{name}={_as_override(value)}" for name, value in differ.items()]
            raise UserError(
                f"the cache holds images of {', '.join(found)}.",
                f"Set {' '.join(needed)}, or write another cache.",
            )

    def read(self, name: str) -> np.ndarray:
        """The decoded image: uint8 or uint16 [size, size, channels], read-only.

        Raises:
            UserError: There is no such image, or its file is damaged.
        """
        position = self._positions.get(name)
        if position is None:
            raise UserError(f"the cache holds no image {name}.", "Write the cache again.")
        file = bisect.bisect_right(self._starts, position) - 1
        return self._files[file].read(position - self._starts[file])

    def head(self, name: str, length: int) -> np.ndarray:
        return self.read(name)

    def size(self, name: str) -> int:
        """Bytes that the image had before it was decoded; -1 where there is no such image."""
        position = self._positions.get(name)
        return -1 if position is None else int(self._sizes[position])

    def stamp(self, name: str) -> str:
        position = self._positions.get(name)
        return "absent" if position is None else f"{self.plan.digest}:{position}"


def _as_override(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
