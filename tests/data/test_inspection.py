"""Looking into every image once: what is found, what is remembered, what a policy leaves out."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.data import Reading, inspection, read_manifest
from remedis_jax.data.inspection import inspect_images, receipts_folder, unusable
from remedis_jax.errors import RunFailed, UserError


@pytest.fixture
def rows(tmp_path):
    """Five images: noise, a copy of it, one grey, 16 bits deep, and one that is none."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.png")
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(folder / "grey.png")
    deep = rng.integers(0, 65536, (8, 8)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "bad.png").write_text("<html>")
    names = ["a.png", "b.png", "grey.png", "deep.png", "bad.png"]
    (folder / "m.csv").write_text("image\n" + "\n".join(names))
    return read_manifest(folder / "m.csv")


def test_what_is_found(rows, tmp_path):
    facts = inspect_images(rows, Reading(), receipts=None)
    a, b, grey, deep, bad = facts
    assert a.sha256 == b.sha256 and a.fingerprint == b.fingerprint and len(a.fingerprint) == 32
    assert (a.width, a.height, a.channels, a.bits, a.mode) == (30, 40, 3, 8, "RGB")
    assert grey.constant and not grey.fingerprint and not grey.problem
    assert (deep.bits, deep.channels, deep.constant) == (16, 1, False)
    assert "web page" in bad.problem and bad.sha256 and not bad.fingerprint and bad.bits == 0
    assert [fact.row for fact in facts] == [2, 3, 4, 5, 6]


def test_a_second_look_decodes_nothing_that_has_not_changed(rows, tmp_path, monkeypatch):
    receipts, calls = tmp_path / "receipts", []
    first = inspect_images(rows, Reading(), receipts=receipts)

    def counted(*arguments, **options):
        calls.append(arguments)
        return inspect(*arguments, **options)

    inspect = inspection.inspect
    monkeypatch.setattr(inspection, "inspect", counted)
    assert inspect_images(rows, Reading(), receipts=receipts) == first
    # What could not be used is looked at again: perhaps the disk was away.
    assert len(calls) == 1
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(rows.path.parent / "a.png")
    os.utime(rows.path.parent / "a.png", ns=(1, 1))
    second = inspect_images(rows, Reading(), receipts=receipts)
    assert len(calls) == 3 and second[0].width == 5 and second[1:] == first[1:]
    # Other rules are another look.
    inspect_images(rows, Reading(1, True), receipts=receipts)
    assert len(calls) == 3 + len(rows)


def test_depth_and_scale_are_no_other_look(rows, tmp_path, monkeypatch):
    """Training reads deep images at 16 bits and JPEGs reduced; neither changes what is found."""
    first = inspect_images(rows, Reading(), receipts=tmp_path / "receipts")

    def never(*arguments, **options):
        raise AssertionError("decoded")

    usable = rows.select(np.arange(4))
    monkeypatch.setattr(inspection, "inspect", never)
    for reading in (Reading(bits=16), Reading(reduced=True)):
        assert inspect_images(usable, reading, receipts=tmp_path / "receipts") == first[:4]


def test_frames_of_one_file_are_images_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "m.csv").write_text("image\na.tif#frame=0\na.tif#frame=1\na.tif#frame=2\n")
    facts = inspect_images(read_manifest(tmp_path / "m.csv"), Reading(), receipts=None)
    assert [found.problem for found in facts] == [""] * 3 and facts[0].frames == 3
    assert len({found.sha256 for found in facts}) == len({f.fingerprint for f in facts}) == 3


def test_why_an_image_cannot_be_read_is_said_without_its_name(tmp_path):
    (tmp_path / "folder: odd.png").mkdir()
    (tmp_path / "m.csv").write_text("image\nfolder: odd.png\nabsent.png\n")
    rows = read_manifest(tmp_path / "m.csv", check_files=False)
    folder, absent = inspect_images(rows, Reading(), receipts=None)
    assert folder.problem == "the file cannot be read (is a directory)"
    assert absent.problem == inspection.MISSING
    with pytest.raises(UserError, match=r"row 3 \(absent.png\): the image file is missing\."):
        unusable(rows, [absent], "error", 0.0)


def test_pixels_of_a_store_are_digested_with_their_shape(rows):
    """A dark picture of 16 bits in a store is a picture; equal bytes of another shape another."""

    class Pixels:
        def read(self, name):
            values = np.arange(2400, dtype=np.uint16)
            return values.reshape((40, 60) if name == "a" else (60, 40))

        def stamp(self, name):
            return "1"

        def size(self, name):
            return 4800

    table = pd.DataFrame({"image": ["a", "b", "c"]}, pd.Index([2, 3, 4], name="row"))
    stored = dataclasses.replace(rows, table=table, store=Pixels())
    a, b, c = inspect_images(stored, Reading(), receipts=None)
    assert not a.problem and a.bits == 16 and (a.width, a.height) == (60, 40)
    assert a.sha256 != b.sha256 == c.sha256


def test_progress_counts_every_image(rows):
    calls = []
    inspect_images(rows, Reading(), receipts=None, progress=lambda *count: calls.append(count))
    assert calls == [(i, 5) for i in range(1, 6)]


def test_receipts_hold_no_names(rows, tmp_path):
    inspect_images(rows, Reading(), receipts=tmp_path / "receipts")
    content = b"".join(path.read_bytes() for path in (tmp_path / "receipts").iterdir())
    for name in (*rows.images, str(rows.path.parent)):
        assert name.encode() not in content


def test_several_may_look_at_once(rows, tmp_path):
    """Each has a connection of its own, as processes have."""
    with ThreadPoolExecutor(4) as pool:
        looks = [
            pool.submit(inspect_images, rows, Reading(), receipts=tmp_path / "r") for _ in range(8)
        ]
        assert len({tuple(look.result()) for look in looks}) == 1


def test_receipts_that_cannot_be_kept_are_explained(rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="REMEDIS_CACHE"):
        inspect_images(rows, Reading(), receipts=tmp_path / "file")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "inspected.sqlite").write_text("no database" * 100)
    with pytest.raises(RunFailed, match="inspected.sqlite.*Delete the file"):
        inspect_images(rows, Reading(), receipts=tmp_path / "r")


def test_folder_of_the_receipts(monkeypatch, tmp_path):
    monkeypatch.setenv("REMEDIS_CACHE", str(tmp_path))
    assert receipts_folder() == tmp_path
    monkeypatch.delenv("REMEDIS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(receipts_folder()) == "/x/remedis_jax"


def test_policies_for_images_that_cannot_be_used(rows):
    facts = inspect_images(rows, Reading(), receipts=None)
    with pytest.raises(UserError, match=r"1 of 5 image\(s\) cannot be used: row 6 \(bad.png\)"):
        unusable(rows, facts, "error", 1.0)
    assert [fact.image for fact in unusable(rows, facts, "skip", 0.2)] == ["bad.png"]
    with pytest.raises(UserError, match="more than the 10.000% allowed"):
        unusable(rows, facts, "skip", 0.1)
    with pytest.raises(UserError, match="on_bad_image is 'ignore'"):
        unusable(rows, facts, "ignore", 0.1)
    assert unusable(rows, facts[:4], "error", 0.0) == []
