"""Calibration, decision curves, subgroups and failures, against other ways to compute them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from remedis_jax.evaluation.bootstrap import Interval, bootstrap
from remedis_jax.evaluation.calibration import (
    fit_on_predictions,
    fit_temperature,
    logits_of,
    recalibrated,
)
from remedis_jax.evaluation.calibration_line import (
    _resampled,
    calibration_lines,
    intercept_and_slope,
)
from remedis_jax.evaluation.characteristics import banded, of_patients
from remedis_jax.evaluation.decision_curve import decision_curves, net_benefit, treat_all
from remedis_jax.evaluation.failures import failures
from remedis_jax.evaluation.metrics import value_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions, predictions_table
from remedis_jax.evaluation.reliability import Forecasts, forecasts_of, reliability_curve
from remedis_jax.evaluation.subgroups import subgroups


def binary(p, y, groups=None, images=None):
    p = np.asarray(p, float)
    images = [f"{i}.png" for i in range(len(p))] if images is None else images
    scores = np.stack([1 - p, p], axis=1)
    labels = np.asarray(y)
    table = predictions_table("softmax", ("no", "yes"), images, scores, labels, groups=groups)
    return Predictions.from_table(table)


def test_temperature_from_probabilities_is_that_from_logits():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(500, 3))
    y = np.array([rng.choice(3, p=np.exp(r / 2) / np.exp(r / 2).sum()) for r in logits])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [str(i) for i in range(500)]
    softmax = Predictions.from_table(predictions_table("softmax", "abc", names, p, y))
    assert p.min() > 1e-6
    found = fit_on_predictions(softmax)
    assert found.value == pytest.approx(fit_temperature(logits, y).value, abs=1e-5)
    assert value_of(recalibrated(softmax, found.value), "log_loss") == pytest.approx(
        found.log_loss_after, abs=1e-9
    )
    labels = (rng.random((500, 2)) < expit(logits[:, :2] / 2)).astype(float)
    labels[:9, 0] = np.nan
    table = predictions_table("sigmoid", ("e", "m"), names, expit(logits[:, :2]), labels)
    sigmoid = Predictions.from_table(table)
    np.testing.assert_allclose(logits_of(sigmoid), logits[:, :2], atol=1e-8)
    expected = fit_temperature(logits[:, :2], labels).value
    assert fit_on_predictions(sigmoid).value == pytest.approx(expected, abs=1e-5)
    same = recalibrated(sigmoid.at((0.2, 0.3)), 1.0)
    np.testing.assert_allclose(same.p, sigmoid.p, atol=1e-12)
    assert same.thresholds is None


def test_temperature_of_extreme_and_of_one_class_probabilities():
    sure = binary([0.0, 1.0, 1.0, 0.0], [0, 1, 0, 1])
    assert np.isfinite(logits_of(sure)).all()
    assert logits_of(sure)[0, 0] - logits_of(sure)[0, 1] == pytest.approx(-logit(1e-6))
    one_class = fit_on_predictions(binary([0.2, 0.4], [0, 0]))
    assert one_class == NotDefined("All 2 labels to calibrate on are the same")


def test_reliability_is_that_of_the_ece(predictions):
    curve = reliability_curve([predictions], resamples=20)
    of = forecasts_of(predictions)
    assert curve["labels"].sum() == len(of.p)
    assert (curve["low"] <= curve["high"]).all()
    for row in curve.to_dict("records"):
        inside = (of.p > row["from"]) & (of.p <= row["to"]) | (of.p == 0) & (row["from"] == 0)
        assert row["labels"] == inside.sum()
        assert row["observed"] == pytest.approx(of.y[inside].mean(), abs=1e-12)
        assert row["predicted"] == pytest.approx(of.p[inside].mean(), abs=1e-12)
    if predictions.kind == "softmax":  # of findings the ECE is a mean over them
        gaps = (curve["observed"] - curve["predicted"]).abs() * curve["labels"]
        error = gaps.sum() / curve["labels"].sum()
        assert error == pytest.approx(value_of(predictions, "ece"), abs=1e-12)


def test_intercept_and_slope_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    x = 2 * rng.normal(size=400)
    y = (rng.random(400) < expit(0.4 + 0.6 * x)).astype(int)
    intercept, slope = intercept_and_slope(Forecasts(expit(x), y, np.arange(400).astype(str)))
    family = sm.families.Binomial()
    line = sm.GLM(y, sm.add_constant(x), family).fit(tol=1e-12)
    assert slope == pytest.approx(line.params[1], abs=1e-6)
    held = sm.GLM(y, np.ones((400, 1)), family, offset=x).fit(tol=1e-12)
    assert intercept == pytest.approx(held.params[0], abs=1e-6)


def test_a_resample_of_the_line_is_the_line_of_the_resample():
    rng = np.random.default_rng(2)
    patient = rng.integers(50, size=300)
    x = 2 * rng.normal(size=300)
    y = (rng.random(300) < expit(0.7 * x)).astype(int)
    of = Forecasts(expit(x), y, patient.astype(str))
    counts = rng.multinomial(50, np.ones(50) / 50, size=3).astype(float)
    found = _resampled(of, patient, intercept_and_slope(of))(counts)
    for row, weights in zip(found, counts):
        drawn = np.repeat(np.arange(300), weights[patient].astype(int))
        repeated = Forecasts(of.p[drawn], y[drawn], of.groups[drawn])
        np.testing.assert_allclose(row, intercept_and_slope(repeated), atol=1e-3)


@pytest.mark.parametrize(
    ("p", "y", "reason"),
    [
        ([0.2, 0.4], [1, 1], "only events, n=2"),
        ([0.3, 0.3], [0, 1], "all probabilities are the same"),
        ([0.2, 0.4, 0.6], [0, 1, 1], "separates the labels perfectly"),
    ],
)
def test_a_line_that_does_not_exist_says_why(p, y, reason):
    intercept, slope = calibration_lines([binary(p, y)], resamples=5)
    assert intercept == slope and reason in slope.reason


def test_net_benefit_is_the_enumerated_one():
    rng = np.random.default_rng(3)
    p, y = np.round(rng.random(60), 2), rng.integers(2, size=60)
    thresholds = np.array([0.01, 0.25, 0.5, 0.9])
    expected, everybody = [], []
    for t in thresholds:
        hits = sum(1 for a, b in zip(p, y) if a >= t and b == 1)
        harms = sum(1 for a, b in zip(p, y) if a >= t and b == 0)
        expected.append(hits / 60 - harms / 60 * t / (1 - t))
        everybody.append(y.sum() / 60 - (60 - y.sum()) / 60 * t / (1 - t))
    np.testing.assert_allclose(net_benefit(y, p, thresholds), expected, atol=1e-12)
    np.testing.assert_allclose(treat_all(y, thresholds), everybody, atol=1e-12)
    # At the threshold 0.5 a probability of 0.5 is treated.
    assert net_benefit(np.array([1, 0]), np.array([0.5, 0.4]), np.array([0.5])) == 0.5


def test_decision_curves_by_patient_and_over_runs(draw):
    runs = [draw("sigmoid", 3), draw("sigmoid", 3)]
    shuffled = runs[1].select(np.random.default_rng(0).permutation(300))
    curve = decision_curves([runs[0], shuffled], np.array([0.1, 0.5]), resamples=200)
    assert curve["class"].tolist() == ["ant", "ant", "bee", "bee", "cat", "cat"]
    assert ((curve["low"] < curve["net_benefit"]) & (curve["net_benefit"] < curve["high"])).all()
    alone = decision_curves([runs[0]], np.array([0.1, 0.5]), resamples=200)
    pd.testing.assert_frame_equal(curve, alone)  # two equal runs are one
    per_image = dataclasses.replace(runs[0], groups=runs[0].images)
    by_image = decision_curves([per_image], np.array([0.1, 0.5]), resamples=200)
    np.testing.assert_allclose(by_image["net_benefit"], alone["net_benefit"], atol=1e-12)
    assert not np.allclose(by_image["low"], alone["low"])


def test_subgroups_have_the_metric_of_their_images_and_a_paired_gap(draw):
    run = draw("softmax", 2)
    groups = pd.Series(np.where(np.arange(300) < 120, "a", "b"), run.images)
    first, second = subgroups([run, run], groups, ["auroc", "sensitivity"], resamples=100)
    values = [value_of(run.select(groups.to_numpy() == name), "auroc") for name in ("a", "b")]
    assert (first.images, second.images) == (120, 180)
    assert first.values["auroc"].value == pytest.approx(values[0], abs=1e-12)
    assert first.gap.value == pytest.approx(values[0] - values[1], abs=1e-12)
    # The same patients are drawn for both, so the gaps are each other's opposite.
    assert (first.gap.low, first.gap.high) == pytest.approx((-second.gap.high, -second.gap.low))
    (whole,) = subgroups([run], pd.Series("all", run.images), ["auroc"], resamples=100)
    expected = bootstrap(run, ["auroc"], resamples=100)["auroc"]
    assert whole.values["auroc"].low == pytest.approx(expected.low, abs=1e-12)
    assert whole.gap == NotDefined("there are no other images")


def test_small_groups_are_refused_and_small_classes_left_out(draw):
    run = draw("softmax", 2)
    few = np.flatnonzero(run.y == 1)[:9]
    groups = pd.Series("large", run.images)
    groups.iloc[np.r_[few, np.flatnonzero(run.y == 0)[:40]]] = "small"
    large, small = subgroups([run], groups, ["auroc"], resamples=20)
    assert isinstance(large.values["auroc"], Interval)
    assert small.values["auroc"] == small.gap == NotDefined("fewer than 10 events, here 9")
    assert small.events == 9 and "the others have fewer" in large.gap.reason
    many = draw("softmax", 4)
    rare = many.select(np.r_[np.flatnonzero(many.y != 3), np.flatnonzero(many.y == 3)[:5]])
    (whole,) = subgroups([rare], pd.Series("all", rare.images), ["auroc"], resamples=20)
    assert whole.scored == ("ant", "bee", "cat")
    kept = [value_of(rare, f"auroc/{name}") for name in whole.scored]
    assert whole.values["auroc"].value == pytest.approx(np.mean(kept), abs=1e-12)


def test_survival_has_subgroups_by_events():
    rng = np.random.default_rng(0)
    y = np.stack([rng.exponential(5, 80), np.arange(80) < 60], axis=1)
    names = [str(i) for i in range(80)]
    table = predictions_table("survival", ("risk",), names, rng.normal(size=(80, 1)), y, horizon=4)
    groups = pd.Series(np.where(np.arange(80) < 40, "seen", "mixed"), names)
    mixed, seen = subgroups([Predictions.from_table(table)], groups, ["concordance"], resamples=20)
    assert (mixed.events, seen.events) == (20, 40)  # nobody censored is no reason to refuse
    assert isinstance(seen.values["concordance"], Interval) and isinstance(seen.gap, Interval)


def test_characteristics_become_bands_quarters_and_classes():
    def of(name, cells):
        return banded(pd.Series(cells, name=name)).astype(str).tolist()

    assert of("Age", ["39.9", "40", "79", "80", " ", "nan"]) == [
        "under 40", "40-59", "60-79", "80 and over", "unknown", "unknown",
    ]  # fmt: skip
    assert of("fitzpatrick", ["2", "1", None, "2"]) == ["2", "1", "unknown", "2"]
    dose = of("dose", [str(i) for i in range(1, 13)])
    assert dose.count("under 3.75") == 3 and "6.5 to under 9.25" in dose
    order = banded(pd.Series(["10", "9", "UNKNOWN", "b"], name="code")).cat.categories
    assert order.tolist() == ["9", "10", "b", "unknown"]
    assert of("age", ["old", "40"]) == ["old", "40"]  # not numbers: as they are
    groups = banded(pd.Series(["f", "f", "m", "f"], ["1", "2", "3", "4"], name="sex"))
    patients = of_patients(groups, pd.Series(["x", "x", "y", "y"], ["1", "2", "3", "4"]))
    assert patients.astype(str).to_dict() == {"x": "f", "y": "several"}


def test_failures_are_the_surest_errors_of_the_mean():
    y = [1, 1, 0, 0, 1]
    runs = [binary([0.1, 0.6, 0.9, 0.2, 0.4], y), binary([0.3, 0.9, 0.5, 0.1, 0.7], y)]
    table = failures(runs)
    assert table["image"].tolist() == ["0.png", "2.png"]
    assert table["error"].tolist() == ["false negative", "false positive"]
    np.testing.assert_allclose(table["probability"], [0.2, 0.7])
    np.testing.assert_allclose(table["confidence"], [0.8, 0.7])
    assert table["wrong_runs"].tolist() == [2, 2] and table["label"].tolist() == ["yes", "no"]
    lower = failures([run.at((0.15,)) for run in runs])
    assert set(lower["image"]) == {"2.png", "3.png"}
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.35, 0.25]])
    table = predictions_table("softmax", "abc", ["1", "2", "3"], p, [1, 2, 2])
    wrong = failures([Predictions.from_table(table)])
    assert wrong[["image", "class", "label"]].values.tolist() == [["1", "a", "b"], ["3", "a", "c"]]
