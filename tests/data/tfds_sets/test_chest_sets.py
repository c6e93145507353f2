"""NIH ChestX-ray14 and MIMIC-CXR-JPG: findings, states, patients, official splits."""

import pytest

from remedis_jax.errors import UserError

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
MIMIC_FINDINGS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
FIRST, SECOND, THIRD, FOURTH = (f"{i}2aa804e-bde0afdd-112c0b34-7bc16630-4e384014" for i in range(4))


@pytest.fixture
def nih(tree):
    tree.table(
        "Data_Entry_2017.csv",
        NIH_HEADER
        + "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        + "00000001_001.png,No Finding,1,1,058Y,M,AP,2682,2749,0.143,0.143,\n"
        + "00030805_000.png,Pleural_Thickening,0,30805,27,F,PA,2048,2500,0.171,0.171,\n",
    )
    tree.table("train_val_list.txt", "00000001_000.png\r\n00000001_001.png")
    tree.table("test_list.txt", "00030805_000.png\n")
    tree.images("images_001/images/{}.png", ["00000001_000", "00000001_001"], "L")
    # Some of the released files have four channels.
    tree.image("images_012/images/00030805_000.png", "RGBA")
    return tree


@pytest.fixture
def mimic(tree):
    header = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows\n"
    split = "dicom_id,study_id,subject_id,split\n"
    images = [
        (FIRST, "10000032", "50414267", "PA", "train"),
        (SECOND, "10000032", "50414267", "LATERAL", "train"),
        (THIRD, "19999987", "58621812", "", "validate"),
        (FOURTH, "10000764", "57375967", "AP", "test"),
    ]
    for name, subject, study, view, part in images:
        header += f'{name},{subject},{study},"CHEST (PA AND LAT), 2 VIEWS",{view},3056\n'
        split += f"{name},{study},{subject},{part}\n"
        tree.image(f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg", "L")
    tree.table("files/p10/p10000032/s50414267/index.html", "")
    tree.table("mimic-cxr-2.0.0-metadata.csv.gz", header)
    tree.table("mimic-cxr-2.0.0-split.csv.gz", split)
    tree.table(
        "mimic-cxr-2.0.0-chexpert.csv.gz",
        f"subject_id,study_id,{MIMIC_FINDINGS}\n"
        "10000032,50414267,1.0,0.0,-1.0,,,,,,,,,,,\n"
        "10000764,57375967,,,,,,,,,1.0,,,,,\n",
    )
    return tree


def test_nih(nih, build):
    splits = build("nih_chest_xray14", "image_id")
    assert set(splits) == {"test", "train_val"}
    first = splits["train_val"]["00000001_000.png"]
    assert {name for name, state in first.items() if state == "positive"} == {
        "cardiomegaly",
        "emphysema",
    }
    assert sum(state == "negative" for state in first.values()) == 13
    # The table has '1'; the files, and so everybody else, have leading zeros.
    assert (first["patient_id"], first["age"], first["sex"]) == ("00000001", "058Y", "M")
    second = splits["train_val"]["00000001_001.png"]
    assert (second["no_finding"], second["follow_up"], second["view_position"]) == (
        "positive", "1", "AP",
    )  # fmt: skip
    (last,) = splits["test"].values()
    assert last["pleural_thickening"] == "positive" and last["patient_id"] == "00030805"
    assert last["image"] == nih.read("images_012/images/00030805_000.png")


def test_nih_of_2020_in_one_folder(nih, build):
    text = nih.read("Data_Entry_2017.csv").decode()
    nih.remove("Data_Entry_2017.csv")
    nih.table(
        "Data_Entry_2017_v2020.csv",
        text.replace(",\n", "\n").replace("Patient Gender", "Patient Sex"),
        bom=True,
    )
    (nih.folder / "images_001" / "images").rename(nih.folder / "images")
    (nih.folder / "images_012" / "images" / "00030805_000.png").rename(
        nih.folder / "images" / "00030805_000.png"
    )
    splits = build("nih_chest_xray14", "image_id")
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train_val": 2,
        "test": 1,
    }
    assert splits["test"]["00030805_000.png"]["sex"] == "F"


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("Data_Entry_2017.csv", "|Emphysema", "|Emphysem", "row 2: 'Emphysem' in 'Finding Labels'"),
        ("Data_Entry_2017.csv", "No Finding", "No Finding|Mass", "row 3: .* contradicts"),
        ("Data_Entry_2017.csv", ",30805,", ",30806,", "row 4: 'Patient ID' is not that of"),
        ("Data_Entry_2017.csv", "Patient Gender", "Gender", "no column 'Patient Gender' or"),
        ("Data_Entry_2017.csv", "00030805_000", "00030805_001", "images of 1 of 3|not in the tabl"),
        ("Data_Entry_2017.csv", "0.171,0.171,", "0.171,0.171,extra", "names 11 .* has 12 cells"),
        ("test_list.txt", "00030805_000.png", "", r"in neither list: row 4 \(00030805_000.png\)"),
        ("test_list.txt", "00030805_000.png", "00000001_001.png", "line 1: .* already in a list"),
        ("test_list.txt", "00030805_000.png", "00030805_009.png", "line 1: .* not in the table"),
    ],
)
def test_nih_that_does_not_fit(nih, build, file, old, new, message):
    nih.edit(file, old, new)
    with pytest.raises(UserError, match=message):
        build("nih_chest_xray14", "image_id")


