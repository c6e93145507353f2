"""Labels and cases that no run could use: one line that names and counts them, before any step."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

CLASSIFY = "experiments/finetune/classify.py:task=phantom,tiny,select=best"
SURVIVAL = f"{CLASSIFY},kind=discrete_time,labels=years+died"


@pytest.fixture
def table(tmp_path):
    """(table, write): 24 images of 12 patients, and what writes the table down."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        patient = i // 2
        rows.append(
            {
                "image": f"{i:02d}.png",
                "patient_id": f"p{patient:02d}",
                "finding": "present" if patient % 2 else "absent",
                "years": str(1 + patient),
                "died": str(patient % 2),
                "split": "val" if patient >= 8 else "train",
            }
        )

    def write(table):
        table.to_csv(folder / "manifest.csv", index=False)
        return folder / "manifest.csv"

    return pd.DataFrame(rows), write


def of_split(table, name, **cells):
    for column, value in cells.items():
        table.loc[table.split == name, column] = value


def spoil(name, table):
    """Makes one mistake."""
    if name == "one class in validation":
        of_split(table, "val", finding="absent")
    elif name == "one class in training":
        of_split(table, "train", finding="absent")
    elif name == "column all missing":
        table["finding"] = ""
    elif name == "unlabelled row":
        table.loc[[3, 7, 20], "finding"] = ""
    elif name == "case without image":
        table.loc[5, "image"] = ""
    elif name == "negative time":
        table.loc[[0, 1, 22], "years"] = "-2"
    elif name == "event without time":
        table.loc[[2, 3], "years"] = ""
    elif name == "nobody beyond the horizon":
        of_split(table, "val", years="3")
    elif name == "two labels in a case":
        table.loc[4, "finding"] = "present"


@pytest.mark.parametrize(
    ("name", "config", "named"),
    [
        ("one class in validation", CLASSIFY, ("validation rows", "only negatives", "n=4")),
        ("one class in training", CLASSIFY, ("'present'",)),
        ("column all missing", CLASSIFY, ("'finding'", "24")),
        ("unlabelled row", CLASSIFY, ("'finding'", "row 5", "row")),
        ("case without image", CLASSIFY, ("row 7", "'image'")),
        ("two labels in a case", f"{CLASSIFY},case=patient_id,case_images=2", ("1 case", "p02")),
        ("negative time", SURVIVAL, ("'years'", "-2", "row 2")),
        ("event without time", SURVIVAL, ("row 4", "'years'")),
        ("nobody beyond the horizon", SURVIVAL, ("validation rows", "beyond")),
    ],
)
def test_it_is_named_and_counted_and_nothing_runs(refused, table, tmp_path, name, config, named):
    rows, write = table
    spoil(name, rows)
    line = refused(
        "train", "--config", config, "--workdir", tmp_path / "run",
        "--set", f"data.manifest={write(rows)}", "--set", "devices=1",
        "--set", "batch_size=4", "--set", "data.near_duplicates=-1",
    )  # fmt: skip
    for part in named:
        assert part in line, line
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
