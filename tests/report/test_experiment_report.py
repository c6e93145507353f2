import json
import re
import shutil

import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import paired_seed_difference
from remedis_jax.evaluation.curves import NoCrossing
from remedis_jax.evaluation.experiment_cells import read_cells
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.report.experiment import NOT_DRAWN, reading_section, result_sentence
from remedis_jax.report.experiment_results import evaluate_experiment
from remedis_jax.report.experiment_tables import results_table
from remedis_jax.report.page import report_from_experiment
from remedis_jax.report.wording import interval_text

PLAIN = {"id": 1.6, 0.0: 0.2, 0.01: 0.3, 0.1: 0.7, 1.0: 1.2}
CELL = re.compile(r"0\.\d{3} \(0\.\d{3}–[01]\.\d{3}\)")


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert report_from_experiment(finished, out, resamples=100) == out / "report.html"
    return out


def test_report_holds_figure_and_a_row_per_setting(written):
    markdown = (written / "report.md").read_text()
    for figure in ("label_fractions", "id_ood"):
        assert f"(figures/{figure}.png)" in markdown
        assert (written / "figures" / f"{figure}.png").is_file()
    section = markdown.partition("\n## Results\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| Hospital")]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| Hospital A, in distribution", "none", ""],
        ["| Hospital B, zero-shot", "none", ""],
        ["| Hospital B, fine-tuned", "1%", "4 / 10"],
        ["| Hospital B, fine-tuned", "10%", "40 / 100"],
        ["| Hospital B, fine-tuned", "100%", "400 / 1,000"],
    ]
    for row in rows:
        assert len(CELL.findall(row)) == 2, row  # one per arm
        assert re.search(r"\| [+−]?0\.\d{3} \([+−]?0\.\d{3} to [+−]?0\.\d{3}\) \|$", row), row


def test_report_says_what_was_done_how_to_read_it_and_what_it_is_not(written):
    markdown = (written / "report.md").read_text()
    for text in (
        "- **With SSL**: natural images → SimCLR → fine-tuning",
        "| A training | not recorded | not recorded | 3,750 | 1,500 | not recorded |",
        "Not for clinical use",
        "The difference is With SSL − Supervised",
        "100 resamples",
        "Scores are by image",
        "- The images are invented.",
        "remedis sweep --config x.py --out runs/x",
        "jax 0.10.2",
        '"seeds": [\n  0,',
        "a p of 0.5 or more is called positive",
        "○ **3** The clinical problem",
    ):
        assert text in markdown, text


def test_page_has_its_figures_inside_and_no_address(written):
    page = (written / "report.html").read_text()
    figures = re.findall(r"\(figures/([\w.-]+)\)", (written / "report.md").read_text())
    assert page.count("data:image/png;base64,") == len(figures) >= 5
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', page)) == {"data:"}
    assert not re.search(r"https?:|url\(|<script|<link", page)


