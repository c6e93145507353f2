"""Label cells become arrays, and every cell that is not a label is named with its row."""

import json

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
from remedis_jax.data.label_policy import LabelPolicy, parse_policy
from remedis_jax.data.labels import hard_labels, strata_of
from remedis_jax.errors import UserError

USUAL = {"uncertain": "error", "blank": "error", "soft_value": 0.5, "label_policy": {}}


def policy(text: str = "") -> LabelPolicy:
    """What the command line says, as the config's `data` section holds it."""
    return LabelPolicy.of(USUAL | (parse_policy(text) if text else {}))


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
    ("text", "expected"),
    [
        ("uncertain=ignore,blank=ignore", [1, 0, np.nan, np.nan]),
        ("uncertain=ones,blank=negative", [1, 0, 0, 1]),
        ("uncertain=zeros,blank=ignore", [1, 0, np.nan, 0]),
        ("uncertain=soft,blank=negative", [1, 0, 0, 0.5]),
        ("uncertain=soft,soft_value=0.7,blank=negative", [1, 0, 0, 0.7]),
        ("uncertain=zeros, blank=negative, effusion:uncertain=ones", [1, 0, 0, 1]),
    ],
)
def test_policies_for_uncertain_and_blank(manifest, text, expected):
    m = manifest("effusion,site", ["1,a", "0,a", ",a", "-1.0,a"])
    spec = infer_label_spec(m, ["effusion"], kind="sigmoid")
    labels = encode_labels(m, spec, policy(text))
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels[:, 0], np.float32(expected))


def test_a_label_has_a_treatment_of_its_own(manifest):
    m = manifest("Edema,Pleural Effusion", ["-1,-1", "1,1", "0,0", ",1"])
    chosen = policy("uncertain=ignore,blank=negative,Edema:uncertain=ones")
    labels = encode_labels(m, infer_label_spec(m), chosen)
    np.testing.assert_array_equal(labels, np.float32([[1, np.nan], [1, 1], [0, 0], [0, 1]]))
    wrong = policy("uncertain=ignore,blank=ignore,edema:blank=negative")
    with pytest.raises(UserError, match="no label 'edema'. Did you mean 'Edema'"):
        encode_labels(m, infer_label_spec(m), wrong)


def test_uncertain_and_blank_are_errors_by_default(manifest):
    m = manifest("effusion,site", ["1,a", "0,a", ",a", "-1,a"])
    spec = infer_label_spec(m, ["effusion"], kind="sigmoid")
    with pytest.raises(UserError, match=r"'effusion' is empty in 1 row\(s\): row 4"):
        encode_labels(m, spec)
    with pytest.raises(UserError, match=r"'effusion' is uncertain \(-1\) in 1 row\(s\): row 5"):
        encode_labels(m, spec, policy("blank=ignore"))


def test_a_finding_that_nobody_looked_for_can_be_evaluated_and_not_trained(manifest):
    m = manifest("a,b", ["1,", "0,", "1,"])
    labels = encode_labels(m, infer_label_spec(m), require_all_classes=False)
    np.testing.assert_array_equal(labels, np.float32([[1, np.nan], [0, np.nan], [1, np.nan]]))
    with pytest.raises(UserError, match=r"'b' is empty in 3 row\(s\)"):
        encode_labels(m, infer_label_spec(m))
    m = manifest("dx,site", [",a", ",b"])
    spec = LabelSpec("softmax", ("mel", "nv"), ("dx",))
    assert encode_labels(m, spec, require_all_classes=False).tolist() == [-1, -1]


def test_the_policy_decides_whether_a_class_is_there(manifest):
    m = manifest("a,b", ["1,-1", "0,0", ",0"])
    spec = infer_label_spec(m)
    with pytest.raises(UserError, match=r"no image for 'b' .*\(a 1\+/2-, b 0\+/2-\).*policy"):
        encode_labels(m, spec, policy("uncertain=ignore,blank=negative"))
    with pytest.raises(UserError, match="no image for 'b'"):
        encode_labels(m, spec, policy("uncertain=soft,blank=negative"))
    assert encode_labels(m, spec, policy("uncertain=ones,blank=negative")).sum() == 2


