import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from remedis_jax.evaluation.metrics import METRICS, NotDefined, score, value_of
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampled import auprc_of_weights, auroc_of_weights, resampler


def explicit(predictions: Predictions, counts: np.ndarray) -> Predictions:
    """The images that `counts` stand for, copied as often as their patient was drawn."""
    _, index = np.unique(predictions.groups, return_inverse=True)
    rows = np.repeat(np.arange(len(index)), counts[index].astype(int))
    return predictions.select(rows)


def test_every_metric_equals_that_of_the_copied_images(predictions):
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
def test_weighted_curves_equal_sklearn_with_sample_weight(decimals, ours, theirs):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    values = np.round(rng.random(200) + 0.2 * y, decimals)
    weights = rng.integers(0, 4, size=(20, 200)).astype(np.float64)
    expected = [theirs(y, values, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ours(y, values)(weights), expected, rtol=0, atol=1e-12)


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
    for metric in ("auroc", "auprc", "balanced_accuracy"):
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


def test_balanced_accuracy_of_one_class_has_no_value(draw):
    predictions = draw("softmax", 2)
    groups, index = np.unique(predictions.groups, return_inverse=True)
    predictions = dataclasses.replace(predictions, y=index % 2)
    counts = np.ones((2, len(groups)))
    counts[0, 1::2] = 0
    found = resampler(predictions, "balanced_accuracy")(counts)
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