def test_report_is_the_same_bytes_again(written, finished, tmp_path):
    report_from_experiment(finished, tmp_path, resamples=100)
    for name in ("report.md", "report.html", "figures/label_fractions.png", "figures/id_ood.png"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_numbers_are_those_of_the_paired_bootstrap(finished):
    results = evaluate_experiment(finished, resamples=50, seed=2)
    runs = {
        arm: [
            Predictions.from_table(read_predictions(cell.predictions))
            for cell in read_cells(finished / "cells.jsonl")
            if (cell.arm, cell.fraction, cell.stage) == (arm, 0.1, "ood_finetuned")
        ]
        for arm in ("plain", "ssl")
    }
    expected = paired_seed_difference(runs["ssl"], runs["plain"], "auroc", resamples=50, seed=2)
    assert results.differences["ssl", ("ood_finetuned", 0.1)] == expected
    assert results.baseline.fraction == 1
    assert 0.01 < results.savings["ssl"].crossing.value < 0.1


def test_levels_are_told_apart(experiment, tmp_path):
    results = evaluate_experiment(experiment(tmp_path, level="group"), resamples=20)
    assert "Scores are by patient (mean over" in reading_section(results, 20).markdown
    assert len(results.baseline.runs.reference.y) == 80


WORDING = {
    "better": ({**PLAIN, 0.0: 1.5, 0.01: 1.6}, "is better than"),
    "equal": (PLAIN, "is not distinguishable from"),
    "worse": ({**PLAIN, 0.0: -0.8, 0.01: -0.5, 0.1: 0.0, 1.0: 0.2}, "is worse than"),
}


@pytest.mark.parametrize("case", WORDING)
def test_result_says_what_the_intervals_allow(experiment, tmp_path, case):
    ssl, words = WORDING[case]
    results = evaluate_experiment(experiment(tmp_path, PLAIN, ssl), resamples=200)
    sentence = result_sentence(results)
    assert sentence.startswith(f"Without any label of Hospital B, “With SSL” {words} “Supervised”")
    others = {phrase for _, phrase in WORDING.values()} - {words}
    assert not any(phrase in sentence for phrase in others)
    reached = {
        "better": "it is level with “Supervised” with all Hospital B's labels without a single one",
        "worse": "it does not reach “Supervised” with all Hospital B's labels at any measured",
    }
    assert reached.get(case, "“Supervised” with all Hospital B's labels") in sentence
    if case == "worse":
        assert results.savings["ssl"].crossing.value is NoCrossing.NEVER_REACHED


def test_experiment_without_values_is_reported_with_reasons(experiment, tmp_path):
    experiment(tmp_path, label=0)
    report_from_experiment(tmp_path, resamples=20)
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.count("not defined (only negatives, n=160)") >= 10
    assert "cannot be compared" in markdown
    assert "nan" not in re.findall(r"\w+", markdown.lower())
    for name in ("label_fractions.png", "id_ood.png"):
        assert not (tmp_path / "figures" / name).exists()
    assert markdown.count(NOT_DRAWN) == 2


def test_unfinished_experiment_is_reported_as_far_as_it_is(experiment, tmp_path):
    experiment(tmp_path)
    path = tmp_path / "cells.jsonl"
    cells = [json.loads(line) for line in path.read_text().splitlines()]
    cells = [c for c in cells if not (c["arm"] == "ssl" and c["seed"] == 2 and c["fraction"] == 1)]
    cells = [c for c in cells if not (c["arm"] == "plain" and c["fraction"] == 0.01)]
    path.write_text("".join(json.dumps(c) + "\n" for c in cells))
    results = evaluate_experiment(tmp_path, resamples=20)
    difference = results.differences["ssl", ("ood_finetuned", 1.0)]
    assert difference == NotDefined("the arms have different seeds, 0, 1 and 0, 1, 2")
    table = results_table(results)
    assert table.iloc[2]["Supervised"] == "" and table.iloc[2]["Difference"] == ""
    point = results.points["ssl", "ood_finetuned", 0.01]
    assert table.iloc[2]["With SSL"] == interval_text(point.interval)


def test_baseline_without_all_labels_is_named_so(experiment, tmp_path):
    half = {k: v for k, v in PLAIN.items() if k != 1.0}
    results = evaluate_experiment(experiment(tmp_path, half, half), resamples=20)
    assert "“Supervised” with 10% of Hospital B's labels" in result_sentence(results)
    none = {"id": 1.0, 0.0: 0.5}
    shutil.rmtree(tmp_path / "cells")
    results = evaluate_experiment(experiment(tmp_path, none, none), resamples=20)
    assert not results.savings
    assert result_sentence(results).endswith("labels was not measured.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "aurco"}, "mean 'auroc'"),
        ({"ssl_arms": ["sl"]}, "ssl_arms 'sl' is no arm. Did you mean 'ssl'"),
        ({"arms": []}, "'arms' is missing or is no dict"),
        ({"level": "patient"}, "level is 'patient'"),
        ({"arms": {"plain": {"label": "P", "stages": []}}, "ssl_arms": ["plain"]}, "of arm 'ssl'"),
    ],
)
def test_bad_records_are_refused(experiment, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        evaluate_experiment(experiment(tmp_path, seeds=(0,), **changes), resamples=10)


def test_a_folder_without_experiment_is_refused(tmp_path):
    with pytest.raises(UserError, match="experiment.json cannot be read"):
        report_from_experiment(tmp_path)
    (tmp_path / "experiment.json").write_text("[]")
    with pytest.raises(UserError, match="'title' is missing"):
        report_from_experiment(tmp_path)
