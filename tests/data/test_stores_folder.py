"""Folders of images become manifests: labels and splits by folder, metadata, DICOM, strangers."""

import json

import numpy as np
import pytest
from PIL import Image

from remedis_jax.data import Columns, ManifestSource
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError

COLUMNS = Columns()


@pytest.fixture
def lay_out(tmp_path):
    """Writes images of distinct greys, and texts, into a folder."""

    def write(*names):
        for i, name in enumerate(names):
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((6, 5), 10 * i, np.uint8)).save(path)
        return tmp_path / "data"

    return write


def test_class_folders_become_labels_and_split_folders_splits(lay_out):
    folder = lay_out("train/b/2.png", "train/a/1.JPG", "test/a/3.tif", "test/b/4.bmp")
    manifest = open_manifest(folder, Columns(labels=("label",), split="split"))
    assert manifest.images == ["test/a/3.tif", "test/b/4.bmp", "train/a/1.JPG", "train/b/2.png"]
    assert manifest.column("label").tolist() == ["a", "b", "a", "b"]
    assert manifest.column("split").tolist() == ["test", "test", "train", "train"]
    assert manifest.rows.tolist() == [2, 3, 4, 5]
    pixels = ManifestSource(manifest, 4, Reading(channels=1)).gather(np.array([1, 3]))
    assert pixels[:, 0, 0, 0].tolist() == [30, 0]


def test_class_folders_alone_and_plain_folders(lay_out, tmp_path):
    manifest = open_manifest(lay_out("a/1.png", "b/1.png"), COLUMNS)
    assert list(manifest.table) == ["image", "label"]
    lay_out("c/deeper/1.png")
    assert list(open_manifest(tmp_path / "data", COLUMNS).table) == ["image"]


def test_plain_folder_ignores_hidden_files_and_the_usual_texts(lay_out):
    folder = lay_out("1.png", ".thumbs/2.png")
    for name in (".DS_Store", "Thumbs.db", "LICENSE", "a.md", "notes.txt", "x.csv", "DICOMDIR"):
        (folder / name).write_text("x")
    assert open_manifest(folder, Columns(image="path")).images == ["1.png"]


def test_strangers_are_refused_by_name(lay_out):
    folder = lay_out("1.png", "2.png")
    (folder / "scan.svs").write_bytes(b"x" * 200)
    (folder / "weights").write_bytes(b"x")
    with pytest.raises(UserError, match="2 of 4 file.s. are neither .*: scan.svs, weights"):
        open_manifest(folder, COLUMNS)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="no images in the folder"):
        open_manifest(tmp_path, COLUMNS)


