"""`remedis reproduce`: the list, one cell, and what is refused."""

import pytest


def test_the_list_keeps_the_papers_cells_and_the_stand_ins_apart(remedis, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = remedis("reproduce", "--list", "--task", "t3")
    assert outcome.code == 0, outcome.err
    paper, _, rest = outcome.out.partition("Stand-ins, NOT the paper's data")
    assert "Cells of the paper (28)" in paper and "zero-shot-t3-r152x2-remedis" in paper
    assert "stand-in-" not in paper and "open: registration and credentialed data" in paper
    assert "stand-in-t3-grid-difference" in rest and "+0.059 (−0.003 to +0.127)" in rest
    left = remedis("reproduce", "--list", "--task", "t3", "--open")
    assert "curve-t3-r50x1-strong" in left.out and "stand-in-t3-grid-difference" not in left.out


def test_a_cell_says_what_it_needs_and_what_came_out(remedis):
    shown = remedis("reproduce", "--cell", "curve-t3-r50x1-remedis").out
    assert "DATA/t3/unlabelled.csv" in shown and "expected     none" in shown
    assert "MIMIC-CXR-JPG: credentialed" in shown
    assert "remedis sweep --config experiments/data_efficiency/task.py:task=t3" in shown
    assert "on the paper's own data" in shown and "obtained" not in shown
    gain = remedis("reproduce", "--cell", "headline-gain").out
    assert "expected     up to 11.5%, relative; abstract, arXiv 2205.09723" in gain
    other = remedis("reproduce", "--cell", "stand-in-phantom-demo-share").out
    assert "STAND-IN: other data, fills no cell of the paper" in other
    assert "obtained     " in other and "docs/reproduction.md#" in other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Use one of --list, --cell ID, --render."),
        (["--list", "--render"], "Use one of"),
        (["--list", "--task", "t9"], "no task 't9'"),
        (["--cell", "zero-shot-t3-r50x1-remedi"], "Did you mean 'zero-shot-t3-r50x1-remedis'?"),
        (["--cell", "saving-t3", "--open"], "Add --list."),
        (["--cell", "saving-t3", "--run"], "belong together"),
        (["--cell", "saving-t3", "--run", "--out", "x"], "follows from other cells"),
        (["--cell", "zero-shot-t3-r50x1-strong", "--run", "--out", "x"],
         "needs t3/labelled.csv. Give their folder by --data. CheXpert (registration)"),
        (["--cell", "zero-shot-t3-r50x1-strong", "--run", "--out", "x", "--data", "nowhere"],
         "needs t3/labelled.csv in nowhere, where there is no such file."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(refused, arguments, message):
    assert message in refused("reproduce", *arguments)