def test_nih_without_its_lists(nih, build):
    nih.remove("test_list.txt")
    with pytest.raises(UserError, match="test_list.txt: there is no such file"):
        build("nih_chest_xray14", "image_id")


def test_mimic(mimic, build):
    splits = build("mimic_cxr_jpg", "dicom_id")
    assert {split: set(examples) for split, examples in splits.items()} == {
        "train": {FIRST, SECOND},
        "validation": {THIRD},
        "test": {FOURTH},
    }
    first = splits["train"][FIRST]
    assert [first[name] for name in ("atelectasis", "cardiomegaly", "consolidation", "edema")] == [
        "positive",
        "negative",
        "uncertain",
        "unmentioned",
    ]
    assert sum(state == "unmentioned" for state in first.values()) == 11
    assert (first["subject_id"], first["study_id"], first["view_position"], first["labelled"]) == (
        "10000032", "50414267", "PA", "yes",
    )  # fmt: skip
    assert first["image"] == mimic.read(f"files/p10/p10000032/s50414267/{FIRST}.jpg")
    # Labels are of the study, and so of all its images.
    assert splits["train"][SECOND]["atelectasis"] == "positive"
    # A study without a row of labels is told from one whose row is blank.
    assert splits["validation"][THIRD]["labelled"] == "no"
    assert splits["validation"][THIRD]["edema"] == "unmentioned"
    assert splits["test"][FOURTH]["no_finding"] == "positive"
    assert splits["test"][FOURTH]["pleural_effusion"] == "unmentioned"


def test_mimic_states_are_those_of_chexpert_in_tfds():
    from tensorflow_datasets.image_classification import chexpert

    from remedis_jax.data.tfds_sets.stand_in_builder import FOUR_STATES

    assert tuple(chexpert._LABELS.values()) == FOUR_STATES


def test_mimic_with_unpacked_tables(mimic, build):
    import gzip

    for table in ("metadata", "split", "chexpert"):
        name = f"mimic-cxr-2.0.0-{table}.csv"
        mimic.table(name, gzip.decompress(mimic.read(f"{name}.gz")).decode())
        mimic.remove(f"{name}.gz")
    assert len(build("mimic_cxr_jpg", "dicom_id")["train"]) == 2


@pytest.mark.parametrize(
    "table, old, new, message",
    [
        ("chexpert", "-1.0", "-2.0", "row 2: 'Consolidation' is '-2.0', which is none of '1.0'"),
        ("chexpert", "10000764,57375967", "10000764,57375968", "row 3: study 57375968 has no imag"),
        ("chexpert", "10000764,57375967", "10000032,50414267", "'subject_id' and 'study_id'"),
        ("split", "validate", "val", "row 4: 'split' is 'val', which is none of 'train'"),
        ("split", f"{FOURTH},57375967", f"{FOURTH},57375960", "row 5: .* is of another study"),
        ("split", FOURTH, "x", r"metadata.csv.gz: 1 row\(s\) have no counterpart in .*split.csv"),
        ("metadata", FOURTH, FIRST, r"rows 2 and 5 \(02aa804e"),
    ],
)
def test_mimic_that_does_not_fit(mimic, build, table, old, new, message):
    mimic.edit(f"mimic-cxr-2.0.0-{table}.csv.gz", old, new)
    with pytest.raises(UserError, match=message):
        build("mimic_cxr_jpg", "dicom_id")


def test_mimic_with_a_part_missing_or_cut_off(mimic, build):
    path = f"files/p19/p19999987/s58621812/{THIRD}.jpg"
    mimic.table(path, "")
    with pytest.raises(UserError, match=r"jpg: the file is empty \(0 bytes\)"):
        build("mimic_cxr_jpg", "dicom_id")
    mimic.remove(path)
    with pytest.raises(UserError, match=r"images of 1 of 4 row\(s\) are not in .*row 4 \(p19/p199"):
        build("mimic_cxr_jpg", "dicom_id")
    name = "mimic-cxr-2.0.0-split.csv.gz"
    (mimic.folder / name).write_bytes(mimic.read(name)[:-20])
    with pytest.raises(UserError, match=r"split.csv.gz: the file cannot be read"):
        build("mimic_cxr_jpg", "dicom_id")
