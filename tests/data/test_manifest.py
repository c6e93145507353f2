"""Whatever would be misread later is refused on reading, with its row and a remedy."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.data import Columns, read_manifest
from remedis_jax.errors import UserError

COLUMNS = Columns(group="patient", labels=("dx",), site="site")
HEADER = "image,patient,dx,site,age\n"
ROWS = ["a.png,001,nv,north,40\n", "sub/b.png,001,mel,north,\n", "c.png,010,nv,south,61.5\n"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png", "c.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes, *parts: str, **arguments) -> UserError:
    """Reads `text`, checks that the one-line refusal has all `parts`, and returns it."""
    with pytest.raises(UserError) as caught:
        read_manifest(write(folder, text), COLUMNS, **arguments)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message and caught.value.remedy
    for part in ("manifest.csv", *parts):
        assert part in message
    return caught.value


def test_reads_text_rows_and_paths(folder):
    path = write(folder, HEADER + "".join(ROWS))
    manifest = read_manifest(path, COLUMNS)
    assert len(manifest) == 3
    assert manifest.groups.tolist() == ["001", "001", "010"]
    assert manifest.rows.tolist() == [2, 3, 4]
    assert manifest.image_paths == [folder / "a.png", folder / "sub/b.png", folder / "c.png"]
    np.testing.assert_array_equal(manifest.numbers("age"), [40, np.nan, 61.5])
    assert len(manifest.sha256) == 64


def test_relative_path_of_the_manifest_gives_absolute_images(folder, monkeypatch):
    write(folder, HEADER + ROWS[0])
    monkeypatch.chdir(folder)
    assert read_manifest("manifest.csv", COLUMNS).image_paths == [folder / "a.png"]


def test_byte_order_mark_and_windows_line_ends_are_accepted(folder):
    text = "\ufeff" + (HEADER + ROWS[0] + ROWS[2]).replace("\n", "\r\n")
    manifest = read_manifest(write(folder, text), COLUMNS)
    assert manifest.images == ["a.png", "c.png"]
    assert manifest.numbers("age").tolist() == [40, 61.5]


def test_rows_keep_their_number_past_blank_lines_and_selections(folder):
    manifest = read_manifest(write(folder, HEADER + ROWS[0] + "\n,,,,\n" + ROWS[2]), COLUMNS)
    assert manifest.rows.tolist() == [2, 5]
    assert manifest.select([1]).rows.tolist() == [5]
    assert manifest.where(site="south").rows.tolist() == [5]


def test_where_takes_one_value_or_several(folder):
    manifest = read_manifest(write(folder, HEADER + "".join(ROWS)), COLUMNS)
    assert manifest.where(site="north").images == ["a.png", "sub/b.png"]
    assert manifest.where(site=["north", "south"], dx="nv").images == ["a.png", "c.png"]
    with pytest.raises(UserError, match="no row has site = 'nort'. Did you mean 'north'"):
        manifest.where(site="nort")
    with pytest.raises(UserError, match="no column 'sight'. Did you mean 'site'"):
        manifest.where(sight="north")
    with pytest.raises(UserError, match="no row has all of site = 'south', dx = 'mel'"):
        manifest.where(site="south", dx="mel")


def test_an_image_without_group_column_is_its_own_group(folder):
    manifest = read_manifest(write(folder, HEADER + "".join(ROWS)))
    assert manifest.groups.tolist() == manifest.images


def test_empty_group_and_wrong_number_name_their_rows(folder):
    text = HEADER + ROWS[0] + "c.png,,nv,south,old\n"
    manifest = read_manifest(write(folder, text), COLUMNS)
    with pytest.raises(UserError, match=r"'patient' is empty in 1 row\(s\): row 3"):
        _ = manifest.groups
    with pytest.raises(UserError, match=r"'age' is not a number in 1 row\(s\): row 3 \('old'\)"):
        manifest.numbers("age")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("\ufeff", ["row 1 is empty"]),
        (HEADER, ["a header and no row"]),
        ((HEADER + ROWS[0]).replace(",", ";"), ["semicolons"]),
        ((HEADER + ROWS[0]).replace(",", "\t"), ["tabs"]),
        ("image,patient_id,dx,site\na.png,1,nv,x\n", ["no column 'patient'", "'patient_id'"]),
        ("image,patient,DX,site\na.png,1,nv,x\n", ["no column 'dx'", "Did you mean 'DX'"]),
        ("image,patient,dx,site,dx\na.png,1,nv,x,y\n", ["'dx' more than once"]),
        (HEADER + ROWS[0] + "c.png,010,nv\n", ["row 3 has 3 cells where the header has 5"]),
        (HEADER + 'a.png,"1"x,nv,x,1\n', ["row 2 is not valid CSV"]),
        (HEADER + ROWS[0] + ",010,nv,south,1\n", ["'image' is empty in 1 row(s): row 3"]),
        (HEADER + ROWS[0] + "sub\\b.png,1,nv,x,1\n", ["Windows path", "row 3 (sub\\b.png)"]),
        (HEADER + "C:/b.png,1,nv,x,1\n", ["Windows path", "row 2 (C:/b.png)"]),
        (HEADER + "../../etc/x.png,1,nv,x,1\n", ["out of the manifest's folder", "row 2"]),
        (HEADER + "sub/../../x.png,1,nv,x,1\n", ["out of the manifest's folder", "row 2"]),
        (HEADER + "/etc/x.png,1,nv,x,1\n", ["out of the manifest's folder", "row 2"]),
        (HEADER + ROWS[0] + ROWS[2] + "./a.png,1,nv,x,1\n", ["row 4 (./a.png, also in row 2)"]),
    ],
)
def test_bad_files_are_refused(folder, text, parts):
    refused(folder, text, *parts)


def test_not_utf8_is_refused_with_its_row(folder):
    refused(folder, (HEADER + ROWS[0] + "c.png,010,nv,süd,1\n").encode("latin-1"), "row 3 is not")


def test_missing_images_are_counted_and_five_are_named(folder):
    rows = "".join(f"x{i}.png,1,nv,north,1\n" for i in range(7))
    error = refused(folder, HEADER + ROWS[0] + rows, "missing for 7 row(s): row 3 (x0.png)")
    assert "x4.png" in str(error) and "x5.png" not in str(error)
    assert "and 2 more" in str(error)
    path = write(folder, HEADER + ROWS[0] + rows)
    assert len(read_manifest(path, COLUMNS, check_files=False)) == 8


def test_paths_outside_are_accepted_only_on_demand(folder):
    (folder / "inner").mkdir()
    path = write(folder / "inner", HEADER + f"../a.png,1,nv,x,1\n{folder}/c.png,1,nv,x,1\n")
    with pytest.raises(UserError, match="allow_outside"):
        read_manifest(path, COLUMNS)
    manifest = read_manifest(path, COLUMNS, allow_outside=True)
    assert [os.path.realpath(p) for p in manifest.image_paths] == [
        os.path.realpath(folder / name) for name in ("a.png", "c.png")
    ]


def test_missing_file_and_unknown_kind(folder):
    write(folder, HEADER + ROWS[0])
    with pytest.raises(UserError, match="no such file. Did you mean 'manifest.csv'"):
        read_manifest(folder / "manifests.csv", COLUMNS)
    with pytest.raises(UserError, match=r"a \.csv or a \.parquet file"):
        read_manifest(write(folder, HEADER, "manifest.xlsx"), COLUMNS)
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(folder, COLUMNS)


def test_parquet_reads_as_the_same_text(folder):
    path = folder / "manifest.parquet"
    pd.DataFrame(
        {
            "image": ["a.png", "sub/b.png", "c.png"],
            "patient": ["001", "001", "010"],
            "dx": [1, None, 0],
            "site": ["north", None, "south"],
            "age": [40.0, None, 61.5],
        }
    ).to_parquet(path)
    manifest = read_manifest(path, COLUMNS)
    assert manifest.column("dx").tolist() == ["1", "", "0"]
    assert manifest.column("site").tolist() == ["north", "", "south"]
    assert manifest.column("age").tolist() == ["40.0", "", "61.5"]
    assert manifest.groups.tolist() == ["001", "001", "010"]
    assert manifest.rows.tolist() == [2, 3, 4]


def test_damaged_parquet_is_refused(folder):
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_manifest(write(folder, b"PAR1 and no more", "m.parquet"), COLUMNS)


def test_labels_given_as_one_string_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="labels=\\('dx',\\)"):
        Columns(labels="dx")


def shared_data() -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("REMEDIS_SHARED_DATA", beside))


@pytest.mark.skipif(
    not (shared_data() / "ham10000/manifest.csv").is_file(),
    reason="needs the real images: set REMEDIS_SHARED_DATA",
)
def test_real_manifests():
    lesions = read_manifest(
        shared_data() / "ham10000/manifest.csv",
        Columns(group="lesion_id", labels=("dx",), site="site"),
    )
    assert len(lesions) == 6954
    assert len(lesions.where(site="rosendahl")) == 1594
    chests = read_manifest(
        shared_data() / "cxr_nih/manifest.csv", Columns(group="patient_id", labels=("pneumonia",))
    )
    assert len(set(chests.groups)) == 682
    assert all(len(patient) == 8 and patient[0] == "0" for patient in chests.groups)


def test_groups_by_pattern(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image,name\na.png,train/patient00001/s1.jpg\nb.png,train/patient7/s2.jpg\n")
    rows = read_manifest(path, Columns(group="name"), check_files=False)
    assert rows.with_group_pattern(r"patient\d+").groups.tolist() == ["patient00001", "patient7"]
    with pytest.raises(UserError, match=r"'study' finds nothing in column 'name' of 2 row"):
        rows.with_group_pattern("study")
    with pytest.raises(UserError, match="is none"):
        rows.with_group_pattern("(")
    with pytest.raises(UserError, match="needs a group column"):
        read_manifest(path, check_files=False).with_group_pattern("p")
