"""Six predictions files that should not be, each through the function and through the command."""

import json

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.predictions import predictions_table
from remedis_jax.report.page import report_from_predictions

N = 60


def good():
    rng = np.random.default_rng(0)
    p = rng.random(N).round(3)
    y = (rng.random(N) < p).astype(int)
    return predictions_table(
        "softmax", ("no", "yes"), [f"{i}.png" for i in range(N)], np.stack([1 - p, p], axis=1), y,
        groups=[f"p{i // 2}" for i in range(N)],
    )  # fmt: skip


def nan_scores(table):
    table["p_yes"] = table["p_yes"].astype(object)
    table.loc[3, "p_yes"] = "nan"
    return table


def twice(table):
    table.loc[7, "image"] = table.loc[2, "image"]
    return table


def outside(table):
    table.loc[4, ["p_no", "p_yes"]] = [-0.2, 1.2]
    return table


def without_group(table):
    return table.drop(columns="group")


def one_class(table):
    return table.assign(label="no")


def ten_patients(table):
    return table.assign(group=[f"p{i % 10}" for i in range(N)])


# The file, options, and what is said: of a refusal its line, else what stands on the page.
REFUSED = [
    (nan_scores, {}, ["line 5", "p_yes", "NaN"]),
    (twice, {}, ["line 9", "'2.png' stands in the file twice"]),
    (outside, {}, ["line 6", "between 0 and 1"]),
    (without_group, {"group": "patient"}, ["patient"]),
]
REPORTED = [
    (one_class, "not defined (only negatives, n=60)"),
    (ten_patients, "10 patients are few, and percentile intervals of fewer than 30 are too narrow"),
]


def by_name(value):
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("spoil", "options", "said"), REFUSED, ids=by_name)
def test_a_file_that_cannot_be_read_is_one_line(spoil, options, said, tmp_path, refused):
    path = tmp_path / "bad.csv"
    spoil(good()).to_csv(path, index=False)
    with pytest.raises(UserError) as error:
        report_from_predictions([path], tmp_path / "out", **options)
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    line = refused("report", path, "--out", tmp_path / "out", *flags)
    for words in said:
        assert words in str(error.value) and words in line
    assert "bad.csv" in line and error.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("spoil", "said"), REPORTED, ids=by_name)
def test_a_file_that_says_little_is_reported_with_its_reasons(spoil, said, tmp_path, remedis):
    path = tmp_path / "bad.csv"
    spoil(good()).to_csv(path, index=False)
    by_command, by_function = tmp_path / "command", tmp_path / "function"
    outcome = remedis("report", path, "--out", by_command, "--resamples", "10")
    assert outcome.code == 0, outcome.err
    report_from_predictions([path], by_function, resamples=10, beyond=False)
    for folder in (by_command, by_function):
        assert said in (folder / "report.md").read_text().replace("\\", "")
        text = (folder / "metrics.json").read_text()
        assert "NaN" not in text and json.loads(text)
    page = (by_command / "report.md").read_text()
    assert ("not shown, as there are fewer than 10 events" in page) == (spoil is one_class)
    assert "Failure gallery" in page
