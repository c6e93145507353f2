import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from statsmodels.stats.inter_rater import cohens_kappa

from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import (
    METRICS,
    NotDefined,
    label_counts,
    left_out,
    score,
    value_of,
)

TIGHT = dict(rel=0, abs=1e-12)


def kappa_of_statsmodels(y, guess) -> float:
    names = np.union1d(y, guess)
    table = pd.crosstab(y, guess).reindex(index=names, columns=names, fill_value=0)
    return cohens_kappa(table.to_numpy()).kappa


def ece_of_pandas(p, right) -> float:
    """Bins by `pandas.cut`, closed on the right; the first holds 0."""
    bins = pd.cut(p, np.linspace(0, 1, 16), include_lowest=True)
    of_bins = pd.DataFrame({"p": p, "right": right}).groupby(bins, observed=True)
    gap = (of_bins["right"].mean() - of_bins["p"].mean()).abs()
    return float((gap * of_bins.size() / len(p)).sum())


def test_binary_metrics_are_those_of_sklearn(draw):
    predictions = draw("softmax", 2)
    y, p = predictions.y, predictions.p[:, 1]
    assert len(np.unique(p)) < len(p) / 2  # there are ties to get wrong
    assert score(predictions) == pytest.approx(
        {
            "auroc": sk.roc_auc_score(y, p),
            "auprc": sk.average_precision_score(y, p),
            "accuracy": sk.accuracy_score(y, predictions.p.argmax(axis=1)),
            "balanced_accuracy": sk.balanced_accuracy_score(y, predictions.p.argmax(axis=1)),
            "sensitivity": sk.recall_score(y, p >= 0.5),
            "specificity": sk.recall_score(y, p >= 0.5, pos_label=0),
            "cohen_kappa": kappa_of_statsmodels(y, predictions.p.argmax(axis=1)),
            "log_loss": sk.log_loss(y, p),
            "brier": sk.brier_score_loss(y, p),
            "ece": ece_of_pandas(p, y),
        },
        **TIGHT,
    )


def test_multi_class_metrics_are_those_of_sklearn(draw):
    predictions = draw("softmax", 4)
    y, p = predictions.y, predictions.p
    values = score(predictions)
    expected = {
        "auroc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "auprc": sk.average_precision_score(np.eye(4)[y], p, average="macro"),
        "accuracy": sk.accuracy_score(y, p.argmax(axis=1)),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p.argmax(axis=1)),
        "sensitivity/bee": sk.recall_score(y == 1, p[:, 1] >= 0.5),
        "specificity/bee": sk.recall_score(y == 1, p[:, 1] >= 0.5, pos_label=0),
        "cohen_kappa": kappa_of_statsmodels(y, p.argmax(axis=1)),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
        "ece": ece_of_pandas(p.max(axis=1), p.argmax(axis=1) == y),
        "auroc/cat": sk.roc_auc_score(y == 2, p[:, 2]),
        "auprc/dog": sk.average_precision_score(y == 3, p[:, 3]),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, **TIGHT)


def test_findings_are_scored_one_by_one_without_the_unknown(draw):
    predictions = draw("sigmoid", 3)
    functions = {
        "auroc": sk.roc_auc_score,
        "auprc": sk.average_precision_score,
        "accuracy": lambda y, p: sk.accuracy_score(y, p >= 0.5),
        "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p >= 0.5),
        "sensitivity": lambda y, p: sk.recall_score(y, p >= 0.5),
        "specificity": lambda y, p: sk.recall_score(y, p >= 0.5, pos_label=0),
        "cohen_kappa": lambda y, p: kappa_of_statsmodels(y, p >= 0.5),
        "log_loss": sk.log_loss,
        "brier": sk.brier_score_loss,
        "ece": lambda y, p: ece_of_pandas(p, y),
    }
    expected = {}
    for metric, function in functions.items():
        for k, name in enumerate(predictions.classes):
            known = ~np.isnan(predictions.y[:, k])
            value = function(predictions.y[known, k], predictions.p[known, k])
            expected[f"{metric}/{name}"] = value
        expected[metric] = np.mean([expected[f"{metric}/{n}"] for n in predictions.classes])
    assert score(predictions) == pytest.approx(expected, **TIGHT)
    known = (~np.isnan(predictions.y)).sum(axis=0)
    counts = label_counts(predictions)
    assert [n for _, n, _ in counts.values()] == known.tolist()
    assert [masked for _, _, masked in counts.values()] == (300 - known).tolist()
    assert min(300 - known) > 0


def test_last_class_is_positive_unless_told(draw):
    last = draw("softmax", 2)
    first = dataclasses.replace(last, positive="ant")
    assert value_of(first, "auprc") == sk.average_precision_score(last.y == 0, last.p[:, 0])
    assert value_of(first, "auprc") != value_of(last, "auprc")
    assert value_of(dataclasses.replace(last, positive="bee"), "auprc") == value_of(last, "auprc")


