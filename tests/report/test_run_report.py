import json

import pytest

from remedis_jax.errors import UserError
from remedis_jax.evaluation.histograms import read_histograms, write_histograms
from remedis_jax.report.page import report_from_run


def write_run(folder, steps=12, *, finished=True, tail=""):
    lines = [
        {"step": s, "loss": 2 / s, "learning_rate": 0.1, "examples_per_second": 50.0}
        for s in range(1, steps + 1)
    ]
    lines.append({"step": steps, "validation_auroc": 0.75, "validation_auroc/cat": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines) + tail
    (folder / "metrics.jsonl").write_text(text)
    config = {"stage": "supervised", "seed": 7, "batch_size": 10}
    (folder / "config.json").write_text(json.dumps(config))
    if finished:
        (folder / "result.json").write_text("{}")
    return folder


def test_run_is_reported_with_curves_and_config(tmp_path):
    report_from_run(write_run(tmp_path))
    markdown = (tmp_path / "report.md").read_text()
    assert "The run is finished: step 12, loss 0.1667." in markdown
    assert "| loss | 2 | 0.1667 | 0.1667 | 2 |" in markdown
    assert "| validation\\_auroc | 0.75 | 0.75 | 0.75 | 0.75 |" in markdown
    assert '"seed": 7' in markdown
    assert (tmp_path / "figures" / "training.png").is_file()
    assert "data:image/png" in (tmp_path / "report.html").read_text()


def test_monitored_run_shows_its_representation(tmp_path):
    measured = [
        {"step": step, "monitor_rankme": 5.0, "monitor_alignment": 0.2, "monitor_uniformity": -1.0,
         "monitor_feature_std": 0.4, "monitor_seconds": seconds}
        for step, seconds in ((0, 9.0), (6, 0.012), (12, 0.012))
    ]  # fmt: skip
    write_run(tmp_path, tail="".join(json.dumps(line) + "\n" for line in measured))
    report_from_run(tmp_path)
    assert (tmp_path / "figures" / "monitor.png").is_file()
    assert not (tmp_path / "figures" / "similarity.png").exists()
    row = {"edges": [-1.0, 0.0, 1.0], "positive": [0, 4], "negative": [9, 3]}
    for step in (0, 6, 12):
        write_histograms(tmp_path / "histograms.jsonl", {"step": step, **row})
    # Steps that were made again after a resume are there once.
    write_histograms(tmp_path / "histograms.jsonl", {"step": 6, **row})
    assert [line["step"] for line in read_histograms(tmp_path / "histograms.jsonl")] == [0, 6]
    report_from_run(tmp_path)
    assert (tmp_path / "figures" / "similarity.png").is_file()
    markdown = (tmp_path / "report.md").read_text()
    assert "## Representation" in markdown
    # Six steps of 10 images at 50 a second take 1.2 s.
    assert "A measurement took 0.012 s, that is 1% of the time of the 6 steps" in markdown
    (tmp_path / "histograms.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match="histograms.jsonl, line 1 holds no histogram"):
        report_from_run(tmp_path)


def test_killed_run_is_reported_without_its_half_line(tmp_path):
    write_run(tmp_path, finished=False, tail='{"step": 13, "lo')
    report_from_run(tmp_path, tmp_path / "out")
    assert "The run is not finished: step 12" in (tmp_path / "out" / "report.md").read_text()


def test_diverged_run_is_reported(tmp_path):
    write_run(tmp_path, tail='{"step": 13, "loss": NaN, "grad_norm": Infinity}\n')
    report_from_run(tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "step 13, loss 0.1667" in markdown
    assert "| grad\\_norm | not finite | not finite | not finite | not finite |" in markdown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "line 1 is no JSON object with a step"),
        ('{"loss": 1}\n', "line 1 is no JSON object with a step"),
        ('{"step": 1}\n', "no step with a loss"),
        ("", "no step with a loss"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    write_run(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        report_from_run(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="metrics.jsonl cannot be read"):
        report_from_run(tmp_path)
    (write_run(tmp_path) / "config.json").unlink()
    with pytest.raises(UserError, match="config.json cannot be read"):
        report_from_run(tmp_path)
