"""Images inside Parquet files: names, labels, lazy row groups, threads, pickles, bad files."""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from remedis_jax.data import Columns, ManifestSource, read_manifest
from remedis_jax.data import row_groups as module
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.parquet_images import ParquetImagesStore
from remedis_jax.data.row_groups import BinaryColumn
from remedis_jax.errors import UserError

CLASSES = ["benign", "malignant"]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": CLASSES, "_type": "ClassLabel"},
    "findings": {"feature": {"names": CLASSES, "_type": "ClassLabel"}, "length": 2},
}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shard(tmp_path):
    """Writes a file as `datasets` does, with row groups of two."""

    def write(name, seeds, *, features=FEATURES, **changed):
        seeds = list(seeds)
        columns = {
            "image": [{"bytes": png(i), "path": f"{i}.png"} for i in seeds],
            "label": [i % 2 for i in seeds],
            "findings": [[i % 2, -1] for i in seeds],
            "patient": [f"{i:03d}" for i in seeds],
            "age": pa.array([None if i == 1 else float(i) for i in seeds], pa.float64()),
        }
        table = pa.table(columns | changed)
        description = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata(description), path, row_group_size=2)
        return path

    return write


def test_one_file_with_classes_by_name_and_ids_as_text(shard):
    columns = Columns(group="patient", labels=("label",))
    manifest = open_manifest(shard("x.parquet", range(5)), columns)
    assert manifest.images == [f"x.parquet/{i}" for i in range(5)]
    assert manifest.table.drop(columns="image").to_dict("list") == {
        "label": ["benign", "malignant", "benign", "malignant", "benign"],
        "findings_00": ["benign", "malignant", "benign", "malignant", "benign"],
        "findings_01": [""] * 5,
        "patient": ["000", "001", "002", "003", "004"],
        "age": ["0", "", "2", "3", "4"],
        "image_path": ["0.png", "1.png", "2.png", "3.png", "4.png"],
    }
    for i in range(5):
        assert manifest.store.read(f"x.parquet/{i}") == png(i)


def test_shards_of_a_folder_give_the_split(shard, tmp_path):
    shard("data/train-00000-of-00002.parquet", range(3))
    shard("data/train-00001-of-00002.parquet", range(3, 5))
    shard("data/test-00000-of-00001.parquet", [5])
    (tmp_path / "README.md").write_text("a card")
    manifest = open_manifest(tmp_path, Columns(split="split"))
    assert manifest.column("split").tolist() == ["test"] + ["train"] * 5
    assert manifest.images[-1] == "data/train-00001-of-00002.parquet/1"
    assert [manifest.store.read(name) for name in manifest.images] == [
        png(i) for i in (5, 0, 1, 2, 3, 4)
    ]


def test_the_same_pixels_as_from_files(shard, tmp_path):
    table = open_manifest(shard("x.parquet", range(5)), Columns())
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    (tmp_path / "m.csv").write_text("image\n" + "".join(f"{i}.png\n" for i in range(5)))
    files = read_manifest(tmp_path / "m.csv")
    order = np.array([4, 0, 3])
    np.testing.assert_array_equal(
        ManifestSource(table, 5).gather(order), ManifestSource(files, 5).gather(order)
    )


def test_a_binary_column_without_description(shard):
    image = pa.array([png(0), png(1)], pa.binary())
    path = shard("x.parquet", range(2), features={}, image=image)
    manifest = open_manifest(path, Columns())
    assert manifest.store.read("x.parquet/1") == png(1)
    assert manifest.column("label").tolist() == ["0", "1"]
    assert manifest.column("findings").tolist() == ["[0, -1]", "[1, -1]"]


def test_a_table_of_paths_is_read_as_before(shard, tmp_path):
    (tmp_path / "a.png").write_bytes(png(0))
    path = shard("x.parquet", [0], picture=["a.png"])
    assert open_manifest(path, Columns(image="picture")).images == ["a.png"]


def test_the_image_column_must_be_one(shard):
    path = shard("x.parquet", range(2))
    with pytest.raises(UserError, match="no column 'img' holds images.*that can are 'image'"):
        open_manifest(path, Columns(image="img"))


def test_images_that_are_not_there_name_their_rows(shard):
    image = [{"bytes": png(i), "path": "x"} for i in range(3)]
    image += [{"bytes": None, "path": "x"}, None]
    path = shard("x.parquet", range(5), image=image)
    with pytest.raises(UserError, match="holds no bytes in 2 row.s.: row 5, 6"):
        open_manifest(path, Columns())


def test_files_of_different_columns_are_refused(shard, tmp_path):
    shard("a.parquet", range(2))
    shard("b.parquet", range(2), more=["x", "y"])
    with pytest.raises(UserError, match="b.parquet: has other columns than a.parquet .more"):
        open_manifest(tmp_path, Columns())


def test_damaged_files_are_refused(shard, tmp_path):
    path = shard("x.parquet", range(5))
    store = open_manifest(path, Columns()).store
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    for action in (lambda: open_manifest(path, Columns()), lambda: store.read("x.parquet/0")):
        with pytest.raises(UserError, match="x.parquet: is not a readable Parquet file"):
            action()
    path.unlink()
    with pytest.raises(UserError, match="x.parquet: "):
        store.read("x.parquet/0")
    assert store.stamp("x.parquet/0") == "absent"


def test_names_have_one_spelling(shard):
    store = open_manifest(shard("x.parquet", range(5)), Columns()).store
    for name in ("x.parquet/5", "x.parquet/00", "x.parquet/-1", "y.parquet/0", "x.parquet/a"):
        assert store.size(name) == -1 and store.stamp(name) == "absent"
        with pytest.raises(UserError, match="there is no such image"):
            store.read(name)
    assert 0 < store.size("x.parquet/0") < 4 * len(png(0))


def test_threads_and_pickles(shard, monkeypatch):
    manifest = open_manifest(shard("x.parquet", range(12)), Columns())
    store = pickle.loads(pickle.dumps(manifest.store))
    loaded = []
    load = BinaryColumn._load
    monkeypatch.setattr(BinaryColumn, "_load", lambda s, key: loaded.append(key) or load(s, key))
    order = np.random.default_rng(0).permutation(np.tile(np.arange(12), 20)).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: store.read(f"x.parquet/{i}"), order))
    assert found == [png(i) for i in order]
    # Every row group once, whichever thread came first.
    assert sorted(loaded) == [(0, group) for group in range(6)]
    assert pickle.loads(pickle.dumps(store)).read("x.parquet/3") == png(3)


def test_no_more_than_the_budget_is_kept(shard, tmp_path):
    shard("x.parquet", range(12))
    groups = [column.total_uncompressed_size for column in _chunks(tmp_path / "x.parquet")]
    column = BinaryColumn([tmp_path / "x.parquet"], "image.bytes", memory=2 * max(groups))
    for row in [*range(12), 3, 4]:
        assert column.cell(0, row) == png(row)
        kept = [group for _, group in column._groups]
        assert kept[-1] == row // 2 and sum(groups[group] for group in kept) <= 2 * max(groups)
    assert kept == [1, 2]


def _chunks(path):
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).column(0) for i in range(metadata.num_row_groups)]


def test_a_row_group_that_fills_the_memory_is_refused(shard, monkeypatch):
    path = shard("x.parquet", range(4))
    monkeypatch.setattr(module, "LARGEST_GROUP", 300)
    with pytest.raises(UserError, match="a row group holds .* row groups of a hundred images"):
        ParquetImagesStore(path.parent, ["x.parquet"], "image.bytes")
