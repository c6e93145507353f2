"""Predictions as other tools write them: read where it is clear, refused where it is not."""

import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import parse_columns
from remedis_jax.evaluation.foreign_columns import mapping_sentence
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)

SCORES = (0.25, 0.5, 0.875)


def read(tmp_path, text: str, ending: str = ".csv", **options) -> pd.DataFrame:
    path = tmp_path / f"table{ending}"
    path.write_text(text)
    return read_predictions(path, **options)


def rows(header: str, *lines: str) -> str:
    return "\n".join([header, *lines]) + "\n"


BINARY = {
    "scikit-learn": (
        rows("file,patient_id,y_true,y_pred,y_score", "a,7,0,0,.25", "b,7,1,1,.5", "c,8,1,1,.875"),
        {"image": "file", "group": "patient_id", "label": "y_true", "p_0": "1 - y_score",
         "p_1": "y_score"},
    ),
    "floats as labels": (
        rows("filename,PatientID,target,prob", "a,7,0.0,.25", "b,7,1.0,.5", "c,8,1.0,.875"),
        {"image": "filename", "group": "PatientID", "label": "target", "p_0": "1 - prob",
         "p_1": "prob"},
    ),
    "probability of each class": (
        rows("img_path,subject_id,gt,prob_0,prob_1,site", "a,7,0,.75,.25,A", "b,7,1,.5,.5,A",
             "c,8,1,.125,.875,B"),
        {"image": "img_path", "group": "subject_id", "site": "site", "label": "gt",
         "p_0": "prob_0", "p_1": "prob_1"},
    ),
    "AutoGluon": (
        rows("image,case_id,label,0,1", "a,7,0,.75,.25", "b,7,1,.5,.5", "c,8,1,.125,.875"),
        {"image": "image", "group": "case_id", "label": "label", "p_0": "0", "p_1": "1"},
    ),
    "slideflow": (
        rows("slide,patient,er-y_true,er-y_pred0,er-y_pred1", "a,7,0,.75,.25", "b,7,1,.5,.5",
             "c,8,1,.125,.875"),
        {"image": "slide", "group": "patient", "label": "er-y_true", "p_0": "er-y_pred0",
         "p_1": "er-y_pred1"},
    ),
    "a score beside its equal": (
        rows("Image Index,Patient ID,label,probability_1,score", "a,7,0,.25,.25", "b,7,1,.5,.5",
             "c,8,1,.875,.875"),
        {"image": "Image Index", "group": "Patient ID", "label": "label",
         "p_0": "1 - probability_1", "p_1": "probability_1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", BINARY)
def test_two_classes_of_other_tools(tmp_path, tool):
    text, mapping = BINARY[tool]
    table = read(tmp_path, text)
    assert table.attrs["columns"] == mapping
    predictions = Predictions.from_table(table)
    assert predictions.kind == "softmax" and predictions.classes == ("0", "1")
    np.testing.assert_array_equal(predictions.y, [0, 1, 1])
    np.testing.assert_array_equal(predictions.p[:, 1], SCORES)
    assert list(predictions.groups) == ["7", "7", "8"] and list(predictions.images) == list("abc")
    assert mapping_sentence(table).startswith(f"Read image from {mapping['image']}, group from ")


def test_patient_predictions_of_stamp_have_a_row_for_each_patient(tmp_path):
    text = rows("PATIENT,KRAS,pred,KRAS_mut,KRAS_wt,loss", "P1,mut,mut,.75,.25,.3",
                "P2,wt,mut,.5,.5,.7", "P3,,wt,.125,.875,")  # fmt: skip
    table = read(tmp_path, text)
    assert table.attrs["columns"] == {
        "image": "PATIENT", "group": "PATIENT", "label": "KRAS", "p_mut": "KRAS_mut",
        "p_wt": "KRAS_wt",
    }  # fmt: skip
    predictions = Predictions.from_table(table)
    assert predictions.classes == ("mut", "wt") and list(predictions.images) == ["P1", "P2"]
    assert table["pred"].tolist() == ["mut", "mut", "wt"]


@pytest.mark.parametrize(
    "header",
    [
        "image,patient,edema_true,edema_pred,mass_true,mass_pred",
        "image,patient,edema,edema_prob,mass,mass_prob",
        "image,patient,y_true_edema,y_prob_edema,y_true_mass,y_prob_mass",
        "image,patient,label_edema,p_edema,label_mass,p_mass",
    ],
)
def test_findings_of_other_tools(tmp_path, header):
    table = read(tmp_path, rows(header, "a,7,1,.75,,.25", "b,8,0.0,.5,1.0,.25"))
    predictions = Predictions.from_table(table)
    assert predictions.kind == "sigmoid" and predictions.classes == ("edema", "mass")
    np.testing.assert_array_equal(predictions.y, [[1, np.nan], [0, 1]])
    np.testing.assert_array_equal(predictions.p, [[0.75, 0.25], [0.5, 0.25]])
    assert table.attrs["columns"]["label_mass"] == header.split(",")[-2]


def test_several_classes_by_their_own_names_in_three_kinds_of_file(tmp_path):
    text = rows("id,patient_id,dx,akiec,bcc,nv,age", "a,007,nv,.25,.25,.5,60", "b,7,bcc,0,1,0,")
    with pytest.raises(UserError, match="line 2: the scores of the classes sum to 0.75"):
        read(tmp_path, text)  # no label says that akiec is a class
    text += "c,8,akiec,.5,.5,0,70\n"
    table = read(tmp_path, text)
    assert Predictions.from_table(table).classes == ("akiec", "bcc", "nv")
    assert table["group"].tolist() == ["007", "7", "8"]
    assert table["age"].tolist() == ["60", "", "70"]
    for ending, separator in ((".tsv", "\t"), (".csv", ";")):
        pd.testing.assert_frame_equal(read(tmp_path, text.replace(",", separator), ending), table)
    frame = pd.read_csv(tmp_path / "table.csv", sep=";", dtype={"patient_id": str})
    frame.to_parquet(tmp_path / "table.parquet")
    from_parquet = read_predictions(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(from_parquet, table)


def test_the_user_says_which_columns_are_meant(tmp_path):
    text = rows("file,path,subject,case,y,target,out,hospital", "a,x,1,5,ill,0,.25,A",
                "b,y,1,6,well,1,.5,A", "c,z,2,7,ill,1,.875,B")  # fmt: skip
    columns = parse_columns(
        ["image=path", "label=y", "p_ill=out", "site=", "group=subject"], ("score", "p_", "label_")
    )
    table = read(tmp_path, text, columns=columns)
    predictions = Predictions.from_table(table)
    assert predictions.classes == ("well", "ill") and predictions.y.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(predictions.p[:, 1], SCORES)
    assert list(predictions.images) == list("xyz") and set(table["site"]) == {""}
    assert table["hospital"].tolist() == ["A", "A", "B"]
    columns = {"image": "file", "label": "target", "score": "out"}
    by_case = read(tmp_path, text, group="case", columns=columns)
    assert by_case["group"].tolist() == ["5", "6", "7"]
    assert by_case["p_1"].tolist() == list(SCORES)
    findings = {"image": "file", "label_A": "target", "p_A": "out"}
    table = read(tmp_path, text, group="image", columns=findings)
    assert Predictions.from_table(table).kind == "sigmoid"
    assert table["group"].tolist() == list("abc")


def test_our_own_files_are_read_as_before_and_may_name_another_group(tmp_path):
    own = predictions_table(
        "softmax", ("no", "yes"), ["a", "b"], np.array([[0.25, 0.75], [0.5, 0.5]]),
        np.array([1, 0]), groups=["1", "2"],
    ).assign(lesion="L", patient_id="1")  # fmt: skip
    path = tmp_path / "own.csv"
    write_predictions(path, own)
    table = read_predictions(path)
    pd.testing.assert_frame_equal(table, own)
    assert "columns" not in table.attrs and mapping_sentence(table) == ""
    by_lesion = read_predictions(path, group="lesion")
    assert set(by_lesion["group"]) == {"L"} and by_lesion.attrs["columns"] == {"group": "lesion"}
    pd.testing.assert_frame_equal(by_lesion.drop(columns="group"), own.drop(columns="group"))
    assert read_predictions(path, group="image")["group"].tolist() == ["a", "b"]
    with pytest.raises(UserError, match="no column 'lesoin'.* mean 'lesion'"):
        read_predictions(path, group="lesoin")


GOOD = rows("file,patient_id,y_true,y_prob", "a,7,0,.25", "b,7,1,.5")
REFUSED = {
    "two images": (GOOD.replace("file,", "file,path,").replace("a,7", "a,x,7").replace(
        "b,7", "b,y,7"), "image could be column 'file' or 'path'.*--column image=file"),
    "two labels": (GOOD.replace("y_prob", "y_prob,gt").replace(".25", ".25,1").replace(
        ".5", ".5,1"), "label could be column 'y_true' or 'gt'.*--column label=y_true"),
    "two scores": (GOOD.replace("y_prob", "y_prob,score").replace(".25", ".25,.2").replace(
        ".5", ".5,.2"), "scores could be in 'y_prob' or 'score'.*--column p_1=NAME"),
    "no image": (GOOD.replace("file", "who"), "no column 'image'.*--column image=NAME"),
    "no patient": (GOOD.replace("patient_id", "age"), "no column 'group'.*--group image says"),
    "no label": (GOOD.replace("y_true", "truthiness"), "no column 'label'.*--column label=NAME"),
    "no score": (GOOD.replace("y_prob", "logit"), "no scores of the labels 0, 1.*p_CLASS=NAME"),
    "whose score": (GOOD.replace(",0,", ",ill,").replace(",1,", ",well,"),
                    "'y_prob' does not say which of 'ill' and 'well'.*--column p_well=y_prob"),
    "score without label": (rows("file,group,a_true,a_prob,b_prob", "x,7,1,.5,.5"),
                            "'b_prob' has no partner of the form 'X_true' with 'X_prob'"),
    "findings in two ways": (rows("file,group,a_true,a_prob,a_score", "x,7,1,.5,.5"),
                             "X_true with X_prob or as X_true with X_score"),
    "a class and findings": (rows("file,group,label,a_true,a_prob", "x,7,1,1,.5"),
                             "label column 'label' and labels of findings, such as 'a_true'"),
    "NaN": (GOOD.replace(".5", "nan"), "line 3: 'y_prob' is blank or NaN"),
    "above one": (GOOD.replace(".5", "1.5"), "line 3: 'y_prob' is 1.5.*not logits"),
    "no number": (GOOD.replace(".5", "high"), "line 3: 'y_prob' is 'high', not a number"),
    "image twice": (GOOD.replace("b,", "a,"), "line 3: image 'a' stands in the file twice"),
    "blank patient": (GOOD.replace("b,7", "b,"), "line 3: 'group' is blank"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_in_one_line(tmp_path, case):
    text, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert "table.csv" in caught.value.problem and "\n" not in str(caught.value)


def test_one_class_only_is_read_and_its_scores_are_kept(tmp_path):
    table = read(tmp_path, GOOD.replace(",0,", ",1,"))
    assert Predictions.from_table(table).classes == ("0", "1") and set(table["label"]) == {"1"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [("image", "says nothing"), ("imag=a", "names no role. Did you mean 'image'"),
     ("p_=a", "names no role"), ("label=b", "names the role 'label' again")],
)  # fmt: skip
def test_a_column_option_that_says_nothing(text, problem):
    with pytest.raises(UserError, match=problem) as caught:
        parse_columns(["label=a", text], ("score", "p_"))
    assert "image, group, label, site, split, score, p_NAME" in caught.value.remedy
