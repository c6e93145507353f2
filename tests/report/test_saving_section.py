import re

import pytest
from PIL import Image

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.curves import LabelsToMatch, NoCrossing
from remedis_jax.evaluation.label_saving import LabelSaving
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.non_inferiority import NonInferiority
from remedis_jax.report.figures import DPI, WIDTH
from remedis_jax.report.saving_figure import SavingRow, saving_figure
from remedis_jax.report.saving_section import (
    amount_text,
    fold_text,
    saving_numbers,
    saving_section,
    saving_sentence,
)

NEVER, ZERO = NoCrossing.NEVER_REACHED, NoCrossing.ALREADY_AT_ZERO
NOTHING = NotDefined("only negatives, n=9")


def saving(value, low=None, high=None, share=0.33, stays=True, minutes=6.0, **changes):
    crossing = value if isinstance(value, NotDefined) else LabelsToMatch(value, low, high)
    differences = {0.01: NOTHING, 0.33: Interval(0.01, -0.01, 0.03, 100, 0)}
    by_margin = NonInferiority(0.02, share, stays, differences, {0.33: True})
    given = {"at_most": False, "smallest": 0.01} | changes
    return LabelSaving(
        arm="ssl", metric="auroc", share_of_all=1.0, patients=1000, images=2500, crossing=crossing,
        non_inferior=by_margin, minutes=minutes, unit="image", **given,
    )  # fmt: skip


CASES = {
    "number": saving(0.24, 0.12, 0.5),
    "never": saving(NEVER, 0.6, NEVER, NEVER, None),
    "zero": saving(ZERO, ZERO, 0.03, ZERO),
    "beyond": saving(0.004, ZERO, 0.2, 0.1, False),
    "never at all": saving(NEVER, NEVER, NEVER, NEVER, None),
    "zero throughout": saving(ZERO, ZERO, ZERO, 0.01),
    "undefined": saving(NOTHING, share=NOTHING, stays=None),
}


def section(**options):
    return saving_section(CASES, baseline="Super_vised", site="B", **options)


def test_table_says_every_answer_in_its_place():
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in section().markdown.splitlines())
        if len(cells) == 9 and cells[1].strip() in CASES
    }
    assert rows["number"] == [
        "24% (12% to 50%)", "33%, and at every larger share", "4.2× (2× to 8.3×)",
        "760 (500 to 880)", "1,900 (1,250 to 2,200)", "190 (125 to 220)",
    ]  # fmt: skip
    assert rows["never"][:4] == [
        "never reached (60% to never reached)", "never reached",
        "never reached (never reached to 1.7×)", "none (none to 400)",
    ]  # fmt: skip
    assert rows["beyond"][1:4] == [
        "10%, not at every larger share", "more than 100× (5× to already at zero labels)",
        "996 (800 to all)",
    ]  # fmt: skip
    assert rows["zero throughout"][0] == "already at zero labels"
    assert rows["zero throughout"][2:] == ["already at zero labels", "all", "all", "all"]
    assert rows["never at all"][2:] == ["never reached", "none", "none", "none"]
    assert rows["undefined"] == ["not defined (only negatives, n=9)"] * 6


def test_sentences():
    of = {name: saving_sentence("SSL", case, "Plain", "B") for name, case in CASES.items()}
    assert of["number"] == (
        "“SSL”: it reaches “Plain” with all B's labels with 24% of them (95% interval: 12% to 50%)"
        ", 4.2× fewer labels (2× to 8.3×). Of 1,000 patients, 760 (500 to 880) need no label, of "
        "2,500 images 1,900 (1,250 to 2,200); that is 190 (125 to 220) clinician-hours at 6 minutes"
        " per image. It is shown to be within the margin of 0.02 from 33% of the labels on. "
        "Passed over, as there is no difference: 1% (only negatives, n=9)."
    )
    assert "does not reach" in of["never"] and "fewer labels" not in of["never"]
    assert "At no measured share is it shown to be within the margin" in of["never"]
    assert "so there is no ratio to give" in of["zero"] and "without any label" in of["zero"]
    assert "but not at every larger share" in of["beyond"]
    assert "is not defined (only negatives, n=9)" in of["undefined"]


def test_hours_only_where_minutes_were_stated():
    text = section(minutes_source="a_survey").markdown
    assert "Clinician-hours" in text and r"6 minutes per image \(a" not in text
    assert r"6 minutes per image (a\_survey)" in text
    without = saving_section({"a": saving(0.1, 0.1, 0.1, minutes=None)}, baseline="b", site="B")
    assert "hours are given" in without.markdown and "Clinician-hours" not in without.markdown


def test_no_output_holds_a_made_up_number():
    found = section()
    written = found.markdown + "".join(t.to_csv(index=False) for t in found.tables.values())
    assert not re.search(r"\b(inf|infinity|nan)\b", written, re.IGNORECASE)
    table = saving_numbers(CASES).set_index("label")
    assert table.loc["never", ["saving", "saving_low"]].tolist() == ["never reached"] * 2
    assert table.loc["never", "saving_high"] == pytest.approx(1 / 0.6, rel=1e-12)
    assert table.loc["zero", "patients_saved"] == "already at zero labels"
    assert table.loc["undefined", "reason"] == "only negatives, n=9"
    assert table.loc["undefined", ["share", "saving", "hours_saved"]].isna().all()
    by_share = found.tables["non_inferiority"]
    assert by_share.loc[0, "reason"] == "only negatives, n=9" and by_share.loc[1, "within_margin"]


def test_users_text_stays_text():
    assert "“Super\\_vised”" in section().markdown


@pytest.mark.parametrize(
    ("answer", "text"),
    [(4.17, "4.2×"), (128.0, "more than 100×"), (1.0, "1×"), (NEVER, "never reached")],
)
def test_fold(answer, text):
    assert fold_text(answer, 100.0) == text


def test_amounts_that_are_not_there():
    assert amount_text(None) == "" and amount_text(NOTHING) == "not defined (only negatives, n=9)"
    bound = saving(0.01, 0.01, 0.05, at_most=True)
    assert "at least 100×" in saving_section({"a": bound}, baseline="b", site="B").markdown


def test_figure_shows_answers_by_name_at_the_ends(tmp_path):
    rows = [SavingRow(f"Task {i}", "ssl", case) for i, case in enumerate(CASES.values())]
    path = saving_figure(tmp_path / "saving.png", rows, {"plain": "Plain", "ssl": "With SSL"})
    with Image.open(path) as picture:
        assert picture.width == round(DPI * WIDTH)
    drawn = path.with_suffix(".svg").read_text()
    for text in ("4.2× (2× to 8.3×)", "(never reached to 1.7×)", "not defined", "With SSL", "zero"):
        assert text in drawn, text
    assert ">Plain<" not in drawn  # it has no row
    assert not re.search(r">\s*-?(inf|nan)", drawn)
