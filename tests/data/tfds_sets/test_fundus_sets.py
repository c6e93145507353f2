"""APTOS 2019, IDRiD and Messidor-2: grades, names that start anew, pairs of eyes."""

import pytest

from remedis_jax.errors import UserError

IDRID = "B. Disease Grading"
TRAIN = f"{IDRID}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
TEST = f"{IDRID}/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv"


@pytest.fixture
def aptos(tree):
    tree.table("train.csv", "id_code,diagnosis\n000c1434d8d7,2\n001639a390f0,4\n")
    tree.table("test.csv", "id_code\n0005cfc8afb6\n")
    tree.images("train_images/{}.png", ["000c1434d8d7", "001639a390f0"])
    tree.image("test_images/0005cfc8afb6.png")
    return tree


@pytest.fixture
def idrid(tree):
    # Empty columns and lines at the end, as spreadsheets leave them, and a blank in the header.
    tree.table(
        TRAIN,
        "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\n"
        "IDRiD_001,3,2,,,,,,,,,\r\nIDRiD_002,0,0,,,,,,,,,\r\n,,,,,,,,,,,\r\n",
        bom=True,
    )
    tree.table(TEST, "Image name,Retinopathy grade,Risk of macular edema \nIDRiD_001,4,1\n")
    folder = f"{IDRID}/1. Original Images"
    tree.images(folder + "/a. Training Set/{}.jpg", ["IDRiD_001", "IDRiD_002"])
    tree.images(folder + "/b. Testing Set/{}.jpg", ["IDRiD_001"])
    return tree


@pytest.fixture
def messidor(tree):
    tree.table(
        "messidor_data.csv",
        "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n"
        "20051020_43808_0100_PP.png,0,0,1\n"
        "20051020_43832_0100_PP.png,2,1,1\n"
        "IM000012.jpg,,,0\n"
        "IM000013.jpg,4,1,1\n",
    )
    tree.table(
        "messidor-2.csv",
        "left;right\n"
        "20051020_43808_0100_PP.png;20051020_43832_0100_PP.png\nIM000012.JPG;IM000013.JPG\n",
    )
    tree.images("IMAGES/20051020_{}_0100_PP.png", ["43808", "43832"])
    tree.images("IMAGES/{}.JPG", ["IM000012", "IM000013"])
    return tree


def test_aptos(aptos, build):
    splits = build("aptos2019", "id_code")
    assert splits["train"] == {
        name: {
            "id_code": name,
            "diagnosis": grade,
            "image": aptos.read(f"train_images/{name}.png"),
        }
        for name, grade in (("000c1434d8d7", "2"), ("001639a390f0", "4"))
    }
    assert splits["test"]["0005cfc8afb6"]["diagnosis"] == "ungraded"


@pytest.mark.parametrize(
    "old, new, message",
    [
        (",4", ",5", "row 3: 'diagnosis' is '5', which is none of '0', '1'"),
        (",4", ",", "row 3: 'diagnosis' is '', which is none of"),
        ("001639a390f0", "000c1434d8d7", r"rows 2 and 3 \(000c1434d8d7\) are the same"),
        (",diagnosis", ",grade", "no column 'diagnosis'"),
        ("id_code,", "id_code,id_code,", "'id_code' is the name of several columns"),
    ],
)
def test_aptos_that_does_not_fit(aptos, build, old, new, message):
    aptos.edit("train.csv", old, new)
    with pytest.raises(UserError, match=message):
        build("aptos2019", "id_code")


def test_aptos_without_a_part(aptos, build):
    aptos.table("test.csv", "id_code\n")
    with pytest.raises(UserError, match="test.csv: the table has no rows"):
        build("aptos2019", "id_code")
    aptos.table("test.csv", "id_code\n0005cfc8afb6\n")
    aptos.remove("test_images/0005cfc8afb6.png")
    (aptos.folder / "test_images").rmdir()
    with pytest.raises(UserError, match="test_images: there is no such folder"):
        build("aptos2019", "id_code")


def test_idrid(idrid, build):
    splits = build("idrid", "image_id")
    grades = {
        name: (e["retinopathy_grade"], e["risk_of_macular_edema"])
        for examples in splits.values()
        for name, e in examples.items()
    }
    # IDRiD_001 is another image in either split.
    assert grades == {
        "train/IDRiD_001": ("3", "2"),
        "train/IDRiD_002": ("0", "0"),
        "test/IDRiD_001": ("4", "1"),
    }
    image = idrid.read(f"{IDRID}/1. Original Images/b. Testing Set/IDRiD_001.jpg")
    assert splits["test"]["test/IDRiD_001"]["image"] == image


@pytest.mark.parametrize(
    "old, new, message",
    [
        (",4,1", ",4,3", "row 2: 'Risk of macular edema' is '3'"),
        (",4,1", ",4,1,?", "row 2: the header names 3 columns and the row has 4 cells"),
        ("IDRiD_001,", "IDRiD_104,", "Testing Labels.csv: the images of 1 of 1"),
    ],
)
def test_idrid_that_does_not_fit(idrid, build, old, new, message):
    idrid.edit(TEST, old, new)
    with pytest.raises(UserError, match=message):
        build("idrid", "image_id")


def test_messidor(messidor, build):
    examples = build("messidor2", "image_id")["train"]
    found = {
        name: tuple(e[f"adjudicated_{what}"] for what in ("dr_grade", "dme", "gradable"))
        for name, e in examples.items()
    }
    assert found == {
        "20051020_43808_0100_PP.png": ("0", "0", "1"),
        "20051020_43832_0100_PP.png": ("2", "1", "1"),
        "IM000012.jpg": ("ungraded", "ungraded", "0"),
        "IM000013.jpg": ("4", "1", "1"),
    }
    eyes = [e["examination"] for _, e in sorted(examples.items())]
    assert eyes[0] == eyes[1] != eyes[2] == eyes[3]
    # The table says .jpg, the file .JPG.
    assert examples["IM000013.jpg"]["image"] == messidor.read("IMAGES/IM000013.JPG")


def test_messidor_pairs_without_a_header(messidor, build):
    messidor.edit("messidor-2.csv", "left;right\n", "")
    examples = build("messidor2", "image_id")["train"]
    assert len({e["examination"] for e in examples.values()}) == 2


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("messidor_data.csv", "4,1,1", "5,1,1", "row 5: 'adjudicated_dr_grade' is '5'"),
        ("messidor_data.csv", "4,1,1", "4,1,", "row 5: 'adjudicated_gradable' is ''"),
        ("messidor_data.csv", "IM000013.jpg", "IM000012.JPG", "row 5: IM000012.JPG is in row 4"),
        ("messidor-2.csv", "IM000013.JPG", "IM000014.JPG", "row 5: IM000013.jpg is in no pair"),
        ("messidor-2.csv", "IM000013.JPG", "20051020_43808_0100_PP.png", "line 3: .* in another"),
    ],
)
def test_messidor_that_does_not_fit(messidor, build, file, old, new, message):
    messidor.edit(file, old, new)
    with pytest.raises(UserError, match=message):
        build("messidor2", "image_id")


def test_messidor_without_pairs_or_with_copies(messidor, build):
    messidor.image("IMAGES/IM000013.png")
    with pytest.raises(UserError, match="has the same name"):
        build("messidor2", "image_id")
    messidor.remove("IMAGES/IM000013.png")
    messidor.remove("messidor-2.csv")
    with pytest.raises(UserError, match="the two eyes of a patient would be taken for two"):
        build("messidor2", "image_id")
