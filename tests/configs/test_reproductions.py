"""The table of reproductions: its cells can be run, its values are those of the log."""

import datetime
import re
import shlex
from pathlib import Path

import pytest

from experiments.reproduced.obtained import FILE, Obtained, add_obtained, read_obtained
from experiments.reproduced.pages import (
    BEGIN,
    END,
    PAGE,
    README_CELLS,
    readme_section,
    reproductions_markdown,
    state,
    value_text,
    with_section,
)
from experiments.reproduced.running import check_data, run_cell
from experiments.reproductions import CELLS, FIGURES, PAPER_CELLS
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.report.document import anchors
from remedis_jax.tasks.task import VERIFIED
from remedis_jax.training.config import load_config

ROOT = FILE.parents[1]
BY_ID = {cell.id: cell for cell in CELLS}


@pytest.fixture(scope="module")
def obtained():
    return read_obtained(cells=BY_ID)


@pytest.mark.parametrize("figure", FIGURES)
def test_the_configs_of_a_figure_load(figure):
    cells = [cell for cell in CELLS if cell.figure == figure]
    configs = {cell.config for cell in cells if cell.config}
    for cell in cells:
        # What a command runs is a config that loads, too; the last one is the cell's own.
        words = [shlex.split(command) for command in cell.commands]
        named = [line[line.index("--config") + 1] for line in words if "--config" in line]
        configs.update(named)
        if named:
            assert named[-1] == cell.config
        assert bool(cell.config) != bool(cell.computed_from)
    for config in configs:
        load_config(config)


def test_cells_are_told_apart_and_computed_from_others():
    assert len(BY_ID) == len(CELLS)
    for cell in CELLS:
        assert cell.sources and cell.figure in FIGURES
        assert set(cell.computed_from) <= BY_ID.keys()
        assert (cell.kind == "stand-in") == cell.id.startswith("stand-in-")
    assert {name for names in README_CELLS.values() for name in names} <= BY_ID.keys()


def test_the_paper_has_a_value_only_where_a_source_was_read():
    """What `reference` sources gave: three numbers over all tasks, and none of a task."""
    expected = {cell.id: cell.expected for cell in CELLS if cell.expected}
    assert {name: value.text for name, value in expected.items()} == {
        "headline-gain": "up to 11.5%, relative",
        "headline-share": "1% to 33%",
        "headline-saving": "3 to 100 times",
    }
    assert all(value.source for value in expected.values())
    assert FIGURES["headline"][1] == VERIFIED


def test_no_cell_of_the_paper_is_filled_and_each_says_why(obtained):
    filled = {row.cell for row in obtained}
    assert not filled & {cell.id for cell in PAPER_CELLS}
    for cell in PAPER_CELLS:
        assert state(cell, []).startswith("open: ")
        # T4's data and the weights of its standard arm are the only ones that anybody can have.
        if not cell.barrier:
            assert cell.task == "t4" and cell.arm == "standard"
            assert state(cell, []) == "open: public data, not run at this scale"
    assert BY_ID["zero-shot-t3-r152x2-remedis"].access == "never released"
    assert "registration and credentialed data" in BY_ID["zero-shot-t3-r50x1-remedis"].barrier


