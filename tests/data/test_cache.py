"""A cache gives the same pixels under the same digest as the files that it was written from."""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from remedis_jax.data import Columns, ManifestSource
from remedis_jax.data import cache as cache_module
from remedis_jax.data.cache import write_cache
from remedis_jax.data.cache_store import open_cache
from remedis_jax.data.manifest import read_manifest
from remedis_jax.data.pipeline import TrainStream
from remedis_jax.data.reading import Reading
from remedis_jax.data.stores import FolderStore
from remedis_jax.errors import RunFailed, UserError

SIZE = 8
BYTES = SIZE * SIZE * 3
COLUMNS = Columns(group="patient", labels=("malignant",))
READINGS = {
    "colour": Reading(),
    "grey": Reading(channels=1, to_grey=True),
    "deep": Reading(bits=16),
}


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.array_record"))


def content(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.parametrize("kind", READINGS)
def test_same_pixels_same_digest_same_batches(make_manifest, tmp_path, kind):
    manifest, reading = make_manifest(11), READINGS[kind]
    files = ManifestSource(manifest, SIZE, reading, "crop")
    folder = write_cache(
        manifest, tmp_path / "cache", size=SIZE, reading=reading, fit="crop",
        shard_bytes=4 * BYTES,
    )  # fmt: skip
    cached = open_cache(folder, COLUMNS)
    assert len(shards(folder)) > 2 or kind == "grey"
    assert cached.table.equals(manifest.table) and cached.rows.tolist() == manifest.rows.tolist()
    assert cached.groups.tolist() == manifest.groups.tolist()
    assert cached.sha256 == manifest.sha256
    source = ManifestSource(cached, SIZE, reading, "crop")
    assert source.digest == files.digest and source.dtype == files.dtype
    assert source.dtype == (np.uint16 if kind == "deep" else np.uint8)
    np.testing.assert_array_equal(source.gather(np.arange(11)), files.gather(np.arange(11)))
    # A run goes on from the one with the other, on a part of the rows too.
    part = [7, 2, 9, 4, 1]
    both = [ManifestSource(m.select(part), SIZE, reading, "crop") for m in (manifest, cached)]
    with TrainStream(both[0], batch_size=2, seed=0, mode="stream") as stream:
        next(stream)
        state = stream.state()
        expected = next(stream)
    with TrainStream.from_state(
        both[1], state=state, batch_size=2, seed=0, mode="stream"
    ) as stream:
        got = next(stream)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def test_the_originals_are_not_needed(make_manifest, tmp_path):
    manifest = make_manifest(3)
    expected = ManifestSource(manifest, SIZE).gather(np.arange(3))
    folder = write_cache(manifest, tmp_path / "cache", size=SIZE, reading=Reading())
    for path in manifest.image_paths:
        path.unlink()
    moved = folder.rename(tmp_path / "moved")
    got = ManifestSource(open_cache(moved, COLUMNS), SIZE).gather(np.arange(3))
    np.testing.assert_array_equal(got, expected)


def test_the_same_call_writes_the_same_bytes(make_manifest, tmp_path):
    manifest = make_manifest(11)
    folders = [
        write_cache(
            manifest, tmp_path / name, size=SIZE, reading=Reading(), shard_bytes=3 * BYTES,
            threads=threads,
        )
        for name, threads in (("one", 1), ("four", 4))
    ]  # fmt: skip
    assert content(folders[0]) == content(folders[1])
    before = content(folders[0])
    seen = []
    write_cache(
        manifest, folders[0], size=SIZE, reading=Reading(), shard_bytes=3 * BYTES,
        progress=lambda *count: seen.append(count),
    )  # fmt: skip
    assert seen == [(11, 11)] and content(folders[0]) == before


class SlowStore(FolderStore):
    """A disk on which a few images a second can be read."""

    def read(self, name: str) -> bytes:
        time.sleep(0.05)
        return super().read(name)


def _write_slowly(path: Path, folder: Path) -> None:
    import dataclasses

    manifest = read_manifest(path, COLUMNS)
    slow = dataclasses.replace(manifest, store=SlowStore(path.parent))
    write_cache(slow, folder, size=SIZE, reading=Reading(), shard_bytes=2 * BYTES, threads=1)


def test_killed_and_repeated_it_ends_with_the_same_bytes(make_manifest, tmp_path):
    manifest = make_manifest(12)
    arguments = {"size": SIZE, "reading": Reading(), "shard_bytes": 2 * BYTES}
    whole = content(write_cache(manifest, tmp_path / "whole", **arguments))
    folder = tmp_path / "killed"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_write_slowly, args=(manifest.path, folder))
    process.start()
    deadline = time.monotonic() + 20
    while len(shards(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = {path.name: path.stat().st_mtime_ns for path in shards(folder)}
    assert 2 <= len(kept) < 6
    with pytest.raises(UserError, match=rf"not finished: {len(kept)} of 6 .*Repeat"):
        open_cache(folder, COLUMNS)
    counts = []
    write_cache(manifest, folder, progress=lambda *count: counts.append(count), **arguments)
    assert content(folder) == whole
    assert all((folder / name).stat().st_mtime_ns == stamp for name, stamp in kept.items())
    assert counts[0] == (2 * len(kept), 12) and counts[-1] == (12, 12)


def test_a_bad_image_is_named_and_the_rest_goes_on_later(make_manifest, tmp_path):
    manifest = make_manifest(12)
    good = manifest.image_paths[9].read_bytes()
    # Of the same length, since the cache knows the files by their names and lengths.
    manifest.image_paths[9].write_bytes(bytes(len(good)))
    arguments = {"size": SIZE, "reading": Reading(), "shard_bytes": 2 * BYTES, "threads": 1}
    folder = tmp_path / "cache"
    with pytest.raises(UserError, match=r"row 11 \(9.png\): the file is"):
        write_cache(manifest, folder, **arguments)
    assert not list(folder.glob("*.array_record.unfinished"))
    assert len(shards(folder)) == 4
    manifest.image_paths[9].write_bytes(good)
    write_cache(manifest, folder, **arguments)
    assert len(open_cache(folder, COLUMNS)) == 12


def test_another_cache_or_other_files_are_not_overwritten(make_manifest, tmp_path):
    manifest = make_manifest(5)
    folder = write_cache(manifest, tmp_path / "cache", size=SIZE, reading=Reading())
    before = content(folder)
    with pytest.raises(UserError, match="holds a cache of size 8 there, 9 here"):
        write_cache(manifest, folder, size=9, reading=Reading())
    with pytest.raises(UserError, match="holds a cache of bits 8 there, 16 here"):
        write_cache(manifest, folder, size=SIZE, reading=Reading(bits=16))
    with pytest.raises(UserError, match="holds a cache of other images"):
        write_cache(manifest.select([0, 1]), folder, size=SIZE, reading=Reading())
    assert content(folder) == before
    with pytest.raises(UserError, match="is not empty and holds no cache"):
        write_cache(manifest, tmp_path, size=SIZE, reading=Reading())


def test_settings_that_the_cache_does_not_hold_are_refused(make_manifest, tmp_path):
    reading = Reading(window=(40, 400), frames="first")
    folder = write_cache(make_manifest(3), tmp_path / "cache", size=SIZE, reading=reading)
    store = open_cache(folder, COLUMNS).store
    store.require(SIZE, reading, "squash")
    assert store.bits == 8
    with pytest.raises(UserError, match="images of size 8, not 9.* Set data.size=8, or"):
        store.require(9, reading, "squash")
    with pytest.raises(UserError) as caught:
        store.require(SIZE, Reading(frames="first"), "pad")
    assert "Set data.fit=squash data.window=40,400, or" in caught.value.remedy


def test_damaged_and_mixed_caches_are_refused(make_manifest, tmp_path):
    manifest = make_manifest(6)
    arguments = {"reading": Reading(), "shard_bytes": 2 * BYTES}
    folder = write_cache(manifest, tmp_path / "cache", size=SIZE, **arguments)
    other = write_cache(manifest.select([5, 4, 3, 2, 1, 0]), tmp_path / "other", size=SIZE,
                        **arguments)  # fmt: skip
    with pytest.raises(UserError, match="no column 'patiend'. Did you mean 'patient'"):
        open_cache(folder, Columns(group="patiend"))
    with pytest.raises(UserError, match="holds the images of column 'image', not of 'path'"):
        open_cache(folder, Columns(image="path"))
    first, second, third = shards(folder)
    second.write_bytes(shards(other)[1].read_bytes())
    with pytest.raises(UserError, match=r"00001-of-00003.array_record belong\(s\) to another"):
        open_cache(folder, COLUMNS)
    second.write_bytes(first.read_bytes()[:-40000])
    with pytest.raises(UserError, match="00001-of-00003.array_record: is damaged"):
        open_cache(folder, COLUMNS)
    second.unlink()
    with pytest.raises(UserError, match="00001-of-00003.array_record: there is no such file"):
        open_cache(folder, COLUMNS)
    # What is missing is written again.
    description = json.loads((folder / "cache.json").read_text())
    write_cache(manifest, folder, size=SIZE, **arguments)
    assert json.loads((folder / "cache.json").read_text()) == description
    assert len(open_cache(folder, COLUMNS)) == 6
    (folder / "cache.json").write_text("{}")
    with pytest.raises(UserError, match="cache.json: is not a description of a cache"):
        open_cache(folder, COLUMNS)
    (folder / "cache.json").unlink()
    with pytest.raises(UserError, match="cache.json: cannot be read"):
        open_cache(folder, COLUMNS)


def test_a_shard_that_goes_bad_in_mid_run_names_itself(make_manifest, tmp_path):
    folder = write_cache(make_manifest(4), tmp_path / "cache", size=SIZE, reading=Reading())
    manifest = open_cache(folder, COLUMNS)
    source = ManifestSource(manifest, SIZE)
    (path,) = shards(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"row 2 \(0.png\): .*00000-of-00001.array_record"):
        source.gather(np.array([0]))


def test_the_store_is_pickled_small_and_read_by_many_threads(make_manifest, tmp_path):
    manifest = make_manifest(9)
    folder = write_cache(
        manifest, tmp_path / "cache", size=SIZE, reading=Reading(), shard_bytes=2 * BYTES
    )
    store = open_cache(folder, COLUMNS).store
    expected = ManifestSource(manifest, SIZE).gather(np.arange(9))
    store.read("0.png")
    # With an open file inside, which stays behind.
    copy = pickle.loads(pickle.dumps(store))
    names = [f"{i % 9}.png" for i in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i, pixels in enumerate(pool.map(copy.read, names)):
            np.testing.assert_array_equal(pixels, expected[i % 9])
    assert store.size("3.png") == manifest.store.size("3.png") and store.size("x.png") == -1
    assert len({store.stamp(f"{i}.png") for i in range(9)}) == 9
    with pytest.raises(UserError, match="the cache holds no image x.png"):
        store.read("x.png")


def test_there_are_never_too_many_shards():
    assert cache_module._split(10, 10, 4) == (4, 3, 3)
    assert cache_module._split(2, 10_000, 1) == (1, 1)
    counts = cache_module._split(1_000_000, 10**12, 2**28)
    assert len(counts) == cache_module.MOST_SHARDS and sum(counts) == 1_000_000


def test_a_full_disk_is_one_line(make_manifest, tmp_path):
    import resource

    manifest = make_manifest(4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(RunFailed, match="could not be written"):
            write_cache(manifest, tmp_path / "cache", size=64, reading=Reading())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    write_cache(manifest, tmp_path / "cache", size=64, reading=Reading())
    assert len(open_cache(tmp_path / "cache", COLUMNS)) == 4
