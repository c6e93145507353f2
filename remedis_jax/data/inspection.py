"""Every image of a manifest is decoded once: what it is, whether it can be used, how it looks.

What was found is remembered in the user's own cache folder (`receipts_folder`), by the image's
place, size and time of change and the rules of reading; a second look at images that have not
changed costs no decoding. Neither names nor pixels are kept there.
"""

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from remedis_jax.data.decode import Inspected, inspect, of_store
from remedis_jax.data.fingerprints import fingerprint, is_constant
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import first_few
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.reading import Reading
from remedis_jax.data.stores import file_name, frame_of
from remedis_jax.errors import RunFailed, UserError

ON_BAD_IMAGE = ("error", "skip")
MISSING = "the image file is missing"
Progress = Callable[[int, int], None]
# Changes when what is found changes: an older receipt then counts for nothing.
_VERSION = 3
# ours: images looked at between two writes of receipts.
_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What a look into one image found.

    Attributes:
        image: Name as it stands in the manifest.
        row: Row in the manifest (header = 1).
        sha256: Hex digest of the bytes of the file (and of the frame, where the name asks for one
            of several), or of type, shape and values of pixels; empty where it cannot be read.
        width: Pixels, of the upright image; 0 where it cannot be decoded.
        height: As `width`.
        channels: Of the file, 1 or 3; 0 where it cannot be decoded.
        bits: Of a channel in the file; 0 where it cannot be decoded.
        mode: What the file calls its pixels, such as 'L', 'RGB', 'MONOCHROME1'.
        frames: Images in the file.
        burned_in: Whether a DICOM file says that text is burned into its pixels; None where it
            says nothing.
        constant: Whether the image is all but of one grey.
        fingerprint: See `data.fingerprints`; empty where the image is constant or cannot be used.
        problem: Why the image cannot be used, without its name; empty where it can.
    """

    image: str
    row: int
    sha256: str = ""
    width: int = 0
    height: int = 0
    channels: int = 0
    bits: int = 0
    mode: str = ""
    frames: int = 0
    burned_in: bool | None = None
    constant: bool = False
    fingerprint: bytes = b""
    problem: str = ""


def inspect_images(
    manifest: Manifest,
    reading: Reading,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    receipts: Path | None | bool = True,
) -> list[ImageFacts]:
    """Decodes every image once and says what it is and whether it can be used.

    Args:
        manifest: The images.
        reading: The rules by which they are going to be read. What is found does not depend on
            `bits` and `reduced`, so that one look does for all.
        threads: Images decoded at a time; the decoders release the interpreter lock. Twice the
            processors if None (ours): half of them wait for the disk.
        progress: Called with (done, total) after every image, in the calling thread.
        receipts: Folder of what was found before; True for the user's own, None for neither
            reading nor writing any.

    Returns:
        Facts of each image, in the order of the manifest. Nothing is raised for a bad image.
    """
    folder = receipts_folder() if receipts is True else receipts
    reading = dataclasses.replace(reading, bits=8, reduced=False)
    found: list[ImageFacts] = []
    with (
        _Receipts(folder, reading) as known,
        ThreadPoolExecutor(threads or 2 * usable_processors()) as pool,
    ):
        for start in range(0, len(manifest), _BLOCK):
            part = manifest.select(np.arange(start, min(start + _BLOCK, len(manifest))))
            keys = [known.key(part, name) for name in part.images]
            facts = known.get(keys)

            def look(row: int, name: str, key: str, facts=facts) -> ImageFacts:
                if key in facts:
                    return dataclasses.replace(facts[key], image=name, row=row)
                return _look(manifest, row, name, reading)

            new = {}
            for key, seen in zip(
                keys, pool.map(look, part.rows.tolist(), part.images, keys), strict=True
            ):
                found.append(seen)
                if key not in facts:
                    new[key] = seen
                if progress is not None:
                    progress(len(found), len(manifest))
            known.put(new)
    return found


def check_images(
    manifest: Manifest,
    reading: Reading,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[ImageFacts]:
    """Decodes every image once, before a run, and refuses the manifest if any cannot be used.

    Arguments and result as for `inspect_images`.

    Raises:
        UserError: How many images cannot be used, and of the first five row, name and reason.
    """
    facts = inspect_images(manifest, reading, threads=threads, progress=progress)
    unusable(manifest, facts, "error", 0.0)
    return facts


def unusable(
    manifest: Manifest, facts: Sequence[ImageFacts], on_bad_image: str, max_bad: float
) -> list[ImageFacts]:
    """The images that are to be left out, by a policy.

    Args:
        manifest: Where they stand.
        facts: Of its images.
        on_bad_image: 'error' to refuse the manifest if there are any, 'skip' to leave them out.
        max_bad: Largest share of them that may be left out.

    Raises:
        UserError: There are too many, or the policy is unknown.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise UserError(
            f"on_bad_image is {on_bad_image!r}.", f"Use {' or '.join(ON_BAD_IMAGE)}."
        )
    bad = [found for found in facts if found.problem]
    if not bad or (on_bad_image == "skip" and len(bad) <= max_bad * len(facts)):
        return bad
    listed = [f"row {found.row} ({found.image}): {found.problem}" for found in bad]
    limit = "" if on_bad_image == "error" else f", more than the {max_bad:.3%} allowed"
    remedy = "Replace the files or leave the rows out"
    if on_bad_image == "error":
        remedy += "; or go on without them: on_bad_image=skip, with max_bad as the largest share"
    raise UserError(
        f"{manifest.path}: {len(bad):,} of {len(facts):,} image(s) cannot be used{limit}:"
        f" {first_few(listed, '; ')}.",
        remedy + ".",
    )