def test_the_command_line_form_of_a_policy():
    assert parse_policy("uncertain=ignore,blank=negative,Edema:uncertain=ones") == {
        "uncertain": "ignore",
        "blank": "negative",
        "label_policy": {"Edema": {"uncertain": "ones"}},
    }
    odd = parse_policy("soft_value=0.25, T1: left=right:uncertain=soft,T1: left=right:soft_value=1")
    assert odd == {
        "soft_value": 0.25,
        "label_policy": {"T1: left=right": {"uncertain": "soft", "soft_value": 1.0}},
    }
    treatment = policy("soft_value=0.25,a:uncertain=soft").for_label("a")
    assert (treatment.uncertain, treatment.blank, treatment.soft_value) == ("soft", "error", 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uncertain", "'uncertain' is no setting. Write e.g. uncertain=ignore"),
        ("", "'' is no setting"),
        (":uncertain=ones", "':uncertain=ones' is no setting"),
        ("uncertain=mask", "uncertain='mask' is not possible. Choose one of error, ones, zeros"),
        ("blank=positive", "blank='positive' is not possible. Choose one of error, negative"),
        ("a:blank=ones", "blank='ones' is not possible"),
        ("uncertian=ones", "no setting 'uncertian'. Did you mean 'uncertain'"),
        ("a:missing=ones", "no setting 'missing'"),
        ("uncertain=ones,uncertain=zeros", "'uncertain' is set twice"),
        ("a:blank=ignore,a:blank=ignore", "'a:blank' is set twice"),
        ("soft_value=half", "soft_value='half' is no number"),
        ("soft_value=1.5", "soft_value=1.5 is no probability"),
        ("soft_value=nan", "soft_value=nan is no probability"),
    ],
)
def test_a_policy_that_is_none_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_policy(text)


def test_a_config_that_holds_no_policy_is_refused():
    for wrong in ("Edema", {"Edema": "ones"}):
        with pytest.raises(UserError, match="data.label_policy"):
            LabelPolicy.of(USUAL | {"label_policy": wrong})
    with pytest.raises(UserError, match="no setting 'uncertaim'"):
        LabelPolicy.of(USUAL | {"label_policy": {"Edema": {"uncertaim": "ones"}}})


def test_classes_without_a_label_are_no_training_rows(manifest):
    m = manifest("dx,site", ["nv,a", ",a", "mel,a"])
    spec = infer_label_spec(m, ["dx"])
    assert spec.classes == ("mel", "nv")
    for text in ("", "blank=ignore"):
        with pytest.raises(UserError, match=r"'dx' is empty in 1 row\(s\): row 3"):
            encode_labels(m, spec, policy(text))
    with pytest.raises(UserError, match=r"'dx' is empty in 1 row\(s\): row 3.*blank=ignore"):
        encode_labels(m, spec, require_all_classes=False)
    labels = encode_labels(m, spec, policy("blank=ignore"), require_all_classes=False)
    assert labels.tolist() == [1, -1, 0]
    for text in ("blank=negative", "uncertain=ones", "mel:blank=ignore"):
        with pytest.raises(UserError, match="no uncertain or negative"):
            encode_labels(m, spec, policy(text))


def test_votes_of_readers_are_the_label(manifest):
    m = manifest("r1,r2,r3", ["nv,nv,mel", "mel,,mel", "nv,mel,", "bcc,nv,mel", ",,"])
    spec = infer_label_spec(m, readers=["r1", "r2", "r3"])
    assert spec == LabelSpec("softmax", ("bcc", "mel", "nv"), ("r1", "r2", "r3"), readers=True)
    assert spec == LabelSpec.of("softmax", ["bcc", "mel", "nv"], ("dx",), ["r1", "r2", "r3"])
    chosen = policy("blank=ignore")
    labels = encode_labels(m, spec, chosen, require_all_classes=False)
    third, nan = 1 / 3, np.nan
    np.testing.assert_array_equal(
        labels,
        np.float32(
            [[0, third, 2 * third], [0, 1, 0], [0, 0.5, 0.5], [third] * 3, [nan] * 3]
        ),
    )
    assert hard_labels(labels, spec).tolist() == [2, 1, -1, -1, -1]
    assert strata_of(labels[:4], spec) == ["2", "1", "1", "0"]
    with pytest.raises(UserError, match=r"all label columns \('r1', 'r2', 'r3'\) are empty.*row 6"):
        encode_labels(m, spec, chosen)
    counts = treatment_counts(m, spec, chosen)
    assert counts == json.loads(json.dumps(counts))
    assert counts["readers"] == {"r1": 4, "r2": 3, "r3": 3}
    assert (counts["blank"], counts["ties"], counts["disagreements"]) == (1, 2, 3)
    assert [record["images"] for record in counts["labels"]] == [0, 1, 1]
    np.testing.assert_allclose(
        [record["mean_share"] for record in counts["labels"]], np.array([2, 13, 9]) / 24, rtol=1e-6
    )
    remarks = " ".join(policy_remarks(counts))
    assert "images read: r1 4, r2 3, r3 3" in remarks and "do not agree on 3 of 5" in remarks
    assert "2 images have several classes" in remarks and "1 of 5 images have no label" in remarks


