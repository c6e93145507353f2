"""`remedis finetune`: from a manifest to weights and a report, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import remedis_jax
from remedis_jax.errors import UserError

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "total_steps=4", "schedule=cosine", "validation_steps=2", "batch_size=8", "devices=1",
    "model.stem=cifar_stride2", "data.channels=1", "augment.evaluation={'crop': 'resize'}",
)  # fmt: skip


@pytest.fixture(scope="module")
def unsplit(tiny_phantom, tmp_path_factory):
    """The phantom's labelled manifest without its column of splits."""
    path = tiny_phantom / "labelled" / "unsplit.csv"
    table = pd.read_csv(tiny_phantom / "labelled" / "manifest.csv", dtype=str)
    table.drop(columns="split").to_csv(path, index=False)
    yield path
    path.unlink()


def finetune(manifest, out, **options):
    settings = {
        "labels": ("finding",), "columns": {"group": "patient_id"}, "model": "r14x0.25",
        "size": 16, "overrides": SETTINGS,
    }  # fmt: skip
    return remedis_jax.finetune(manifest, None, out, **(settings | options))


@pytest.fixture(scope="module")
def finetuned(unsplit, tmp_path_factory):
    """(folder, what the function returned, what it announced)."""
    out, lines = tmp_path_factory.mktemp("finetuned") / "out", []
    return out, finetune(unsplit, out, announce=lines.append), lines


def test_a_table_becomes_weights_and_a_report(finetuned, unsplit):
    out, done, lines = finetuned
    split = pd.read_csv(out / "split.csv", dtype=str)
    assert set(split.split) == {"train", "val", "test"} and len(split) == len(pd.read_csv(unsplit))
    assert split.groupby("patient_id").split.nunique().max() == 1
    predictions = pd.read_csv(done.tests["test"] / "predictions.csv", dtype=str)
    assert sorted(predictions.image) == sorted(split.image[split.split == "test"])
    assert (done.tests["test"] / "report.html").is_file()
    outcome = json.loads((out / "run" / "result.json").read_text())
    assert outcome["steps"] == 4 and outcome["best_step"] in (2, 4)
    assert any("best validation" in line for line in lines)
    # Repeating it does nothing anew, and says the same.
    before = done.weights.stat().st_mtime_ns
    again = finetune(unsplit, out)
    assert again == done and before == done.weights.stat().st_mtime_ns


def test_weights_say_network_and_channels(finetuned, unsplit, tmp_path):
    _, first, _ = finetuned
    overrides = [text for text in SETTINGS if not text.startswith(("model", "data.channels"))]
    second = remedis_jax.finetune(
        unsplit, first.weights, tmp_path / "second", labels=("finding",),
        columns={"group": "patient_id", "case": "patient_id"}, case_images=3,
        overrides=(*overrides, "objective.pooling=attention"),
    )  # fmt: skip
    config = json.loads((tmp_path / "second" / "run" / "config.json").read_text())
    assert config["model"]["name"] == "r14x0.25" and config["model"]["stem"] == "cifar_stride2"
    assert config["data"]["channels"] == 1 and config["augment"]["size"] == 16
    predictions = pd.read_csv(second.tests["test"] / "predictions.csv", dtype=str)
    assert (predictions.image == predictions.group).all()
    assert predictions.n_images.astype(int).max() > 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"labels": ()}, "label columns"),
        ({"labels": ("fnding",)}, "Did you mean 'finding'"),
        ({"model": ""}, "weights to start from"),
        ({"kind": "cox"}, "time and an event"),
        ({"labels": (), "survival": ("age", "sex"), "kind": "softmax"}, "classes"),
        ({"columns": {"patient": "patient_id"}}, "role 'patient'"),
        ({"columns": {"split": "site"}}, "no row has 'train'"),
        ({"protocol": "fast"}, "protocol 'fast'"),
        ({"columns": {"group": "patient_id", "view": "sex"}, "views": ("F", "M", "X"),
          "overrides": (*SETTINGS, "data.case_images=2")}, "3 views"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_before_anything_runs(unsplit, tmp_path, options, named):
    with pytest.raises(UserError) as error:
        finetune(unsplit, tmp_path / "out", **options)
    assert named in str(error.value)
    assert not (tmp_path / "out" / "run").exists()


def test_the_command_says_one_line(tmp_path):
    command = [
        sys.executable, "-m", "remedis_jax", "finetune", str(tmp_path / "none.csv"),
        "--label", "x", "--out", str(tmp_path / "out"), "--model", "r14x0.25",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "none.csv" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
