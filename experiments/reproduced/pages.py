"""The table of reproductions as text: docs/reproductions.md, and the few lines in the README."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from experiments.reproduced.cell import ACCESS, Cell
from experiments.reproduced.obtained import Obtained
from experiments.reproductions import ARMS, FIGURES
from remedis_jax.errors import UserError
from remedis_jax.report.document import anchor
from remedis_jax.report.tables import plain
from remedis_jax.report.wording import DASH, percent, signed
from remedis_jax.tasks.specification import CLINICAL, TASKS

PAGE = "docs/reproductions.md"
BEGIN = "<!-- table of reproductions: begin, made by `remedis reproduce --render` -->"
END = "<!-- table of reproductions: end -->"
OPEN = "open"

_HEAD = """# The table of reproductions

Made from `experiments/reproductions.py` and `experiments/reproductions.csv` by `remedis reproduce
--render`; change it there.

> **No value on this page reproduces a cell of the paper unless it stands under "obtained" in the
> paper's own tables, and {filled} of {count} do.** The paper's data are private for the most part,
> and the weights of its strong arm (BiT-L, JFT-300M) were never released. What was obtained here
> are [stand-ins](#stand-ins-not-the-papers-data): other data, small images, a small network. They
> are no evidence for or against the paper's numbers.

The paper is [Azizi et al. 2023](https://doi.org/10.1038/s41551-023-01049-7). Its text was not
available; its abstract, its data availability statement, the released code and the opening of the
blog post were. So its figures are named by what they show; an *expected* value stands only where
one of these sources gives it; and the paper's 15 test data sets are listed as far as they are
known. A task's networks, arms and metric are from memory. A cell is *open* until somebody runs it
on the paper's own data; it is never filled by guess.

`remedis reproduce --cell ID` prints what a cell needs and its commands; with `--run --data FOLDER
--out DIR` it runs them. Where they name BiT-M in the place of BiT-L, what comes out is a stand-in
too. A value is added to `experiments/reproductions.csv` with the heading of the log in which its
command and circumstances stand.

Access, from the easiest to the hardest: {access}.
*Registration* is an account and an agreement; *credentialed* an application or a training that
names a person; *private* what is given to nobody, or under licence only.
"""
# The cell whose value a task's row of the README shows: the first that has one. Fixed beforehand,
# so that no value is shown for being good.
README_CELLS = {
    "t1": ("stand-in-ham10000-full-difference", "stand-in-ham10000-first-difference"),
    "t3": ("stand-in-chest_xray-full-difference", "stand-in-t3-grid-difference"),
}


def value_text(row: Obtained) -> str:
    """'0.812 (0.774–0.846)', '+0.012 (−0.004 to +0.031)', '8.2% (0.5% to never reached)'."""

    def shown(value: float | str) -> str:
        if isinstance(value, str):
            return value
        if row.unit.startswith("share"):
            return percent(value, 2)
        return signed(value) if row.unit.startswith("difference") else f"{value:.3f}"

    if row.low is None:
        return shown(row.value)
    plain_range = row.unit.startswith(("share", "difference"))
    between = " to " if plain_range else DASH
    return f"{shown(row.value)} ({shown(row.low)}{between}{shown(row.high)})"


def state(cell: Cell, rows: Sequence[Obtained]) -> str:
    """'obtained', 'stand-in', or why the cell is open."""
    if rows:
        return "stand-in, obtained" if cell.kind == "stand-in" else "obtained"
    if cell.barrier:
        return f"{OPEN}: {cell.barrier}"
    reason = "to be run" if cell.kind == "stand-in" else "public data, not run at this scale"
    return f"{OPEN}: {cell.note if not cell.commands and not cell.computed_from else reason}"


def by_cell(obtained: Sequence[Obtained]) -> dict[str, list[Obtained]]:
    """The values of every cell that has some."""
    found: dict[str, list[Obtained]] = {}
    for row in obtained:
        found.setdefault(row.cell, []).append(row)
    return found


def reproductions_markdown(cells: Sequence[Cell], obtained: Sequence[Obtained]) -> str:
    """All of docs/reproductions.md."""
    found = by_cell(obtained)
    paper = [cell for cell in cells if cell.kind == "paper"]
    filled = sum(cell.id in found for cell in paper)
    parts = [
        _HEAD.format(filled=filled or "none", count=len(paper), access=", ".join(ACCESS)),
        "## What the paper shows, as far as it is known\n",
        _figures(paper),
        _arms(),
        "## Over all tasks\n",
        _cells([cell for cell in paper if not cell.task], found),
    ]
    for task in CLINICAL:
        of_task = [cell for cell in paper if cell.task == task]
        parts += [f"## {task.upper()} {TASKS[task].title}\n", _sources(of_task),
                  _cells(of_task, found)]  # fmt: skip
    stand_ins = [cell for cell in cells if cell.kind == "stand-in"]
    parts += ["## Stand-ins, not the paper's data\n", _stand_in_text(), _values(stand_ins, found)]
    return "\n".join(parts).rstrip("\n") + "\n"


def readme_section(cells: Sequence[Cell], obtained: Sequence[Obtained]) -> str:
    """The README's table between its two marks: a row per task, and the headline."""
    found = by_cell(obtained)
    paper = [cell for cell in cells if cell.kind == "paper"]
    rows = [_readme_row(task, [c for c in paper if c.task == task], found) for task in CLINICAL]
    table = _table(
        ("task", "the paper's data", "the paper's cells obtained", "nearest pair with a reader",
         "obtained on other data: zero-shot, SSL minus none"), rows,
    )  # fmt: skip
    headline = "; ".join(
        f"{cell.what}: {cell.expected.text} ({cell.expected.source})"
        for cell in paper if cell.expected
    )  # fmt: skip
    done = len({cell.id for cell in cells if cell.kind == "stand-in" and cell.id in found})
    text = (
        f"**No number of this project is one of the paper's.** Of the paper, three are known from "
        f"sources that could be read: {headline}. None of its per-task numbers is. What was run "
        f"instead, on other data and with a small network, fills {done} stand-in cells and none of "
        f"the paper's; every cell, what it needs and what came out: [{PAGE}]({PAGE}), or `remedis "
        "reproduce --list`."
    )
    return f"{BEGIN}\n\n{table}\n{textwrap.fill(text, 100)}\n\n{END}"


def with_section(readme: str, section: str) -> str:
    """The README with the text between its marks replaced.

    Raises:
        UserError: The marks are not there.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise UserError(
            "README.md lacks the marks of the table of reproductions.", f"Put in {BEGIN} and {END}."
        )
    before, _, rest = readme.partition(BEGIN)
    return before + section + rest.partition(END)[2]


def render(root: Path, cells: Sequence[Cell], obtained: Sequence[Obtained]) -> list[Path]:
    """Writes docs/reproductions.md and the README's section; returns what was written.

    Raises:
        UserError: `root` is no checkout of the project.
    """
    from remedis_jax.report.document import write_text

    readme = root / "README.md"
    if not readme.is_file() or not (root / "docs").is_dir():
        raise UserError(
            f"{root} has no README.md and docs/ to write to.",
            "Render in a checkout of the project.",
        )
    write_text(readme, with_section(readme.read_text(encoding="utf-8"),
                                    readme_section(cells, obtained)))  # fmt: skip
    write_text(root / PAGE, reproductions_markdown(cells, obtained))
    return [root / PAGE, readme]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _figures(paper: Sequence[Cell]) -> str:
    rows = []
    for name, (title, mark) in FIGURES.items():
        count = sum(cell.figure == name for cell in paper)
        if mark:
            rows.append([f"`{name}`", title, mark, str(count) if count else "none"])
    return _table(("id begins with", "it shows", "known", "cells"), rows)


def _arms() -> str:
    arms = "; ".join(f"*{name}*: {text}" for name, text in ARMS.items())
    return textwrap.fill(f"Arms: {arms}.", 100) + "\n"


def _sources(cells: Sequence[Cell]) -> str:
    sources = dict.fromkeys(s for cell in cells for s in cell.sources if "BiT" not in s.name)
    rows = [[plain(s.name), s.access, plain(s.how), s.mark] for s in sources]
    pair = f"Nearest pair that this project has readers for: {plain(cells[0].stand_in)}.\n"
    return _table(("the paper's data", "access", "how", "known"), rows) + "\n" + pair


def _config(cell: Cell) -> str:
    if cell.computed_from:
        return "computed from other cells"
    return f"`{cell.config.replace('{data}', 'DATA').replace('{out}', 'OUT')}`"


def _cells(cells: Sequence[Cell], found: dict[str, list[Obtained]]) -> str:
    rows = [
        [
            f"`{cell.id}`", plain(cell.what), _config(cell),
            plain(f"{cell.expected.text}; {cell.expected.source}") if cell.expected else "",
            "; ".join(_linked(row) for row in found.get(cell.id, ())),
            plain(state(cell, found.get(cell.id, ()))),
        ]
        for cell in cells
    ]  # fmt: skip
    return _table(("cell", "what", "config", "expected", "obtained", "state"), rows)


def _linked(row: Obtained) -> str:
    """A value with a link to its log, from docs/."""
    value = plain(f"{row.point}: {value_text(row)}" if row.point else value_text(row))
    return f"[{value}]({row.log.removeprefix('docs/')})"


def _stand_in_text() -> str:
    text = (
        "**None of these is a cell of the paper.** They are this project's own runs, on public or "
        "invented data, with images of 28 to 48 pixels and BiT R14x0.25 (half a million "
        "parameters), and their arms are not the paper's: *supervised* starts from a few thousand "
        "natural images. Brackets are 95% intervals over patients (lesions, images) and seeds, of "
        "the nearest-neighbour cells over patients alone."
    )
    return textwrap.fill(text, 100) + "\n"


def _values(cells: Sequence[Cell], found: dict[str, list[Obtained]]) -> str:
    rows = []
    for cell in cells:
        lead = [f"`{cell.id}`", plain(cell.what), plain(cell.arm)]
        for row in found.get(cell.id, ()):
            log = f"[{row.date}]({row.log.removeprefix('docs/')})"
            rows.append([*lead, plain(row.point), plain(row.unit), value_text(row), log])
            lead = [f"`{cell.id}`", "", ""]
        if cell.id not in found:
            rows.append([*lead, "", "", plain(state(cell, ())), ""])
    return _table(("stand-in cell", "what", "arm", "point", "unit", "obtained", "log"), rows)


def _readme_row(task: str, cells: Sequence[Cell], found: dict[str, list[Obtained]]) -> list[str]:
    count = f"{sum(cell.id in found for cell in cells)} of {len(cells)}"
    access = max((s.access for c in cells for s in c.sources if "BiT" not in s.name),
                 key=ACCESS.index)  # fmt: skip
    title = f"{task.upper()} {TASKS[task].title}"
    link = f"[{title}]({PAGE}#{anchor(title)})"
    return [link, access, count, plain(cells[0].stand_in), _zero_shot(task, found)]


def _zero_shot(task: str, found: dict[str, list[Obtained]]) -> str:
    for cell_id in README_CELLS.get(task, ()):
        for row in found.get(cell_id, ()):
            if row.point.startswith("zero-shot"):
                return f"{value_text(row)}, {row.unit} ([log]({row.log}))"
    return "not run"
