"""The whole chain in its tiny mode, and the report that it ends in."""

import json

import pandas as pd
import pytest

import remedis_jax

# One device, so that its compiled programs serve other tests too.
OVERRIDES = tuple(
    f"{part}.devices=1"
    for part in ("stages.natural", "stages.contrastive", "finetune_id", "finetune_ood")
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, tiny_phantom):
    """A finished tiny experiment and what it announced."""
    out = tmp_path_factory.mktemp("experiment")
    lines = []
    page = remedis_jax.run_experiment(
        f"experiments/data_efficiency/phantom.py:data={tiny_phantom},demo,tiny",
        out,
        overrides=OVERRIDES,
        announce=lines.append,
    )
    return out, page, lines


def test_every_cell_is_there_and_scores_each_test_image_once(experiment, tiny_phantom):
    out, _, _ = experiment
    cells = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    found = {(cell["arm"], cell["stage"], cell["fraction"]) for cell in cells}
    expected = {
        (arm, stage, fraction)
        for arm in ("supervised", "self_supervised")
        for stage, fraction in (
            ("id", None), ("ood_zero_shot", 0.0), ("ood_finetuned", 0.5), ("ood_finetuned", 1.0),
        )
    }  # fmt: skip
    assert found == expected and len(cells) == len(expected)
    manifest = pd.read_csv(tiny_phantom / "labelled" / "manifest.csv", dtype=str)
    for cell in cells:
        site = "hospital_a" if cell["stage"] == "id" else "hospital_b"
        wanted = manifest[(manifest.split == "test") & (manifest.site == site)]
        table = pd.read_csv(out / cell["predictions"], dtype=str)
        assert sorted(table.image) == sorted(wanted.image)
        assert dict(zip(table.image, table.label)) == dict(zip(wanted.image, wanted.finding))


def test_the_larger_fraction_holds_the_smaller(experiment):
    out, _, _ = experiment
    cells = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    sizes = {
        (cell["arm"], cell["fraction"]): (cell["n_patients"], cell["n_images"])
        for cell in cells
        if cell["stage"] == "ood_finetuned"
    }
    assert sizes["supervised", 0.5] == sizes["self_supervised", 0.5]
    assert sizes["supervised", 0.5] < sizes["supervised", 1.0]


def test_the_arms_differ_in_their_encoder_only(experiment):
    out, _, _ = experiment
    cards = {}
    for arm in ("supervised", "self_supervised"):
        path = out / "cells" / arm / "seed0" / "id"
        cards[arm] = json.loads((path / "config.json").read_text())
    one, other = cards["supervised"], cards["self_supervised"]
    different = {key for key in one if one[key] != other[key]}
    assert different == {"init"}


def test_report_has_figure_and_rows(experiment):
    out, page, _ = experiment
    assert page == out / "report.html"
    text = (out / "report.md").read_text()
    assert (out / "figures" / "label_fractions.png").stat().st_size > 10_000
    assert "not for clinical use" in text.lower()
    for row in ("In distribution", "zero-shot", "50%", "100%"):
        assert row.lower() in text.lower(), row


def test_running_again_changes_nothing(experiment, tiny_phantom):
    out, _, _ = experiment
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    remedis_jax.run_experiment(
        f"experiments/data_efficiency/phantom.py:data={tiny_phantom},demo,tiny",
        out,
        overrides=OVERRIDES,
        announce=lambda line: None,
    )
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_evaluate_predicts_a_manifest_with_other_column_names(experiment, tiny_phantom, tmp_path):
    out, _, _ = experiment
    table = pd.read_csv(tiny_phantom / "labelled" / "manifest.csv", dtype=str)
    # Other names, and no label: predictions do not need one.
    table = table[table.split == "test"].rename(columns={"image": "path"})
    other = tiny_phantom / "labelled" / "other.csv"
    table.drop(columns=["finding"]).to_csv(other, index=False)
    path = remedis_jax.evaluate(
        other,
        out / "cells" / "supervised" / "seed0" / "id",
        tmp_path,
        columns={"image": "path", "label": ""},
    )
    predictions = pd.read_csv(path, dtype=str)
    assert list(predictions.image) == list(table.path)
    assert (predictions[["p_absent", "p_present"]].astype(float).sum(axis=1) - 1).abs().max() < 1e-5


def test_evaluate_scores_where_labels_are_given(experiment, tiny_phantom, tmp_path):
    out, _, _ = experiment
    path = remedis_jax.evaluate(
        tiny_phantom / "labelled" / "manifest.csv",
        out / "cells" / "supervised" / "seed0" / "id",
        tmp_path,
        where={"split": ["test"], "site": ["hospital_a"]},
    )
    cell = pd.read_csv(out / "cells" / "supervised" / "seed0" / "id" / "predictions.csv")
    again = pd.read_csv(path)
    pd.testing.assert_frame_equal(cell, again, check_exact=False, rtol=1e-6)
    assert (tmp_path / "report.html").is_file() and (tmp_path / "metrics.json").is_file()
