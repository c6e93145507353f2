"""`remedis report` tells what it was given, and does not report on a mixture."""

import pytest


@pytest.fixture
def folders(tmp_path):
    for name, file in (("run", "metrics.jsonl"), ("other", "metrics.jsonl"), ("empty", "x.txt"),
                       ("first", "experiment.json"), ("evaluated", "predictions.csv")):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty"], "is no experiment, run or predictions file"),
        (["absent.csv"], "is no experiment, run or predictions file"),
        (["run", "evaluated"], "evaluated is predictions"),
        (["run", "other"], "several runs have no common report"),
        (["run", "--by", "age"], "characteristics: an option of predictions files"),
        (["first", "--operating-point", "youden"], "operating_point: an option of predictions"),
        (["evaluated", "evaluated"], "is given twice"),
    ],
)
def test_what_cannot_be_reported_on_is_one_line(arguments, said, folders, refused):
    paths = [folders / text if not text.startswith("--") and text in
             ("run", "other", "empty", "first", "evaluated", "absent.csv") else text
             for text in arguments]  # fmt: skip
    assert said in refused("report", *paths)


def test_several_experiments_have_an_overview(folders, remedis, monkeypatch):
    (folders / "second").mkdir()
    (folders / "second" / "experiment.json").write_text("{}")
    asked = []

    def overview(dirs, out, *, show):
        asked.append((dirs, out))
        return out / "report.html"

    monkeypatch.setattr("remedis_jax.report.page.report_from_experiments", overview)
    outcome = remedis("report", folders / "first", folders / "second")
    assert outcome.code == 0, outcome.err
    assert asked == [([folders / "first", folders / "second"], folders / "overview")]
