import dataclasses

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    cohen_kappa_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from remedis_jax.evaluation import weighted_curves
from remedis_jax.evaluation.metrics import METRICS, NotDefined, score, value_of
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampled import resampler
from remedis_jax.evaluation.weighted_curves import auprc_of_weights, auroc_of_weights


def explicit(predictions: Predictions, counts: np.ndarray) -> Predictions:
    """The images that `counts` stand for, copied as often as their patient was drawn."""
    _, index = np.unique(predictions.groups, return_inverse=True)
    rows = np.repeat(np.arange(len(index)), counts[index].astype(int))
    return predictions.select(rows)


def test_every_metric_equals_that_of_the_copied_images(predictions):
    problems = 1 if predictions.is_binary else len(predictions.classes)
    predictions = predictions.at([0.3] * problems)
    patients = len(np.unique(predictions.groups))
    rng = np.random.default_rng(3)
    counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=8).astype(np.float64)
    for metric in score(predictions):
        values = resampler(predictions, metric)(counts)
        copied = [value_of(explicit(predictions, row), metric) for row in counts]
        np.testing.assert_allclose(values, copied, rtol=0, atol=1e-12, err_msg=metric)


@pytest.mark.parametrize("decimals", [1, 15], ids=["tied", "untied"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(auroc_of_weights, roc_auc_score), (auprc_of_weights, average_precision_score)],
)
@pytest.mark.parametrize("few_patients", [True, False], ids=["pairs", "sums"])
def test_weighted_curves_equal_sklearn_with_sample_weight(
    decimals, ours, theirs, few_patients, monkeypatch
):
    if not few_patients:
        monkeypatch.setattr(weighted_curves, "_TABLE", 0)
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    values = np.round(rng.random(200) + 0.2 * y, decimals)
    weights = rng.integers(0, 4, size=(20, 200)).astype(np.float64)
    expected = [theirs(y, values, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ours(y, values)(weights), expected, rtol=0, atol=1e-12)


def test_weighted_metrics_of_findings_equal_sklearn_with_sample_weight(draw):
    """Three libraries' worth of cases at once: masked labels, tied scores, and weights."""
    predictions = draw("sigmoid", 3)
    each = dataclasses.replace(predictions, groups=predictions.images).at([0.4, 0.5, 0.6])
    each = each.select(np.argsort(each.images))
    weights = np.random.default_rng(0).integers(0, 4, size=(5, len(each.images))).astype(float)
    functions = {
        "auroc": lambda y, p, t, w: roc_auc_score(y, p, sample_weight=w),
        "auprc": lambda y, p, t, w: average_precision_score(y, p, sample_weight=w),
        "sensitivity": lambda y, p, t, w: recall_score(y, p >= t, sample_weight=w),
        "specificity": lambda y, p, t, w: recall_score(y, p >= t, pos_label=0, sample_weight=w),
        "cohen_kappa": lambda y, p, t, w: cohen_kappa_score(y, p >= 0.5, sample_weight=w),
        "log_loss": lambda y, p, t, w: log_loss(y, p, sample_weight=w),
        "brier": lambda y, p, t, w: brier_score_loss(y, p, sample_weight=w),
    }
    for metric, function in functions.items():
        of_parts = []
        for k, name in enumerate(each.classes):
            known = ~np.isnan(each.y[:, k])
            y, p = each.y[known, k], each.p[known, k]
            expected = [function(y, p, each.thresholds[k], row[known]) for row in weights]
            found = resampler(each, f"{metric}/{name}")(weights)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=metric)
            of_parts.append(expected)
        found = resampler(each, metric)(weights)
        np.testing.assert_allclose(found, np.mean(of_parts, axis=0), rtol=0, atol=1e-12)


def test_an_operating_point_that_is_not_defined_has_no_resamples(draw):
    predictions = draw("sigmoid", 3)
    counts = np.ones((2, len(np.unique(predictions.groups))))
    at = predictions.at([0.5, NotDefined("only negatives"), 0.5])
    assert np.isnan(resampler(at, "sensitivity/bee")(counts)).all()
    np.testing.assert_allclose(resampler(at, "sensitivity")(counts), value_of(at, "sensitivity"))


