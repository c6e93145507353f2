"""What the page says beyond the average, of judged sets and of predictions files."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit

import remedis_jax
from remedis_jax.errors import UserError
from remedis_jax.evaluation.calibration import fit_on_predictions
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.operating_point import choose_operating_point
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)
from remedis_jax.report.beyond import beyond_sections
from remedis_jax.report.decision_section import worthwhile
from remedis_jax.report.document import csv_files
from remedis_jax.report.page import report_from_predictions

N = 120


def table_of(seed, *, kind="softmax", prefix="", heat=2.0, site="A"):
    """120 images of 60 patients, too sure of themselves by the factor `heat`."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(N // 2), 2)
    logit = np.random.default_rng(0 if not prefix else 1).normal(size=N)
    y = (patient % 5 < 2).astype(int)
    logit = heat * (1.2 * (2 * y - 1) + 1.5 * logit + 0.3 * rng.normal(size=N))
    names = [f"{prefix}{i}.png" for i in range(N)]
    groups = [f"{prefix}patient{i}" for i in patient]
    if kind == "survival":
        time = np.random.default_rng(3).exponential(5, N)
        labels = np.stack([time, y], axis=1)
        return predictions_table(kind, ("risk",), names, -time[:, None], labels, groups=groups,
                                 horizon=4)  # fmt: skip
    if kind == "sigmoid":
        labels = np.stack([y, np.where(np.arange(N) < 5, 1.0, 0.0)], axis=1)
        p = expit(np.stack([logit, -logit], axis=1))
        return predictions_table(kind, ("Edema", "Mass"), names, p, labels, groups=groups)
    p = expit(logit)
    classes = ("no", "yes")
    scores = np.stack([1 - p, p], axis=1)
    if kind == "three":
        classes = ("ant", "bee", "cat")
        scores = np.stack([1 - p, 0.6 * p, 0.4 * p], axis=1)
        y = y + (patient % 5 == 0)
    return predictions_table("softmax", classes, names, scores, y, groups=groups, site=site,
                             split="test")  # fmt: skip


