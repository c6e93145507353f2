"""`remedis check-data`: what it says, what it writes, how it ends."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.data.leaks import redacted
from tests.data.test_fingerprints import picture, scaled, through_jpeg


@pytest.fixture
def folder(tmp_path):
    """Eight images of four patients, who are split."""
    lines = ["image,patient,label,site,split"]
    for i in range(8):
        Image.fromarray(picture(i, 48, 40)).save(tmp_path / f"{i}.png")
        label, split = ("no", "yes")[i // 2 % 2], ("train", "test")[i // 4]
        lines.append(f"{i}.png,{i // 2:03d},{label},a,{split}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


ROLES = ("--group", "patient", "--label", "label", "--site", "site", "--split", "split")


def test_clean_data(remedis, folder, monkeypatch):
    monkeypatch.chdir(folder)
    outcome = remedis("check-data", "m.csv", *ROLES)
    assert outcome.code == 0, outcome.err
    assert "report in check-m/report.html" in outcome.out and "split train" in outcome.out
    report = json.loads((folder / "check-m/data_report.json").read_text())
    assert report["problems"] == [] and report["rows"] == 8
    assert len(list((folder / "check-m/figures").iterdir())) == 4
    # Again, over its own report.
    assert remedis("check-data", "m.csv", *ROLES, "--where", "split=train").code == 0
    report = json.loads((folder / "check-m/data_report.json").read_text())
    assert report["rows"] == 4 and len(list((folder / "check-m/figures").iterdir())) == 2


def test_a_leaking_patient_and_a_copy_of_another_size(remedis, refused, folder):
    text = (folder / "m.csv").read_text().replace("7.png,003", "7.png,000")
    (folder / "m.csv").write_text(text)
    Image.fromarray(through_jpeg(scaled(picture(1, 48, 40), 2), 85)).save(folder / "5.png")
    line = refused("check-data", folder / "m.csv", *ROLES, "--out", folder / "out")
    assert "1 of 4 group(s) are in several splits: 000." in line
    assert f"And 1 more, see {folder / 'out/report.html'}" in line
    pairs = pd.read_csv(folder / "out/near_duplicates.csv")
    assert pairs[["row", "other row", "splits"]].to_numpy().tolist() == [[3, 7, "two"]]
    assert pd.read_csv(folder / "out/groups_across.csv", dtype=str)["group"].tolist() == ["000"]
    # Equal files alone.
    line = refused("check-data", folder / "m.csv", *ROLES, "--near", -1, "--out", folder / "o2")
    assert "see" not in line and pd.read_csv(folder / "o2/near_duplicates.csv").empty


def test_missing_and_damaged_files_are_in_the_flow(remedis, refused, folder):
    (folder / "3.png").unlink()
    (folder / "6.png").write_bytes((folder / "6.png").read_bytes()[:60])
    line = refused("check-data", folder / "m.csv", *ROLES, "--out", folder / "out")
    assert "2 of 8 image(s) cannot be used: row 5 (3.png): the image file is missing" in line
    flow = json.loads((folder / "out/data_report.json").read_text())["tables"]["Participant flow"]
    assert {"Step": "- the image file is missing", "Rows": "1", "Groups": "1"} in flow
    assert flow[-1] == {"Step": "can be used", "Rows": "6", "Groups": "4"}
    assert pd.read_csv(folder / "out/bad_images.csv")["row"].tolist() == [5, 8]


def test_one_image_with_two_labels(refused, folder):
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    line = refused("check-data", folder / "m.csv", *ROLES, "--out", folder / "out")
    assert "1 pair(s) of images are equal files and have different labels" in line
    conflicts = pd.read_csv(folder / "out/label_conflicts.csv")
    assert conflicts[["image", "other image"]].to_numpy().tolist() == [["0.png", "2.png"]]


def test_a_pool_that_holds_the_test_set(remedis, refused, folder, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for i in range(3):
        Image.fromarray(picture(50 + i, 48, 40)).save(pool / f"{i}.png")
    Image.fromarray(scaled(picture(6, 48, 40), 0.75)).save(pool / "renamed.jpg", quality=90)
    (pool / "pool.csv").write_text("image\n0.png\n1.png\n2.png\n")
    arguments = ("check-data", folder / "m.csv", *ROLES, "--against", pool / "pool.csv")
    outcome = remedis(*arguments, "--out", tmp_path / "clean")
    assert outcome.code == 0, outcome.err
    assert "has no column 'patient': patients were not compared" in outcome.out
    assert "nothing shared" in (tmp_path / "clean/report.md").read_text()
    (pool / "pool.csv").write_text("image\n0.png\n1.png\n2.png\nrenamed.jpg\n")
    line = refused(*arguments, "--out", tmp_path / "out")
    assert "look the same as images in" in line and "renamed.jpg" in line and "row 8" in line
    (pool / "pool.csv").write_text("image,patient\n0.png,002\n1.png,9\n2.png,9\n")
    line = refused(*arguments, "--out", tmp_path / "out")
    assert "1 group(s)" in line and ": 002" in line
    line = refused(*arguments, "--out", tmp_path / "out", "--redact")
    assert redacted("002") in line and ": 002" not in line


def test_label_rules(remedis, refused, folder):
    text = (folder / "m.csv").read_text().splitlines()
    head, rows = text[0] + ",edema,mass", text[1:]
    cells = ["1,0", "0,1", "-1,0", "0,0", "1,0", ",1", "0,0", "0,1"]
    lines = [head, *(f"{row},{cell}" for row, cell in zip(rows, cells, strict=True))]
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    arguments = ("check-data", folder / "m.csv", "--group", "patient", "--label", "edema,mass",
                 "--out", folder / "out")  # fmt: skip
    assert "edema" in refused(*arguments)
    policy = "uncertain=ignore,blank=negative"
    outcome = remedis(*arguments, "--label-policy", policy)
    assert outcome.code == 0, outcome.err
    assert "have images with different labels (edema 3, mass 3)" in outcome.out
    assert "blank='bad' is not possible" in refused(*arguments, "--label-policy", "blank=bad")


def test_mistakes_cost_no_decoding(refused, folder, monkeypatch):
    from remedis_jax.report import manifest_check

    def never(*arguments, **options):
        raise AssertionError("decoded")

    monkeypatch.setattr(manifest_check, "inspect_images", never)
    (folder / "other.csv").write_text("image,patient\n0.png,\n")
    full = folder / "full"
    full.mkdir()
    (full / "duplicates.csv").write_text("mine")
    for arguments, words in (
        (("--group", "patiant"), "'patient'"),
        (("--window", "wide"), "CENTRE,WIDTH"),
        (("--channels", "2"), "channels is 1 or 3"),
        (("--frames", "last"), "'middle'"),
        (("--where", "split=tset"), "'test'"),
        (("--against", folder / "other.csv", "--group", "patient"), "row 2"),
        (("--against", folder / "none.csv"), "no such file"),
        (("--out", full), "holds no report"),
    ):
        assert words in refused("check-data", folder / "m.csv", *arguments)
    assert (full / "duplicates.csv").read_text() == "mine"


def test_a_folder_of_images_needs_no_table(remedis, tmp_path):
    for label in ("no", "yes"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(2):
            pixels = np.repeat(picture(i + 2 * (label == "yes"), 40, 40)[:, :, None], 3, axis=2)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{i}.jpg")
    outcome = remedis("check-data", tmp_path / "set", "--label", "label", "--out", tmp_path / "o")
    assert outcome.code == 0, outcome.err
    assert ".jpg" in outcome.out and "40 x 40" in outcome.out


def test_a_second_check_decodes_nothing(remedis, folder, monkeypatch):
    from remedis_jax.data import inspection

    calls = []

    def counted(*arguments, **options):
        calls.append(1)
        return inspect(*arguments, **options)

    inspect = inspection.inspect
    monkeypatch.setattr(inspection, "inspect", counted)
    for _ in range(2):
        assert remedis("check-data", folder / "m.csv", *ROLES, "--out", folder / "out").code == 0
    assert len(calls) == 8
