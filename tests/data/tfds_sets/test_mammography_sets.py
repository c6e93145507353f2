"""RSNA mammograms: DICOM becomes 16-bit PNG, the two sites stay apart."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from remedis_jax.errors import UserError

HEADER = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,"
    "machine_id,difficult_negative_case\n"
)


def write_dicom(path, pixels, photometric):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName = "Secret^Name"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def rsna(tree):
    tree.table(
        "train.csv",
        HEADER
        + "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False\n"
        + "1,00123,1459541791,R,MLO,,1,1,1,0.0,0,B,21,True\n",
    )
    ramp = np.linspace(0, 4095, 48).round().astype(np.uint16).reshape(6, 8)
    write_dicom(tree.folder / "train_images/10006/462822612.dcm", ramp, "MONOCHROME2")
    write_dicom(tree.folder / "train_images/00123/1459541791.dcm", 4095 - ramp, "MONOCHROME1")
    return tree


def test_rsna(rsna, build):
    examples = build("rsna_mammography", "image_id")["train"]
    first, second = examples["462822612"], examples["1459541791"]
    assert (first["site_id"], first["cancer"], first["breast"]) == ("2", "0", "10006_L")
    assert (second["site_id"], second["cancer"], second["breast"]) == ("1", "1", "00123_R")
    assert (second["patient_id"], second["age"], second["density"], second["birads"]) == (
        "00123", "", "B", "0.0",
    )  # fmt: skip
    pixels = [np.asarray(Image.open(io.BytesIO(e["image"]))) for e in (first, second)]
    assert pixels[0].dtype == np.uint16 and pixels[0].shape == (6, 8)
    # All twelve bits are kept, over the full range of sixteen.
    assert len(np.unique(pixels[0])) == 48 and pixels[0].max() == 65535
    np.testing.assert_array_equal(*pixels)
    assert b"Secret" not in first["image"]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("CC,61.0,0,", "CC,61.0,2,", "row 2: 'cancer' is '2', which is none of '0', '1'"),
        (",L,CC", ",B,CC", "row 2: 'laterality' is 'B'"),
        ("1,00123,", "1,123,", r"row 3 \(123/1459541791.dcm\)"),
        ("1459541791", "462822612", r"rows 2 and 3 \(462822612\) are the same"),
        ("site_id", "site", "no column 'site_id'. Did you mean 'site'"),
    ],
)
def test_rsna_that_does_not_fit(rsna, build, old, new, message):
    rsna.edit("train.csv", old, new)
    with pytest.raises(UserError, match=message):
        build("rsna_mammography", "image_id")


def test_rsna_with_a_damaged_image(rsna, build):
    path = rsna.folder / "train_images/00123/1459541791.dcm"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="train_images/00123/1459541791.dcm: ") as caught:
        build("rsna_mammography", "image_id")
    assert "Secret" not in str(caught.value)
