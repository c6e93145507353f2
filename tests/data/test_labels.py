"""Label cells become arrays, and every cell that is not a label is named with its row."""

import numpy as np
import pytest

from remedis_jax.data import Columns, LabelSpec, encode_labels, infer_label_spec, read_manifest
from remedis_jax.data.labels import count_labels
from remedis_jax.errors import UserError


@pytest.fixture
def manifest(tmp_path):
    def make(labels: str, rows: list[str]):
        path = tmp_path / "m.csv"
        lines = [f"image,{labels}"] + [f"{i}.png,{row}" for i, row in enumerate(rows)]
        path.write_text("\n".join(lines) + "\n")
        return read_manifest(path, Columns(labels=tuple(labels.split(","))), check_files=False)

    return make


def test_softmax_classes_are_the_values_in_order(manifest):
    m = manifest("dx", ["nv", "mel", "nv", "bcc"])
    spec = infer_label_spec(m)
    assert spec == LabelSpec("softmax", ("bcc", "mel", "nv"), ("dx",))
    labels = encode_labels(m, spec)
    assert labels.dtype == np.int32
    assert labels.tolist() == [2, 1, 2, 0]


def test_numbers_are_ordered_as_numbers(manifest):
    m = manifest("grade", ["10", "9", "2", "10"])
    assert infer_label_spec(m).classes == ("2", "9", "10")


def test_named_classes_keep_their_order_and_place(manifest):
    m = manifest("dx", ["nv", "mel"])
    spec = infer_label_spec(m, classes=["nv", "bcc", "mel"])
    assert encode_labels(m, spec, require_all_classes=False).tolist() == [0, 2]


def test_a_typo_names_its_row_and_the_nearest_class(manifest):
    m = manifest("y", ["positive", "negative", "postive"])
    spec = LabelSpec("softmax", ("negative", "positive"), ("y",))
    with pytest.raises(UserError, match=r"row 4 \('postive'\).*Did you mean 'positive'") as caught:
        encode_labels(m, spec)
    assert "m.csv" in str(caught.value)


def test_a_rare_near_miss_is_no_class_of_its_own(manifest):
    m = manifest("y", ["positive"] * 20 + ["negative"] * 20 + ["postive"])
    with pytest.raises(UserError, match="row 42: 'postive'.*looks like a slip of 'positive'"):
        infer_label_spec(m)
    assert len(infer_label_spec(m, classes=["positive", "negative", "postive"]).classes) == 3
    with pytest.raises(UserError, match="row 3: 'Mel'.*slip of 'mel'"):
        infer_label_spec(manifest("dx", ["mel", "Mel", "mel", "nv"]))
    grades = manifest("dx", ["stage 2"] * 40 + ["stage 3"])
    assert infer_label_spec(grades).classes == ("stage 2", "stage 3")


def test_several_columns_are_sigmoid(manifest):
    m = manifest("effusion,oedema", ["1,0", "0,1.0", "True,false"])
    spec = infer_label_spec(m)
    assert spec == LabelSpec("sigmoid", ("effusion", "oedema"), ("effusion", "oedema"))
    labels = encode_labels(m, spec)
    assert labels.dtype == np.float32
    assert labels.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_one_column_can_be_sigmoid(manifest):
    m = manifest("malignant", ["1", "0"])
    spec = infer_label_spec(m, kind="sigmoid")
    assert spec.classes == ("malignant",)
    assert encode_labels(m, spec).tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("missing", "uncertain", "expected"),
    [
        ("mask", "mask", [1, 0, np.nan, np.nan]),
        ("negative", "positive", [1, 0, 0, 1]),
        ("mask", "negative", [1, 0, np.nan, 0]),
    ],
)
def test_policies_for_missing_and_uncertain(manifest, missing, uncertain, expected):
    m = manifest("effusion,site", ["1,a", "0,a", ",a", "-1.0,a"])
    spec = infer_label_spec(m, ["effusion"], kind="sigmoid")
    labels = encode_labels(m, spec, missing=missing, uncertain=uncertain)
    np.testing.assert_array_equal(labels[:, 0], np.float32(expected))
    assert count_labels(m, spec) == {
        "effusion": {"positive": 1, "negative": 1, "uncertain": 1, "missing": 1}
    }


def test_missing_and_uncertain_are_errors_by_default(manifest):
    m = manifest("effusion,site", ["1,a", "0,a", ",a", "-1,a"])
    spec = infer_label_spec(m, ["effusion"], kind="sigmoid")
    with pytest.raises(UserError, match=r"'effusion' is empty in 1 row\(s\): row 4"):
        encode_labels(m, spec)
    with pytest.raises(UserError, match=r"'effusion' is uncertain \(-1\) in 1 row\(s\): row 5"):
        encode_labels(m, spec, missing="mask")
    with pytest.raises(UserError, match="missing='drop' is not possible"):
        encode_labels(m, spec, missing="drop")


def test_softmax_has_no_missing_label(manifest):
    m = manifest("dx,site", ["nv,a", ",a", "mel,a"])
    spec = infer_label_spec(m, ["dx"])
    assert spec.classes == ("mel", "nv")
    with pytest.raises(UserError, match=r"'dx' is empty in 1 row\(s\): row 3"):
        encode_labels(m, spec)
    with pytest.raises(UserError, match="missing='mask' is not possible for softmax"):
        encode_labels(m, spec, missing="mask")


def test_text_in_a_sigmoid_column_is_refused(manifest):
    m = manifest("a,b", ["1,0", "0,yes"])
    with pytest.raises(UserError, match=r"'b' is not a binary label .*: row 3 \('yes'\)"):
        encode_labels(m, infer_label_spec(m))


def test_a_class_without_images_lists_the_counts(manifest):
    m = manifest("dx", ["nv", "nv", "mel"])
    spec = infer_label_spec(m, classes=["bcc", "mel", "nv"])
    with pytest.raises(UserError, match=r"no image for 'bcc' among 3 rows \(bcc 0, mel 1, nv 2\)"):
        encode_labels(m, spec)
    m = manifest("a,b", ["1,0", "0,0"])
    with pytest.raises(UserError, match=r"no image for 'b' .*\(a 1\+/1-, b 0\+/2-\)"):
        encode_labels(m, infer_label_spec(m))
    assert encode_labels(m, infer_label_spec(m), require_all_classes=False).sum() == 1
    m = manifest("a,b", ["1,0", "1,1"])
    with pytest.raises(UserError, match=r"no image for 'a' .*\(a 2\+/0-, b 1\+/1-\)"):
        encode_labels(m, infer_label_spec(m))


def test_specs_that_do_not_fit_are_refused(manifest):
    m = manifest("a,b", ["1,0", "1,1"])
    with pytest.raises(UserError, match="softmax needs one label column and got 2"):
        infer_label_spec(m, kind="softmax")
    with pytest.raises(UserError, match="one class only"):
        infer_label_spec(m, ["a"])
    with pytest.raises(UserError, match="no column 'c'"):
        infer_label_spec(m, ["c"])
    with pytest.raises(UserError, match="2 columns for 3 classes"):
        infer_label_spec(m, classes=["x", "y", "z"])
    with pytest.raises(UserError, match="kind 'binary' is unknown"):
        infer_label_spec(m, ["a"], kind="binary")
    with pytest.raises(UserError, match="not distinct"):
        infer_label_spec(m, ["a"], classes=["1", "1"])


def test_unlabelled_data_has_nothing_to_infer(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image\na.png\n")
    with pytest.raises(UserError, match="no label column is named"):
        infer_label_spec(read_manifest(path, check_files=False))
