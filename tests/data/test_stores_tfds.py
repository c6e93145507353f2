"""Data sets of TFDS without TensorFlow: columns, splits, depth, caches, names that are wrong."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from remedis_jax.data import Columns, ManifestSource
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.reading import Reading
from remedis_jax.data.tfds_columns import FeatureColumns
from remedis_jax.data.tfds_reader import PreparedSet
from remedis_jax.errors import UserError

COLUMNS = Columns(group="about_patient", labels=("label",))


def deep(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (4, 4), dtype=np.uint16)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class StoreTestSet(tfds.core.GeneratorBasedBuilder):
    """Eight 16-bit images with every kind of feature."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would otherwise look for it with a package that it does not require.
    code_path = epath.Path(__file__)

    def _info(self):
        answer = tfds.features.ClassLabel(names=["no", "yes"])
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
                    ),
                    "mask": tfds.features.Image(shape=(None, None, 1)),
                    "label": tfds.features.ClassLabel(names=["benign", "malignant"]),
                    "two": tfds.features.Sequence(answer, length=2),
                    "any": tfds.features.Sequence(answer),
                    "words": tfds.features.Sequence(tfds.features.Text()),
                    "about": {"patient": tfds.features.Text(), "dose": np.float32, "age": np.int32},
                    "box": tfds.features.BBoxFeature(),
                    "bag": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
                    "parts": tfds.features.Sequence({"x": np.int32}),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(5)), "test": self._generate_examples([5, 6])}

    def _generate_examples(self, numbers):
        for i in numbers:
            yield i, {
                "image": io.BytesIO(png(deep(i))),
                "mask": io.BytesIO(png(np.full((4, 4), i, np.uint8))),
                "label": i % 2,
                "two": ["yes", "no"],
                "any": ["yes"] * (i % 2),
                "words": ["a", "b"][: i % 3],
                "about": {"patient": f"{i:03d}", "dose": 0.1 if i else float("nan"), "age": i},
                "box": tfds.features.BBox(0.0, 0.0, 0.5, 1.0),
                "bag": np.zeros((i, 2), np.float32),
                "parts": [{"x": i}],
            }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The data set in both formats that can be read without TensorFlow."""
    folder = tmp_path_factory.mktemp("tfds")
    for file_format in ("array_record", "parquet"):
        builder = StoreTestSet(data_dir=folder / file_format, file_format=file_format)
        builder.download_and_prepare()
    return folder


@pytest.fixture(params=["array_record", "parquet"])
def folder(prepared, request, tmp_path, monkeypatch):
    """A copy of it, where no table has been kept yet."""
    monkeypatch.setenv("REMEDIS_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "sets"
    ignored = shutil.ignore_patterns(".remedis_jax*")
    shutil.copytree(prepared / request.param, copy, ignore=ignored)
    return copy


@pytest.fixture
def records(prepared, tmp_path, monkeypatch):
    """As `folder`, of array_record only."""
    monkeypatch.setenv("REMEDIS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(prepared / "array_record", tmp_path / "sets")
    return tmp_path / "sets"


def test_features_become_columns_of_text(folder):
    manifest = open_manifest(f"tfds:store_test_set@{folder}", COLUMNS)
    assert manifest.column("split").tolist() == ["train"] * 5 + ["test"] * 2
    assert manifest.images[:6] == [*(f"train/{i}" for i in range(5)), "test/0"]
    assert list(manifest.table) == [
        "image", "about_age", "about_dose", "about_patient", "any", "box", "label",
        "two_00", "two_01", "words", "split",
    ]  # fmt: skip
    rows = {row["about_patient"]: row for row in manifest.table.to_dict("records")}
    assert sorted(rows) == [f"{i:03d}" for i in range(7)]
    for i in range(7):
        row = rows[f"{i:03d}"]
        assert row["about_age"] == str(i) and row["about_dose"] == ("0.1" if i else "")
        assert row["label"] == ["benign", "malignant"][i % 2]
        assert (row["two_00"], row["two_01"]) == ("yes", "no")
        assert json.loads(row["any"]) == ["yes"] * (i % 2)
        assert json.loads(row["words"]) == ["a", "b"][: i % 3]
        assert json.loads(row["box"]) == [0.0, 0.0, 0.5, 1.0]


def test_images_come_as_encoded_and_keep_their_16_bits(folder):
    manifest = open_manifest(f"tfds:store_test_set@{folder}", COLUMNS)
    patients = manifest.groups.astype(int).tolist()
    for name, patient in zip(manifest.images, patients, strict=True):
        data = manifest.store.read(name)
        assert data == png(deep(patient)) and manifest.store.size(name) == len(data)
    pixels = ManifestSource(manifest, 4, Reading(channels=1, bits=16)).gather(np.arange(7))
    np.testing.assert_array_equal(pixels[..., 0], [deep(patient) for patient in patients])
    masks = open_manifest(f"tfds:store_test_set:test@{folder}", Columns(image="mask"))
    assert manifest.store.bits == 16 and masks.store.bits == 8
    assert masks.images == ["test/0", "test/1"] and "image" not in masks.table
    ages = masks.column("about_age").astype(int)
    assert [masks.store.read(name) for name in masks.images] == [
        png(np.full((4, 4), age, np.uint8)) for age in ages
    ]


def test_parts_of_splits_keep_the_names(folder):
    whole = open_manifest(f"tfds:store_test_set@{folder}", COLUMNS)
    part = open_manifest(f"tfds:store_test_set/1.0.0:test[1:]+train[:40%]@{folder}", COLUMNS)
    assert part.images == ["test/1", "train/0", "train/1"]
    patients = dict(zip(whole.images, whole.groups, strict=True))
    assert part.groups.tolist() == [patients[name] for name in part.images]
    with pytest.raises(UserError, match="an example is in the split twice"):
        open_manifest(f"tfds:store_test_set:train+train[:1]@{folder}", COLUMNS)


def test_threads_and_pickles(folder):
    manifest = open_manifest(f"tfds:store_test_set@{folder}", COLUMNS)
    store = pickle.loads(pickle.dumps(manifest.store))
    want = {name: manifest.store.read(name) for name in manifest.images}
    names = manifest.images * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.read, names)) == [want[name] for name in names]
    for name in ("train/5", "train/01", "valid/0", "train"):
        assert store.size(name) == -1 and store.stamp(name) == "absent"
        with pytest.raises(UserError, match="no such image"):
            store.read(name)


def test_the_table_is_read_once_and_again_when_the_data_change(records, monkeypatch):
    reference = f"tfds:store_test_set@{records}"
    first = open_manifest(reference, COLUMNS)
    read = []
    example = PreparedSet.example
    monkeypatch.setattr(PreparedSet, "example", lambda *a: read.append(a) or example(*a))
    again = open_manifest(reference, COLUMNS)
    assert not read and again.table.equals(first.table) and again.sha256 == first.sha256
    assert [again.store.size(n) for n in again.images] == [
        first.store.size(n) for n in first.images
    ]
    kept = sorted(records.glob("**/.remedis_jax*"))
    assert len(kept) == 2 and all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    kept[0].write_bytes(b"damaged")
    assert open_manifest(reference, COLUMNS).table.equals(first.table) and len(read) == 2
    (labels,) = records.glob("**/label.labels.txt")
    labels.write_text("harmless\nmalignant\n")
    assert "harmless" in open_manifest(reference, COLUMNS).column("label")


def test_a_data_set_that_cannot_be_written_to_is_cached_elsewhere(records, monkeypatch, tmp_path):
    replace = os.replace

    def refuse(source, target):
        if str(target).startswith(str(records)):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    for path in records.glob("**/.remedis_jax*"):
        path.unlink()
    monkeypatch.setattr(os, "replace", refuse)
    first = open_manifest(f"tfds:store_test_set@{records}", COLUMNS)
    assert not list(records.glob("**/.remedis_jax*"))
    assert len(list((tmp_path / "cache/tfds").iterdir())) == 2
    monkeypatch.setattr(PreparedSet, "example", None)
    again = open_manifest(f"tfds:store_test_set@{records}", COLUMNS)
    assert again.table.equals(first.table)
    (kept, _) = (tmp_path / "cache/tfds").iterdir()
    assert len(pq.read_table(kept)) in (2, 5)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("tfds:store_test_set:tain@{}", "no split 'tain'. Did you mean 'train'.* train"),
        ("tfds:store_test_set/2.0.0@{}", "version 2.0.0 is not prepared.*There is 1.0.0"),
        ("tfds:store_tst_set@{}", "no data set 'store_tst_set'.* Did you mean 'store_test_set'"),
        ("tfds:chexprt@{}", "Did you mean 'chexpert'"),
        ("tfds:chexpert@{}", "chexpert is not prepared in .*download_and_prepare"),
        ("tfds:ham10000:train@{}", "not prepared in .*remedis prepare ham10000"),
        ("tfds:@{}", "is no name of a data set"),
        ("tfds:../x@{}", "is no name of a data set|no data set"),
    ],
)
def test_names_that_are_wrong(records, reference, problem):
    with pytest.raises(UserError, match=problem) as caught:
        open_manifest(reference.format(records), COLUMNS)
    assert "\n" not in str(caught.value)


def test_image_features_that_are_wrong(records):
    with pytest.raises(UserError, match="no image feature 'imge'. Did you mean 'image'"):
        open_manifest(f"tfds:store_test_set@{records}", Columns(image="imge"))
    with pytest.raises(UserError, match="There is 'image', 'mask'"):
        open_manifest(f"tfds:store_test_set@{records}", Columns(image="about_patient"))


def test_tfds_data_dir_is_where_data_sets_are(records, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(records))
    assert len(open_manifest("tfds:store_test_set:test", COLUMNS)) == 2


def test_files_that_are_missing_or_damaged(records):
    reference = f"tfds:store_test_set:train@{records}"
    manifest = open_manifest(reference, COLUMNS)
    (shard,) = records.glob("**/*train.array_record*")
    data = bytearray(shard.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    shard.write_bytes(data)
    with pytest.raises(UserError, match="example 0 of train cannot be read"):
        pickle.loads(pickle.dumps(manifest.store)).read("train/0")
    shard.unlink()
    with pytest.raises(UserError, match="array_record.*no such file"):
        open_manifest(reference, COLUMNS)
    (info,) = records.glob("**/dataset_info.json")
    info.write_text("{")
    with pytest.raises(UserError, match="is no prepared data set"):
        open_manifest(reference, COLUMNS)


def test_another_format_is_refused(records):
    (info,) = records.glob("**/dataset_info.json")
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(UserError, match="kept as tfrecord, which.*file_format='array_record'"):
        open_manifest(f"tfds:store_test_set@{records}", COLUMNS)


def test_one_of_several_configurations_must_be_named(records):
    base = records / "store_test_set"
    (base / "small").mkdir()
    (base / "1.0.0").rename(base / "small/1.0.0")
    with pytest.raises(UserError, match="configurations is not said. Name one: .*/small"):
        open_manifest(f"tfds:store_test_set@{records}", COLUMNS)
    assert len(open_manifest(f"tfds:store_test_set/small@{records}", COLUMNS)) == 7


def test_chexpert_is_as_its_own_table():
    states = tfds.features.ClassLabel(names=["uncertain", "positive", "negative", "unmentioned"])
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "label": tfds.features.Sequence(states)}
    )
    columns = FeatureColumns("chexpert", features)
    cells = columns.cells({"label": [3, 3, 1, 2, 3, 0] + [3] * 8})
    row = dict(zip(columns.names, cells, strict=True))
    assert len(row) == 14 and list(row)[10] == "pleural_effusion" and row["pleural_effusion"] == ""
    assert (row["cardiomegaly"], row["lung_opacity"], row["edema"]) == ("1", "0", "-1")
    with pytest.raises(UserError, match="a 'label' has 3 values, not 14"):
        columns.cells({"label": [0, 1, 2]})
    other = FeatureColumns("another", features)
    assert other.cells({"label": [0, 1]}) == ['["uncertain", "positive"]']


def test_our_own_sets_say_what_states_mean():
    features = tfds.features.FeaturesDict(
        {"edema": tfds.features.ClassLabel(names=["negative", "positive"])}
    )
    assert FeatureColumns("nih_chest_xray14", features).cells({"edema": 1}) == ["1"]
    assert FeatureColumns("another", features).cells({"edema": 1}) == ["positive"]


def test_features_that_come_to_one_column_are_refused():
    features = tfds.features.FeaturesDict({"a_b": np.int32, "a": {"b": np.int32}})
    with pytest.raises(UserError, match="two features come to one column, 'a_b'"):
        FeatureColumns("x", features)


def test_without_tensorflow_in_a_new_process(records):
    code = (
        "import sys; from remedis_jax.data import Columns;"
        "from remedis_jax.data.open_manifest import open_manifest;"
        f"m = open_manifest('tfds:store_test_set:train@{records}', Columns());"
        "m.store.read('train/0'); assert 'tensorflow' not in sys.modules; print(m.sha256)"
    )
    # TFDS gives features back in an order that may depend on the seed.
    environment = os.environ | {"PYTHONHASHSEED": "5"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    here = open_manifest(f"tfds:store_test_set:train@{records}", Columns())
    assert done.stdout.strip() == here.sha256
