import json

import pytest

from remedis_jax.errors import UserError
from remedis_jax.report.page import report_from_run


def write_run(folder, steps=12, *, finished=True, tail=""):
    lines = [
        {"step": s, "loss": 2 / s, "learning_rate": 0.1, "examples_per_second": 50.0}
        for s in range(1, steps + 1)
    ]
    lines.append({"step": steps, "validation_auroc": 0.75, "validation_auroc/cat": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines) + tail
    (folder / "metrics.jsonl").write_text(text)
    (folder / "config.json").write_text(json.dumps({"stage": "supervised", "seed": 7}))
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
