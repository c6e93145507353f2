"""`remedis evaluate` on the test sets that hospitals have: several images a patient, no positives,
a finding that nobody looked for, a single patient."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.models.case_head import HeadSpec
from remedis_jax.weights.artifact import save_artifact
from tests.weights.conftest import SMALL, make_card, random_params

IMAGES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images, three of each patient; weights for two classes, for two findings, and for
    survival by the hazards of two intervals."""
    folder = tmp_path_factory.mktemp("evaluate")
    for i in range(IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    columns = {"image": "image", "group": "patient", "site": "", "split": ""}
    for kind, classes, labels in (
        ("softmax", ["no", "yes"], ["label"]),
        ("sigmoid", ["Edema", "Mass"], ["Edema", "Mass"]),
    ):
        card = make_card(SMALL, 2) | {"columns": columns | {"labels": labels}}
        card["head"] = {"kind": kind, "classes": classes, "temperature": None}
        save_artifact(folder / f"{kind}.safetensors", random_params(SMALL, 2), card)
    card = make_card(SMALL, 2) | {"columns": columns | {"labels": ["years", "died"]}}
    card["head"] = {
        "kind": "survival", "classes": ["risk"], "architecture": HeadSpec(2).to_json(),
        "survival": {"model": "discrete_time", "horizon": 5.0, "intervals": [2.0, 5.0]},
    }  # fmt: skip
    save_artifact(folder / "survival.safetensors", random_params(SMALL, 2), card)
    return folder


@pytest.fixture
def evaluate(remedis, folder, tmp_path):
    """Writes a manifest, evaluates it, and returns its metrics by level and its report."""

    def run(kind, cells, *options, patients=None):
        table = pd.DataFrame({"image": [f"{i}.png" for i in range(IMAGES)]} | cells)
        table["patient"] = [f"{i // 3:03d}" for i in range(IMAGES)] if not patients else patients
        path = folder / f"{tmp_path.name}.csv"
        table.to_csv(path, index=False)
        out = tmp_path / "out"
        weights = folder / f"{kind}.safetensors"
        outcome = remedis("evaluate", path, "--weights", weights, "--out", out, *options)
        assert outcome.code == 0, outcome.err
        text = (out / "metrics.json").read_text()
        assert "NaN" not in text
        report = (out / "report.md").read_text().replace("\\", "")
        assert "| nan" not in report and " nan " not in outcome.out
        return {record["level"]: record for record in json.loads(text)}, report

    return run


SOME = ["yes", "no", "no", "no", "no", "no", "yes", "yes", "yes", "no", "no", "no"]


@pytest.mark.parametrize("how", ["mean", "max", "noisy-or"])
def test_patients_are_scored_beside_their_images(evaluate, folder, tmp_path, how):
    records, report = evaluate("softmax", {"label": SOME}, "--aggregate", f"patient:{how}")
    assert [records[level]["n_patients"] for level in ("image", "patient")] == [4, 4]
    assert records["patient"]["aggregate"] == how and "aggregate" not in records["image"]
    scores = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"group": str})
    by_patient = scores.groupby("group")["p_yes"]
    expected = {
        "mean": by_patient.mean(),
        "max": by_patient.max(),
        "noisy-or": 1 - (1 - scores["p_yes"]).groupby(scores["group"]).prod(),
    }[how].to_numpy()
    brier = ((expected - np.array([1, 0, 1, 0])) ** 2).mean()
    np.testing.assert_allclose(records["patient"]["metrics"]["brier"]["value"], brier, rtol=1e-9)
    assert "| image | yes | 4 of 12" in report
    assert f"| patient ({how}) | yes | 2 of 4 (50%)" in report
    card = (tmp_path / "out" / "model_card.md").read_text().replace("\\", "")
    assert f"| patient ({how}) |" in card


def test_an_unknown_aggregate_is_refused_before_anything_is_predicted(refused, folder, tmp_path):
    line = refused(
        "evaluate", folder / "absent.csv", "--weights", folder / "softmax.safetensors",
        "--out", tmp_path / "out", "--aggregate", "patient:median",
    )  # fmt: skip
    assert "patient:median" in line and "patient:noisy-or" in line


def test_a_test_set_of_one_class(evaluate):
    records, report = evaluate("softmax", {"label": ["no"] * IMAGES})
    for level, count in (("image", 12), ("patient", 4)):
        reason = f"only negatives, n={count}"
        assert records[level]["metrics"]["auroc"] == {"not_defined": reason}
        assert f"not defined ({reason})" in report
        assert records[level]["metrics"]["log_loss"]["value"] > 0