def receipts_folder() -> Path:
    """Where this user's receipts lie: $REMEDIS_CACHE, else the usual cache folder of the system."""
    chosen = os.environ.get("REMEDIS_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "remedis_jax"


def _look(manifest: Manifest, row: int, name: str, reading: Reading) -> ImageFacts:
    try:
        content = manifest.store.read(name)
    except UserError as error:
        problem = _without_name(error.problem.rstrip("."), name)
        if manifest.store.size(name) < 0:
            problem = MISSING
        return ImageFacts(name, row, problem=problem)
    frame = frame_of(name)
    if isinstance(content, np.ndarray):
        digest = hashlib.sha256(f"{content.dtype} {content.shape}".encode())
        digest.update(np.ascontiguousarray(content).data)
    else:
        digest = hashlib.sha256(content)
        if frame is not None:
            # Two frames of one file are two images.
            digest.update(f"#frame={frame}".encode())
    seen = inspect(of_store(content), reading, frame=frame)
    constant = seen.pixels is not None and is_constant(seen.pixels)
    picture = b""
    if seen.pixels is not None and not constant:
        picture = fingerprint(seen.pixels).tobytes()
    return ImageFacts(
        name, row, digest.hexdigest(), constant=constant, fingerprint=picture, **_described(seen)
    )


def _without_name(problem: str, name: str) -> str:
    """What a store says of an image, without the path that it begins with."""
    _, found, reason = problem.rpartition(f"{file_name(name)}: ")
    return reason if found else problem.partition(": ")[2] or problem


def _described(seen: Inspected) -> dict[str, object]:
    return {
        field.name: getattr(seen, field.name)
        for field in dataclasses.fields(seen)
        if field.name != "pixels"
    }


_COLUMNS = (
    "sha256", "width", "height", "channels", "bits", "mode", "frames", "burned_in", "constant",
    "fingerprint", "problem",
)  # fmt: skip


class _Receipts:
    """What earlier looks found, in an SQLite file, which several processes may write to."""

    def __init__(self, folder: Path | None, reading: Reading):
        self._rules = f"{_VERSION} {sorted(reading.to_json().items())}"
        self._file: sqlite3.Connection | None = None
        if folder is None:
            return
        path = Path(folder) / "inspected.sqlite"
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=60)
            self._file.execute(
                f"CREATE TABLE IF NOT EXISTS images (key TEXT PRIMARY KEY, {', '.join(_COLUMNS)})"
            )
        self._path = path

    def __enter__(self) -> "_Receipts":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def key(self, manifest: Manifest, name: str) -> str:
        """Of an image in its present state, under these rules."""
        text = f"{self._rules}\0{manifest.path.parent}\0{name}\0{manifest.store.stamp(name)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, keys: Sequence[str]) -> dict[str, ImageFacts]:
        """What is known, by key; without name and row."""
        if self._file is None:
            return {}
        marks = ",".join("?" * len(keys))
        with _explained(self._path):
            rows = self._file.execute(
                f"SELECT key, {', '.join(_COLUMNS)} FROM images WHERE key IN ({marks})", keys
            ).fetchall()
        return {key: _restored(values) for key, *values in rows}

    def put(self, facts: dict[str, ImageFacts]) -> None:
        """Remembers what was found in images that can be used; the others are looked at again."""
        rows = [
            (key, *(getattr(found, name) for name in _COLUMNS))
            for key, found in facts.items()
            if not found.problem
        ]
        if self._file is None or not rows:
            return
        marks = ",".join("?" * (1 + len(_COLUMNS)))
        with _explained(self._path), self._file:
            self._file.executemany(f"INSERT OR REPLACE INTO images VALUES ({marks})", rows)


def _restored(values: Sequence[object]) -> ImageFacts:
    fields = dict(zip(_COLUMNS, values, strict=True))
    burned_in = fields["burned_in"]
    fields["burned_in"] = None if burned_in is None else bool(burned_in)
    fields["constant"] = bool(fields["constant"])
    return ImageFacts("", 0, **fields)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise RunFailed(
            f"{path}: what was found in images cannot be kept ({error}).",
            "Delete the file, or set REMEDIS_CACHE to a folder that can be written.",
        ) from error
