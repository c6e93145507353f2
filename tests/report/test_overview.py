import re

import pandas as pd
import pytest

from remedis_jax.data.leaks import STAMP, write_guard
from remedis_jax.errors import UserError
from remedis_jax.report.overview import report_from_experiments
from tests.report.conftest import write_experiment
from tests.report.test_leak_stamp import LEAKY, is_stamped

PLAIN = {"id": 1.6, 0.0: 0.2, 0.01: 0.3, 0.1: 0.7, 1.0: 1.2}
WORSE = {"id": 1.6, 0.0: -0.8, 0.01: -0.5, 0.1: 0.0, 1.0: 0.2}


@pytest.fixture(scope="module")
def folders(finished, tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks")
    never = write_experiment(
        root / "never", PLAIN, WORSE, seeds=(0, 1), title="Never_ there", notes=["Also invented."],
        minutes_per_label=3.0, margin=0.05,
    )  # fmt: skip
    return finished, never


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("overview")
    assert report_from_experiments(folders, out, resamples=60) == out / "report.html"
    return out


def test_overview_has_a_row_per_task_and_arm(written):
    markdown = (written / "report.md").read_text()
    start = "Labels of a new hospital | With SSL | AUROC | "
    (helped,) = [line for line in markdown.splitlines() if line.startswith(f"| {start}")]
    assert len(re.findall(r"[+−]?0\.\d{3} \([+−]?0\.\d{3} to [+−]?0\.\d{3}\)", helped)) == 2
    assert re.search(r"\| \d+(\.\d)?× \(.*×\) \|$", helped)
    (never,) = [line for line in markdown.splitlines() if line.startswith(r"| Never\_ there |")]
    assert never.count("never reached") >= 3 and never.endswith("never reached |")
    assert (
        "“With SSL” against the baseline, in 2 tasks: without any label of the new site better in "
        "1 and worse in 1; the baseline with all labels is matched with fewer labels in 1 and never"
        " reached in 1." in markdown
    )


def test_overview_has_figures_tables_tasks_limits_and_provenance(written):
    markdown = (written / "report.md").read_text()
    for name in ("settings", "saving", "curves"):
        assert f"(figures/{name}.png)" in markdown
        assert (written / "figures" / f"{name}.svg").is_file()
    headings = re.findall("^## (.*)$", markdown, re.MULTILINE)
    assert headings[4:6] == ["Labels of a new hospital", r"Never\_ there"]
    assert headings[-3:] == ["Leak guard", "Limits", "Provenance"]
    assert r"- Also invented. (of Never\_ there)" in markdown
    assert "no report of its own yet" in markdown
    assert len(re.findall("SHA-256 `[0-9a-f]{64}`", markdown)) == 4
    page = (written / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"https?:|url\(|<script|<link", page)
    assert str(written) not in page + markdown


def test_tables_hold_numbers_of_all_tasks(written):
    read = {path.stem: pd.read_csv(path) for path in (written / "tables").glob("*.csv")}
    assert set(read) == {
        "in_distribution_and_zero_shot", "label_saving", "non_inferiority", "curves", "provenance",
    }  # fmt: skip
    assert len(read["curves"]) == 2 * 2 * 4 and len(read["in_distribution_and_zero_shot"]) == 8
    savings = read["label_saving"].set_index("task")
    assert float(savings.loc["Labels of a new hospital", "saving"]) > 1
    assert savings.loc["Never_ there", "saving"] == "never reached"
    assert savings.loc["Never_ there", "margin"] == 0.05
    everything = "".join(path.read_text() for path in (written / "tables").glob("*.csv"))
    assert not re.search(r"\b(inf|nan)\b", everything, re.IGNORECASE)


def test_an_overview_without_values_says_why(experiment, tmp_path):
    only = {"id": 1.0, 0.0: 0.5, 1.0: 1.0}
    folder = experiment(tmp_path / "one", only, only, label=0, seeds=(0,))
    (folder / "report.html").write_text("there")
    report_from_experiments([folder], tmp_path / "out", resamples=10)
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "with everything else: ../one/report.html" in markdown
    assert "Not drawn: no value is defined" in markdown and "not comparable in 1" in markdown
    assert STAMP not in markdown
    assert not re.search(r"\b(inf|nan)\b", markdown, re.IGNORECASE)


def test_same_titles_other_labels_and_leaks(experiment, tmp_path):
    only = {"id": 1.0, 0.0: 0.5}
    arms = {
        "plain": {"label": "Supervised", "stages": []},
        "ssl": {"label": "SimCLR on skin", "stages": []},
    }
    experiment(tmp_path / "a", only, only, seeds=(0,))
    experiment(tmp_path / "b", only, only, seeds=(0,), arms=arms)
    write_guard(tmp_path / "b", LEAKY)
    report_from_experiments([tmp_path / "a", tmp_path / "b"], tmp_path / "out", resamples=10)
    assert is_stamped(tmp_path / "out")
    assert STAMP in (tmp_path / "out" / "figures" / "settings.svg").read_text()
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "## Labels of a new hospital (a)" in markdown and "hospital (b)" in markdown
    assert "**“ssl” against the baseline, in 2 tasks" in markdown
    assert "without an answer in 2" in markdown and "| not measured |" in markdown


def test_what_cannot_be_an_overview_is_refused(finished, tmp_path):
    for folders, out, message in (
        ([], tmp_path, "no experiment to report on"),
        ([finished, finished], tmp_path, "is given twice"),
        ([finished], finished, "is an experiment, and has a report of its own"),
        ([tmp_path / "none"], tmp_path, "experiment.json cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            report_from_experiments(folders, out)
