import dataclasses

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_curve

from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import NotDefined, left_out, score, value_of
from remedis_jax.evaluation.operating_point import OperatingPoint, choose_operating_point
from remedis_jax.evaluation.predictions import Predictions

RULES = ("youden", "sensitivity=0.9", "specificity=0.9")


def of_scores(y: list[int], scores: list[float]) -> Predictions:
    p = np.array(scores)
    names = np.array([f"i{n}" for n in range(len(y))])
    both = np.stack([1 - p, p], axis=1)
    return Predictions("softmax", ("no", "yes"), np.array(y), both, names, names)


def chosen(predictions: Predictions, rule: str) -> float:
    (threshold,) = choose_operating_point(predictions, rule).thresholds
    return threshold


def test_youden_is_the_greatest_of_all_thresholds_of_sklearn(draw):
    predictions = draw("softmax", 2)
    y, p = predictions.y, predictions.p[:, 1]
    false_positives, sensitivity, thresholds = roc_curve(y, p, drop_intermediate=False)
    found = chosen(predictions, "youden")
    assert found in p
    (at,) = np.flatnonzero(thresholds == found)
    assert (sensitivity - false_positives)[at] == (sensitivity - false_positives).max()


def test_shares_are_reached_and_the_next_threshold_would_be_worse(draw):
    predictions = draw("softmax", 2)
    scores = np.unique(predictions.p[:, 1])
    for metric, step in (("sensitivity", 1), ("specificity", -1)):
        threshold = chosen(predictions, f"{metric}=0.9")
        next_one = scores[np.flatnonzero(scores == threshold)[0] + step]
        assert value_of(predictions.at([threshold]), metric) >= 0.9
        assert value_of(predictions.at([next_one]), metric) < 0.9


def test_ties_are_decided_as_the_docstring_says():
    # J is 1/2 at 0.8 and at 0.4: the highest threshold is taken.
    assert chosen(of_scores([1, 0, 1, 0], [0.8, 0.6, 0.4, 0.2]), "youden") == 0.8
    # Images of one score are called together.
    tied = of_scores([1, 1, 0, 0, 0], [0.7, 0.5, 0.5, 0.3, 0.1])
    assert chosen(tied, "sensitivity=1") == 0.5
    assert chosen(tied, "specificity=1") == 0.7
    assert chosen(tied, "specificity=0.6") == 0.5
    # 7 of 10 is 0.7, whatever 0.7 is in binary.
    tenths = of_scores([1] * 10 + [0], [0.95 - 0.05 * i for i in range(10)] + [0.01])
    assert chosen(tenths, "sensitivity=0.7") == tenths.p[6, 1]


def test_every_finding_and_class_has_its_own_threshold(draw):
    for kind, classes in (("sigmoid", 3), ("softmax", 4)):
        predictions = draw(kind, classes)
        point = choose_operating_point(predictions, "youden")
        assert len(point.thresholds) == classes and len(set(point.thresholds)) > 1
        at_point = score(predictions.at(point.thresholds), metrics=("sensitivity", "specificity"))
        for k, name in enumerate(predictions.classes):
            y = predictions.y == k if kind == "softmax" else predictions.y[:, k]
            known = ~np.isnan(y)
            called = predictions.p[known, k] >= point.thresholds[k]
            for metric, of in (("sensitivity", 1), ("specificity", 0)):
                expected = recall_score(y[known], called, pos_label=of)
                assert at_point[f"{metric}/{name}"] == expected
        for metric in ("sensitivity", "specificity"):
            of_parts = [at_point[f"{metric}/{name}"] for name in predictions.classes]
            assert at_point[metric] == pytest.approx(np.mean(of_parts), rel=0, abs=1e-15)


def test_positive_class_rows_and_metrics_of_decisions_without_it(draw):
    predictions = draw("softmax", 2)
    first = dataclasses.replace(predictions, positive="ant")
    (threshold,) = choose_operating_point(first, "sensitivity=0.9").thresholds
    assert threshold in predictions.p[:, 0]
    moved = predictions.at([0.9])
    assert moved.select(np.arange(20)).thresholds == (0.9,)
    assert value_of(moved, "sensitivity") < value_of(predictions, "sensitivity")
    assert value_of(moved, "specificity") > value_of(predictions, "specificity")
    for metric in ("accuracy", "balanced_accuracy", "cohen_kappa", "auroc"):
        assert value_of(moved, metric) == value_of(predictions, metric)
    assert value_of(predictions, "sensitivity") == value_of(predictions.at([0.5]), "sensitivity")


@pytest.mark.filterwarnings("error")
def test_one_class_only_has_no_operating_point(draw):
    predictions = draw("softmax", 2)
    for rule in RULES:
        found = choose_operating_point(predictions.select(predictions.y == 0), rule)
        assert isinstance(found, NotDefined) and "only negatives, n=" in found.reason
        assert isinstance(choose_operating_point(predictions, rule), OperatingPoint)
    highest_is_negative = of_scores([0, 1, 0], [0.9, 0.8, 0.7])
    found = choose_operating_point(highest_is_negative, "specificity=0.9")
    assert "no observed score has a specificity of 0.9" in found.reason


@pytest.mark.filterwarnings("error")
def test_a_finding_without_a_threshold_says_why_and_is_left_out(draw):
    validation, test = draw("sigmoid", 3), draw("sigmoid", 3, seed=1)
    validation.y[:, 1] = np.where(np.isnan(validation.y[:, 1]), np.nan, 0)
    point = choose_operating_point(validation)
    assert isinstance(point.thresholds[1], NotDefined) and point.thresholds[0] in validation.p[:, 0]
    at_point = test.at(point.thresholds)
    values = score(at_point, metrics=["sensitivity"])
    assert values["sensitivity/bee"].reason.startswith("no operating point: only negatives, n=")
    of_parts = [values["sensitivity/ant"], values["sensitivity/cat"]]
    assert values["sensitivity"] == pytest.approx(np.mean(of_parts), rel=0, abs=1e-15)
    assert left_out(at_point, "sensitivity") == ("bee",)


@pytest.mark.filterwarnings("error")
def test_no_positives_no_sensitivity(draw):
    predictions = draw("softmax", 2)
    only = predictions.select(predictions.y == 0)
    assert value_of(only, "sensitivity") == NotDefined(f"no positives, n={len(only.y)}")
    assert value_of(only, "specificity") == (only.p[:, 1] < 0.5).mean()


def test_the_point_says_what_it_was_chosen_on(draw):
    predictions = draw("softmax", 2)
    patients = len(np.unique(predictions.groups))
    point = choose_operating_point(predictions, "sensitivity=0.95")
    assert (point.rule, point.on) == ("sensitivity=0.95", f"300 images of {patients} patients")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("yoden", "'yoden' is unknown"),
        ("sensitivity", "'sensitivity' is unknown"),
        ("precision=0.9", "is unknown"),
        ("sensitivity=90", "'90' is not a share"),
        ("specificity=0", "'0' is not a share"),
        ("specificity=high", "'high' is not a share"),
        ("specificity=nan", "'nan' is not a share"),
    ],
)
def test_unknown_rules_are_refused(draw, rule, message):
    with pytest.raises(UserError, match=message):
        choose_operating_point(draw("softmax", 2), rule)


def test_thresholds_are_as_many_as_there_are_problems(draw):
    for predictions in (draw("softmax", 2), draw("sigmoid", 3)):
        with pytest.raises(ValueError, match="2 thresholds of"):
            predictions.at([0.5, 0.5])
