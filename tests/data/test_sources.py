"""All kinds of source give the same pixels under the same interface."""

import pickle

import numpy as np
import pytest

from remedis_jax.data import (
    ArrayRecordSource,
    Columns,
    InMemorySource,
    ManifestSource,
    Reading,
    SubsetSource,
    decode_image,
    load_in_memory,
    read_manifest,
    write_array_record,
)
from remedis_jax.data.pipeline import TrainStream, eval_batches
from remedis_jax.errors import UserError


@pytest.fixture
def manifest(make_manifest):
    return make_manifest(10)


@pytest.fixture
def sources(manifest, tmp_path):
    """The same ten images from files, from memory, from an array_record, and as a subset."""
    files = ManifestSource(manifest, 8)
    memory = load_in_memory(files)
    write_array_record(files, tmp_path / "all.array_record", manifest=manifest)
    record = ArrayRecordSource(tmp_path / "all.array_record")
    return {
        "files": files,
        "memory": memory,
        "record": record,
        "subset": SubsetSource(memory, range(10)),
        "pickled files": pickle.loads(pickle.dumps(files)),
        "pickled record": pickle.loads(pickle.dumps(record)),
    }


def test_files_are_decoded_by_the_rules(manifest):
    reading = Reading(1, to_grey=True)
    source = ManifestSource(manifest, 8, reading, "crop")
    assert source.image_shape == (8, 8, 1) and len(source) == 10
    batch = source.gather(np.array([7, 2]))
    assert batch.dtype == np.uint8
    for pixels, index in zip(batch, (7, 2), strict=True):
        path = manifest.image_paths[index]
        expected = decode_image(path, size=8, reading=reading, fit="crop")
        np.testing.assert_array_equal(pixels, expected)


def test_all_sources_give_the_same_pixels(sources):
    indices = np.array([3, 0, 9, 3])
    expected = sources["files"].gather(indices)
    assert len(np.unique(expected.reshape(4, -1), axis=0)) == 3
    for source in sources.values():
        assert len(source) == 10 and source.image_shape == (8, 8, 3)
        np.testing.assert_array_equal(source.gather(indices), expected)


def test_all_sources_give_the_same_batches(sources):
    def batches(source):
        with TrainStream(source, batch_size=4, seed=1, mode="distinct") as stream:
            train = [next(stream) for _ in range(5)]
        return train + list(eval_batches(source, batch_size=4))

    expected = batches(sources["files"])
    for source in sources.values():
        for got, want in zip(batches(source), expected, strict=True):
            assert got.keys() == want.keys()
            for name in want:
                np.testing.assert_array_equal(got[name], want[name])


def test_a_bad_image_names_manifest_row_and_file(manifest):
    source = ManifestSource(manifest, 8)
    manifest.image_paths[4].write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"manifest.csv: row 6 \(4.png\): the file is a web page"):
        source.gather(np.arange(10))


def test_a_file_that_has_gone_is_noticed_at_once(manifest):
    manifest.image_paths[4].unlink()
    with pytest.raises(UserError, match="row 6: there is no image 4.png"):
        ManifestSource(manifest, 8)


def test_digest_follows_the_content_and_not_the_folder(manifest, tmp_path):
    digest = ManifestSource(manifest, 8).digest
    moved = tmp_path.parent / (tmp_path.name + "_moved")
    tmp_path.rename(moved)
    again = read_manifest(moved / "manifest.csv", manifest.columns)
    assert ManifestSource(again, 8).digest == digest
    others = [
        ManifestSource(again, 9),
        ManifestSource(again, 8, fit="pad"),
        ManifestSource(again.select(np.arange(10)[::-1]), 8),
        ManifestSource(again.select(np.arange(9)), 8),
    ]
    with (moved / "3.png").open("ab") as file:
        file.write(b" ")
    others.append(ManifestSource(again, 8))
    assert len({digest, *(source.digest for source in others)}) == 6


