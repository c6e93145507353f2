"""HAM10000 and ISIC 2019: lesions, sources, and whatever of the release does not fit together."""

import pytest

from remedis_jax.errors import UserError


@pytest.fixture
def ham10000(tree):
    tree.table(
        "HAM10000_metadata",
        "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\r\n"
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp,vidir_modern\r\n"
        "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp,vidir_modern\r\n"
        "HAM_0003768,ISIC_0029929,mel,follow_up,,unknown,face,rosendahl\r\n",
    )
    tree.images("HAM10000_images_part_1/{}.jpg", ["ISIC_0027419", "ISIC_0025030"])
    tree.images("HAM10000_images_part_2/{}.jpg", ["ISIC_0029929"])
    return tree


@pytest.fixture
def isic2019(tree):
    names = [
        "ISIC_0000002_downsampled", "ISIC_0024310", "ISIC_0024311", "ISIC_0053453",
        "ISIC_0070000", "ISIC_0011111",
    ]  # fmt: skip
    lesions = ["", "HAM_0000550", "", "BCN_0003250", "", "MSK4_0011169"]
    truth = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
    about = "image,age_approx,anatom_site_general,lesion_id,sex\n"
    for i, (name, lesion) in enumerate(zip(names, lesions, strict=True)):
        truth += f"{name}," + ",".join("1.0" if i == j else "0.0" for j in range(9)) + "\n"
        about += f"{name},55.0,anterior torso,{lesion},female\n"
    tree.table("ISIC_2019_Training_GroundTruth.csv", truth, bom=True)
    tree.table("ISIC_2019_Training_Metadata.csv", about)
    tree.images("ISIC_2019_Training_Input/{}.jpg", names)
    # The archive has these beside the images.
    tree.table("ISIC_2019_Training_Input/LICENSE.txt", "CC-BY-NC")
    tree.table("ISIC_2019_Training_Input/ATTRIBUTION.txt", "...")
    tree.table("ISIC_2019_Training_Input/._ISIC_0024310.jpg", "of macOS")
    return tree


def test_ham10000(ham10000, build):
    examples = build("ham10000", "image_id")["train"]
    assert len(examples) == 3
    assert examples["ISIC_0029929"] == {
        "image": ham10000.read("HAM10000_images_part_2/ISIC_0029929.jpg"),
        "image_id": "ISIC_0029929",
        "lesion_id": "HAM_0003768",
        "dx": "mel",
        "dx_type": "follow_up",
        "age": "",
        "sex": "unknown",
        "localization": "face",
        "dataset": "rosendahl",
    }
    assert {e["lesion_id"] for e in examples.values()} == {"HAM_0000118", "HAM_0003768"}


@pytest.mark.parametrize("separator", ["\t", ","])
def test_ham10000_as_the_dataverse_exports_it(ham10000, build, separator):
    text = ham10000.read("HAM10000_metadata").decode().replace("scalp", '"scalp"')
    ham10000.remove("HAM10000_metadata")
    ham10000.table("HAM10000_metadata.tab", text.replace(",", separator))
    assert build("ham10000", "image_id")["train"]["ISIC_0025030"]["localization"] == "scalp"


@pytest.mark.parametrize(
    "old, new, message",
    [
        (",mel,", ",melanoma,", r"HAM10000_metadata: row 4: 'dx' is 'melanoma', which is none of"),
        ("ISIC_0029929", "ISIC_0027419", r"rows 2 and 4 \(ISIC_0027419\) are the same"),
        (",dataset", ",Dataset", r"no column 'dataset'. Did you mean 'Dataset'"),
        ("ISIC_0029929", "ISIC_0029930", r"images of 1 of 3 row\(s\) are not in .*row 4 \(ISIC"),
        ("HAM_0003768,", "HAM_0003768", r"row 4: the header names 8 columns and the row has 7"),
    ],
)
def test_ham10000_that_does_not_fit(ham10000, build, old, new, message):
    ham10000.edit("HAM10000_metadata", old, new)
    with pytest.raises(UserError, match=message):
        build("ham10000", "image_id")


def test_ham10000_with_an_image_too_many(ham10000, build, tmp_path):
    ham10000.image("HAM10000_images_part_2/ISIC_0034320.jpg")
    with pytest.raises(UserError, match=r"1 image\(s\) are in no row of .*: ISIC_0034320.jpg"):
        build("ham10000", "image_id")
    ham10000.remove("HAM10000_images_part_2/ISIC_0034320.jpg")
    ham10000.image("HAM10000_images_part_2/ISIC_0025030.jpg")
    with pytest.raises(UserError, match="part_1/ISIC_0025030.jpg has the same name"):
        build("ham10000", "image_id")
    # Nothing that looks like a data set is left.
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


def test_ham10000_with_two_tables_or_none(ham10000, build):
    ham10000.table("HAM10000_metadata.csv", "lesion_id\n")
    with pytest.raises(UserError, match="are versions of one table"):
        build("ham10000", "image_id")
    ham10000.remove("HAM10000_metadata.csv")
    ham10000.remove("HAM10000_metadata")
    with pytest.raises(UserError, match="there is no HAM10000_metadata or"):
        build("ham10000", "image_id")


def test_isic2019(isic2019, build):
    examples = build("isic2019", "image_id")["train"]
    found = {
        name: (e["diagnosis"], e["source"], e["lesion_id"], e["group"])
        for name, e in examples.items()
    }
    assert found == {
        "ISIC_0000002_downsampled": ("MEL", "MSK", "", "ISIC_0000002_downsampled"),
        "ISIC_0024310": ("NV", "HAM10000", "HAM_0000550", "HAM_0000550"),
        "ISIC_0024311": ("BCC", "HAM10000", "", "ISIC_0024311"),
        "ISIC_0053453": ("AK", "BCN20000", "BCN_0003250", "BCN_0003250"),
        "ISIC_0070000": ("BKL", "unknown", "", "ISIC_0070000"),
        "ISIC_0011111": ("DF", "MSK", "MSK4_0011169", "MSK4_0011169"),
    }
    assert examples["ISIC_0053453"]["anatom_site_general"] == "anterior torso"
    image = isic2019.read("ISIC_2019_Training_Input/ISIC_0053453.jpg")
    assert examples["ISIC_0053453"]["image"] == image


@pytest.mark.parametrize(
    "table, old, new, message",
    [
        ("GroundTruth", "ISIC_0000002_downsampled,1.0,0.0", "ISIC_0000002_downsampled,1.0,1.0",
         r"row 2: 2 diagnoses are 1 \(MEL, NV\), not one"),
        ("GroundTruth", "ISIC_0000002_downsampled,1.0", "ISIC_0000002_downsampled,0.0",
         "row 2: 0 diagnoses are 1"),
        ("GroundTruth", "ISIC_0000002_downsampled,1.0", "ISIC_0000002_downsampled,0.5",
         "row 2: 'MEL' is '0.5', which is none of"),
        ("Metadata", "BCN_0003250", "PAD_12", "row 5: lesion_id 'PAD_12' starts with none of"),
        ("Metadata", "ISIC_0053453", "ISIC_0053454",
         r"GroundTruth.csv: 1 row\(s\) have no counterpart in .*: row 5 \(ISIC_0053453\)"),
    ],
)  # fmt: skip
def test_isic2019_that_does_not_fit(isic2019, build, table, old, new, message):
    isic2019.edit(f"ISIC_2019_Training_{table}.csv", old, new)
    with pytest.raises(UserError, match=message):
        build("isic2019", "image_id")