def judged(kind="softmax", folder=None, validation=True, arm="SSL", name="hospital b"):
    tables = [table_of(seed, kind=kind) for seed in (1, 2)]
    held = [table_of(seed, kind=kind, prefix="val") for seed in (1, 2)]
    rows = pd.DataFrame({"sex": np.where(np.arange(N) < 70, "f", "m")}, tables[0]["image"])
    rows.iloc[:3] = ""
    return JudgedSet(
        arm, name, tuple(map(Predictions.from_table, tables)),
        tuple(map(Predictions.from_table, held)) if validation else (), rows, folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The sections of a set with images, of which one of the worst is missing, and their folder."""
    folder = tmp_path_factory.mktemp("beyond")
    one = judged(folder=folder / "images")
    (folder / "images").mkdir()
    for i in range(N):
        Image.new("RGB", (30, 20), (2 * i, 90, 90)).save(folder / "images" / f"{i}.png")
    sections = beyond_sections([one], folder, characteristics=["sex"], resamples=30)
    return one, sections, folder


def test_every_part_has_a_section_figures_and_numbers(shown):
    one, sections, folder = shown
    headings = ["Calibration", "Decision curves", "Subgroups", "Failure gallery"]
    assert [section.heading for section in sections] == headings
    drawn = re.findall(r"\((figures/[^)]+)\)", "".join(s.markdown for s in sections))
    assert drawn == [
        "figures/calibration.png", "figures/decision.png", "figures/subgroups-1.png",
        "figures/failures.png",
    ]  # fmt: skip
    assert all((folder / name).is_file() for name in drawn)
    files = csv_files(sections)
    assert set(files) == {"calibration", "reliability", "decision_curves", "subgroups", "failures"}
    assert not any(re.search(r"\bnan\b", section.markdown) for section in sections)
    # Patients are not named; images are, in the gallery.
    texts = [*files.values(), *(section.markdown for section in sections)]
    assert not any("patient0" in text for text in texts)


def test_calibration_is_fitted_on_validation_and_better_after(shown):
    one, (calibration, *_), _ = shown
    numbers = calibration.tables["calibration"].set_index(["probabilities", "metric"])
    fitted = [fit_on_predictions(validation).value for validation in one.validation]
    after = numbers.loc["after temperature scaling"]
    assert after["temperature"].iloc[0] == pytest.approx(np.mean(fitted))
    before = numbers.loc["as predicted"]
    assert after["value"]["log_loss"] < before["value"]["log_loss"]
    assert abs(1 - after["value"]["slope"]) < abs(1 - before["value"]["slope"])
    assert "fitted on validation only (120 images of 60 patients)" in calibration.markdown


def test_groups_have_their_counts_and_the_few_no_number(shown):
    _, (_, _, subgroups, _), _ = shown
    table = subgroups.tables["subgroups"]
    counts = table.groupby("group")[["images", "patients", "events"]].first()
    assert counts["images"].to_dict() == {"f": 67, "m": 50, "unknown": 3}
    unknown = table[table["group"] == "unknown"]
    assert unknown["value"].isna().all() and (unknown["reason"].str.contains("fewer than 10")).all()
    assert "3 groups are shown, and 2 gaps have an interval" in subgroups.markdown
    assert "at the threshold that validation chose (youden)" in subgroups.markdown
    assert "not defined (fewer than 10 events, here 3)" in subgroups.markdown


def test_what_is_not_at_hand_is_said_and_counted(tmp_path):
    one = judged(folder=tmp_path, validation=False)
    worst = beyond_sections([one], tmp_path, calibrated=(), decision=False)[-1]
    count = re.search(r"(\d+) of the \1 surest could not be shown", worst.markdown)
    assert count and "no such file" in worst.markdown and "figures" not in worst.markdown
    without = beyond_sections([judged(validation=False)], tmp_path, decision=False, resamples=5)
    assert "not recalibrated, because there are no validation predictions" in without[0].markdown
    assert "images are not at hand" in without[-1].markdown
    assert "at p ≥ 0.5, as no validation chose" in without[-1].markdown
    with pytest.raises(UserError, match="no characteristic 'age'"):
        beyond_sections([one], tmp_path, characteristics=["age"])


def test_images_outside_the_folder_are_not_read(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    p = np.array([[0.1, 0.9]] * 10 + [[0.9, 0.1]] * 10)
    names = [f"../secret.png#frame={i}" for i in range(20)]
    table = predictions_table("softmax", ("no", "yes"), names, p, [0] * 10 + [1] * 10)
    one = JudgedSet("a", "", (Predictions.from_table(table),), (), folder=tmp_path / "images")
    text = beyond_sections([one], tmp_path, decision=False, resamples=5)[-1].markdown
    assert "16 of the 16 surest could not be shown" in text and "is outside" in text


@pytest.mark.parametrize(("kind", "level"), [("three", "image"), ("sigmoid", "group")])
def test_several_classes_and_findings(kind, level, tmp_path):
    arms = [judged(kind, validation=False)]
    calibration, decision, subgroups, failures = beyond_sections(
        arms, tmp_path, characteristics=["sex"], level=level, resamples=10
    )
    curves = decision.tables["decision_curves"]
    classes = {"three": ["ant", "bee", "cat"], "sigmoid": ["Edema", "Mass"]}[kind]
    assert list(dict.fromkeys(curves["class"])) == classes
    subject = {"three": "the most probable class", "sigmoid": "all findings together"}[kind]
    assert subject in calibration.markdown
    table = subgroups.tables["subgroups"].set_index(["arm", "group", "metric"])
    one, text = table.loc[("SSL", "f", "auroc")], subgroups.markdown.replace("\\", "")
    if kind == "three":
        assert (one["images"], one["classes"]) == (67, "ant; bee; cat")
        assert "[3 of 3]" in text
    else:
        # Mass is too rare; a patient whose images differ in sex is of neither.
        assert (one["images"], one["patients"], one["classes"]) == (33, 33, "Edema")
        assert "[1 of 2]" in text
        assert table.loc[("SSL", "several", "auroc"), "images"] == 1
    errors = set(failures.tables["failures"]["error"])
    assert errors == ({"wrong class"} if kind == "three" else {"false positive", "false negative"})


def test_survival_has_groups_and_says_what_is_left_out(tmp_path):
    left_out, subgroups = beyond_sections(
        [judged("survival", validation=False)], tmp_path, characteristics=["sex"], resamples=10
    )
    assert "risk of survival is no probability" in left_out.markdown
    assert set(subgroups.tables["subgroups"]["metric"]) == {
        "concordance", "concordance, gap to the rest",
    }  # fmt: skip
    assert "Sensitivity" not in subgroups.markdown


def test_worthwhile_thresholds():
    curve = pd.DataFrame({"threshold": [0.1, 0.2, 0.3, 0.4], "treat_all": [0.3, 0.1, -0.1, -0.3]})
    assert worthwhile(curve.assign(net_benefit=[0.3, 0.2, 0.1, -0.1])) == "20%–30%"
    gap = worthwhile(curve.assign(net_benefit=[0.4, 0.1, 0.1, 0.1]))
    assert gap == "10%–40%, but for 1 of them"
    assert worthwhile(curve.assign(net_benefit=[0.2, 0.1, 0.0, 0.0])) == "none"


def test_report_of_a_file_with_validation_and_manifest(tmp_path):
    """All of it: sites, validation, characteristics from the manifest and the file."""
    table = table_of(1, site=np.where(np.arange(N) < 60, "A", "B"))
    write_predictions(tmp_path / "a.csv", table.assign(device="X"))
    write_predictions(tmp_path / "val.csv", table_of(1, prefix="val"))
    manifest = pd.DataFrame({"image": [f"{i}.png" for i in range(N - 1)], "age": range(N - 1)})
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    out = tmp_path / "out"
    remedis_jax.write_report(
        tmp_path / "a.csv", out, validation=[tmp_path / "val.csv"],
        manifest=tmp_path / "manifest.csv", characteristics=["age", "device"],
        operating_point="sensitivity=0.9", resamples=20,
    )  # fmt: skip
    page = (out / "report.md").read_text().replace("\\", "")
    order = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    after = ["ROC", "Data", "Calibration", "Decision curves", "Subgroups", "Failure gallery",
             "Leak guard"]  # fmt: skip
    assert [heading for heading in order if heading in after] == after
    assert "1 of 120 images are not in the manifest" in page
    assert "(sensitivity=0.9). The thresholds: a.csv by image p ≥ " in page
    text = (out / "metrics.json").read_text()
    whole = json.loads(text)[0]
    held = Predictions.from_table(read_predictions(tmp_path / "val.csv"))
    point = choose_operating_point(held, "sensitivity=0.9")
    assert whole["thresholds"] == list(point.thresholds)
    groups = {row["group"] for row in whole["subgroups"] if row["characteristic"] == "age"}
    assert groups == {"under 40", "40-59", "60-79", "80 and over", "unknown"}
    parts = {row["set"] for row in whole["calibration"]}
    assert parts == {"site A, split test", "site B, split test"}
    assert "NaN" not in text


def test_a_validation_has_to_be_of_the_model_and_of_other_patients(tmp_path):
    path, other = tmp_path / "a.csv", tmp_path / "val.csv"
    write_predictions(path, table_of(1))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="share 120 images"):
        report_from_predictions([path], out, validation=[path])
    write_predictions(other, table_of(1, prefix="val").assign(group=table_of(1)["group"]))
    with pytest.raises(UserError, match="share 60 patients"):
        report_from_predictions([path], out, validation=[other])
    write_predictions(other, table_of(1, kind="three", prefix="val"))
    with pytest.raises(UserError, match="Give the validation predictions of the same model"):
        report_from_predictions([path], out, validation=[other])
    with pytest.raises(UserError, match="3 validation files and 1 predictions"):
        report_from_predictions([path], out, validation=[other] * 3)
    with pytest.raises(UserError, match="no validation to choose"):
        report_from_predictions([path], out, operating_point="specificity=0.9")
    with pytest.raises(UserError, match="no characteristic 'sx'"):
        report_from_predictions([path], out, characteristics=["sx"], resamples=5)
