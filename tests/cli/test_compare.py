"""`remedis compare` on tables as other tools write them."""

import numpy as np
import pandas as pd
import pytest

PATIENT = np.repeat(np.arange(30), 2)
FEW = ("--resamples", 40)


@pytest.fixture
def table(tmp_path):
    """Writes scores of some strength for sixty images of thirty patients; returns the file."""

    def write(name: str, strength: float, **changes) -> str:
        noise = np.random.default_rng(0).normal(size=60)
        logit = strength * (2 * (PATIENT % 2) - 1) + noise
        columns = {
            "file": [f"{i}.png" for i in range(60)], "patient_id": PATIENT,
            "y_true": PATIENT % 2, "y_prob": 1 / (1 + np.exp(-logit)),
        } | changes  # fmt: skip
        frame = pd.DataFrame({name: cells for name, cells in columns.items() if cells is not None})
        frame.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


@pytest.fixture
def reported(monkeypatch):
    """The reports that are asked for; what the page says is tested in tests/report."""
    asked = []
    monkeypatch.setattr(
        "remedis_jax.report.page.report_from_predictions",
        lambda files, out, **options: asked.append((files, options)) or out / "report.html",
    )
    return asked


def test_models_are_compared_and_a_copy_is_no_better(remedis, table, tmp_path):
    files = [table("a.csv", 1.5), table("b.csv", 0.2), table("copy.csv", 1.5)]
    out = tmp_path / "out"
    outcome = remedis("compare", *files, "--out", out, "--metric", "auroc", *FEW)
    assert outcome.code == 0, outcome.err
    assert "a.csv: Read image from file, group from patient_id, label from y_true" in (
        " ".join(outcome.out.split())
    )
    rows = pd.read_csv(out / "comparison.csv").set_index(["file", "by"])
    assert list(rows.index) == [
        ("b.csv", "image"), ("copy.csv", "image"), ("b.csv", "patient"), ("copy.csv", "patient")
    ]  # fmt: skip
    better = rows.loc[("b.csv", "image")]
    assert better["a_is"] == "better" and better["low"] > 0 and better["p"] < 0.05
    same = rows.loc[("copy.csv", "patient")]
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    assert same["a_is"] == "not distinguishable"
    assert (out / "report.html").is_file() and f"report in {out / 'report.html'}" in outcome.out


def test_other_images_are_named_and_left_out_only_on_request(
    remedis, refused, table, tmp_path, reported
):
    whole = table("whole.csv", 1.0)
    part = tmp_path / "part.csv"
    pd.read_csv(whole).iloc[3:].to_csv(part, index=False)
    extra = pd.read_csv(whole).iloc[:1].assign(file="new.png")
    pd.concat([pd.read_csv(part), extra]).to_csv(part, index=False)
    line = refused("compare", whole, part, *FEW)
    assert "3 are in whole.csv only (0.png, 1.png, 2.png) and 1 are in part.csv only" in line
    assert "57 images of both with --common" in line
    outcome = remedis("compare", whole, part, "--common", "--metric", "brier", *FEW)
    assert outcome.code == 0, outcome.err
    assert "whole.csv: 3 of 60 images are left out" in outcome.out
    assert "part.csv: 1 of 58 images are left out" in outcome.out
    (files, options), = reported
    assert [len(pd.read_csv(file)) for file in files] == [57, 57] and "group" not in options
    other = table("other.csv", 1.0, file=[f"x{i}" for i in range(60)])
    assert "no image in common" in refused("compare", whole, other, "--common")


def test_columns_that_are_not_clear_are_said(remedis, refused, table, tmp_path, reported):
    words = np.where(PATIENT % 2, "ill", "well")
    files = [
        table(name, s, y_true=words, slice=np.arange(60), path=np.arange(60))
        for name, s in (("a.csv", 1.0), ("b.csv", 0.5))
    ]
    assert "image could be column 'file' or 'path'" in refused("compare", *files)
    said = ("--column", "image=slice", "--column", "p_ill=y_prob", "--group", "image")
    outcome = remedis("compare", *files, *said, "--metric", "auroc", *FEW)
    assert outcome.code == 0, outcome.err
    assert "group from slice" in outcome.out and "p_well from 1 - y_prob" in outcome.out
    rows = pd.read_csv(tmp_path / "comparison" / "comparison.csv")
    assert rows["by"].tolist() == ["image"] and len(reported) == 1
    lone = table("lone.csv", 1.0, patient_id=None)
    assert "--group image says that every image" in refused("compare", lone, files[0])
    assert "two or more" in refused("compare", lone)
    assert "--column 'imag=x' names no role" in refused("compare", *files, "--column", "imag=x")
