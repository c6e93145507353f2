"""What an examination finds wrong in rows and images, and how much it counts of what."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest

from remedis_jax.data import Columns, Manifest
from remedis_jax.data.examination import examine
from remedis_jax.data.fingerprints import FINGERPRINT_BYTES
from remedis_jax.data.image_pairs import equal_pairs, similar_pairs
from remedis_jax.data.inspection import MISSING, ImageFacts
from remedis_jax.data.leaks import redacted
from remedis_jax.errors import UserError

ROLES = Columns(group="patient", labels=("label",), site="site", split="split")
_rng = np.random.default_rng(0)
PRINTS = _rng.integers(0, 256, (40, FINGERPRINT_BYTES), np.uint8)


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def rows_of(tmp_path, cells: dict[str, list[str]], columns: Columns = ROLES) -> Manifest:
    count = len(next(iter(cells.values())))
    cells = {"image": [f"{i}.png" for i in range(count)]} | cells
    index = pd.Index(np.arange(2, count + 2), name="row")
    return Manifest(pd.DataFrame(cells, index, dtype=str), columns, tmp_path / "m.csv", "f" * 64)


def facts_of(rows: Manifest, changes: dict[int, dict] | None = None) -> list[ImageFacts]:
    """Usable images that have nothing in common, but for `changes` by position."""
    facts = [
        ImageFacts(
            name, row, sha256=digest(i), width=64, height=48, channels=1, bits=8, mode="L",
            frames=1, fingerprint=PRINTS[i].tobytes(),
        )
        for i, (name, row) in enumerate(zip(rows.images, rows.rows.tolist(), strict=True))
    ]  # fmt: skip
    for index, change in (changes or {}).items():
        facts[index] = dataclasses.replace(facts[index], **change)
    return facts


def near(index: int, bits: int = 10) -> dict[str, bytes]:
    """The fingerprint of another image with so many bits turned."""
    changed = PRINTS[index].copy()
    for bit in range(bits):
        changed[bit] ^= 1
    return {"fingerprint": changed.tobytes()}


def same(index: int) -> dict[str, object]:
    return {"sha256": digest(index), "fingerprint": PRINTS[index].tobytes()}


def cohort(tmp_path, count: int = 8, **cells: list[str]) -> Manifest:
    """Two images a patient; the first half train, the others test."""
    half = count // 2
    usual = {
        "patient": [f"{i // 2:03d}" for i in range(count)],
        "label": ["no", "no", "yes", "yes"] * (count // 4),
        "site": ["a"] * count,
        "split": ["train"] * half + ["test"] * half,
    }
    return rows_of(tmp_path, usual | cells)


def texts(found, weight: str) -> list[str]:
    return [problem.text for problem in found.of(weight)]


def test_nothing_is_found_where_nothing_is_wrong(tmp_path):
    rows = cohort(tmp_path)
    found = examine(rows, facts_of(rows), most=24)
    assert found.problems == () and found.groups.empty
    assert found.duplicates.empty and found.near_duplicates.empty
    assert found.tables["Participant flow"].to_numpy().tolist() == [
        ["rows of the manifest", "8", "4"], ["can be used", "8", "4"]
    ]  # fmt: skip


# --- Images that cannot be used ---


def test_unusable_images_are_errors_and_the_flow_counts_their_reasons(tmp_path):
    rows = cohort(tmp_path)
    bad = {
        1: {"problem": MISSING, "sha256": "", "fingerprint": b""},
        2: {"problem": "the file is damaged (line 3)", "fingerprint": b""},
        3: {"problem": "the file is damaged (line 9)", "fingerprint": b""},
    }
    found = examine(rows, facts_of(rows, bad), most=24)
    (error,) = found.of("error")
    assert error.text.startswith("3 of 8 image(s) cannot be used: row 3 (1.png): the image file is")
    assert "row 5 (3.png): the file is damaged (line 9)" in error.text
    assert "--on-bad-image skip" in error.remedy
    assert found.tables["Participant flow"].to_numpy().tolist() == [
        ["rows of the manifest", "8", "4"],
        ["- the file is damaged", "2", "1"],
        [f"- {MISSING}", "1", "1"],
        ["can be used", "5", "3"],
    ]
    assert found.tables["Overview"]["Unusable"].tolist() == ["3", "0", "3", "3"]


def test_unusable_and_grey_images_are_copies_of_nothing(tmp_path):
    rows = cohort(tmp_path)
    web_page = {"sha256": "e" * 64, "fingerprint": b"", "problem": "the file is a web page"}
    black = {"sha256": "0" * 64, "fingerprint": b"", "constant": True}
    facts = facts_of(rows, {0: web_page, 7: web_page, 1: black, 6: black})
    found = examine(rows, facts, most=24)
    assert found.duplicates.empty and len(found.of("error")) == 1
    assert texts(found, "warning") == [
        "2 image(s) are all but of one grey: row 3 (1.png), row 8 (6.png)."
    ]
    assert found.tables["Participant flow"].iloc[-1].tolist() == ["of these, of one grey", "2", "2"]


# --- Groups ---


def test_groups_across_splits_sites_and_labels(tmp_path):
    rows = cohort(
        tmp_path,
        patient=["001", "001", "002", "002", "001", "003", "003", "004"],
        site=["a", "a", "a", "b", "a", "a", "a", "a"],
        label=["no", "yes", "no", "no", "no", "no", "no", "no"],
    )
    found = examine(rows, facts_of(rows), most=24)
    (error,) = found.of("error")
    assert error.text == "1 of 4 group(s) are in several splits: 001."
    assert "remedis split" in error.remedy
    assert texts(found, "note") == [
        "1 of 4 group(s) have images with different labels: 001.",
        "1 of 4 group(s) have images of several sites: 002.",
    ]
    assert found.groups.to_dict("records") == [
        dict(group="001", images=3, split="test; train", site="a") | {"label label": "no; yes"},
        dict(group="002", images=2, split="train", site="a; b") | {"label label": "no"},
    ]


def test_of_several_findings_each_is_counted(tmp_path):
    columns = Columns(group="patient", labels=("Edema", "Mass", "Hernia"))
    cells = {
        "patient": ["1", "1", "2", "2", "3"],
        "Edema": ["1", "0", "1", "", "0"],
        "Mass": ["0", "0", "1", "0", "0"],
        "Hernia": ["0"] * 5,
    }
    rows = rows_of(tmp_path, cells, columns)
    found = examine(rows, facts_of(rows), most=24)
    assert texts(found, "note") == [
        "2 of 3 group(s) have images with different labels (Edema 2, Mass 1): 1, 2."
    ]
    assert found.groups["label Edema"].tolist() == ["0; 1", "(blank); 1"]


def test_labels_that_hold_a_separator_do_not_cross(tmp_path):
    rows = cohort(tmp_path, label=["Mass|Edema; x"] * 8)
    assert examine(rows, facts_of(rows), most=24).problems == ()


def test_rows_without_a_patient_are_an_error_and_no_group(tmp_path):
    rows = cohort(tmp_path, patient=["1", "", "2", "2", "", "3", "3", "4"])
    found = examine(rows, facts_of(rows), most=24)
    assert texts(found, "error") == ["column 'patient' is empty in 2 row(s): row 3, 6."]


# --- Copies ---


@pytest.mark.parametrize(
    ("a", "b", "weight", "words"),
    [
        (0, 7, "error", " and stand in different splits"),
        (0, 2, "error", " and have different labels"),
        (0, 4, "error", " and stand in different splits"),
        (0, 1, "note", " within one group"),
    ],
)
def test_equal_files(tmp_path, a, b, weight, words):
    rows = cohort(tmp_path)
    found = examine(rows, facts_of(rows, {b: same(a)}), most=24)
    (problem,) = found.problems
    assert problem.weight == weight
    pair = f"row {a + 2} ({a}.png) = row {b + 2} ({b}.png)"
    assert problem.text == f"1 pair(s) of images are equal files{words}: {pair}."
    assert found.duplicates[["row", "other row", "bits"]].to_numpy().tolist() == [[a + 2, b + 2, 0]]
    assert found.near_duplicates.empty


@pytest.mark.parametrize(
    ("a", "b", "weight", "words"),
    [
        (0, 7, "error", " and stand in different splits"),
        (0, 2, "warning", " and have different labels"),
        (0, 1, "note", " within one group"),
    ],
)
def test_pictures_that_look_the_same(tmp_path, a, b, weight, words):
    rows = cohort(tmp_path)
    facts = facts_of(rows, {b: near(a)})
    found = examine(rows, facts, most=24)
    (problem,) = found.problems
    assert problem.weight == weight and f"24 or fewer of 256 bits){words}: " in problem.text
    assert found.near_duplicates["bits"].tolist() == [10]
    assert examine(rows, facts, most=9).problems == ()
    assert examine(rows, facts, most=-1).problems == ()


def test_copies_under_two_patients_are_a_warning(tmp_path):
    rows = cohort(tmp_path, label=["no"] * 8)
    found = examine(rows, facts_of(rows, {2: same(0), 3: near(1)}), most=24)
    assert [problem.weight for problem in found.problems] == ["warning", "warning"]
    assert "are equal files without being of one group" in found.problems[0].text
    assert found.duplicates[["same group", "splits", "labels"]].to_numpy().tolist() == [
        ["no", "one", "equal"]
    ]


def test_without_a_group_copies_are_a_warning(tmp_path):
    rows = rows_of(tmp_path, {"x": ["0"] * 4}, Columns())
    found = examine(rows, facts_of(rows, {3: same(0)}), most=24)
    assert texts(found, "warning") == [
        "1 pair(s) of images are equal files: row 2 (0.png) = row 5 (3.png)."
    ]
    pairs = found.duplicates[["same group", "splits", "labels"]]
    assert pairs.to_numpy().tolist() == [["", "", ""]]


def test_only_five_are_listed(tmp_path):
    rows = cohort(tmp_path, 16, patient=["1"] * 16, label=["no"] * 16, split=["train"] * 16)
    found = examine(rows, facts_of(rows, {i: same(0) for i in range(1, 16)}), most=24)
    (problem,) = found.problems
    assert problem.text.startswith("15 pair(s)") and problem.text.endswith("(5.png), and 10 more.")
    assert len(found.duplicates) == 15


def test_pairs_in_several_blocks(monkeypatch):
    from remedis_jax.data import image_pairs

    facts = [ImageFacts(f"{i}", i, sha256=digest(i), fingerprint=PRINTS[i % 20].tobytes())
             for i in range(30)]  # fmt: skip
    for index in (0, 8):  # Positions among the fingerprints are not those among the facts.
        facts[index] = dataclasses.replace(facts[index], constant=True)
    monkeypatch.setattr(image_pairs, "_COMPARED", 90)
    pairs = similar_pairs(facts, 24, lambda a, b: a % 2 == 0)
    found = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == [(i, i + 20) for i in range(1, 10) if i != 8]


def test_pairs_that_are_not_listed_are_counted(tmp_path, monkeypatch):
    from remedis_jax.data import examination

    def limited(*arguments):
        return similar_pairs(*arguments, limit=2)

    monkeypatch.setattr(examination, "similar_pairs", limited)
    rows = cohort(tmp_path, patient=["1"] * 8, label=["no"] * 8, split=["train"] * 8)
    found = examine(rows, facts_of(rows, {i: near(0, i) for i in range(1, 8)}), most=24)
    (note,) = found.problems
    assert note.text.startswith("28 pair(s)") and note.text.endswith(", and 26 more.")
    assert len(found.near_duplicates) == 2


def test_pairs_that_do_no_harm_are_only_counted_beyond_a_limit():
    facts = [ImageFacts(f"{i}", i, sha256=digest(i), fingerprint=PRINTS[0].tobytes())
             for i in range(10)]  # fmt: skip

    def neighbours(first, second):
        return second - first == 1

    pairs = similar_pairs(facts, 24, neighbours, limit=36)
    assert (len(pairs), pairs.more, pairs.complete) == (45, 0, True)
    order = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert order == [(i, j) for i in range(10) for j in range(i + 1, 10)]
    pairs = similar_pairs(facts, 24, lambda a, b: np.ones(len(a), bool), limit=20)
    assert (len(pairs), pairs.more, pairs.complete) == (20, 25, True)
    pairs = similar_pairs(facts, 24, neighbours, limit=20)
    assert not pairs.complete and (pairs.second - pairs.first > 1).sum() == 20


def test_a_search_that_was_ended_is_an_error(tmp_path, monkeypatch):
    from remedis_jax.data import examination

    def limited(*arguments):
        return similar_pairs(*arguments, limit=2)

    monkeypatch.setattr(examination, "similar_pairs", limited)
    rows = cohort(tmp_path)
    found = examine(rows, facts_of(rows, {i: near(0, i) for i in range(1, 8)}), most=24)
    assert "search was ended" in found.of("error")[-1].text
    assert "--near" in found.of("error")[-1].remedy


def test_equal_pairs_go_with_the_first_of_their_kind(tmp_path):
    rows = cohort(tmp_path)
    pairs = equal_pairs(facts_of(rows, {3: same(1), 6: same(1), 7: same(4)}))
    assert pairs.first.tolist() == [1, 1, 4] and pairs.second.tolist() == [3, 6, 7]


# --- Labels, remarks, other manifests ---


def test_label_cells_are_checked_by_the_rules_of_training(tmp_path):
    rows = cohort(tmp_path)

    def refuse(given):
        assert given is rows
        raise UserError(f"{given.path}: column 'label' is odd.", "Correct it.")

    found = examine(rows, facts_of(rows), most=24, check_labels=refuse)
    (error,) = found.of("error")
    assert (error.text, error.remedy) == ("column 'label' is odd.", "Correct it.")


def test_what_is_odd_about_images(tmp_path):
    rows = cohort(tmp_path)
    facts = facts_of(
        rows, {0: {"burned_in": True}, 1: {"burned_in": False}, 2: {"bits": 16}, 3: {"frames": 9}}
    )
    found = examine(rows, facts, most=24)
    assert texts(found, "warning") == [
        "1 image(s) say that text is burned into their pixels (BurnedInAnnotation): row 2 (0.png)."
    ]
    assert texts(found, "note") == [
        "1 image(s) have more than 8 bits: row 4 (2.png).",
        "1 image(s) are of files of several images: row 5 (3.png).",
    ]


def test_another_manifest_must_share_nothing(tmp_path):
    rows = cohort(tmp_path)
    other = dataclasses.replace(
        rows_of(tmp_path, {"patient": ["003", "x", "x", "y"]}, Columns(group="patient")),
        path=tmp_path / "pool.csv",
    )
    print_of = [PRINTS[20 + i].tobytes() for i in range(4)]
    facts = facts_of(
        other,
        {i: {"sha256": digest(99 + i), "fingerprint": print_of[i]} for i in range(4)}
        | {2: same(5), 3: {"problem": "the file is damaged", "fingerprint": b""}},
    )
    found = examine(rows, facts_of(rows), most=24, against=[(other, facts)])
    unusable, shared = found.of("error")
    assert "1 of 4 image(s) of" in unusable.text and "were not compared" in unusable.text
    assert "1 group(s) of" in shared.text and ": 003;" in shared.text
    assert "1 image(s) of" in shared.text and "byte for byte" in shared.text
    assert "one of the two" in shared.remedy
    (sentence,) = found.compared
    assert "pool.csv (3 images and 3 patients) against 8 images and 4 patients" in sentence
    clean = examine(rows, facts_of(rows), most=24, against=[(other, facts[1:2])])
    assert len(clean.of("error")) == 1  # The patient.


def test_redaction_leaves_no_id_and_no_name(tmp_path):
    rows = cohort(
        tmp_path, patient=["P1", "P1", "P1", "P1", "P1", "P2", "P2", "P2"], label=["no", "yes"] * 4
    )
    facts = facts_of(rows, {7: same(0), 6: near(1), 3: {"problem": "damaged", "fingerprint": b""}})
    other = dataclasses.replace(rows, path=tmp_path / "other.csv")
    found = examine(rows, facts, most=24, redact=True, against=[(other, facts)])
    said = " ".join(problem.text for problem in found.problems)
    said += "".join(
        table.to_csv() for table in (found.groups, found.duplicates, found.near_duplicates)
    )
    assert "P1" not in said and "P2" not in said and ".png" not in said
    assert redacted("P1") in said and "row 2 and row 9" in said


# --- Counts ---


def test_tables_of_counts(tmp_path):
    rows = cohort(tmp_path, label=["no", "no", "yes", "", "no", "no", "no", "no"])
    facts = facts_of(rows, {1: same(0), 2: {"width": 300, "mode": "RGB", "channels": 3}})
    tables = examine(rows, facts, most=24).tables
    assert list(tables) == ["Overview", "Label label", "Images", "Participant flow"]
    assert tables["Overview"].to_numpy().tolist() == [
        ["all", "8", "4", "2", "2", "0"],
        ["split test", "4", "2", "2", "2", "0"],
        ["split train", "4", "2", "2", "2", "0"],
        ["site a", "8", "4", "2", "2", "0"],
    ]
    assert tables["Label label"].to_numpy().tolist() == [
        ["(blank)", "1", "12.5%", "1", "0", "1"],
        ["no", "6", "75.0%", "3", "4", "2"],
        ["yes", "1", "12.5%", "1", "0", "1"],
    ]
    images = {(what, value): count for what, value, count in tables["Images"].to_numpy().tolist()}
    assert images[("pixels", "RGB")] == "1" and images[("size", "64 x 48")] == "7"
    assert images[("file name ends in", ".png")] == "8"
    assert ("width: least, median, most", "64, 64, 300") in images
    flow = tables["Participant flow"]["Step"].tolist()
    assert flow[-2:] == ["of these, without a label", "of these, copies of an earlier file"]


def test_many_sizes_stand_in_one_line(tmp_path):
    rows = cohort(tmp_path)
    facts = facts_of(rows, {i: {"width": 64 + i} for i in range(8)})
    images = examine(rows, facts, most=24).tables["Images"]
    sizes = images[images["What"] == "size"]
    assert len(sizes) == 6 and sizes.iloc[-1].tolist() == ["size", "3 others", "3"]