def test_group_level_scores_the_mean_of_the_patients_images(draw):
    predictions = draw("softmax", 2)
    _, index = np.unique(predictions.groups, return_inverse=True)
    y = (index % 2)[:]  # one label per patient
    predictions = dataclasses.replace(predictions, y=y)
    means = [predictions.p[index == g, 1].mean() for g in range(index.max() + 1)]
    labels = np.arange(index.max() + 1) % 2
    value = score(predictions, level="group", metrics=["auroc"])["auroc"]
    assert value == pytest.approx(sk.roc_auc_score(labels, means), **TIGHT)
    assert value != value_of(predictions, "auroc")


@pytest.mark.filterwarnings("error")
def test_one_class_only_is_not_defined_and_says_why(draw):
    predictions = draw("softmax", 2)
    only = predictions.select(predictions.y == 1)
    values = score(only)
    for metric in ("auroc", "auprc"):
        assert values[metric] == NotDefined(f"only positives, n={len(only.y)}")
    for metric in ("balanced_accuracy", "cohen_kappa"):
        assert values[metric] == NotDefined(f"one class only, n={len(only.y)}")
    assert values["specificity"] == NotDefined(f"no negatives, n={len(only.y)}")
    assert values["accuracy"] == (only.p.argmax(axis=1) == 1).mean()
    assert str(values["auroc"]).startswith("not defined (only positives")


@pytest.mark.filterwarnings("error")
def test_macro_average_leaves_out_what_is_not_defined(draw):
    predictions = draw("softmax", 4)
    three = predictions.select(predictions.y != 2)
    values = score(three)
    assert values["auroc/cat"] == NotDefined(f"only negatives, n={len(three.y)}")
    others = [values[f"auroc/{name}"] for name in ("ant", "bee", "dog")]
    assert values["auroc"] == pytest.approx(np.mean(others), **TIGHT)
    assert left_out(three, "auroc") == ("cat",)
    assert left_out(three, "auroc/ant") == left_out(three, "accuracy") == ()


@pytest.mark.filterwarnings("error")
def test_finding_without_known_labels_is_not_defined(draw):
    predictions = draw("sigmoid", 3)
    y = predictions.y.copy()
    y[:, 0] = np.nan
    values = score(dataclasses.replace(predictions, y=y))
    assert all(values[f"{metric}/ant"] == NotDefined("no known labels") for metric in METRICS)
    assert all(isinstance(values[metric], float) for metric in METRICS)
    nothing = score(dataclasses.replace(predictions, y=np.full_like(y, np.nan)))
    assert all(isinstance(value, NotDefined) for value in nothing.values())


def test_kappa_of_tied_and_missing_classes_is_that_of_both_libraries(draw):
    predictions = draw("softmax", 4)
    p = np.round(predictions.p, 1)  # many ties for the most probable class
    p[:, 3] = 0  # 'dog' is never said
    y = np.where(predictions.y == 0, 1, predictions.y)  # and 'ant' never true
    predictions = dataclasses.replace(predictions, p=p + 1e-9, y=y)
    guess = p.argmax(axis=1)
    expected = sk.cohen_kappa_score(y, guess)
    assert expected == pytest.approx(kappa_of_statsmodels(y, guess), **TIGHT)
    assert value_of(predictions, "cohen_kappa") == pytest.approx(expected, **TIGHT)
    # Whoever always says one thing agrees by chance only.
    constant = dataclasses.replace(predictions, p=np.tile([0.1, 0.7, 0.1, 0.1], (len(y), 1)))
    assert value_of(constant, "cohen_kappa") == 0


def test_calibration_error_of_known_cases(draw):
    predictions = draw("softmax", 2)
    y = predictions.y
    certain = dataclasses.replace(predictions, p=np.eye(2)[y])
    assert value_of(certain, "ece") == 0
    inverted = dataclasses.replace(predictions, p=np.eye(2)[1 - y])
    assert value_of(inverted, "ece") == 1
    prevalence = np.full(len(y), y.mean())
    honest = dataclasses.replace(predictions, p=np.stack([1 - prevalence, prevalence], axis=1))
    assert value_of(honest, "ece") == pytest.approx(0, **TIGHT)
    # An edge belongs to the bin below it: 0.2 is with 0.15, and their gaps cancel.
    edges = np.array([0.2, 0.15])
    two = dataclasses.replace(
        predictions.select(np.array([0, 1])),
        y=np.array([1, 0]),
        p=np.stack([1 - edges, edges], axis=1),
    )
    assert value_of(two, "ece") == pytest.approx(abs(1 - 0.35) / 2, **TIGHT)


def test_log_loss_of_rounded_rows_is_that_of_normalised_ones(draw):
    predictions = draw("softmax", 4)
    rounded = dataclasses.replace(predictions, p=np.round(predictions.p, 2))
    p = rounded.p / rounded.p.sum(axis=1, keepdims=True)
    assert value_of(rounded, "log_loss") == pytest.approx(sk.log_loss(rounded.y, p), **TIGHT)


@pytest.mark.parametrize(
    ("metric", "message"),
    [("aurco", "mean 'auroc'"), ("auroc/bees", "mean 'bee'"), ("accuracy/bee", "by itself")],
)
def test_unknown_metrics_are_refused(draw, metric, message):
    with pytest.raises(UserError, match=message):
        value_of(draw("softmax", 4), metric)


def test_unknown_level_is_refused(draw):
    with pytest.raises(UserError, match="'patients'"):
        score(draw("softmax", 2), level="patients")
