"""Model cards: what the artefact says, what follows from it, and numbers of these weights only."""

import copy
import json

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import (
    predictions_table,
    read_predictions,
    write_predictions,
)
from remedis_jax.report.model_card import model_card, write_model_card
from remedis_jax.report.scored_parts import as_records, parts_of
from remedis_jax.weights.artifact import load_artifact, save_artifact
from remedis_jax.weights.registry.published import CREDENTIALED
from tests.weights.conftest import SMALL, make_card, random_params

PARENT = {
    "sha256": "a" * 64,
    "stage": "simclr",
    "licence": {"name": "not stated by those who trained the weights", "inherited": None},
    "parent": {
        "sha256": "b" * 64,
        "stage": "import:bit",
        "licence": {"name": "Apache-2.0", "inherited": None},
        "parent": None,
    },
}
TRAINED = {
    "stage": "supervised",
    "columns": {"image": "image", "group": "patient", "site": "site", "labels": ["finding"]},
    "lineage": {"init": PARENT, "manifest_sha256": "c" * 64, "images": 1234, "groups": 321},
    "licence": {"name": "MIT", "inherited": {"name": "Apache-2.0", "inherited": None}},
    "labels_seen_while_training": None,
    "steps": 500,
    "config": {
        "stage": "supervised",
        "seed": 3,
        "batch_size": 128,
        "optimizer": {"name": "sgd", "learning_rate": 0.001, "momentum": 0.9},
        "augment": {"recipe": "finetune", "options": {}},
        "init": "/home/somebody/secret/weights.safetensors",
        "data": {
            "manifest": "/home/somebody/secret.csv",
            "group": "patient",
            "site": "site",
            "train": {"split": "train", "site": "hospital_a"},
            "fraction": 0.1,
        },
    },
    "versions": {"jax": "0.10.2"},
    "use": "research only, not for clinical use",
}


@pytest.fixture
def artefact(tmp_path):
    """Writes an artefact whose card differs from a trained classifier's in the given keys."""

    def write(classes=2, **changes):
        card = make_card(SMALL, classes) | copy.deepcopy(TRAINED) | changes
        path = tmp_path / "weights.safetensors"
        save_artifact(path, random_params(SMALL, classes), card)
        return path

    return write


