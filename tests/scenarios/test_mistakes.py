"""What people get wrong with data, end to end on the command line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.scenarios.conftest import FINETUNE, SIMCLR, SMALL, as_jpeg, picture, write_hospital


def finetune(folder, name="labels.csv"):
    return (
        "train", "--config", FINETUNE, *SMALL, "--set", f"data.manifest={folder / name}",
        "--set", "data.image=path", "--set", "data.group=patient_id", "--set", "data.split=",
        "--set", "data.train={}", "--set", "data.validation={}",
        "--set", "data.labels=('label',)",
    )  # fmt: skip


def simclr(manifest, *more):
    return (
        "train", "--config", SIMCLR, *SMALL, "--set", f"data.manifest={manifest}",
        "--set", "data.image=path", *more,
    )  # fmt: skip


def test_18_a_patient_in_train_and_test(remedis, refused, trained, tmp_path):
    folder, manifest, _, tuned = trained
    table = pd.read_csv(manifest, dtype=str)
    test = table[table["split"] == "test"].copy()
    # A new image of patients 000 to 006, who were trained on.
    extra = table[table["split"] == "train"].iloc[::2].head(7).copy()
    for i in range(len(extra)):
        Image.fromarray(picture(900 + i)).save(folder / f"new{i}.png")
    extra["path"] = [f"new{i}.png" for i in range(7)]
    pd.concat([test, extra]).to_csv(folder / "leaky.csv", index=False)
    command = ("evaluate", folder / "leaky.csv", "--weights", tuned, "--out", tmp_path / "e")
    line = refused(*command)
    assert "7 group(s)" in line and "000, 001, 002, 003, 004, and 2 more" in line
    assert "--allow-leakage" in line and not (tmp_path / "e").exists()
    line = refused(*command, "--redact")
    assert "sha256:" in line and "003" not in line.split("sha256:", 1)[0].split("group(s)")[-1]
    outcome = remedis(*command, "--allow-leakage")
    assert outcome.code == 0 and "LEAKAGE ALLOWED" in outcome.out + outcome.err
    for name in ("report.html", "report.md", "model_card.md"):
        assert "LEAKAGE ALLOWED" in (tmp_path / "e" / name).read_text(), name
    guard = json.loads((tmp_path / "e/leak_guard.json").read_text())
    assert guard["leakage_allowed"] and {leak["kind"] for leak in guard["leaks"]} == {"group"}
    # Ids of another hospital may be equal without being those of the same people.
    assert remedis(*command, "--namespace", "elsewhere").code == 0
    # As a split of one manifest it is found before anything is trained.
    both = pd.concat([table, extra.assign(split="test")])
    both.to_csv(folder / "both.csv", index=False)
    line = refused(
        *finetune(folder, "both.csv"), "--set", "data.split=split",
        "--set", "data.train={'split': 'train'}", "--workdir", tmp_path / "r",
    )  # fmt: skip
    assert "7 group(s) are in two splits" in line and not (tmp_path / "r").exists()


def test_19_the_pool_holds_the_test_images_renamed(remedis, refused, tmp_path):
    folder = tmp_path / "hospital"
    table = write_hospital(folder)
    pool = tmp_path / "pool"
    pool.mkdir()
    names = []
    for i in range(24):
        names.append(f"u{i:02d}.png")
        Image.fromarray(picture(500 + i)).save(pool / names[-1])
    # Renamed and re-encoded; re-encoded and made smaller; only renamed.
    copies = (
        as_jpeg(picture(3), 80),
        as_jpeg(picture(7), 90, side=48),
        (folder / "images/011.png").read_bytes(),
    )
    for i, data in enumerate(copies):
        names.append(f"scan_{i}.img")
        (pool / names[-1]).write_bytes(data)
    pd.DataFrame({"path": names}).to_csv(pool / "pool.csv", index=False)
    held_out = f"({{'manifest': '{folder / 'labels.csv'}', 'image': 'path'}},)"
    line = refused(
        *simclr(pool / "pool.csv", "--set", f"data.held_out={held_out}"),
        "--workdir", tmp_path / "ssl",
    )  # fmt: skip
    for words in (
        "1 image(s)", "2 image(s)", "images/003.png", "scan_0.img", "images/007.png", "scan_1.img",
        "images/011.png", "scan_2.img", "bits apart",
    ):  # fmt: skip
        assert words in line, words
    assert not (tmp_path / "ssl").exists()
    # The same from the other side, before any training.
    outcome = remedis("check-data", pool / "pool.csv", "--image", "path", "--against",
                      folder / "labels.csv", "--out", tmp_path / "c")  # fmt: skip
    assert outcome.code == 2 and "scan_1.img" in outcome.err + outcome.out
    # With equal files alone: one is found; and with leakage allowed the weights remember it.
    line = refused(
        *simclr(pool / "pool.csv", "--set", f"data.held_out={held_out}"),
        "--set", "data.near_duplicates=-1", "--workdir", tmp_path / "ssl",
    )  # fmt: skip
    assert "scan_2.img" in line and "scan_0.img" not in line
    assert remedis(*simclr(pool / "pool.csv"), "--workdir", tmp_path / "ssl").code == 0
    table["split"] = np.where(table["patient_id"].astype(int) < 12, "test", "train")
    table.to_csv(folder / "split.csv", index=False)
    tune = (*finetune(folder, "split.csv"), "--set", f"init={tmp_path / 'ssl'}",
            "--set", "data.split=split", "--set", "data.train={'split': 'train'}")  # fmt: skip
    line = refused(*tune, "--workdir", tmp_path / "tuned")
    assert "split 'test'" in line and "simclr" in line and "images/003.png" in line
    assert remedis(*tune, "--allow-leakage", "--workdir", tmp_path / "tuned").code == 0
    assert "LEAKAGE ALLOWED" in (tmp_path / "tuned/report.md").read_text()


def test_20_files_that_are_no_images(remedis, refused, hospital, tmp_path):
    folder, _ = hospital
    good = (folder / "images/000.png").read_bytes()
    (folder / "images/003.png").write_bytes(good[: len(good) // 2])
    (folder / "images/010.png").write_bytes(b"")
    (folder / "images/020.png").write_text("<!DOCTYPE html><html>404</html>")
    line = refused(*finetune(folder), "--workdir", tmp_path / "run")
    for words in ("3 of 48", "003.png", "damaged", "010.png", "empty", "020.png", "web page"):
        assert words in line, words
    assert not (tmp_path / "run").exists()
    line = refused(
        *finetune(folder), "--workdir", tmp_path / "run", "--on-bad-image", "skip",
        "--max-bad", "0.1%",
    )  # fmt: skip
    assert "more than the 0.100% allowed" in line
    outcome = remedis(
        *finetune(folder), "--workdir", tmp_path / "run", "--on-bad-image", "skip",
        "--max-bad", "10%",
    )  # fmt: skip
    assert outcome.code == 0 and "3 image(s) are left out" in outcome.err
    listed = pd.read_csv(tmp_path / "run/bad_images.csv")
    assert listed["row"].tolist() == [5, 12, 22] and listed["problem"].str.len().min() > 10
    outcome = remedis("check-data", folder / "labels.csv", "--image", "path", "--out",
                      tmp_path / "c")  # fmt: skip
    assert outcome.code == 2 and "3 of 48 image(s) cannot be used" in outcome.err


def test_20_a_file_that_goes_bad_in_mid_run_names_itself(refused, hospital, tmp_path, monkeypatch):
    folder, _ = hospital
    from remedis_jax.data import checking

    real = checking.inspect_images

    def then_spoil(*arguments, **options):
        found = real(*arguments, **options)
        path = folder / "images/007.png"
        # Of the same size, as a disk spoils files.
        path.write_bytes(path.read_bytes()[:60] + bytes(path.stat().st_size - 60))
        return found

    monkeypatch.setattr(checking, "inspect_images", then_spoil)
    line = refused(
        *finetune(folder), "--set", "data.in_memory_mib=0", "--set", "total_steps=12",
        "--workdir", tmp_path / "run",
    )  # fmt: skip
    assert "images/007.png" in line and "row 9" in line


def test_21_a_test_set_of_one_class(remedis, trained, tmp_path):
    folder, manifest, _, tuned = trained
    table = pd.read_csv(manifest, dtype=str)
    test = table[table["split"] == "test"]
    cases = {
        "negatives": test[test["label"] == "negative"],
        "nobody": test.assign(label=""),
        "one": test[test["patient_id"] == "018"],
    }
    for name, part in cases.items():
        part.to_csv(folder / f"{name}.csv", index=False)
        outcome = remedis(
            "evaluate", folder / f"{name}.csv", "--weights", tuned, "--out", tmp_path / name,
            "--label-policy", "blank=ignore",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        page = (tmp_path / name / "report.md").read_text()
        assert "not defined" in page and not re.search(r"\bnan\b", page.lower()), name
    assert "only" in (tmp_path / "negatives/report.md").read_text()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda text: text.replace("path,", "file,", 1), ("'path'", "file")),
        (lambda text: text + text.splitlines()[1] + "\n", ("named again", "row 50")),
        (lambda text: text.replace("images/000.png", "../../etc/passwd"), ("leads out", "row 2")),
        (lambda text: text.replace("images/000.png", "/etc/passwd"), ("leads out", "row 2")),
        (lambda text: text.replace("images/001.png", r"images\001.png"), ("Windows", "row 3")),
        (lambda text: text.replace(",", ";"), ("semicolons",)),
        (lambda text: text.replace("positive", "postive", 1), ("'postive'", "'positive'", "row")),
        (lambda text: text.replace("images/002.png", "images/999.png"), ("missing", "row 4")),
        (lambda text: text.replace("images/003.png,001", "images/003.png,"), ("empty", "row 5")),
    ],
    ids=["column", "twice", "parent", "absolute", "windows", "semicolons", "typo", "file", "blank"],
)
def test_22_mistakes_in_the_table(refused, hospital, tmp_path, spoil, words):
    folder, _ = hospital
    path = folder / "labels.csv"
    # A slip is one among many.
    path.write_text(spoil(path.read_text()))
    for command in (
        (*finetune(folder), "--workdir", tmp_path / "run"),
        ("check-data", path, "--image", "path", "--group", "patient_id", "--label", "label",
         "--out", tmp_path / "c"),
    ):  # fmt: skip
        line = refused(*command)
        assert "labels.csv" in line
        for word in words:
            assert word in line, (command[0], line)
    assert not (tmp_path / "run").exists()


def test_22_a_byte_order_mark_and_leading_zeros_are_no_mistakes(remedis, hospital, tmp_path):
    folder, _ = hospital
    path = folder / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    outcome = remedis(
        "split", path, "--image", "path", "--by", "patient_id", "--stratify", "label",
        "--out", folder / "split.csv",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    made = pd.read_csv(folder / "split.csv", dtype=str)
    assert made["patient_id"].tolist() == [f"{i // 2:03d}" for i in range(48)]


def test_24_images_of_the_wrong_kind(remedis, refused, trained, tmp_path):
    folder, _, ssl, tuned = trained
    place = tmp_path / "odd"
    place.mkdir()
    colour = picture(1)
    deep = colour[:, :, 0].astype(np.uint16) * 257
    opaque = np.dstack([colour, np.full((64, 64), 255, np.uint8)])
    images = {
        "grey.png": colour[:, :, 0], "rgba.png": opaque, "deep.png": deep, "colour.png": colour
    }
    for name, pixels in images.items():
        Image.fromarray(pixels).save(place / name)
    (place / "m.csv").write_text("image\n" + "".join(f"{name}\n" for name in images))
    outcome = remedis("embed", place / "m.csv", "--weights", ssl, "--out", tmp_path / "f.npz")
    assert outcome.code == 0, outcome.err
    features = np.load(tmp_path / "f.npz", allow_pickle=False)["features"]
    # Grey of 8 and of 16 bits is one image, and so is colour with and without opacity.
    np.testing.assert_allclose(features[0], features[2], atol=1e-6)
    np.testing.assert_array_equal(features[1], features[3])

    unscaled = (colour[:, :, 0].astype(np.uint16)) * 16
    Image.fromarray(unscaled).save(place / "twelve.png")
    Image.fromarray(np.zeros((40, 3000), np.uint8)).save(place / "strip.png")
    Image.fromarray(colour[:, :, 0].astype(np.float32) / 255).save(place / "float.tif")
    for name, reason in (
        ("twelve.png", "12-bit or less"),
        ("strip.png", "3000 x 40"),
        ("float.tif", "no agreed reading"),
    ):  # fmt: skip
        (place / "bad.csv").write_text(f"image\n{name}\n")
        out = tmp_path / f"{name}.npz"
        line = refused("embed", place / "bad.csv", "--weights", ssl, "--out", out)
        assert name in line and reason in line and not out.exists()
    # Pixels in memory whose range nobody knows.
    import remedis_jax
    from remedis_jax.errors import UserError

    with pytest.raises(UserError, match="no agreed range"):
        remedis_jax.load(ssl).embed([colour.astype(np.float32) / 255])
