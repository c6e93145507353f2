"""Images decoded once and for all: a folder of shards at the working size, for slow sources."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.array_record import read_trailer, trailer_of, write_records
from remedis_jax.data.cache_store import FILE_NAME, CachePlan, read_plan
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.processors import usable_processors
from remedis_jax.data.reading import Reading
from remedis_jax.data.resample import Fit
from remedis_jax.data.sources import ManifestSource, bytes_of
from remedis_jax.errors import UserError

# ours: large enough to be read at full speed from a network disk, small enough that an
# interruption costs little.
SHARD_BYTES = 256 * 2**20
# ours: each shard is an open file of every process that trains, and systems allow 1024.
MOST_SHARDS = 256
# ours: images between two looks at whether to stop.
_CHUNK = 32


class _Stopped(Exception):
    """Another shard has failed."""


def write_cache(
    manifest: Manifest,
    folder: str | os.PathLike,
    *,
    size: int,
    reading: Reading,
    fit: Fit = "squash",
    shard_bytes: int = SHARD_BYTES,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Decodes every image of a manifest once; `open_cache` reads what it writes.

    Each shard appears when it is whole, and the same call after an interruption goes on with the
    others and ends with the same bytes. The shards hold pixels and the manifest's columns, and
    nothing else that stood in the files.

    Args:
        manifest: The images, and the columns to keep: all of them.
        folder: Where to write; new, empty, or of an earlier call with the same arguments.
        size: Side of the images in pixels.
        reading: How they are read.
        fit: As for `decode_image`.
        shard_bytes: Of decoded pixels in a shard; more where there would be too many shards.
        threads: Images decoded at a time; None for the machine's processors.
        progress: Called with (done, total) after every few images; what an earlier call has
            written counts as done.

    Returns:
        The folder.

    Raises:
        UserError: The folder holds something else, a setting is not possible, or an image cannot
            be read.
        RunFailed: The disk is full.
    """
    threads = threads or usable_processors()
    source = ManifestSource(manifest, size, reading, fit, threads=threads)
    plan = CachePlan(
        digest=source.digest,
        manifest_sha256=manifest.sha256,
        image=manifest.columns.image,
        size=size,
        fit=fit,
        reading=reading,
        counts=_split(len(source), bytes_of(source), shard_bytes),
    )
    folder = Path(folder).absolute()
    _claim(folder, plan)
    names = manifest.images
    rows = manifest.rows
    sizes = [manifest.store.size(name) for name in names]

    todo = [
        (name, part)
        for name, part in plan.shards()
        if not _is_written(folder / name, plan, part)
    ]
    done = len(source) - sum(len(part) for _, part in todo)
    lock = threading.Lock()
    stop = threading.Event()

    def count(images: int) -> None:
        nonlocal done
        if progress is not None:
            with lock:
                done += images
                progress(done, len(source))

    def images_of(part: range) -> Iterable[np.ndarray]:
        for start in range(part.start, part.stop, _CHUNK):
            if stop.is_set():
                raise _Stopped
            indices = np.arange(start, min(start + _CHUNK, part.stop))
            yield from source.gather(indices)
            count(len(indices))

    def write_shard(name: str, part: range) -> None:
        places = slice(part.start, part.stop)
        trailer = trailer_of(source, rows[places], manifest.table.iloc[places])
        trailer |= _identity(plan, part) | {"sizes": sizes[places]}
        try:
            write_records(folder / name, images_of(part), trailer)
        except BaseException:
            stop.set()
            raise

    count(0)
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(write_shard, name, part) for name, part in todo]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            # Interruptions too: the shards in work are given up, those that wait never begun.
            stop.set()
            for job in jobs:
                job.cancel()
            raise
    CachePlan(**vars(plan) | {"complete": True}).write(folder)
    return folder


def _split(count: int, total_bytes: int, shard_bytes: int) -> tuple[int, ...]:
    """Images in each shard, as even as can be."""
    shards = min(max(1, -(-total_bytes // max(1, shard_bytes))), MOST_SHARDS, max(1, count))
    least, larger = divmod(count, shards)
    return tuple(least + (number < larger) for number in range(shards))


def _identity(plan: CachePlan, part: range) -> dict[str, Any]:
    """By what a shard is known to belong to a cache."""
    return {"of": plan.digest, "first": part.start}


def _is_written(path: Path, plan: CachePlan, part: range) -> bool:
    if not path.is_file():
        return False
    try:
        trailer = read_trailer(path)
    except UserError:  # Damaged; it is written again.
        return False
    known = {name: trailer.get(name) for name in ("of", "first", "count")}
    return known == _identity(plan, part) | {"count": len(part)}


def _claim(folder: Path, plan: CachePlan) -> None:
    """Makes the folder that of this cache, or refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FILE_NAME).is_file():
        if any(path.name != FILE_NAME + ".unfinished" for path in folder.iterdir()):
            raise UserError(
                f"{folder} is not empty and holds no cache.", "Choose an empty or new folder."
            )
        plan.write(folder)
        return
    earlier = read_plan(folder)
    if vars(earlier) | {"complete": False} == vars(plan):
        # What a killed process left behind.
        for path in folder.glob("*.unfinished"):
            path.unlink()
        return
    settings = plan.settings()
    differ = [
        f"{name} {value} there, {settings[name]} here"
        for name, value in earlier.settings().items()
        if value != settings[name]
    ]
    raise UserError(
        f"{folder} holds a cache of {', '.join(differ) or 'other images or shards'}.",
        "Choose another folder, or delete this one.",
    )
