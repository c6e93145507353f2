"""The report of a table of survival: its numbers, its figure, and what is left out."""

import json
import re

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import bootstrap, paired_difference
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)
from remedis_jax.report.card_metrics import read_evaluation, remarks, results_table
from remedis_jax.report.page import report_from_predictions
from remedis_jax.report.prediction_document import p_text
from remedis_jax.report.survival_figure import numbers_at_risk, risk_halves
from remedis_jax.report.wording import difference_text, interval_text, metric_name

PATIENT = np.repeat(np.arange(40), 2)


def write(path, *, strength=1.0, y=None, risk=None, horizon=5.0):
    """40 patients with two cases each, which agree in time and event."""
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=40)
    dies, leaves = rng.exponential(6 * np.exp(-hazard)), rng.uniform(2, 12, 40)
    labels = np.stack([np.minimum(dies, leaves), dies <= leaves], axis=1)[PATIENT]
    if risk is None:
        risk = strength * hazard[PATIENT] + rng.normal(size=80)
    write_predictions(
        path,
        predictions_table(
            "survival", ("risk",), [f"case{i}" for i in range(80)], risk[:, None],
            labels if y is None else y, groups=PATIENT.astype(str),
            site=np.where(PATIENT < 20, "A", "B"), split="test", horizon=horizon,
        ),
    )  # fmt: skip
    return path


def page_of(paths, out):
    report_from_predictions(paths, out, resamples=50)
    return (out / "report.md").read_text().replace("\\", "")


def test_page_and_json_hold_the_bootstrap_of_every_site_and_level(tmp_path):
    path = write(tmp_path / "predictions.csv")
    page = page_of([path], tmp_path / "out")
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [(r["site"], r["level"], r["horizon"], list(r["metrics"])) for r in records] == [
        (site, level, 5.0, ["auroc", "concordance"])
        for site in ("all", "A", "B")
        for level in ("image", "patient")
    ]
    predictions = Predictions.from_table(read_predictions(path))
    found = bootstrap(predictions, ["auroc", "concordance"], 50)
    assert f"AUROC at 5 by image is {interval_text(found['auroc'])} and concordance" in page
    time, event = predictions.y.T
    counts = [80, int(event.sum()), int((event * (time <= 5)).sum()), int((time > 5).sum())]
    cells = [str(n) for n in counts] + [interval_text(v) for v in found.values()]
    assert f"| predictions.csv: all | image | {' | '.join(cells)} |" in page
    heading = "| Events | By the horizon | Followed beyond | AUROC at 5 | Concordance |"
    assert heading in page
    assert "![Survival of lower and higher risk](figures/survival.png)" in page
    for absent in ("AUPRC |", "Accuracy", "figures/roc.png", "Classes, in the order"):
        assert absent not in page
    assert not re.search(r"\bnan\b", page)
    assert "A confusion matrix, a ROC curve of labels" in page
    assert "the mean of the patient's rows" in page.replace("\n ", "")


def test_the_figure_is_the_same_bytes_for_the_same_numbers(tmp_path):
    path = write(tmp_path / "predictions.csv")
    figures = []
    for name in ("one", "two"):
        page_of([path], tmp_path / name)
        figures.append((tmp_path / name / "figures" / "survival.png").read_bytes())
    assert figures[0] == figures[1] and figures[0].startswith(b"\x89PNG")


def test_two_files_are_compared(tmp_path):
    paths = [
        write(tmp_path / name / "predictions.csv", strength=strength)
        for name, strength in (("strong", 4.0), ("weak", -1.0))
    ]
    page = page_of(paths, tmp_path / "out")
    a, b = (Predictions.from_table(read_predictions(path)) for path in paths)
    for metric, name in (("auroc", "AUROC at 5"), ("concordance", "Concordance")):
        difference = paired_difference(a, b, metric, 50)
        cells = f"{difference_text(difference)} | {p_text(difference)}"
        assert f"| {name} | image | {cells} | better |" in page
    assert "better than weak/predictions.csv (difference in AUROC at 5 +" in page
    for number in (1, 2):
        assert (tmp_path / "out" / "figures" / f"survival-{number}.png").is_file()