def test_dicom_is_known_by_its_beginning(tmp_path):
    from pydicom.data import get_testdata_file

    data = open(get_testdata_file("CT_small.dcm"), "rb").read()
    for name in ("patient/IM000001", "patient/1.2.840.113619", "patient/3.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "DICOMDIR").write_bytes(data)
    manifest = open_manifest(tmp_path, COLUMNS)
    assert manifest.images == ["patient/1.2.840.113619", "patient/3.dcm", "patient/IM000001"]
    pixels = ManifestSource(manifest, 8).gather(np.arange(3))
    assert len(np.unique(pixels)) > 8 and (pixels == pixels[0]).all()


def test_splits_in_part_are_refused(lay_out):
    folder = lay_out("train/1.png", "extra/2.png", "3.png")
    with pytest.raises(UserError, match="train/, which are called.*in the folder itself, in extra"):
        open_manifest(folder, COLUMNS)


def test_metadata_csv_names_images_and_keeps_ids_as_text(lay_out):
    folder = lay_out("x/1.png", "x/2.png")
    text = "file_name,patient,malignant\nx/2.png,007,1\nx/1.png,010,0\n"
    (folder / "metadata.csv").write_text(text)
    manifest = open_manifest(folder, Columns(group="patient", labels=("malignant",)))
    assert manifest.images == ["x/2.png", "x/1.png"]
    assert manifest.groups.tolist() == ["007", "010"]
    assert list(manifest.table) == ["image", "patient", "malignant"]
    assert manifest.path.name == "metadata.csv"


def test_metadata_jsonl_in_each_split(lay_out):
    folder = lay_out("train/1.png", "test/2.png")
    record = {"file_name": "1.png", "patient": "007", "age": 61, "dose": None, "tags": ["a"]}
    (folder / "train/metadata.jsonl").write_text(json.dumps(record) + "\n")
    record = {"file_name": "2.png", "patient": "008", "age": 7, "dose": 0.5, "tags": []}
    (folder / "test/metadata.jsonl").write_text("\n" + json.dumps(record))
    manifest = open_manifest(folder, Columns(group="patient", split="split"))
    assert manifest.table.to_dict("list") == {
        "image": ["test/2.png", "train/1.png"],
        "patient": ["008", "007"],
        "age": ["7", "61"],
        "dose": ["0.5", ""],
        "tags": ["[]", '["a"]'],
        "split": ["test", "train"],
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file_name\n1.png\n", "metadata.csv: 1 of 2 image.s. are in no row: 2.png"),
        ("file_name\n1.png\n3.png\n2.png\n", "no such image in 1 row.s.: row 3 .3.png"),
        ("file_name\n1.png\n2.png\n./1.png\n", "named again in 1 row.s.: row 4 .1.png"),
        ("file_name\n1.png\n2.png\n../data/1.png\n", "no such image in 1 row.s.: row 4"),
        ("filename\n1.png\n", "no column 'file_name'. Did you mean 'filename'"),
        ("file_name,image\n1.png,x\n", "has a column 'image' beside 'file_name'"),
    ],
)
def test_metadata_must_fit_the_folder(lay_out, text, problem):
    folder = lay_out("1.png", "2.png")
    (folder / "metadata.csv").write_text(text)
    with pytest.raises(UserError, match=problem):
        open_manifest(folder, COLUMNS)


def test_metadata_may_name_frames(lay_out):
    folder = lay_out("1.tif")
    (folder / "metadata.csv").write_text("file_name,x\n1.tif#frame=0,a\n1.tif#frame=1,b\n")
    manifest = open_manifest(folder, COLUMNS)
    assert manifest.images == ["1.tif#frame=0", "1.tif#frame=1"]
    assert manifest.store.size("1.tif#frame=1") == (folder / "1.tif").stat().st_size


def test_a_line_that_is_no_json_is_named(lay_out):
    folder = lay_out("1.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "1.png"}\n{"file_name"\n')
    with pytest.raises(UserError, match="metadata.jsonl: line 2 is no JSON object"):
        open_manifest(folder, COLUMNS)


def test_links_out_of_the_folder_need_leave(lay_out, tmp_path):
    folder = lay_out("1.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "1.png").rename(outside / "1.png")
    (folder / "1.png").symlink_to(outside / "1.png")
    with pytest.raises(UserError, match="links out of the folder: 1.png"):
        open_manifest(folder, COLUMNS)
    (folder / "more").symlink_to(outside)
    with pytest.raises(UserError, match="more: is a link to another folder"):
        open_manifest(folder, COLUMNS)
    assert len(open_manifest(folder, COLUMNS, allow_outside=True)) == 2
    (folder / "loop").symlink_to(folder)
    with pytest.raises(UserError, match="loop: is a link to a folder that it is in"):
        open_manifest(folder, COLUMNS, allow_outside=True)


def test_the_digest_follows_the_table(lay_out, tmp_path):
    folder = lay_out("a/1.png", "b/2.png")
    before = open_manifest(folder, COLUMNS)
    folder = folder.rename(tmp_path / "moved")
    assert open_manifest(folder, COLUMNS).sha256 == before.sha256
    (folder / "b/2.png").rename(folder / "a/2.png")
    assert open_manifest(folder, COLUMNS).sha256 != before.sha256
