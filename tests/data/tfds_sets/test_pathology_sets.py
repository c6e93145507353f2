"""CAMELYON17-WILDS patches and TCGA feature bags: official splits, survival, files of features."""

import logging
import math
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from remedis_jax.data.tfds_sets.tcga_crc_features.tcga_crc_features_dataset_builder import read_bag
from remedis_jax.errors import UserError

PATCHES = [
    # patient, node, x, y, tumor, slide, center, split
    ("004", 4, 3328, 21792, 1, 0, 0, 0),
    ("004", 4, 3200, 22272, 0, 0, 0, 1),
    ("010", 1, 1000, 2000, 0, 5, 1, 0),
    ("051", 2, 640, 960, 1, 30, 2, 1),
]
SLIDES = {
    "TCGA-AA-3488-01Z-00-DX1.5a8f3b5c-0000": "TCGA-AA-3488",
    "TCGA-AA-3488-01Z-00-DX2.5a8f3b5c-0001": "TCGA-AA-3488",
    "TCGA-AG-3902-01Z-00-DX1.9a8f3b5c-0002": "TCGA-AG-3902",
}


@pytest.fixture
def wilds(tree):
    text = ",patient,node,x_coord,y_coord,tumor,slide,center,split\n"
    for i, patch in enumerate(PATCHES):
        text += f"{i}," + ",".join(map(str, patch)) + "\n"
        node = f"patient_{patch[0]}_node_{patch[1]}"
        name = f"patches/{node}/patch_{node}_x_{patch[2]}_y_{patch[3]}.png"
        tree.image(name, "RGBA", size=(96, 96))
    tree.table("metadata.csv", text)
    tree.table("RELEASE_v1.0.txt", "")
    return tree


@pytest.fixture
def tcga(tree):
    # As the sheet is when saved as text: an index without a header, #N/A where nothing is known.
    tree.table(
        "TCGA-CDR.csv",
        ",bcr_patient_barcode,type,ajcc_pathologic_tumor_stage,OS,OS.time,DSS,DSS.time,Redaction\n"
        "1,TCGA-AA-3488,COAD,Stage IIA,1,730,0,730,#N/A\n"
        "2,TCGA-AG-3902,READ,Stage III,0,91,#N/A,91,\n"
        "3,TCGA-AA-0000,COAD,[Not Available],0,#N/A,#N/A,#N/A,Redacted\n"
        "4,TCGA-OR-A5J1,ACC,#N/A,1,1355,1,1355,\n",
    )
    (tree.folder / "features").mkdir()
    for i, slide in enumerate(SLIDES):
        write_bag(tree, slide, i + 2)
    return tree


def write_bag(tree, slide, tiles, width=5, batch=(), **arrays):
    values = np.arange(tiles * width, dtype=np.float16).reshape(*batch, tiles, width)
    content = {"features": values, "coords": np.full((*batch, tiles, 2), 512 * tiles, np.int64)}
    content.update(arrays)
    with h5py.File(tree.folder / "features" / f"{slide}.h5", "w") as file:
        for name, array in content.items():
            if array is not None:
                file[name] = array


def test_wilds(wilds, build):
    splits = build("camelyon17_wilds", "x_coord")
    # Hospitals 1 and 2 are held out, whatever the column 'split' says of their patches.
    assert {split: list(examples) for split, examples in splits.items()} == {
        "train": ["3328"],
        "id_val": ["3200"],
        "val": ["1000"],
        "test": ["640"],
    }
    (first,) = splits["train"].values()
    node = "patient_004_node_4"
    assert first.pop("image") == wilds.read(f"patches/{node}/patch_{node}_x_3328_y_21792.png")
    assert first == {
        "tumor": "1", "patient": "004", "node": "4", "x_coord": "3328", "y_coord": "21792",
        "slide": "0", "center": "0",
    }  # fmt: skip
    assert splits["val"]["1000"]["tumor"] == "0"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("3,051,2,640,960,1,30,2,1", "3,051,2,640,960,2,30,2,1", "row 5: 'tumor' is '2'"),
        ("3,051,2,640,960,1,30,2,1", "3,051,2,640,960,1,30,5,1", "row 5: 'center' is '5'"),
        ("3,051,2,640,960,1,30,2,1", "3,051,2,640,960,1,30,2,3", "row 5: 'split' is '3'"),
        ("3,051,", "3,51,", r"row 5 \(patient_51_node_2/patch_patient_51_node_2_x_640_y_960.png"),
        ("3,051,2,640,960", "3,004,4,3328,21792", r"rows 2 and 5 \(004 4 3328 21792\)"),
    ],
)
def test_wilds_that_does_not_fit(wilds, build, old, new, message):
    wilds.edit("metadata.csv", old, new)
    with pytest.raises(UserError, match=message):
        build("camelyon17_wilds", "x_coord")


