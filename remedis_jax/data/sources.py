"""Where pixels come from: files named by a manifest, memory, a part of another source.

A source is a fixed sequence of images of one format. The pipeline asks it for batches by index
and for nothing else, so that all kinds of source give the same batches. `array_record.py` beside
this file holds one more kind.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from remedis_jax.data.decode import check_working_format, decode_image, of_store
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.reading import EIGHT_BIT_COLOUR, Reading
from remedis_jax.data.resample import Fit
from remedis_jax.data.stores import frame_of
from remedis_jax.errors import UserError

# ours: half of a 16 GiB laptop.
MEMORY_LIMIT = 8 * 2**30


class ImageSource(Protocol):
    """N images of one shape, by index. Sources can be pickled, for worker processes."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""

    @property
    def dtype(self) -> np.dtype:
        """uint8, or uint16 for images that keep their depth; float32 where prepared so."""

    @property
    def digest(self) -> str:
        """Changes when the images, their order or their working format change."""

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (int [b], each in [0, N)): `dtype` [b, height, width, channels].

        Raises:
            UserError: An image cannot be read, with its name.
        """


class FileSource:
    """The images of a manifest, read from its store and prepared at each use.

    The digest covers the names and the sizes in bytes of the images and how they are prepared; not
    the folder they lie in, so that a run can go on after the data has moved.

    Args:
        manifest: The images.
        prepare: From what the store gives (bytes of a file, or pixels), with the keywords `name`
            for errors and `frame` (int or None), to pixels [H, W, C]; can be pickled.
        image_shape: (H, W, C) of what `prepare` returns.
        dtype: Of what `prepare` returns.
        description: Of how it prepares, for the digest.
        threads: Files prepared at a time in each process; the processors that it may use if None
            (ours).

    Raises:
        UserError: A file is missing.
    """

    def __init__(
        self,
        manifest: Manifest,
        prepare: Callable[..., np.ndarray],
        image_shape: tuple[int, int, int],
        *,
        dtype: np.dtype = np.uint8,
        description: str,
        threads: int | None = None,
    ):
        self._prepare = prepare
        self._image_shape = image_shape
        self._dtype = np.dtype(dtype)
        self._store = manifest.store
        self._images = manifest.images
        self._rows = manifest.rows
        self._manifest_path = os.fspath(manifest.path)
        self._threads = threads or usable_processors()
        self._pool = ThreadPoolExecutor(self._threads)
        content = hashlib.sha256(description.encode())
        for row, image in zip(self._rows, self._images, strict=True):
            length = self._store.size(image)
            if length < 0:
                raise UserError(
                    f"{self._manifest_path}: row {row}: there is no image {image}.",
                    "Restore it or leave the row out.",
                )
            content.update(f"{image}\0{length}\0".encode())
        self._digest = content.hexdigest()

    def __len__(self) -> int:
        return len(self._images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._image_shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def digest(self) -> str:
        return self._digest

    def gather(self, indices: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), *self.image_shape), self._dtype)
        for position, pixels in enumerate(self._pool.map(self.prepared, indices)):
            batch[position] = pixels
        return batch

    def prepared(self, index: int) -> np.ndarray:
        """One image, [H, W, C].

        Raises:
            UserError: It cannot be read, with its manifest, row and name.
        """
        image = self._images[index]
        name = f"{self._manifest_path}: row {self._rows[index]} ({image})"
        try:
            content = self._store.read(image)
        except UserError as error:
            raise UserError(f"{name}: {error.problem}", error.remedy) from None
        return self._prepare(of_store(content), name=name, frame=frame_of(image))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_pool"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pool = ThreadPoolExecutor(self._threads)


class ManifestSource(FileSource):
    """The images of a manifest at one working size, by the rules of `remedis_jax.data.decode`.

    Args:
        manifest: The images.
        size: Side of the images in pixels.
        reading: How they are read; its `bits` say whether the pixels are uint8 or uint16.
        fit: As for `decode_image`.
        threads: As for `FileSource`.

    Raises:
        UserError: The format is not possible, or a file is missing.
    """

    def __init__(
        self,
        manifest: Manifest,
        size: int,
        reading: Reading = EIGHT_BIT_COLOUR,
        fit: Fit = "squash",
        *,
        threads: int | None = None,
    ):
        check_working_format(size, reading.channels, fit)
        super().__init__(
            manifest,
            functools.partial(decode_image, size=size, reading=reading, fit=fit),
            (size, size, reading.channels),
            dtype=np.uint8 if reading.bits == 8 else np.uint16,
            description=f"{size} {fit} {sorted(reading.to_json().items())}",
            threads=threads,
        )


class InMemorySource:
    """Images held in memory. Each worker process gets a copy; with this source use none.

    Args:
        images: uint8 or uint16 [N, height, width, channels], or float32 [N, 1, 1, F], features.
        digest: Digest of the source that the images were read from; that of the pixels if None.
    """

    def __init__(self, images: np.ndarray, digest: str | None = None):
        features = images.dtype == np.float32 and images.shape[1:3] == (1, 1)
        if images.ndim != 4 or not (images.dtype in (np.uint8, np.uint16) or features):
            raise ValueError(
                f"images must be uint8 or uint16 [N, H, W, C], got {images.dtype} {images.shape}"
            )
        self.images = np.ascontiguousarray(images)
        if digest is None:
            content = hashlib.sha256(repr(self.images.shape).encode())
            content.update(self.images.data)
            digest = content.hexdigest()
        self._digest = digest

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.images.dtype

    @property
    def digest(self) -> str:
        return self._digest

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.images[indices]


class SubsetSource:
    """Some images of another source, in a given order, such as a label fraction.

    Args:
        source: The other source.
        indices: Index in `source` of each image, int [M].
    """

    def __init__(self, source: ImageSource, indices: Sequence[int] | np.ndarray):
        self._source = source
        self._indices = np.asarray(indices, np.int64)
        if self._indices.size and not 0 <= self._indices.min() <= self._indices.max() < len(source):
            raise IndexError(f"an index is not in [0, {len(source)})")
        self._digest = hashlib.sha256(
            source.digest.encode() + self._indices.astype("<i8").tobytes()
        ).hexdigest()

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._source.image_shape

    @property
    def dtype(self) -> np.dtype:
        return self._source.dtype

    @property
    def digest(self) -> str:
        return self._digest

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self._source.gather(self._indices[indices])


def load_in_memory(
    source: ImageSource,
    max_bytes: int = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> InMemorySource:
    """Reads every image of a source once; the result gives the same batches, digest included.

    Args:
        source: The source to read.
        max_bytes: Refuse to hold more than this.
        progress: Called with (done, total) after every few images.

    Raises:
        UserError: It would take more memory than `max_bytes`, or an image cannot be read.
    """
    needed = bytes_of(source)
    if needed > max_bytes:
        raise UserError(
            f"{len(source):,} images of shape {source.image_shape} take {needed / 2**30:.1f} GiB,"
            f" more than the {max_bytes / 2**30:.1f} GiB allowed.",
            "Read them from their files, or choose a smaller working size.",
        )
    images = np.empty((len(source), *source.image_shape), source.dtype)
    for start in range(0, len(source), 256):
        indices = np.arange(start, min(start + 256, len(source)))
        images[indices] = source.gather(indices)
        if progress is not None:
            progress(start + len(indices), len(source))
    return InMemorySource(images, source.digest)


def bytes_of(source: ImageSource) -> int:
    """What the images of a source take in memory."""
    return len(source) * int(np.prod(source.image_shape)) * source.dtype.itemsize
