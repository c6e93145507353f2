"""The report of a data check: files, page and contact sheets."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.data import Columns, Reading, inspect_images, read_manifest
from remedis_jax.data.examination import Problem, examine
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.report import contact_sheet
from remedis_jax.report.contact_sheet import parts_of, write_contact_sheets
from remedis_jax.report.data_check import claim_folder, sheet_text, write_data_check

COLUMNS = Columns(group="patient", labels=("label",), split="split")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Six images: colour of three sizes, a copy, deep grey, and one that is none."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(20, 30, 3), (40, 30, 3), (30, 30, 3)]):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes((folder / "0.png").read_bytes())
    deep = rng.integers(0, 65536, (32, 32)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "4.png")
    (folder / "5.png").write_bytes(b"")
    (folder / "m.csv").write_text(
        "image,patient,label,split\n0.png,a,<b>yes</b>,train\n1.png,a,no,train\n"
        "2.png,b,no,train\n3.png,c,no,test\n4.png,c,no,test\n5.png,d,no,test\n"
    )
    return read_manifest(folder / "m.csv", COLUMNS)


@pytest.fixture(scope="module")
def found(rows):
    return examine(rows, inspect_images(rows, Reading(), receipts=None), most=24)


def test_files_of_a_report(found, rows, tmp_path, capsys):
    page = write_data_check(tmp_path / "out", found, Reading(), show=True)
    assert page == tmp_path / "out/report.html"
    report = json.loads((tmp_path / "out/data_report.json").read_text())
    assert (report["manifest"], report["manifest_sha256"]) == ("m.csv", rows.sha256)
    assert (report["rows"], report["near_duplicate_bits"]) == (6, 24)
    weights = [problem["weight"] for problem in report["problems"]]
    assert weights == ["error", "error", "note", "note"]
    assert report["tables"]["Participant flow"][1] == {
        "Step": "- the file is empty", "Rows": "1", "Groups": "1",
    }  # fmt: skip
    out = {path.stem: path for path in (tmp_path / "out").glob("*.csv")}
    bad = pd.read_csv(out["bad_images"])
    assert bad["row"].tolist() == [7] and "empty" in bad["problem"][0]
    pairs = pd.read_csv(out["duplicates"])
    assert pairs.iloc[0].tolist() == [2, "0.png", 5, "3.png", 0, "no", "two", "differ"]
    assert len(pd.read_csv(out["label_conflicts"])) == 1
    assert len(pd.read_csv(out["near_duplicates"])) == 0
    assert pd.read_csv(out["groups_across"])["group"].tolist() == ["a"]
    said = capsys.readouterr().out
    assert "error: 1 of 6 image(s) cannot be used: row 7 (5.png): the file is empty" in said
    assert "Participant flow" in said


def test_the_page_holds_all_and_shows_labels_as_text(found, tmp_path):
    page = write_data_check(tmp_path, found, Reading()).read_text()
    assert "<b>yes" not in page and "&lt;b&gt;yes" in page
    assert page.count("data:image/png") == 3 and "src=\"figures" not in page
    assert "6 rows: 2 error(s), 0 warning(s)." in page
    for words in ("Participant flow", "24 or fewer of 256 bits", found.rows.sha256):
        assert words in page


def test_nothing_wrong_is_said_so(rows, tmp_path):
    part = rows.select(np.array([1, 2]))
    clean = examine(part, inspect_images(part, Reading(), receipts=None), most=24)
    page = write_data_check(tmp_path, clean, Reading()).read_text()
    assert "2 rows: nothing is wrong with them that could be found." in page
    assert json.loads((tmp_path / "data_report.json").read_text())["problems"] == []


def test_redacted_files_hold_no_names(found, rows, tmp_path):
    redacted = examine(rows, found.facts, most=24, redact=True)
    write_data_check(tmp_path, redacted, Reading())
    for path in tmp_path.iterdir():
        if path.is_file():
            text = path.read_text()
            assert "0.png" not in text and "5.png" not in text, path
    assert pd.read_csv(tmp_path / "bad_images.csv", keep_default_na=False)["row"].tolist() == [7]


def test_only_a_folder_of_a_report_is_written_to_again(found, tmp_path):
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path)
    (tmp_path / "duplicates.csv").write_text("mine")
    with pytest.raises(UserError, match="exists and holds no report.*--out"):
        claim_folder(tmp_path)
    with pytest.raises(UserError, match="exists and holds no report"):
        claim_folder(tmp_path / "duplicates.csv")
    write_data_check(tmp_path / "new", found, Reading())
    claim_folder(tmp_path / "new")
    more = dataclasses.replace(found, problems=(Problem("note", "Another."),))
    write_data_check(tmp_path / "new", more, Reading())
    assert "Another" in (tmp_path / "new/report.html").read_text()


def test_a_report_that_cannot_be_written(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="could not be written"):
        write_data_check(tmp_path / "file" / "out", found, Reading())


# --- Contact sheets ---


def test_a_sheet_for_each_split_and_class(found, rows, tmp_path):
    (tmp_path / "contact_sheet_09_old.png").write_bytes(b"of an earlier check")
    sheets = write_contact_sheets(tmp_path, rows, found.facts, Reading(bits=16))
    titles = [title for title, _ in sheets]
    assert titles == [
        "split test, label no", "split train, label <b>yes</b>", "split train, label no",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == sorted(path for _, path in sheets)
    assert sheets[1][1].name == "contact_sheet_02_split_train_label_b_yes_b.png"
    sheet = np.asarray(Image.open(sheets[1][1]))
    # A picture of 30 x 20 fills the width of its place, with black above and below.
    side, top, left = contact_sheet._SIDE, contact_sheet._HEAD, contact_sheet._GAP
    place = sheet[top : top + side, left : left + side]
    assert not place[:10].any() and not place[-10:].any() and place[side // 2].std() > 10
    assert (sheet[top : top + side, left + side + 2 :] == 255).all()


def test_parts_of_several_findings_are_their_positives(rows):
    table = rows.table.assign(edema=["1", "0", "", "1.0", "0", "0"], mass=["0"] * 6)
    several = dataclasses.replace(
        rows, table=table, columns=Columns(labels=("edema", "mass"), split="split")
    )
    parts = {title: chosen.tolist() for title, chosen in parts_of(several)}
    assert parts == {"split test, edema 1.0": [3], "split train, edema 1": [0]}
    assert [chosen.tolist() for _, chosen in parts_of(dataclasses.replace(rows, columns=Columns()))
            ] == [[0, 1, 2, 3, 4, 5]]  # fmt: skip


def test_what_has_no_sheet_is_named(found, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "MOST_SHEETS", 1)
    sheets = write_contact_sheets(tmp_path, rows, found.facts, Reading())
    assert [path is None for _, path in sheets] == [False, True, True]
    assert "Without a sheet, since there are so many: split train" in sheet_text(sheets)
    many = [(f"split {i}", tmp_path / f"{i}.png") for i in range(14)]
    text = sheet_text(many)
    assert text.count("![") == 12 and "In the folder figures: 12.png, 13.png." in text
    assert sheet_text([]) == "No image can be shown."


def test_a_sheet_is_spread_over_the_rows(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    # Each image as bright as its place.
    for i in range(130):
        Image.fromarray(np.full((9, 9), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "m.csv").write_text("image\n" + "".join(f"{i}.png\n" for i in range(130)))
    many = read_manifest(folder / "m.csv")
    facts = inspect_images(many, Reading(1), receipts=None)
    ((_, path),) = write_contact_sheets(tmp_path / "s", many, facts, Reading(1))
    sheet = np.asarray(Image.open(path).convert("L"))
    step, tall = contact_sheet._SIDE + 6, contact_sheet._SIDE + 20
    shown = [
        int(sheet[contact_sheet._HEAD + 50 + y * tall, 6 + 50 + x * step])
        for y in range(8) for x in range(8)
    ]  # fmt: skip
    assert shown == [k * 130 // 64 for k in range(64)]
