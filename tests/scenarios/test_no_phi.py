"""Names, dates and identifiers of a DICOM file reach nothing that this project writes or says."""

import subprocess
import sys

import numpy as np
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.scenarios.conftest import FINETUNE, SIMCLR, SMALL

# What a search must never find: a name, an identifier, a date, a time, a hospital.
NAME, ID, DATE, TIME = "Zyxwvut^Quirinius", "PHI-31415926", "19470203", "112358.132134"
MARKS = (b"Zyxwvut", b"Quirinius", b"PHI-3141", b"19470203", b"1947-02-03", b"112358")
PLANTED = {
    "PN": NAME, "DA": DATE, "TM": TIME, "DT": DATE + TIME, "LO": ID, "SH": ID, "LT": NAME,
    "ST": NAME, "UT": NAME, "UC": NAME, "UR": "http://" + ID, "AE": ID, "CS": "QUIRINIUS",
    "UI": "1.2.19470203.112358", "AS": "077Y",
}  # fmt: skip
# What the reader of the pixels goes by.
KEPT = {"PhotometricInterpretation", "VOILUTFunction", "BurnedInAnnotation", "PresentationLUTShape",
        "PixelPresentation", "LossyImageCompression", "SpecificCharacterSet"}  # fmt: skip


def planted(pixels: np.ndarray) -> Dataset:
    """A CT image whose every text element holds a name, a date or an identifier."""
    dataset = Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if group > 2 and not retired and keyword and keyword not in KEPT and vr in PLANTED:
            dataset.add_new(tag, vr, PLANTED[vr])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BurnedInAnnotation = "YES"
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """16 planted files with a manifest, and one whose pixels end too early."""
    folder = tmp_path_factory.mktemp("hospital")
    rng = np.random.default_rng(0)
    lines = ["image,patient_id,finding,split"]
    for i in range(16):
        pixels = rng.integers(0, 4096, (40, 40))
        planted(pixels).save_as(folder / f"{i:02d}.dcm", enforce_file_format=True)
        lines.append(f"{i:02d}.dcm,p{i // 2},{'yes' if i // 2 % 2 else 'no'},"
                     f"{('train', 'train', 'val', 'test')[i // 4]}")  # fmt: skip
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    content = (folder / "00.dcm").read_bytes()
    (folder / "broken.dcm").write_bytes(content[:-100])
    (folder / "broken.csv").write_text("image,patient_id\nbroken.dcm,p0\n")
    return folder


def assert_clean(content: bytes, where: object) -> None:
    for mark in MARKS:
        assert mark not in content, f"{mark.decode()} in {where}"


def test_the_files_do_hold_what_is_looked_for(hospital):
    content = (hospital / "00.dcm").read_bytes()
    for mark in (b"Zyxwvut", b"Quirinius", b"PHI-3141", b"19470203", b"112358"):
        assert content.count(mark) > 20


def test_nothing_of_it_is_left_anywhere(remedis, hospital, tmp_path, monkeypatch):
    monkeypatch.setenv("REMEDIS_CACHE", str(tmp_path / "user-cache"))
    monkeypatch.chdir(tmp_path)
    manifest, ssl, tuned = hospital / "manifest.csv", tmp_path / "ssl", tmp_path / "tuned"
    data = ("--set", f"data.manifest={manifest}", "--set", "data.channels=1")
    commands = [
        ("check-data", manifest, "--group", "patient_id", "--label", "finding", "--split", "split",
         "--out", tmp_path / "check"),
        ("split", manifest, "--by", "patient_id", "--stratify", "finding", "--column", "part",
         "--fractions", "train=0.5,test=0.5", "--out", hospital / "again.csv"),
        ("cache", manifest, "--out", tmp_path / "cached", "--size", 32, "--channels", 1),
        ("train", "--config", SIMCLR, "--workdir", ssl, *data, *SMALL,
         "--set", "data.group=patient_id", "--set", "data.train={'split': 'train'}"),
        ("train", "--config", FINETUNE, "--workdir", tuned, *data, *SMALL, "--set", f"init={ssl}",
         "--set", "data.group=patient_id", "--set", "data.labels=('finding',)",
         "--set", "data.split=split"),
        ("evaluate", manifest, "--weights", tuned, "--out", tmp_path / "scores",
         "--where", "split=test"),
        ("embed", manifest, "--weights", ssl, "--out", tmp_path / "features.parquet"),
        ("embed", hospital / "broken.csv", "--weights", ssl, "--out", tmp_path / "b.parquet"),
        ("check-data", hospital / "broken.csv", "--out", tmp_path / "check-broken"),
    ]  # fmt: skip
    # A burned-in name cannot be told from the header alone; the flag only warns.
    expected = [0, 0, 0, 0, 0, 0, 0, 2, 2]
    for command, code in zip(commands, expected, strict=True):
        outcome = remedis(*command)
        said = outcome.out + outcome.err
        assert outcome.code == code and "Traceback" not in said, said
        assert_clean(said.encode(), f"what {command[0]} says")
    written = [p for folder in (tmp_path, hospital) for p in folder.rglob("*") if p.is_file()]
    ours = [path for path in written if path.suffix != ".dcm"]
    assert len(ours) > 40
    for path in ours:
        assert_clean(path.read_bytes(), path)
        assert_clean(str(path).encode(), "a name of a file")


def test_a_defect_shows_no_tag_in_its_trace(hospital):
    """Whatever goes wrong inside the reading of pixels, a trace must not print values."""
    code = (
        "import remedis_jax.data.dicom_levels as levels\n"
        "def broken(*arguments, **options): raise MemoryError('a defect')\n"
        "import remedis_jax.data.dicom as dicom\n"
        "dicom.to_grey = broken\n"
        "from remedis_jax.data.decode import decode_pixels\n"
        "from remedis_jax.data.reading import Reading\n"
        "decode_pixels(open('00.dcm', 'rb').read(), Reading(channels=1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=hospital, capture_output=True, check=False
    )
    assert b"a defect" in done.stderr
    assert_clean(done.stdout + done.stderr, "a stack trace")