def sections(path: Path) -> dict[str, str]:
    """Anchor of each heading -> the text below it."""
    headings, texts, fenced = [], [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if match := re.match(r"#+ (.*)", line) if not fenced else None:
            headings.append(match[1])
            texts.append("")
        elif texts:
            texts[-1] += line + "\n"
    return dict(zip(anchors(headings), texts))


def test_every_value_stands_in_the_log_that_it_names(obtained):
    logs = {}
    for row in obtained:
        file, _, name = row.log.partition("#")
        text = logs.setdefault(file, sections(ROOT / file)).get(name)
        assert text is not None, f"{row.log} is no heading; correct {FILE.name}"
        if row.unit.startswith("share"):
            shown = [value_text(row).partition(" ")[0]]
        else:
            shown = [value_text(row)]
        for value in shown:
            assert value in text, f"{row.cell}, {row.point}: {value} is not in {row.log}"


def test_the_page_and_the_readme_are_current(obtained):
    # remedis reproduce --render
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert page.splitlines() == reproductions_markdown(CELLS, obtained).splitlines()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_section(readme, readme_section(CELLS, obtained)).splitlines() == readme.splitlines()


def test_nobody_takes_a_stand_in_for_a_cell_of_the_paper(obtained):
    page = reproductions_markdown(CELLS, obtained)
    paper, _, rest = page.partition("## Stand-ins, not the paper's data\n")
    assert "**None of these is a cell of the paper.**" in rest
    assert "`stand-in-" not in paper and "none of 139 do" in paper
    for cell in PAPER_CELLS:
        assert f"`{cell.id}`" in paper and f"`{cell.id}`" not in rest
    section = readme_section(CELLS, obtained)
    assert section.count("| 0 of ") == 6 and "obtained on other data" in section
    with pytest.raises(UserError, match="lacks the marks"):
        with_section("# remedis_jax\n", section)
    assert with_section(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == "a\nnew\nb\n"


def row(**changes):
    values = {
        "cell": "stand-in-phantom-full-share", "point": "tested", "value": 0.08, "low": 0.005,
        "high": "never reached", "unit": "share of labels", "date": datetime.date(2026, 11, 24),
        "log": "docs/reproduction.md#x",
    }  # fmt: skip
    return Obtained(**(values | changes))


def test_a_value_is_added_once_and_replaces_its_older_one(tmp_path, obtained):
    path = tmp_path / "reproductions.csv"
    path.write_bytes(FILE.read_bytes())
    add_obtained([row(), row(value=0.09, point="with margin")], path)
    add_obtained([row(value=0.1, low=None, high=None)], path)
    assert read_obtained(path, BY_ID) == [
        *obtained, row(value=0.1, low=None, high=None), row(value=0.09, point="with margin")
    ]  # fmt: skip
    assert value_text(row()) == "8% (0.5% to never reached)"
    assert value_text(row(value=-0.0301, low=-0.07, high=0.02, unit="difference of AUROC")) == (
        "−0.030 (−0.070 to +0.020)"
    )
    before = path.read_bytes()
    with pytest.raises(UserError, match="outside its interval"):
        add_obtained([row(value=0.9, high=0.5)], path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


HEADER = "cell,point,value,low,high,unit,date,log\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,value\n", "has the columns cell, value"),
        (HEADER + "headline-gain,,x,,,AUROC,2026-11-24,l\n", "row 2: 'x' is no number"),
        (HEADER + "headline-gain,,nan,,,AUROC,2026-11-24,l\n", "row 2: 'nan' is no result"),
        (HEADER + "headline-gain,,0.5,0.4,,AUROC,2026-11-24,l\n", "one end of an interval"),
        (HEADER + "headline-gain,,0.5,,,AUROC,24.11.2026,l\n", "date '24.11.2026' is none"),
        (HEADER + "headline-gain,,0.5,,,AUROC,2026-11-24,\n", "has no log"),
        (HEADER + "headline-gain,,0.5,,,AUROC\n", "another number of cells"),
        (HEADER + "headline-gian,,0.5,,,AUROC,2026-11-24,l\n", "no cell 'headline-gian'"),
        (HEADER + 2 * "headline-gain,,0.5,,,AUROC,2026-11-24,l\n", "row 3: headline-gain has"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, message):
    path = tmp_path / "reproductions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_obtained(path, BY_ID)


def test_a_cell_runs_its_commands_in_order_and_stops_at_the_first_that_fails(tmp_path, capfd):
    import dataclasses

    write = "python -c \"import sys; open(sys.argv[1], 'a').write(sys.argv[2])\""
    cell = dataclasses.replace(
        BY_ID["stand-in-phantom-demo-share"], needs=("a b.csv",),
        commands=(f"{write} {{out}}/seen {{data}}", 'python -c "import sys; sys.exit(3)"',
                  f"{write} {{out}}/seen never"),
    )  # fmt: skip
    with pytest.raises(UserError, match="needs a b.csv in .*, where there is no such file"):
        run_cell(cell, tmp_path, tmp_path, print)
    with pytest.raises(UserError, match="Give their folder by --data. phantom"):
        check_data(cell, None)
    (tmp_path / "a b.csv").touch()
    said = []
    with pytest.raises(RunFailed, match="python -c ended with exit code 3"):
        run_cell(cell, tmp_path, tmp_path, said.append)
    assert (tmp_path / "seen").read_text() == str(tmp_path) and len(said) == 2
    with pytest.raises(UserError, match="follows from other cells. Run curve-t3-r50x1-strong"):
        check_data(BY_ID["saving-t3"], None)
    with pytest.raises(UserError, match="take its place"):
        check_data(BY_ID["stand-in-ham10000-first-share"], None)