def evaluate(folder, sha256, sites=("hospital_a", "hospital_b"), classes=("no", "yes")):
    """Writes the numbers that `remedis evaluate` does, of invented predictions."""
    rng = np.random.default_rng(0)
    y = np.arange(60) // 2 % len(classes)
    p = rng.dirichlet(np.ones(len(classes)), 60)
    folder.mkdir()
    write_predictions(
        folder / "predictions.csv",
        predictions_table(
            "softmax", classes, [f"{i}.png" for i in range(60)], p, y,
            groups=(np.arange(60) // 2).astype(str),
            site=np.array(sites)[np.arange(60) % len(sites)],
            split="test",
        ),
    )  # fmt: skip
    table = read_predictions(folder / "predictions.csv")
    parts = [part for found, _ in parts_of("p.csv", table, None, 30, 0) for part in found]
    (folder / "metrics.json").write_text(json.dumps(as_records(parts)))
    (folder / "weights.json").write_text(json.dumps({"path": "x", "sha256": sha256}))
    return folder / "metrics.json"


def section(text, heading):
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def header(text):
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_card_says_what_the_artefact_says_and_nothing_of_the_machine(artefact, tmp_path):
    path = artefact()
    sha256 = load_artifact(path).sha256
    out = write_model_card(path, tmp_path / "out" / "card.md")
    text = out.read_text()
    assert text == model_card(path) == model_card(tmp_path)
    assert header(text) == {
        "license": "mit",
        "library_name": "remedis_jax",
        "pipeline_tag": "image-classification",
        "tags": ["medical-imaging", "remedis", "bit", "r14x0.25", "jax", "supervised"],
    }
    assert "Research only, not for clinical use." in text
    assert "r14x0.25" in section(text, "Architecture")
    assert "resampled to 32 pixels (bicubic, with antialias)" in section(text, "Preprocessing")
    data = section(text, "Data")
    for part in ("`" + "c" * 64, "1,234 images of 321 groups", "site = hospital\\_a", "10%"):
        assert part in data
    chain = section(text, "Lineage")
    order = [chain.index(part) for part in (sha256, "a" * 64, "b" * 64)]
    assert order == sorted(order) and "simclr" in chain and "licence Apache-2.0" in chain
    training = section(text, "Training")
    for part in ("steps: 500", "batch\\_size: 128", "optimizer.learning\\_rate: 0.001", "seed: 3"):
        assert part in training
    limits = section(text, "Limitations")
    for part in ("one site only (hospital\\_a)", "10% of the patients", "not calibrated", "seed 3"):
        assert part in limits
    assert "No evaluation is given" in limits and "monitor" not in limits
    terms = section(text, "Licence and terms")
    assert "These weights: MIT" in terms and "come from: Apache-2.0" in terms
    assert 'load("weights.safetensors")' in text and "jax 0.10.2" in section(text, "Versions")
    assert "secret" not in text and str(tmp_path) not in text


def test_numbers_stand_with_their_intervals_and_images(artefact, tmp_path):
    path = artefact()
    metrics = evaluate(tmp_path / "e", load_artifact(path).sha256)
    text = model_card(path, metrics)
    results = section(text, "Results")
    for record in json.loads(metrics.read_text()):
        value = record["metrics"]["auroc"]
        shown = f"{value['value']:.3f} ({value['low']:.3f}\N{EN DASH}{value['high']:.3f})"
        assert shown in results
        assert f"{record['n_images']} images of {record['n_patients']} patients" in results
    assert "site hospital\\_b, split test" in results and "of 30 resamples" in results
    assert "The evaluation is of these weights" in results
    limits = section(text, "Limitations")
    assert "No evaluation" not in limits and "out of distribution" not in limits


def test_several_classes_are_listed_each(artefact, tmp_path):
    path = artefact(classes=3)
    metrics = evaluate(
        tmp_path / "e", load_artifact(path).sha256, classes=("class 0", "class 1", "class 2")
    )
    results = section(model_card(path, metrics), "Results")
    record = json.loads(metrics.read_text())[0]["metrics"]
    for name in ("class 0", "class 1", "class 2"):
        low = f"{record[f'auroc/{name}']['low']:.3f}"
        assert any(low in line for line in results.splitlines() if line.startswith(f"| {name} "))


def test_evaluation_at_home_only_is_a_limitation(artefact, tmp_path):
    path = artefact()
    sha256 = load_artifact(path).sha256
    metrics = evaluate(tmp_path / "home", sha256, sites=("hospital_a",))
    assert "out of distribution is unknown" in section(model_card(path, metrics), "Limitations")
    metrics = evaluate(tmp_path / "away", sha256, sites=("hospital_b",))
    assert "out of distribution" not in section(model_card(path, metrics), "Limitations")
    (tmp_path / "home" / "predictions.csv").unlink()
    text = model_card(path, tmp_path / "home" / "metrics.json")
    assert "The evaluation names no sites" in section(text, "Limitations")


def test_metrics_of_other_weights_are_refused(artefact, tmp_path):
    path = artefact()
    metrics = evaluate(tmp_path / "e", "0" * 64)
    with pytest.raises(UserError, match=f"is of weights with the hash {'0' * 64}"):
        model_card(path, metrics)
    (tmp_path / "e" / "weights.json").unlink()
    assert "no `weights.json` lay beside it" in section(model_card(path, metrics), "Results")
    for content in ("{", "[]", '{"a": 1}', '[{"site": "a"}]', "[1]", "null"):
        metrics.write_text(content)
        with pytest.raises(UserError, match=r"metrics\.json"):
            model_card(path, metrics)


def test_labels_that_a_monitor_read_are_declared(artefact):
    path = artefact(
        classes=0,
        stage="simclr",
        head=None,
        labels_seen_while_training={"manifest": "m.csv", "labels": ["finding"], "where": {}},
    )
    text = model_card(path)
    assert "a monitor read the labels finding of m.csv" in section(text, "Limitations")
    assert "calibrated" not in text and "predict(" not in text
    assert header(text)["pipeline_tag"] == "image-feature-extraction"
    assert "self-supervised" in header(text)["tags"]


@pytest.mark.parametrize(
    "changes",
    [
        {"licence": {"name": "x", "inherited": {"name": "y", "credentialed": True}}},
        {"licence": {"name": CREDENTIALED.name, "terms": CREDENTIALED.text}},
        {
            "lineage": {
                "init": PARENT
                | {"parent": PARENT["parent"] | {"stage": "import:remedis", "licence": None}}
            }
        },
        {"stage": "import:remedis", "licence": {"name": "not known"}},
    ],
)
def test_children_of_credentialed_weights_say_so(artefact, changes):
    text = model_card(artefact(**changes))
    assert "**They may not be redistributable**" in section(text, "Licence and terms")
    assert header(text)["license_name"] == "physionet-credentialed"
    assert header(text)["license_link"] == CREDENTIALED.link


@pytest.mark.parametrize(
    "name, expected",
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        ("not stated by those who trained the weights", {"license": "unknown"}),
        (
            "Hospital A, research: only",
            {"license": "other", "license_name": "hospital-a-research-only"},
        ),
    ],
)
def test_licences_as_hugging_face_calls_them(artefact, name, expected):
    found = header(model_card(artefact(licence={"name": name, "inherited": None})))
    assert {key: found.get(key) for key in expected} == expected