def test_readers_who_name_something_else_are_refused(manifest):
    m = manifest("r1,r2", ["nv,nv", "mel,nw"])
    spec = LabelSpec("softmax", ("mel", "nv"), ("r1", "r2"), readers=True)
    with pytest.raises(UserError, match=r"'r2' is not one of the classes in .* row 3 \('nw'\)"):
        encode_labels(m, spec)
    slip = manifest("r1,r2", ["melanoma,nevus"] * 20 + ["nevus,melanom"])
    with pytest.raises(UserError, match="row 22: 'melanom' in column 'r2' looks like a slip"):
        infer_label_spec(slip, readers=["r1", "r2"])
    with pytest.raises(UserError, match="not 'sigmoid'"):
        infer_label_spec(m, kind="sigmoid", readers=["r1", "r2"])


def test_shares_of_classes_sum_to_one(manifest):
    rows = ["0.7,0.2995,", "0.25,0.25,0.5", "0,0,1", "0.4,0.4,0.2"]
    m = manifest("eczema,tinea,psoriasis", rows)
    spec = infer_label_spec(m, kind="softmax")
    assert spec.classes == ("eczema", "tinea", "psoriasis") and spec.is_soft
    labels = encode_labels(m, spec)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(labels[0], np.array([0.7, 0.2995, 0]) / 0.9995, rtol=1e-6)
    assert hard_labels(labels, spec).tolist() == [0, 2, 2, -1]
    assert treatment_counts(m, spec, policy())["ties"] == 1
    with pytest.raises(UserError, match=r"do not sum to 1 in 1 row\(s\): row 2 \(0.9\)"):
        m = manifest("a,b", ["0.5,0.4", "1,0"])
        encode_labels(m, infer_label_spec(m, kind="softmax"))
    with pytest.raises(UserError, match=r"'b' is no share from 0 to 1 in .*row 3 \(-1\).*sigmoid"):
        m = manifest("a,b", ["0.5,0.5", "1,-1"])
        encode_labels(m, infer_label_spec(m, kind="softmax"))
    with pytest.raises(UserError, match=r"'a' is no share .*row 2 \(nan\)"):
        m = manifest("a,b", ["nan,0.5", "1,0"])
        encode_labels(m, infer_label_spec(m, kind="softmax"))


def test_what_can_be_scored_of_findings():
    spec = LabelSpec("sigmoid", ("a", "b"), ("a", "b"))
    labels = np.float32([[1, 0.5], [np.nan, 0]])
    np.testing.assert_array_equal(
        hard_labels(labels, spec), np.float32([[1, np.nan], [np.nan, 0]])
    )
    assert strata_of(labels, spec) == ["1", "0"]
    classes = LabelSpec("softmax", ("a", "b"), ("dx",))
    assert hard_labels(np.int32([1, -1]), classes).tolist() == [1, -1]
    assert strata_of(np.int32([1, 0]), classes) == ["1", "0"]


def test_the_report_counts_every_treatment(manifest, tmp_path):
    m = manifest("Edema,Mass", ["-1,1", "-1,0", "0,", "1,"])
    chosen = policy("uncertain=soft,blank=ignore,Mass:uncertain=ones")
    counts = treatment_counts(m, infer_label_spec(m), chosen)
    assert counts == {
        "kind": "sigmoid",
        "images": 4,
        "labels": [
            {"label": "Edema", "positive": 1, "negative": 1, "uncertain": 2,
             "uncertain_as": "soft", "blank": 0, "blank_as": "ignore", "soft_value": 0.5},
            {"label": "Mass", "positive": 1, "negative": 1, "uncertain": 0,
             "uncertain_as": "ones", "blank": 2, "blank_as": "ignore"},
        ],
    }  # fmt: skip
    table = policy_table(counts)
    assert table.values.tolist() == [
        ["Edema", "1", "1", "2", "0.5", "0", ""],
        ["Mass", "1", "1", "0", "", "2", "unknown"],
    ]
    assert policy_remarks(counts) == [
        "Labels that are neither 1 nor 0 can be trained on, and are not scored."
    ]
    write_counts(tmp_path, counts)
    assert read_counts(tmp_path) == counts
    assert read_counts(tmp_path / "elsewhere") is None
    (tmp_path / "label_treatment.json").write_text('{"kind": "sigmoid"}')
    with pytest.raises(UserError, match="does not hold counts of labels"):
        read_counts(tmp_path)


def test_the_report_counts_classes(manifest):
    m = manifest("dx", ["nv", "nv", "mel"])
    counts = treatment_counts(m, infer_label_spec(m), policy())
    assert policy_table(counts).values.tolist() == [["mel", "1"], ["nv", "2"]]
    assert policy_remarks(counts) == []


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
    with pytest.raises(UserError, match="softmax has 2 columns for 3 classes"):
        infer_label_spec(m, kind="softmax", classes=["x", "y", "z"])
    with pytest.raises(UserError, match=r"'a' holds one class only, '1' \(2 cells\) among 2 row"):
        infer_label_spec(m, ["a"])
    with pytest.raises(UserError, match=r"label column 'dx' is empty among 2 row\(s\)"):
        infer_label_spec(manifest("dx", [" ", " "]))
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