@pytest.mark.parametrize("patients", [30, 200])
def test_both_ways_to_count_pairs_give_the_same_bits(patients, monkeypatch):
    rng = np.random.default_rng(1)
    y, values = rng.integers(2, size=200), np.round(rng.random(200), 1)
    index = rng.permutation(np.arange(200) % patients)
    counts = rng.integers(0, 3, size=(50, patients)).astype(np.float64)
    by_pairs = auroc_of_weights(y, values, index)(counts)
    monkeypatch.setattr(weighted_curves, "_TABLE", 0)
    np.testing.assert_array_equal(auroc_of_weights(y, values, index)(counts), by_pairs)


@pytest.mark.filterwarnings("error")
def test_resamples_without_both_classes_have_no_value():
    y, values = np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3])
    weights = np.array([[1.0, 1, 0], [0, 0, 2], [0, 1, 1]])
    for curve in (auroc_of_weights, auprc_of_weights):
        np.testing.assert_array_equal(curve(y, values)(weights), [np.nan, np.nan, 1])


def test_macro_of_a_resample_is_over_the_parts_that_it_has(draw):
    predictions = draw("softmax", 4)
    groups, index = np.unique(predictions.groups, return_inverse=True)
    predictions = dataclasses.replace(predictions, y=np.minimum(index % 5, 3))
    counts = np.ones((1, len(groups)))
    counts[0, np.arange(len(groups)) % 5 == 1] = 0  # no patient of class 'bee'
    copied = explicit(predictions, counts[0])
    assert isinstance(value_of(copied, "auroc/bee"), NotDefined)
    for metric in ("auroc", "auprc", "balanced_accuracy", "sensitivity", "cohen_kappa"):
        value = resampler(predictions, metric)(counts)[0]
        assert value == pytest.approx(value_of(copied, metric), rel=0, abs=1e-12)
    assert np.isnan(resampler(predictions, "auroc/bee")(counts)[0])


def test_certain_and_wrong_has_the_finite_loss_of_sklearn(draw):
    for kind, classes in (("softmax", 2), ("sigmoid", 3)):
        predictions = draw(kind, classes)
        p = predictions.p.copy()
        p[0] = [1, 0] if kind == "softmax" else 0
        y = predictions.y.copy()
        y[0] = 1
        predictions = dataclasses.replace(predictions, p=p, y=y)
        ones = np.ones((1, len(np.unique(predictions.groups))))
        value = resampler(predictions, "log_loss")(ones)[0]
        assert value == pytest.approx(value_of(predictions, "log_loss"), rel=0, abs=1e-12)


def test_a_resample_of_one_class_has_no_metrics_of_both(draw):
    predictions = draw("softmax", 2)
    groups, index = np.unique(predictions.groups, return_inverse=True)
    predictions = dataclasses.replace(predictions, y=index % 2)
    counts = np.ones((2, len(groups)))
    counts[0, 1::2] = 0
    for metric in ("balanced_accuracy", "cohen_kappa", "sensitivity"):
        found = resampler(predictions, metric)(counts)
        assert np.isnan(found[0]) and not np.isnan(found[1])


def test_a_finding_without_a_known_label_has_no_value(draw):
    predictions = draw("sigmoid", 3)
    predictions.y[:, 1] = np.nan
    others = dataclasses.replace(
        predictions,
        classes=("ant", "cat"),
        y=predictions.y[:, [0, 2]],
        p=predictions.p[:, [0, 2]],
    )
    counts = np.ones((2, len(np.unique(predictions.groups))))
    for metric in METRICS:
        assert np.isnan(resampler(predictions, f"{metric}/bee")(counts)).all()
        np.testing.assert_array_equal(
            resampler(predictions, metric)(counts), resampler(others, metric)(counts)
        )
