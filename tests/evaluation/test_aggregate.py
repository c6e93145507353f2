"""Patients' scores are made of their images', and so are their labels."""

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate, disagreeing, parse_aggregate
from remedis_jax.evaluation.bootstrap import bootstrap
from remedis_jax.evaluation.metrics import METRICS, NotDefined, score
from remedis_jax.evaluation.predictions import Predictions, predictions_table


def predictions(kind, classes, p, y, groups, positive=None) -> Predictions:
    names = [f"{i}.png" for i in range(len(groups))]
    table = predictions_table(kind, classes, names, np.array(p), np.array(y), groups=groups)
    return Predictions.from_table(table, positive)


@pytest.fixture
def binary():
    """Patient 2 has a negative and a positive image, patient 1 a negative one."""
    p = [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]
    return predictions("softmax", ("no", "yes"), p, [0, 1, 0], ["2", "2", "1"])


@pytest.mark.parametrize(
    ("how", "positive"),
    [("mean", [0.8, 0.3]), ("max", [0.8, 0.5]), ("noisy-or", [0.8, 1 - 0.9 * 0.5])],
)
def test_two_classes(binary, how, positive):
    made = aggregate(binary, how)
    assert list(made.groups) == list(made.images) == ["1", "2"]
    np.testing.assert_allclose(made.p[:, 1], positive, rtol=0, atol=1e-15)
    np.testing.assert_allclose(made.p.sum(axis=1), 1, rtol=0, atol=1e-15)
    assert made.y.tolist() == [0, 1]
    assert len(disagreeing(binary)) == 0


def test_the_positive_class_may_be_the_first():
    p = [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]
    made = aggregate(
        predictions("softmax", ("ill", "well"), p, [0, 1, 1], list("221"), "ill"), "max"
    )
    np.testing.assert_allclose(made.p, [[0.2, 0.8], [0.9, 0.1]], rtol=0, atol=1e-15)
    assert made.y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[0.3, 0.7], [0.6, 0.5]]),
        ("max", [[0.3, 0.7], [0.8, 1.0]]),
        ("noisy-or", [[0.3, 0.7], [1 - 0.2 * 0.6, 1.0]]),
    ],
)
def test_findings_with_unknown_labels(how, expected):
    nan = np.nan
    y = [[0, nan], [1, nan], [nan, nan]]
    p = [[0.8, 1.0], [0.4, 0.0], [0.3, 0.7]]
    made = aggregate(predictions("sigmoid", ("x", "y"), p, y, ["b", "b", "a"]), how)
    np.testing.assert_allclose(made.p, expected, rtol=0, atol=1e-15)
    # Every image has a part in the score, and only those with a label in the label.
    np.testing.assert_array_equal(made.y, [[nan, nan], [1, nan]])


def test_patients_whose_images_are_of_several_classes_are_left_out():
    p = np.full((5, 3), 1 / 3)
    mixed = predictions("softmax", ("a", "b", "c"), p, [0, 0, 1, 2, 1], list("22311"))
    assert disagreeing(mixed).tolist() == ["1"]
    made = aggregate(mixed, "max")
    assert made.groups.tolist() == ["2", "3"] and made.y.tolist() == [0, 1]
    with pytest.raises(UserError, match="1 patients have images with different labels: 1"):
        aggregate(mixed, strict=True)
    all_mixed = mixed.select(np.array([3, 4]))
    nobody = aggregate(all_mixed)
    assert all("no known labels" in str(value) for value in score(nobody).values())
    assert all(isinstance(v, NotDefined) for v in bootstrap(nobody, METRICS, 10).values())


def test_one_image_a_patient_is_its_own_aggregate(draw):
    alone = draw("softmax", 4)
    alone = Predictions("softmax", alone.classes, alone.y, alone.p, alone.images, alone.images)
    order = np.argsort(alone.images)
    for how in ("mean", "max", "noisy-or"):
        made = aggregate(alone, how)
        np.testing.assert_allclose(made.p, alone.p[order], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(made.y, alone.y[order])


def test_noisy_or_keeps_its_digits_and_the_certain_ones():
    tiny = predictions("sigmoid", ("x",), [[1e-12]] * 3 + [[1.0], [0.2]], [[0]] * 5, list("aaabb"))
    np.testing.assert_allclose(aggregate(tiny, "noisy-or").p[:, 0], [3e-12, 1.0], rtol=1e-9)


def test_validation_scores_patients_with_several_labels(binary):
    assert score(binary, level="group", metrics=["auroc"]) == {"auroc": 0.0}


def test_the_form_of_the_command_line():
    assert parse_aggregate("patient:mean") == "mean"
    assert parse_aggregate("group:noisy-or") == "noisy-or"
    for wrong in ("patient", "mean", "patient:median", "site:mean", ""):
        with pytest.raises(UserError, match=f"--aggregate '{wrong}' is unknown"):
            parse_aggregate(wrong)
    with pytest.raises(UserError, match="Did you mean 'patient:noisy-or'"):
        parse_aggregate("patient:noisyor")
