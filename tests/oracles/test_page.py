"""The page of a report in a real browser; what it checks is said in `check_page.py`.

Here rather than among the other tests, which need no browser.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remedis_jax.report.checklist_section import checklist_section
from remedis_jax.report.demographics_section import demographics_section
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.figures import RocCurve, roc_figure
from remedis_jax.report.flow_section import flow_section
from remedis_jax.report.provenance_section import provenance_section
from remedis_jax.report.tables import markdown_table

SCRIPT = Path(__file__).with_name("check_page.py")
LONG = "predictions_of_the_second_model_with_a_name_that_has_no_space_anywhere.csv"
BAD = """<!doctype html><html><head><meta name="viewport" content="width=device-width"></head><body>
<h1>A</h1><h3>B</h3><img src="http://127.0.0.1:9/x.png"><div style="width: 3000px">wide</div>
<a href="#nowhere">lost</a><script>console.log("heard")</script></body></html>"""


def check(page: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), str(page), "--out", str(page.parent / "shots")]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture
def page(tmp_path) -> Path:
    y = np.array([0, 1, 0, 1])
    curve = RocCurve("x", y, np.array([0.1, 0.4, 0.35, 0.8]))
    roc_figure(tmp_path / "figures" / "roc.png", [curve])
    wide = pd.DataFrame([["0.990 (0.973–0.999)"] * 12], columns=[f"column {i}" for i in range(12)])
    rows = pd.DataFrame(
        {"part": "a test", "image": list("abcd"), "group": list("aabb"), "label": list("nyny")}
    )
    flow = {
        "part": LONG, "manifest": LONG, "rows": 9, "images": 4, "patients": 2,
        "excluded": {"no label": 5},
    }  # fmt: skip
    sections = (
        Section("ROC", "![Curve](figures/roc.png)\n\n*By image.*", {"wide": wide}),
        Section(LONG, f"{markdown_table(wide)}\n\n{LONG}"),
        flow_section([flow], tmp_path),
        demographics_section(rows),
        checklist_section({"metrics": ("AUROC.", "ROC")}),
        provenance_section(json.loads(json.dumps({"command": f"remedis report {LONG}"}))),
    )
    banner = "LEAKAGE ALLOWED: a patient of the test is in the training data."
    return write_report(tmp_path, Document("Title", "Lead", sections, {}, banner))


def test_a_report_is_quiet_and_fits(page):
    done = check(page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout
    shots = {path.name for path in (page.parent / "shots").iterdir()}
    assert {"phone-0.png", "phone-open-0.png", "desk-0.png", "dark-0.png", "printed.pdf"} <= shots


def test_a_bad_page_is_found_out(tmp_path):
    (tmp_path / "bad.html").write_text(BAD)
    done = check(tmp_path / "bad.html")
    assert done.returncode == 1
    for problem in (
        "phone: console: ['heard']", "phone: request: http://127.0.0.1:9/x.png",
        "phone: the page is 30", "desk: the page is 30", "the link #nowhere leads nowhere",
        "an image is not shown or has no text", "levels of headings are left out: [1, 3]",
    ):  # fmt: skip
        assert problem in done.stdout, (problem, done.stdout)
