"""Time and event columns become labels, and every cell that is neither is named with its row."""

import numpy as np
import pytest

from remedis_jax.data import Columns, LabelSpec, encode_labels, infer_label_spec, read_manifest
from remedis_jax.data.label_counts import (
    policy_remarks,
    policy_table,
    read_counts,
    treatment_counts,
    write_counts,
)
from remedis_jax.data.label_policy import LabelPolicy, Treatment
from remedis_jax.data.labels import hard_labels, strata_of
from remedis_jax.errors import UserError

SPEC = LabelSpec("survival", ("risk",), ("days", "died"))
IGNORE = LabelPolicy(Treatment(blank="ignore"))


@pytest.fixture
def manifest(tmp_path):
    def make(*rows: str):
        path = tmp_path / "m.csv"
        lines = [f"{i}.png,{row}" for i, row in enumerate(rows)]
        path.write_text("\n".join(["image,days,died", *lines]) + "\n")
        return read_manifest(path, Columns(labels=("days", "died")), check_files=False)

    return make


def test_times_and_events_are_numbers(manifest):
    m = manifest("12.5,1", "0,0", "3,yes", "4,No", "5,TRUE", "6,false", "7,1.0")
    spec = infer_label_spec(m, kind="survival")
    assert spec == SPEC and not spec.is_soft
    labels = encode_labels(m, spec)
    assert labels.dtype == np.float32
    assert labels.tolist() == [[12.5, 1], [0, 0], [3, 1], [4, 0], [5, 1], [6, 0], [7, 1]]
    assert hard_labels(labels, spec) is labels
    assert strata_of(labels, spec) == list("1010101")


def test_it_is_never_inferred(manifest):
    assert infer_label_spec(manifest("1,0", "0,1")).kind == "sigmoid"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("-3,1", "column 'days' is a negative time in 1 row(s): row 3 ('-3')"),
        ("soon,1", "column 'days' is not a number in 1 row(s): row 3 ('soon')"),
        ("nan,1", "column 'days' is not a finite time in 1 row(s): row 3 ('nan')"),
        ("inf,0", "column 'days' is not a finite time in 1 row(s): row 3 ('inf')"),
        ("3,2", "column 'died' is no event in 1 row(s): row 3 ('2')"),
        ("3,-1", "column 'died' is no event in 1 row(s): row 3 ('-1')"),
        (",1", "has an event or none, but 'days' no time, in 1 row(s): row 3."),
        (",0", "has an event or none, but 'days' no time, in 1 row(s): row 3."),
        ("3,", "column 'days' has a time, but 'died' is empty, in 1 row(s): row 3."),
    ],
)
def test_a_cell_that_is_no_label_is_named_to_train_and_to_evaluate(manifest, bad, said):
    m = manifest("1,1", bad, "2,0")
    for training in (True, False):
        for policy in (LabelPolicy(), IGNORE):
            with pytest.raises(UserError) as error:
                encode_labels(m, SPEC, policy, require_all_classes=training)
            assert said in error.value.problem and error.value.remedy
    with pytest.raises(UserError):
        treatment_counts(m, SPEC, IGNORE)


def test_many_bad_rows_are_counted(manifest):
    m = manifest(*["-1,0"] * 8)
    with pytest.raises(UserError, match=r"8 row\(s\): row 2 .*, and 3 more"):
        encode_labels(m, SPEC)


def test_empty_rows_are_errors_to_train_and_may_be_ignored_to_evaluate(manifest):
    m = manifest("1,1", ",", "2,0")
    for training, policy in ((True, LabelPolicy()), (True, IGNORE), (False, LabelPolicy())):
        with pytest.raises(UserError, match=r"'days' and 'died' are empty in 1 row\(s\): row 3"):
            encode_labels(m, SPEC, policy, require_all_classes=training)
    labels = encode_labels(m, SPEC, IGNORE, require_all_classes=False)
    assert np.isnan(labels).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    nobody = encode_labels(manifest(",", ","), SPEC, require_all_classes=False)
    assert np.isnan(nobody).all()
    with pytest.raises(UserError, match="no uncertain or negative"):
        encode_labels(m, SPEC, LabelPolicy(Treatment(blank="negative")))


def test_training_needs_an_event(manifest):
    m = manifest("1,0", "2,0")
    with pytest.raises(UserError, match=r"no event \(1\) in column 'died' among 2 rows"):
        encode_labels(m, SPEC)
    assert encode_labels(m, SPEC, require_all_classes=False).shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("survival", ("risk",), ("days",)), "Name two"),
        (("survival", ("risk",), ("days", "days")), "Name two"),
        (("survival", ("a", "b"), ("days", "died")), "survival has no classes"),
        (("survival", ("risk",), ("days", "died"), True), "not 'survival'"),
        (("surival", ("risk",), ("days", "died")), "'softmax', 'sigmoid', 'survival'"),
    ],
)
def test_specs_that_cannot_be(arguments, said):
    with pytest.raises(UserError, match=said):
        LabelSpec(*arguments)


def test_counts_say_what_there_is(manifest, tmp_path):
    counts = treatment_counts(manifest("1,1", ",", "2.5,0", "9,0"), SPEC, IGNORE)
    assert counts == {
        "kind": "survival", "images": 4, "blank": 1, "blank_as": "ignore",
        "labels": [{"label": "died", "time": "days", "events": 1, "censored": 2,
                    "median_time": 2.5, "last_time": 9.0}],
    }  # fmt: skip
    write_counts(tmp_path, counts)
    assert read_counts(tmp_path) == counts
    (row,) = policy_table(counts).to_dict("records")
    assert row == {
        "Label": "died", "Events": "1", "Censored": "2", "Time": "days", "Median time": "2.5",
        "Last time": "9",
    }  # fmt: skip
    assert policy_remarks(counts) == ["1 of 4 images have no label."]
    nobody = treatment_counts(manifest(",", ","), SPEC, LabelPolicy())
    assert policy_table(nobody).to_dict("records")[0]["Last time"] == ""
