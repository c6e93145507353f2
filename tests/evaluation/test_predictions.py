import numpy as np
import pandas as pd
import pytest

from remedis_jax.errors import RunFailed, UserError
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    unlabelled,
    write_predictions,
)

GOOD = """image,group,site,split,label,p_no,p_yes
a.png,001,A,test,yes,0.25,0.75
b.png,001,A,test,no,0.5,0.5
"""
FINDINGS = """image,group,site,split,label_edema,label_mass,p_edema,p_mass
a.png,001,A,test,1,,0.25,0.75
b.png,002,A,test,0,1,0.5,0.5
"""


def read(tmp_path, text: str | bytes) -> pd.DataFrame:
    path = tmp_path / "predictions.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_predictions(path)


@pytest.mark.parametrize(("kind", "classes"), [("softmax", 2), ("softmax", 4), ("sigmoid", 3)])
def test_what_is_written_is_read_to_the_bit(tmp_path, table, kind, classes):
    written = table(kind, classes)
    written["p_ant"] = np.nextafter(written["p_ant"], 0.5)
    path = tmp_path / "deep" / "predictions.csv"
    write_predictions(path, written)
    pd.testing.assert_frame_equal(read_predictions(path), written, check_exact=True)
    first = path.read_bytes()
    write_predictions(path, written)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["predictions.csv"]


def test_ids_stay_text_and_arrays_are_what_the_rows_say(tmp_path):
    predictions = Predictions.from_table(read(tmp_path, GOOD))
    assert predictions.kind == "softmax" and predictions.classes == ("no", "yes")
    assert list(predictions.groups) == ["001", "001"]
    np.testing.assert_array_equal(predictions.y, [1, 0])
    np.testing.assert_array_equal(predictions.p, [[0.25, 0.75], [0.5, 0.5]])
    findings = Predictions.from_table(read(tmp_path, FINDINGS))
    assert findings.kind == "sigmoid" and findings.classes == ("edema", "mass")
    np.testing.assert_array_equal(findings.y, [[1, np.nan], [0, 1]])


def test_byte_order_mark_is_taken(tmp_path):
    assert list(read(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())["image"]) == ["a.png", "b.png"]


HOSTILE = {
    "no patient column": (GOOD.replace("group", "gruop"), "'group'.*mean 'gruop'"),
    "no label column": (GOOD.replace("label", "lable"), "'label'.*mean 'lable'"),
    "no scores": (GOOD.replace("p_no", "nope").replace("p_yes", "yep"), "p_<class>"),
    "one class": (GOOD.replace("p_no", "no"), "one class only"),
    "finding without score": (FINDINGS.replace("p_mass", "p_mas"), "label_mas"),
    "both kinds": (GOOD.replace("split", "split,label_yes").replace("test", "test,1"), "both"),
    "decimal commas": (GOOD.replace(",", ";").replace(".75", ",75"), "'p_yes' is '0,75', not a"),
    "NaN score": (GOOD.replace("0.75", "nan"), "line 2: 'p_yes' is blank or NaN"),
    "blank score": (GOOD.replace("0.75", ""), "line 2: 'p_yes' is blank or NaN"),
    "score above one": (GOOD.replace("0.75", "1.75"), "line 2: 'p_yes' is 1.75"),
    "infinite score": (GOOD.replace("0.75", "inf"), "line 2: 'p_yes' is inf"),
    "negative score": (GOOD.replace("0.75", "-0.1"), "line 2: 'p_yes' is -0.1"),
    "comma as decimal point": (GOOD.replace("0.75", '"0,75"'), "line 2: 'p_yes' is '0,75', not a"),
    "scores that do not sum to one": (GOOD.replace("0.75", "0.6"), "line 2: .* sum to 0.85"),
    "image twice": (GOOD.replace("b.png", "a.png"), "line 3: image 'a.png'.*twice"),
    "blank image": (GOOD.replace("b.png", ""), "line 3: 'image' is blank"),
    "blank patient": (GOOD.replace("a.png,001", "a.png,"), "line 2: 'group' is blank"),
    "unknown class": (GOOD.replace("test,yes", "test,Yes"), "line 2: label 'Yes'.*mean 'yes'"),
    "finding that is no flag": (FINDINGS.replace("0,1,", "0,2,"), "line 3: 'label_mass' is '2'"),
    "no rows": (GOOD.splitlines()[0] + "\n", "holds no images"),
    "empty file": ("", "empty"),
    "short row": (GOOD + "c.png,3\n", "line 4: 'p_no' is blank"),
    "long row": (GOOD + "c.png,3,A,test,yes,0.5,0.5,7\n", "not a CSV"),
    "long rows only": (GOOD.splitlines()[0] + "\nc.png,3,A,test,yes,0.5,0.5,7\n", "as many cells"),
    "another encoding": (GOOD.replace("A", "Ä").encode("latin-1"), "UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_with_its_place(tmp_path, case):
    text, message = HOSTILE[case]
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.remedy
    assert "predictions.csv" in caught.value.problem


def test_missing_file_and_missing_folder_are_named(tmp_path, table):
    with pytest.raises(UserError, match="nothing.csv cannot be read"):
        read_predictions(tmp_path / "nothing.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="could not be written"):
        write_predictions(tmp_path / "file" / "predictions.csv", table("softmax", 2))


def test_a_bad_table_is_not_written(tmp_path, table):
    path = tmp_path / "predictions.csv"
    write_predictions(path, table("softmax", 2))
    before = path.read_bytes()
    with pytest.raises(UserError, match="NaN"):
        write_predictions(path, table("softmax", 2).assign(p_bee=np.nan))
    assert path.read_bytes() == before


def test_images_without_label_can_be_kept_but_not_scored(tmp_path):
    p = np.array([[0.5, 0.5], [0.1, 0.9]])
    table = predictions_table("softmax", ("no", "yes"), ["a", "b"], p, np.array([-1, 1]))
    assert table["label"].tolist() == ["", "yes"] and table["group"].tolist() == ["a", "b"]
    write_predictions(tmp_path / "p.csv", table)
    read = read_predictions(tmp_path / "p.csv")
    assert unlabelled(read).tolist() == [True, False]
    scored = Predictions.from_table(read)
    assert scored.images.tolist() == ["b"] and scored.y.tolist() == [1]
    findings = predictions_table("sigmoid", ("no", "yes"), ["a", "b"], p)
    assert unlabelled(findings).tolist() == [False, False]
    assert len(Predictions.from_table(findings).images) == 2


def test_labels_that_do_not_exist_are_an_error():
    p = np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match="y must be in"):
        predictions_table("softmax", ("no", "yes"), ["a"], p, np.array([2]))
    with pytest.raises(ValueError, match="1, 0 or NaN"):
        predictions_table("sigmoid", ("no", "yes"), ["a"], p, np.array([[0.5, 1]]))


def test_rounding_beyond_one_is_clipped_and_no_more():
    p = np.array([[1 + 1e-7, -1e-7], [1.1, -0.1]])
    table = predictions_table("softmax", ("no", "yes"), ["a", "b"], p)
    np.testing.assert_array_equal(table[["p_no", "p_yes"]], [[1, 0], [1.1, -0.1]])



def test_positive_class_must_be_one_of_two(table):
    with pytest.raises(UserError, match="mean 'bee'"):
        Predictions.from_table(table("softmax", 2), positive="bees")
    with pytest.raises(UserError, match="positive class"):
        Predictions.from_table(table("softmax", 4), positive="bee")
