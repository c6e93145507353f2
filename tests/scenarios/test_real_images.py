"""The checks on real dermoscopies and chest X-rays, where they are at hand."""

import io
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.scenarios.conftest import SIMCLR, SMALL

SHARED = Path(
    os.environ.get("REMEDIS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
)
SETS = {
    "ham10000": {"group": "lesion_id", "label": "dx", "test": ("site", "rosendahl")},
    "cxr_nih": {"group": "patient_id", "label": "pneumonia", "test": ("pneumonia", "1")},
}
pytestmark = pytest.mark.skipif(
    not all((SHARED / name / "manifest.csv").is_file() for name in SETS),
    reason="needs the real images: set REMEDIS_SHARED_DATA",
)


def problems(folder: Path) -> list[str]:
    return [p["text"] for p in json.loads((folder / "data_report.json").read_text())["problems"]]


def test_patients_with_both_labels_are_found(remedis, tmp_path):
    outcome = remedis(
        "check-data", SHARED / "cxr_nih/manifest.csv", "--group", "patient_id", "--label",
        "pneumonia", "--site", "site", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert any("21 of 682 group(s) have images with different labels" in p
               for p in problems(tmp_path))  # fmt: skip


def test_lesions_of_several_sites_are_found(remedis, tmp_path):
    outcome = remedis(
        "check-data", SHARED / "ham10000/manifest.csv", "--group", "lesion_id", "--site", "site",
        "--label", "dx", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = problems(tmp_path)
    # Every lesion of HAM10000 has one diagnosis; four were photographed by two of its sites.
    assert any("4 of 5,225 group(s) have images of several sites" in p for p in found)
    assert not any("different labels" in p for p in found)
    assert any("look the same" in p and "within one group" in p for p in found)


def planted(table: pd.DataFrame, folder: Path, pool: Path) -> list[str]:
    """Copies of three test images: renamed, re-encoded, and resized as another format."""
    names = table["image"].iloc[[5, 50, 500 % len(table)]].tolist()
    (pool / "a1.jpg").write_bytes((folder / names[0]).read_bytes())
    Image.open(folder / names[1]).save(pool / "b2.jpg", quality=75)
    image = Image.open(folder / names[2])
    smaller = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    smaller.save(buffer, "PNG")
    (pool / "c3.png").write_bytes(buffer.getvalue())
    return names


@pytest.mark.parametrize("name", SETS)
def test_copies_of_test_images_in_the_pool_stop_a_run(refused, remedis, name, tmp_path):
    folder, about = SHARED / name, SETS[name]
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    column, value = about["test"]
    test = table[table[column] == value]
    others = table[~table[about["group"]].isin(test[about["group"]])].head(300)
    pool = tmp_path / "pool"
    pool.mkdir()
    names = planted(test, folder, pool)
    clean = [str(folder / image) for image in others["image"]]
    pd.DataFrame({"image": clean}).to_csv(pool / "clean.csv", index=False)
    pd.DataFrame({"image": [*clean, "a1.jpg", "b2.jpg", "c3.png"]}).to_csv(
        pool / "pool.csv", index=False
    )
    held_out = {
        "manifest": str(folder / "manifest.csv"), "group": about["group"], "where": {column: value}
    }  # fmt: skip

    def train(manifest, workdir):
        return (
            "train", "--config", SIMCLR, *SMALL, "--set", f"data.manifest={pool / manifest}",
            "--set", "data.allow_outside=True", "--set", "data.to_grey=False",
            "--set", f"data.held_out=({held_out!r},)", "--workdir", tmp_path / workdir,
        )  # fmt: skip

    line = refused(*train("pool.csv", "run"))
    assert "1 image(s)" in line and "2 image(s)" in line
    for image in (*names, "a1.jpg", "b2.jpg", "c3.png"):
        assert image in line, image
    assert not (tmp_path / "run").exists()
    # Without the copies there is nothing to find, among 300 x thousands of pairs.
    outcome = remedis(*train("clean.csv", "run"))
    assert outcome.code == 0, outcome.err