def test_a_finding_that_nobody_looked_for(evaluate):
    cells = {"Edema": ["1", "0", "0"] * 4, "Mass": [""] * IMAGES}
    records, report = evaluate("sigmoid", cells)
    metrics = records["image"]["metrics"]
    assert metrics["auroc/Mass"] == {"not_defined": "no known labels"}
    assert metrics["auroc"]["value"] == metrics["auroc/Edema"]["value"]
    assert metrics["auroc"]["left_out"] == ["Mass"]
    assert "not defined (no known labels)" in report
    assert "The average leaves out Mass" in report


def test_no_label_at_all(evaluate):
    records, report = evaluate("softmax", {"label": [""] * IMAGES})
    assert records["image"]["metrics"]["accuracy"] == {"not_defined": "no known labels"}
    assert "12 of 12 images have no label and are not scored" in report
    records, report = evaluate("sigmoid", {"Edema": [""] * IMAGES, "Mass": [""] * IMAGES})
    assert "not defined (no" in report
    assert "not_defined" in records["image"]["metrics"]["auroc"]


def test_one_patient(evaluate):
    records, report = evaluate("softmax", {"label": SOME}, patients=["001"] * IMAGES)
    reason = records["image"]["metrics"]["auroc"]["not_defined"]
    assert reason.startswith("one patient only, so there is no interval; the value is 0.")
    assert reason in report


def test_images_without_a_label_are_predicted_and_counted(evaluate, tmp_path):
    cells = {"label": ["", *SOME[1:]]}
    records, report = evaluate("softmax", cells, "--label-policy", "blank=ignore")
    assert records["image"]["n_images"] == 11
    assert "1 of 12 images have no label and are not scored" in report
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 12


def test_every_treatment_of_a_label_is_in_the_report(evaluate):
    cells = {"Edema": ["1", "0", "-1", ""] * 3, "Mass": ["0", "1", "-1", "1"] * 3}
    options = ("--label-policy", "uncertain=ignore,blank=negative,Mass:uncertain=ones")
    records, report = evaluate("sigmoid", cells, *options)
    assert "| Edema | 3 | 3 | 3 | unknown | 3 | negative |" in report
    assert "| Mass | 6 | 3 | 3 | positive | 0 | " in report
    assert "| image | Edema | 3 of 9 (33.3%) | 3 |" in report
    assert "| image | Mass | 9 of 12 (75%) | 0 |" in report


def test_survival_by_image_and_by_patient(evaluate, folder, tmp_path, refused):
    cells = {"years": ["7", "3", "1", "9"], "died": ["yes", "1", "1", "0"]}
    cells = {name: np.repeat(column, 3) for name, column in cells.items()}
    records, report = evaluate("survival", cells)
    assert [records[level]["horizon"] for level in ("image", "patient")] == [5.0, 5.0]
    scores = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert scores["risk"].between(0, 1).all() and (scores["horizon"] == 5).all()
    assert scores["event"].tolist() == [1] * 9 + [0] * 3
    card = (tmp_path / "out" / "model_card.md").read_text().replace("\\", "")
    for page in (report, card):
        assert "| AUROC at 5 | Concordance |" in page
    assert "| died | 9 | 3 | years | 5 | 9 |" in report
    assert "figures/survival.png" in report
    assert "the probability of the event up to 5 in the unit of the time column" in card
    line = refused(
        "evaluate", folder / "absent.csv", "--weights", folder / "survival.safetensors",
        "--out", tmp_path / "out", "--aggregate", "patient:noisy-or",
    )  # fmt: skip
    assert "the risk of survival is none" in line
    line = refused(
        "calibrate", folder / "absent.csv", "--weights", folder / "survival.safetensors",
        "--out", tmp_path / "calibrated.safetensors",
    )  # fmt: skip
    assert "no class probability" in line


def test_survival_that_cannot_be_is_named_before_anything_is_predicted(refused, folder, tmp_path):
    table = pd.DataFrame(
        {"image": ["0.png", "1.png"], "patient": ["1", "2"], "years": ["1", "-2"], "died": [1, 0]}
    )
    table.to_csv(folder / "negative.csv", index=False)
    line = refused(
        "evaluate", folder / "negative.csv", "--weights", folder / "survival.safetensors",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert "column 'years' is a negative time in 1 row(s): row 3 ('-2')" in line