def test_another_horizon_or_another_kind_is_not_compared(tmp_path):
    five, two = write(tmp_path / "five.csv"), write(tmp_path / "two.csv", horizon=2.0)
    page = page_of([five, two], tmp_path / "out")
    assert "The files are not compared: the predictions have the horizons 5 and 2" in page
    assert "| AUROC at 5 | Concordance | AUROC at 2 |" in page
    p = np.full((80, 2), 0.5)
    classes = tmp_path / "classes.csv"
    names = [f"case{i}" for i in range(80)]
    table = predictions_table("softmax", ("no", "yes"), names, p, PATIENT % 2)
    write_predictions(classes, table)
    page = page_of([classes, five], tmp_path / "both")
    assert "The files are not compared: the predictions do not have the same classes" in page
    assert "AUROC and AUPRC" in page and "AUROC at the horizon, and concordance" in page


def test_what_has_no_value_says_why(tmp_path):
    alive = np.stack([np.full(80, 9.0), np.zeros(80)], axis=1)
    page = page_of([write(tmp_path / "alive.csv", y=alive)], tmp_path / "alive")
    assert "not defined (no event up to 5, n=80 with 0 events)" in page
    assert "not defined (no comparable pair, n=80 with 0 events)" in page
    page = page_of([write(tmp_path / "same.csv", risk=np.zeros(80))], tmp_path / "same")
    assert "All have the same risk, so there are no halves to draw." in page
    assert "0.500 (0.500" in page
    nobody = np.full((80, 2), np.nan)
    page = page_of([write(tmp_path / "nobody.csv", y=nobody)], tmp_path / "nobody")
    assert "80 of 80 images have no label and are not scored" in page
    assert "not defined (no known labels)" in page
    assert not re.search(r"\bnan\b", page)


def test_patients_whose_cases_differ_are_counted(tmp_path):
    y = np.stack([1.0 + np.arange(80) % 7, np.arange(80) % 3 == 0], axis=1)
    y[4:] = y[4:][(PATIENT[4:] - 2) * 2]
    page = page_of([write(tmp_path / "p.csv", y=y)], tmp_path / "out")
    assert "2 of 40 patients have images of different times or events (labels disagree)" in page
    with pytest.raises(UserError, match="noisy-or"):
        report_from_predictions([tmp_path / "p.csv"], tmp_path / "out",
                                aggregate="patient:noisy-or")  # fmt: skip


def test_a_model_card_shows_the_horizon(tmp_path):
    page_of([write(tmp_path / "predictions.csv")], tmp_path)
    evaluation = read_evaluation(tmp_path / "metrics.json", "0" * 64)
    table = results_table(evaluation)
    assert list(table.columns) == ["Images", "By", "Number", "AUROC at 5", "Concordance"]
    assert (table != "").all(axis=None)
    assert not [line for line in remarks(evaluation) if "one class" in line]


def test_halves_are_told_by_the_median_and_by_the_greatest_risk():
    time, event = np.arange(6.0), np.ones(6)
    low, high = risk_halves(time, event, np.array([1.0, 2, 3, 4, 5, 6]))
    assert (low.time.tolist(), high.time.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert high.label == "higher risk (n = 3)"
    low, high = risk_halves(time, event, np.array([1.0, 2, 6, 6, 6, 6]))
    assert (len(low.time), len(high.time)) == (2, 4)
    assert risk_halves(time, event, np.ones(6)) is None
    assert numbers_at_risk(time, [0, 2, 5, 6]) == [6, 4, 1, 0]


def test_a_metric_is_named_with_its_horizon():
    assert metric_name("auroc", 5.0) == "AUROC at 5"
    assert metric_name("concordance", 5.0) == "Concordance"
    assert metric_name("auroc") == "AUROC"
