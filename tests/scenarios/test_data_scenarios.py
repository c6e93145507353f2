"""What people do with data, end to end on the command line: the good paths."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

from tests.scenarios.conftest import FINETUNE, SIMCLR, SMALL, picture

COLUMNS = ("--image", "path", "--group", "patient_id", "--label", "label", "--site", "site")


def test_01_a_folder_of_pngs_and_a_csv_are_checked(remedis, hospital, tmp_path):
    folder, table = hospital
    (folder / "images/005.png").write_bytes((folder / "images/004.png").read_bytes())
    outcome = remedis("check-data", folder / "labels.csv", *COLUMNS, "--out", tmp_path / "c")
    assert outcome.code == 0, outcome.err
    out = " ".join(outcome.out.replace("│", " ").split())
    for words in (
        "all 48 24", "site A 32 16", "site B 16 8", "negative 24 50.0% 12", "64 x 64", "RGB 48",
        "rows of the manifest", "can be used", "1 pair(s) of images are equal files",
    ):  # fmt: skip
        assert words in out, words
    report = json.loads((tmp_path / "c/data_report.json").read_text())
    content = (folder / "labels.csv").read_bytes()
    assert report["manifest_sha256"] == hashlib.sha256(content).hexdigest()
    assert report["rows"] == 48 and not [p for p in report["problems"] if p["weight"] == "error"]
    sheets = sorted(path.name for path in (tmp_path / "c/figures").iterdir())
    assert len(sheets) == 2 and Image.open(tmp_path / "c/figures" / sheets[0]).width > 900
    assert (tmp_path / "c/report.html").is_file()
    assert len(pd.read_csv(tmp_path / "c/duplicates.csv")) == 1


def test_02_the_tool_splits(remedis, hospital, tmp_path):
    folder, table = hospital

    def split(name, seed):
        outcome = remedis(
            "split", folder / "labels.csv", "--image", "path", "--by", "patient_id",
            "--stratify", "label", "--site", "site", "--test-site", "B", "--seed", seed,
            "--fractions", "train=0.6,val=0.2,test=0.2",
            "--out", folder / name,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        return outcome.out, (folder / name).read_bytes()

    out, first = split("one.csv", 0)
    again, second = split("two.csv", 0)
    _, third = split("three.csv", 1)
    assert first == second and first != third
    made = pd.read_csv(folder / "one.csv", dtype=str)
    assert made.groupby("patient_id")["split"].nunique().max() == 1
    outside = set(made.loc[made["site"] == "B", "split"])
    assert len(outside) == 1 and not outside & set(made.loc[made["site"] == "A", "split"])
    assert list(made["patient_id"]) == list(table["patient_id"])
    for word in ("train", "positive", "negative", *outside):
        assert word in out, word


def chexpert(folder):
    """A table as CheXpert writes it: 1, 0, -1 and nothing."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["Path,patient,Edema,Consolidation,split"]
    for i in range(32):
        Image.fromarray(picture(i, 40, 1)[:, :, 0]).save(folder / f"{i}.png")
        edema = ("1.0", "0.0", "-1.0", "")[i % 4]
        consolidation = ("0.0", "1.0", "", "-1.0")[rng.integers(4)]
        rows.append(f"{i}.png,p{i // 2},{edema},{consolidation},{'train' if i < 24 else 'test'}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder / "train.csv"


def test_09_uncertain_and_blank_labels_by_policy(remedis, refused, tmp_path):
    manifest = chexpert(tmp_path / "chexpert")
    train = (
        "train", "--config", FINETUNE, *SMALL, "--set", f"data.manifest={manifest}",
        "--set", "data.image=Path", "--set", "data.group=patient", "--set", "data.channels=1",
        "--set", "objective.kind=sigmoid", "--set", "data.validation={}",
        "--set", "data.labels=('Edema','Consolidation')",
    )  # fmt: skip
    line = refused(*train, "--workdir", tmp_path / "none")
    assert "uncertain" in line and "Edema" in line
    policy = "uncertain=ignore,blank=negative,Edema:uncertain=ones"
    outcome = remedis(*train, "--workdir", tmp_path / "run", "--label-policy", policy)
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "run/report.md").read_text()
    # 24 training images, a quarter of each kind in Edema.
    assert "Edema" in page and "Consolidation" in page
    counts = json.loads((tmp_path / "run/label_treatment.json").read_text())
    edema = next(row for row in counts["labels"] if row["label"] == "Edema")
    assert {edema[what] for what in ("positive", "negative", "uncertain", "blank")} == {6}
    outcome = remedis(
        "evaluate", manifest, "--weights", tmp_path / "run", "--out", tmp_path / "e",
        "--where", "split=test",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    labels = pd.read_csv(tmp_path / "e/predictions.csv", dtype=str, keep_default_na=False)
    assert set(labels["label_Edema"]) == {"0", "1"}
    assert (labels["label_Edema"] == "1").sum() == 4  # 1 and -1


def dicom(pixels, kind, folder, name, **tags):
    """A 12-bit image in 16, as it is or compressed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = kind
    dataset.PixelData = pixels.astype("<u2").tobytes()
    compress = tags.pop("compress", False)
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    if compress:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(folder / name, enforce_file_format=True)


def test_12_mixed_dicoms_have_one_polarity(remedis, trained, tmp_path):
    folder = tmp_path / "dicoms"
    folder.mkdir()
    stored = (picture(3, 48, 1)[:, :, 0].astype(np.uint16) * 16)[:, :40]
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    dicom(stored, "MONOCHROME2", folder, "plain.dcm", **window)
    # Its inverse with the window mirrored: 4095 - v, centred at 4095 - 2000 + 1 by PS3.3 C.11.
    dicom(4095 - stored, "MONOCHROME1", folder, "inverted.dcm", WindowCenter=2096, WindowWidth=3000)
    dicom(stored, "MONOCHROME2", folder, "jpeg2000.dcm", compress=True, **window)
    names = ["plain", "inverted", "jpeg2000"]
    (folder / "m.csv").write_text("image\n" + "".join(f"{n}.dcm\n" for n in names))
    outcome = remedis("check-data", folder / "m.csv", "--out", tmp_path / "c", "--channels", 1)
    assert outcome.code == 0, outcome.err
    assert "MONOCHROME1" in outcome.out and "MONOCHROME2" in outcome.out
    outcome = remedis(
        "cache", folder / "m.csv", "--out", tmp_path / "cache", "--size", 32, "--channels", 1,
        "--bits", 16,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    from remedis_jax.data.cache_store import open_cache
    from remedis_jax.data.manifest import Columns

    cached = open_cache(tmp_path / "cache", Columns())
    plain, inverted, compressed = (cached.store.read(f"{name}.dcm") for name in names)
    assert plain.dtype == np.uint16 and plain.max() - plain.min() > 20_000
    np.testing.assert_array_equal(plain, inverted)
    np.testing.assert_array_equal(plain, compressed)
    # What was done is written down.
    assert json.loads((tmp_path / "cache/cache.json").read_text())["reading"]["window"] == "file"
    # And features are those of one image.
    outcome = remedis(
        "embed", folder / "m.csv", "--weights", trained[2], "--out", tmp_path / "f.npz"
    )
    assert outcome.code == 0, outcome.err
    features = np.load(tmp_path / "f.npz", allow_pickle=False)["features"]
    np.testing.assert_array_equal(features[0], features[1])


@pytest.mark.parametrize("how", ["mean", "max", "noisy-or"])
def test_15_several_images_of_a_patient(remedis, trained, tmp_path, how):
    _, manifest, _, tuned = trained
    outcome = remedis(
        "evaluate", manifest, "--weights", tuned, "--out", tmp_path, "--where", "split=test",
        "--aggregate", f"patient:{how}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "report.md").read_text()
    assert how in page and "12" in page and "6" in page
    metrics = (tmp_path / "metrics.json").read_text()
    assert how in metrics


def test_17_all_of_it_works_without_a_network(remedis, hospital, tmp_path, monkeypatch):
    import socket

    folder, _ = hospital

    def blocked(*arguments, **options):
        raise AssertionError("something wanted the network")

    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, blocked)
    monkeypatch.setattr(socket.socket, "connect", blocked)
    data = ("--set", f"data.manifest={folder / 'split.csv'}", "--set", "data.image=path",
            "--set", "data.group=patient_id", "--set", "data.split=split")  # fmt: skip
    commands = (
        ("check-data", folder / "labels.csv", *COLUMNS, "--out", tmp_path / "c"),
        ("split", folder / "labels.csv", "--image", "path", "--by", "patient_id", "--stratify",
         "label", "--out", folder / "split.csv"),
        ("cache", folder / "split.csv", "--image", "path", "--out", tmp_path / "k", "--size", 37),
        ("train", "--config", SIMCLR, "--workdir", tmp_path / "ssl", *SMALL, *data,
         "--set", "data.train={'split': 'train'}"),
        ("train", "--config", FINETUNE, "--workdir", tmp_path / "tuned", *SMALL, *data,
         "--set", f"init={tmp_path / 'ssl'}", "--set", "data.labels=('label',)"),
        ("evaluate", folder / "split.csv", "--weights", tmp_path / "tuned", "--out",
         tmp_path / "scores", "--where", "split=test"),
        ("embed", folder / "split.csv", "--image", "path", "--weights", tmp_path / "ssl", "--out",
         tmp_path / "features.npz"),
        ("export", tmp_path / "tuned", "--to", "safetensors", "--out", tmp_path / "x.safetensors"),
        ("models", "verify", tmp_path / "tuned/weights.safetensors"),
        ("report", tmp_path / "scores"),
    )  # fmt: skip
    for command in commands:
        outcome = remedis(*command)
        assert outcome.code == 0, (command[0], outcome.err)
