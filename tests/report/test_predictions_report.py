import functools
import json

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import bootstrap, paired_difference
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)
from remedis_jax.report.page import report_from_predictions as whole_report
from remedis_jax.report.prediction_document import p_text
from remedis_jax.report.wording import difference_text, interval_text

# What is beyond the average has tests of its own, and takes its time to draw.
report_from_predictions = functools.partial(whole_report, beyond=False)

PATIENT = np.repeat(np.arange(40), 2)


def write(path, *, strength=1.0, y=None, groups=True, findings=False):
    rng = np.random.default_rng(0)
    y = PATIENT % 2 if y is None else y
    logit = strength * (2 * (PATIENT % 2) - 1) + rng.normal(size=80)
    p = 1 / (1 + np.exp(-logit))
    labels = np.stack([y, 0 * y], axis=1) if findings else y
    write_predictions(
        path,
        predictions_table(
            "sigmoid" if findings else "softmax",
            ("edema", "mass") if findings else ("no", "yes"),
            [f"{i}.png" for i in range(80)],
            np.stack([p, p] if findings else [1 - p, p], axis=1),
            labels,
            groups=PATIENT.astype(str) if groups else None,
            site=np.where(PATIENT < 20, "A", "B"),
            split="test",
        ),
    )
    return path


def test_page_and_json_hold_the_bootstrap_of_every_site_and_level(tmp_path):
    path = write(tmp_path / "predictions.csv")
    report_from_predictions([path], tmp_path / "out", resamples=50)
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [(r["site"], r["split"], r["level"], r["n_patients"]) for r in records] == [
        ("all", "all", "image", 40),
        ("all", "all", "patient", 40),
        ("A", "test", "image", 20),
        ("A", "test", "patient", 20),
        ("B", "test", "image", 20),
        ("B", "test", "patient", 20),
    ]
    table = read_predictions(path)
    at_b = aggregate(Predictions.from_table(table[table["site"] == "B"]))
    expected = bootstrap(at_b, ["auprc"], resamples=50)["auprc"]
    assert records[-1]["metrics"]["auprc"]["low"] == expected.low
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert interval_text(expected) in markdown
    assert "![Receiver operating characteristics](figures/roc.png)" in markdown
    assert "Not for clinical use" in markdown
    whole = bootstrap(Predictions.from_table(table), ["auroc"], resamples=50)["auroc"]
    lead = f"AUROC by image is {interval_text(whole)} on 80 images of 40 patients."
    assert lead in markdown.replace("\\", "")


def test_two_files_are_compared(tmp_path):
    paths = [
        write(tmp_path / name / "predictions.csv", strength=strength)
        for name, strength in (("strong", 2.0), ("weak", 0.2))
    ]
    report_from_predictions(paths, tmp_path / "out", resamples=50)
    markdown = (tmp_path / "out" / "report.md").read_text()
    a, b = (Predictions.from_table(read_predictions(path)) for path in paths)
    difference = paired_difference(a, b, "auroc", 50)
    cells = f"{difference_text(difference)} | {p_text(difference)}"
    assert f"| AUROC | image | {cells} | better |" in markdown
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert records[0]["minus"]["metrics"]["auroc"]["p_value"] == difference.p_value < 0.05
    assert "strong/predictions.csv is better than weak/predictions.csv" in markdown


def test_files_that_cannot_be_compared_are_reported_side_by_side(tmp_path):
    one = write(tmp_path / "one.csv")
    other = write(tmp_path / "other.csv", y=1 - PATIENT % 2)
    report_from_predictions([one, other], tmp_path / "out", resamples=20)
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "The files are not compared: the predictions have the same images and not" in markdown
    with pytest.raises(UserError, match="given twice"):
        report_from_predictions([one, one], tmp_path / "out")
    with pytest.raises(UserError, match="no predictions file"):
        report_from_predictions([], tmp_path / "out")


def test_finding_with_one_class_is_reasoned_not_nan(tmp_path):
    path = write(tmp_path / "predictions.csv", findings=True)
    report_from_predictions([path], tmp_path / "out", resamples=20)
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| mass | 0 of 80 (0%) | 0 | not defined (only negatives, n=80) |" in markdown
    assert "The average leaves out mass (one label value only)" in markdown
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())[0]
    assert record["metrics"]["auroc/mass"] == {"not_defined": "only negatives, n=80"}


def test_one_class_does_not_stop_the_report(tmp_path):
    ones = write(tmp_path / "ones.csv", y=np.ones(80, int))
    report_from_predictions([ones], tmp_path / "ones", resamples=20)
    markdown = (tmp_path / "ones" / "report.md").read_text()
    assert "AUROC by image is not defined (only positives, n=80)" in markdown
    assert "figures/roc.png" not in markdown


def test_a_patient_with_one_positive_image_is_positive(tmp_path):
    some = write(tmp_path / "some.csv", y=(np.arange(80) % 4 == 0).astype(int))
    report_from_predictions([some], tmp_path / "some", resamples=20)
    markdown = (tmp_path / "some" / "report.md").read_text()
    assert "| image | yes | 20 of 80 (25%)" in markdown
    assert "| patient (mean) | yes | 20 of 40 (50%)" in markdown
    assert "A patient is positive if any of the images is" in markdown


def test_patients_with_one_image_have_one_level(tmp_path):
    path = write(tmp_path / "predictions.csv", groups=False)
    report_from_predictions([path], tmp_path / "out", resamples=20, positive="no")
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {record["level"] for record in records} == {"image"}
    assert "| no | 40 of 80 (50%)" in (tmp_path / "out" / "report.md").read_text()