def test_copies_keep_the_digest_and_subsets_do_not(sources):
    digest = sources["files"].digest
    assert sources["memory"].digest == sources["record"].digest == digest
    subset = SubsetSource(sources["memory"], [4, 2])
    assert subset.digest != digest
    np.testing.assert_array_equal(
        subset.gather(np.array([1, 0])), sources["memory"].gather(np.array([2, 4]))
    )
    with pytest.raises(IndexError):
        SubsetSource(sources["memory"], [10])


def test_memory_is_limited(sources):
    with pytest.raises(UserError, match="take 0.0 GiB, more than the 0.0 GiB allowed"):
        load_in_memory(sources["files"], max_bytes=10 * 8 * 8 * 3 - 1)
    load_in_memory(sources["files"], max_bytes=10 * 8 * 8 * 3)


def test_progress_of_loading_ends_at_the_total(sources):
    calls = []
    load_in_memory(sources["files"], progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (10, 10)


def test_memory_takes_uint8_images_only():
    with pytest.raises(ValueError, match="uint8"):
        InMemorySource(np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        InMemorySource(np.zeros((4, 4, 3), np.uint8))


def test_array_record_keeps_the_table(sources, manifest, tmp_path):
    part = manifest.select([8, 1])
    write_array_record(ManifestSource(part, 8), tmp_path / "part.array_record", manifest=part)
    again = ArrayRecordSource(tmp_path / "part.array_record").manifest(manifest.columns)
    assert again.rows.tolist() == [10, 3]
    assert again.groups.tolist() == ["004", "000"]
    assert again.table.equals(part.table)
    with pytest.raises(UserError, match="no column 'patiend'. Did you mean 'patient'"):
        sources["record"].manifest(Columns(group="patiend"))


def test_several_array_records_follow_one_another(sources, manifest, tmp_path):
    names = [tmp_path / f"{i}.array_record" for i in range(2)]
    for name, part in zip(names, (manifest.select(range(7)), manifest.select(range(7, 10)))):
        write_array_record(ManifestSource(part, 8), name, manifest=part)
    both = ArrayRecordSource(names)
    assert len(both) == 10
    np.testing.assert_array_equal(
        both.gather(np.arange(10)), sources["files"].gather(np.arange(10))
    )
    assert both.manifest(manifest.columns).table.equals(manifest.table)
    assert both.digest != ArrayRecordSource(names[::-1]).digest


def test_unusable_array_records_are_refused(sources, manifest, tmp_path):
    good = tmp_path / "all.array_record"
    bad = tmp_path / "bad.array_record"
    with pytest.raises(UserError, match="bad.array_record: there is no such file"):
        ArrayRecordSource(bad)
    bad.write_bytes(b"no array_record")
    with pytest.raises(UserError, match="bad.array_record: is damaged"):
        ArrayRecordSource(bad)
    bad.write_bytes(good.read_bytes()[:-70000])
    with pytest.raises(UserError, match="bad.array_record: is damaged"):
        ArrayRecordSource(bad)
    write_array_record(ManifestSource(manifest, 9), bad)
    with pytest.raises(UserError, match="different shapes"):
        ArrayRecordSource([good, bad])
    with pytest.raises(UserError, match="written without a manifest"):
        ArrayRecordSource(bad).manifest(Columns())

    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(bad), "group_size:1")
    writer.write(b"something else")
    writer.close()
    with pytest.raises(UserError, match="without the trailer"):
        ArrayRecordSource(bad)


def test_a_flipped_bit_in_an_array_record_is_noticed(sources, tmp_path):
    path = tmp_path / "all.array_record"
    data = bytearray(path.read_bytes())
    first = data.find(sources["files"].gather(np.array([0]))[0, :2].tobytes())
    assert first > 0, "noise is stored as it is"
    data[first] ^= 1
    path.write_bytes(data)
    source = ArrayRecordSource(path)
    with pytest.raises(UserError, match="all.array_record: is damaged .*record 0"):
        source.gather(np.arange(10))


def test_an_unfinished_array_record_is_never_left(manifest, tmp_path):
    source = ManifestSource(manifest, 8)
    manifest.image_paths[4].write_bytes(b"")
    with pytest.raises(UserError, match="row 6"):
        write_array_record(source, tmp_path / "new.array_record")
    assert not list(tmp_path.glob("new.array_record*"))