def test_calibration_says_on_what(artefact):
    fit = {
        "labels": 60, "images": 60, "groups": 30, "manifest_sha256": "d" * 64,
        "where": {"split": ["val"]}, "log_loss_before": 0.7, "log_loss_after": 0.6,
    }  # fmt: skip
    head = {"kind": "softmax", "classes": ["no", "yes"], "temperature": 1.5, "calibration": fit}
    text = model_card(artefact(head=head))
    line = section(text, "Calibration")
    for part in ("divided by 1.5", "60 labels of 60 images of 30 groups", "d" * 64, "0.6000 after"):
        assert part in line
    assert "not calibrated" not in text


def test_sparse_card_is_described_as_far_as_it_goes(tmp_path):
    path = tmp_path / "w.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3))
    text = model_card(path)
    assert "Not trained with this project." in section(text, "Data")
    assert "Not trained with this project." in section(text, "Training")
    assert "Not recorded." in section(text, "Versions")
    card = make_card(SMALL) | {"stage": "simclr"}
    save_artifact(path, random_params(SMALL), card)
    text = model_card(path)
    assert "not recorded" in section(text, "Data")
    assert "not recorded from how many sites" in section(text, "Limitations")
    del card["lineage"]
    save_artifact(path, random_params(SMALL), card)
    with pytest.raises(UserError, match="its card is incomplete.*lineage"):
        model_card(path)


def test_text_of_users_makes_no_markup(artefact, tmp_path):
    hostile = '<img src=x onerror=alert(1)> [a](http://b) `c` | d\n## e {{ 7 * 7 }}'
    config = copy.deepcopy(TRAINED["config"])
    config["data"]["train"]["site"] = hostile
    path = artefact(
        head={"kind": "softmax", "classes": [hostile, "yes"], "temperature": None},
        config=config,
        licence={"name": hostile, "terms": hostile, "inherited": None},
        versions={hostile: hostile},
    )
    text = model_card(path)
    html = MarkdownIt("commonmark", {"html": True}).render(text.split("---\n", 2)[2])
    assert "<img" not in html and "<a " not in html and "## e" not in text.split("\n")
    assert r"\{\{ 7 \* 7 \}\}" in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"


def test_intervals_that_are_not_defined_keep_their_reason(artefact, tmp_path):
    path = artefact()
    metrics = evaluate(tmp_path / "e", load_artifact(path).sha256)
    records = json.loads(metrics.read_text())
    records[0]["metrics"]["auroc"] = {"not_defined": "only positives, n=60"}
    metrics.write_text(json.dumps(records))
    assert "not defined (only positives, n=60)" in model_card(path, metrics)
