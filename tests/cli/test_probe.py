"""`remedis probe`: encoders of other tools in the protocol, from their files to the reports."""

import json

import numpy as np
import pandas as pd
import pytest

from remedis_jax.data.splits import nested_subsets
from remedis_jax.evaluation.experiment_cells import read_cells
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.report.experiment_record import read_experiment

PATIENTS = 96
PATIENT = np.repeat(np.arange(PATIENTS), 2)
SITE = np.where(PATIENT < PATIENTS // 2, "A", "B")
SPLIT = np.array(["train", "train", "val", "test"])[PATIENT // 2 % 4]
IMAGES = [f"images/{i}.png" for i in range(2 * PATIENTS)]
FEW = ("--resamples", 20, "--seeds", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A manifest of two sites; a weak encoder, and a strong one in another tool's file."""
    folder = tmp_path_factory.mktemp("probe")
    y, rng = PATIENT % 2, np.random.default_rng(0)
    pd.DataFrame(
        {
            "filename": IMAGES, "patient_id": PATIENT, "site": SITE, "split": SPLIT,
            "label": np.where(y, "malignant", "benign"), "edema": y, "age": 40 + PATIENT % 50,
            "mass": np.where(PATIENT % 5 == 0, "", (PATIENT % 3 == 0).astype(int).astype(str)),
        }
    ).to_csv(folder / "manifest.csv", index=False)  # fmt: skip
    for name, strength in (("weak", 0.3), ("strong", 2.0)):
        x = rng.normal(size=(2 * PATIENTS, 6)).astype(np.float32)
        x[:, 0] += strength * (2 * y - 1)
        order = rng.permutation(2 * PATIENTS)
        np.savez(folder / f"{name}.npz", embeddings=x[order], filenames=np.array(IMAGES)[order])
    return folder


@pytest.fixture(scope="module")
def manifest(folder):
    return pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)


@pytest.fixture
def reported(monkeypatch):
    """The reports that are asked for; what these pages say is tested in tests/report."""
    asked = []
    for name in ("report_from_experiment", "report_from_predictions"):
        monkeypatch.setattr(
            f"remedis_jax.report.page.{name}",
            lambda *where, **options: asked.append((where, options)) or where[-1] / "report.html",
        )
    return asked


def test_two_encoders_at_two_sites_make_an_experiment(
    remedis, folder, manifest, tmp_path, reported
):
    out = tmp_path / "out"
    outcome = remedis(
        "probe", folder / "weak.npz", f"best={folder / 'strong.npz'}",
        "--manifest", folder / "manifest.csv", "--out", out, "--id-site", "A", "--ood-site", "B",
        "--fractions", "0.25,1", "--level", "image", *FEW,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert reported == [((out,), {"resamples": 20, "show": True})]
    record = read_experiment(out)
    assert (record["baseline_arm"], record["ssl_arms"]) == ("weak", ["best"])
    assert record["fractions"] == [0.25, 1.0] and record["seeds"] == [0, 1]
    assert record["characteristics"] == ["age"]
    assert record["counts"]["B training"] == {"patients": 24, "images": 48}
    assert "validation patients of A" in record["selection"]["hyperparameters"]
    cells = {(c.arm, c.seed, c.fraction, c.stage): c for c in read_cells(out / "cells.jsonl")}
    assert len(cells) == 2 * 2 * 4
    drawn = cells["best", 1, 0.25, "ood_finetuned"]
    train = manifest[(manifest["site"] == "B") & (manifest["split"] == "train")]
    strata = (train["label"] == "malignant").astype(int).astype(str).tolist()
    expected = nested_subsets(train["patient_id"].tolist(), strata, [0.25], 1)[0.25]
    assert drawn.n_images == len(expected) == 12 and drawn.n_patients == 6
    at_b = set(manifest.loc[(manifest["site"] == "B") & (manifest["split"] == "test"), "filename"])
    assert set(read_predictions(drawn.predictions)["image"]) == at_b
    assert len(read_predictions(drawn.validation)) == 8  # a quarter of B's validation, as well
    assert cells["best", 0, 0.0, "id"].n_images == 48
    rows = pd.read_csv(out / "rows.csv", dtype=str)
    assert list(rows.columns) == ["part", "image", "group", "site", "split", "label", "age"]
    with np.load(out / "embeddings" / "best.npz") as file:
        assert file["features"].shape == (48, 6) and set(file["sites"]) == {"A", "B"}
    probes = (out / "probes" / "report.md").read_text().replace("\\", "")
    assert "is worse than “best”" in probes
    assert "| B test | k-NN probe | weak | best |" in probes


def test_one_site_is_a_report_of_predictions_with_curves(remedis, folder, tmp_path):
    out = tmp_path / "out"
    outcome = remedis(
        "probe", folder / "strong.npz", folder / "manifest.csv", "--out", out,
        "--label", "edema,mass", "--group", "patient_id", "--fractions", "0.5,1", "--shots", "2",
        *FEW,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    predictions = Predictions.from_table(read_predictions(out / "predictions" / "strong.csv"))
    assert predictions.kind == "sigmoid" and predictions.classes == ("edema", "mass")
    assert len(predictions.images) == 48 and np.isnan(predictions.y[:, 1]).sum() == 10
    assert (out / "report.html").is_file() and not (out / "experiment.json").exists()
    page = (out / "probes" / "report.md").read_text().replace("\\", "")
    assert "| test | linear probe | 50% | 24 | 48 |" in page and "label_shares.png" in page
    # Two images with each finding and two without: each of another patient for one finding.
    shots = json.loads((out / "probes.jsonl").read_text().splitlines()[2])
    assert (shots["trained_on"], shots["n_images"] <= 8) == ("shots", True)
    assert "2 per class" in page and "few_shot.png" in page
    numbers = pd.read_csv(out / "probes" / "tables" / "label_shares.csv")
    assert numbers["amount"].tolist() == [0.5, 1.0]


def test_images_on_one_side_only_are_counted_and_named(
    remedis, refused, folder, tmp_path, reported
):
    with np.load(folder / "strong.npz") as file:
        x, names = file["embeddings"], file["filenames"]
    part = tmp_path / "part.npz"
    np.savez(part, embeddings=x[3:], filenames=np.append(names[3:-1], "images/new.png"))
    arguments = ("probe", part, folder / "manifest.csv", "--out", tmp_path / "out", *FEW)
    line = refused(*arguments)
    assert "part: 4 of 192 images of the manifest are not in it (" in line
    assert "1 of its 189 images are not in the manifest (images/new.png)" in line
    assert "--common" in line
    outcome = remedis(*arguments, "--common")
    assert outcome.code == 0, outcome.err
    flow = json.loads((tmp_path / "out" / "probe.json").read_text())["flow"]
    assert sum(entry["excluded"].get("no embedding", 0) for entry in flow) == 4
    ((files, where), options), = reported
    assert [file.name for file in files] == ["part.csv"] and where == tmp_path / "out"
    assert [file.name for file in options["validation"]] == ["part.csv"]
    stems = tmp_path / "stems.npz"
    np.savez(stems, features=x, names=[name.split("/")[1].split(".")[0] for name in names])
    line = refused("probe", stems, folder / "manifest.csv", "--out", tmp_path / "o", *FEW)
    assert "--match stem would find 192" in line


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"split": np.where(np.arange(192) % 2, "train", "test")}, (), "in two splits"),
        ({"split": "train"}, (), "has no test rows"),
        ({"split": np.where(SPLIT == "val", "holdout", SPLIT)}, (), "--split VALUE=training"),
        ({"split": None}, (), "no column says which images train"),
        ({"label": "benign"}, (), "one class only"),
        ({}, ("--id-site", "A", "--ood-site", "C"), "no row has site = 'C'"),
        ({}, ("--fractions", "0,1"), "not all above 0"),
        ({}, ("--shots", "1000"), "1000 shots of class 'benign' cannot be drawn: 24"),
        ({}, ("--metric", "aurok"), "aurok"),
        ({}, ("--match", "name"), "--match 'name' is unknown"),
    ],
)
def test_what_cannot_be_probed_is_one_line(
    refused, folder, manifest, tmp_path, changes, options, message
):
    table = manifest.assign(**{k: v for k, v in changes.items() if v is not None})
    table = table.drop(columns=[k for k, v in changes.items() if v is None])
    table.to_csv(tmp_path / "m.csv", index=False)
    out = ("--out", tmp_path / "out")
    line = refused("probe", folder / "weak.npz", tmp_path / "m.csv", *out, *options)
    assert message in line