def test_tcga(tcga, build, caplog, monkeypatch):
    # Whatever other libraries have set for this logger in the meantime.
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("absl"), "disabled", False)
    with caplog.at_level("WARNING"), caplog.at_level("WARNING", logger="absl"):
        slides = build("tcga_crc_features", "slide", image=None)["train"]
    assert {slide: e["patient"] for slide, e in slides.items()} == SLIDES
    first, second, third = (slides[slide] for slide in SLIDES)
    assert (first["os_event"], first["os_days"]) == ("event", 730)
    assert (first["dss_event"], first["dss_days"], first["study"]) == ("censored", 730, "COAD")
    assert (third["os_event"], third["dss_event"], third["dss_days"]) == ("censored", "missing", 91)
    assert second["features"].dtype == np.float32 and second["coords"].dtype == np.int32
    np.testing.assert_array_equal(second["features"], np.arange(15.0).reshape(3, 5))
    np.testing.assert_array_equal(second["coords"], np.full((3, 2), 1536))
    assert (first["site"], third["site"]) == ("AA", "AG")
    assert third["stage"] == "Stage III" and third["redaction"] == ""
    # The patient of another study is none of ours; one of ours without a slide is named.
    assert "1 of 3 patients of TCGA-COAD and TCGA-READ have no slide here: TCGA-AA-0000" in (
        caplog.text
    )


def test_tcga_where_nothing_is_known_of_the_outcome(tcga, build):
    write_bag(tcga, "TCGA-AA-0000-01Z-00-DX1.1", 1)
    slides = build("tcga_crc_features", "slide", image=None)["train"]
    last = slides["TCGA-AA-0000-01Z-00-DX1.1"]
    assert last["dss_event"] == "missing" and math.isnan(last["os_days"])
    assert last["redaction"] == "Redacted"


def test_bags_with_a_leading_axis(tcga):
    write_bag(tcga, "TCGA-AA-0000-01Z-00-DX1.1", 4, batch=(1,))
    values, coords = read_bag(str(tcga.folder / "features/TCGA-AA-0000-01Z-00-DX1.1.h5"))
    assert values.shape == (4, 5) and coords.shape == (4, 2)


@pytest.mark.parametrize(
    "slide, bag, message",
    [
        ("TCGA-AA-0000-01Z-00-DX1.1", {"coords": None}, "'coords' absent"),
        ("TCGA-AA-0000-01Z-00-DX1.1", {"coords": np.zeros((3, 2))}, r"'coords' of shape \[3, 2\]"),
        ("TCGA-AA-0000-01Z-00-DX1.1", {"width": 6}, "features are 6 wide, and 5 in"),
        ("TCGA-AA-0000-01Z-00-DX1.1", {"features": np.full((2, 5), np.nan)}, "not finite"),
        ("TCGA-OR-A5J1-01Z-00-DX1.1", {}, "the slide is of TCGA-ACC, not COAD or READ"),
        ("TCGA-AA-9999-01Z-00-DX1.1", {}, "is no slide of a patient in TCGA-CDR.csv"),
        ("1.2.3", {}, "1.2.3 is no slide of a patient"),
    ],
)
def test_bags_that_do_not_fit(tcga, build, slide, bag, message):
    write_bag(tcga, slide, 2, **bag)
    with pytest.raises(UserError, match=message):
        build("tcga_crc_features", "slide", image=None)


def test_a_bag_that_is_no_hdf5(tcga, build):
    tcga.table("features/TCGA-AA-0000-01Z-00-DX1.1.h5", "<html>")
    with pytest.raises(UserError, match="DX1.1.h5: the file is damaged or no HDF5 file"):
        build("tcga_crc_features", "slide", image=None)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("IIA,1,", "IIA,2,", "row 2: 'OS' is '2', which is none of"),
        ("730,#N/A", "never,#N/A", "row 2: 'DSS.time' is 'never', which is no number"),
        ("0,91,", "0,-91,", "row 3: 'OS.time' is -91, which is before"),
        ("2,TCGA-AG-3902", "2,TCGA-AA-3488", r"rows 2 and 3 \(TCGA-AA-3488\)"),
    ],
)
def test_survival_that_does_not_fit(tcga, build, old, new, message):
    tcga.edit("TCGA-CDR.csv", old, new)
    with pytest.raises(UserError, match=message):
        build("tcga_crc_features", "slide", image=None)


def test_the_workbook(tcga, build, monkeypatch):
    text = tcga.read("TCGA-CDR.csv").decode()
    cells = [line.split(",") for line in text.splitlines()]
    # As openpyxl reads it: numbers are numbers, and a cell with the error #N/A is nan.
    for line in cells[1:]:
        line[4:8] = [float("nan") if cell == "#N/A" else int(cell) for cell in line[4:8]]
    cells[0][0] = ""
    monkeypatch.setattr(pd, "read_excel", lambda path, **_: pd.DataFrame(cells, dtype=object))
    expected = build("tcga_crc_features", "slide", image=None)["train"]
    tcga.remove("TCGA-CDR.csv")
    tcga.table("TCGA-CDR-SupplementalTableS1.xlsx", "")
    again = build("tcga_crc_features", "slide", image=None, data="of the workbook")["train"]
    assert str(again) == str(expected)


def test_the_workbook_needs_openpyxl(tcga, build, monkeypatch):
    tcga.remove("TCGA-CDR.csv")
    tcga.table("TCGA-CDR-SupplementalTableS1.xlsx", "")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match="pip install openpyxl, or save its sheet TCGA-CDR as"):
        build("tcga_crc_features", "slide", image=None)
