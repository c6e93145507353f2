"""One cell of the table of reproductions in words, and which cells are asked for."""

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.reproduced.cell import Cell
from experiments.reproduced.obtained import Obtained
from experiments.reproduced.pages import by_cell, state, value_text
from experiments.reproduced.running import filled_in
from experiments.reproductions import FIGURES
from remedis_jax.tasks.specification import get_task

_KINDS = {
    "paper": "of the paper, on the paper's own data",
    "stand-in": "STAND-IN: other data, fills no cell of the paper",
}


def listed(
    cells: Sequence[Cell], obtained: Sequence[Obtained], *, task: str | None, open_only: bool
) -> list[Cell]:
    """The cells of a task, or those without a value.

    Raises:
        UserError: There is no such task.
    """
    if task is not None:
        get_task(task)
    filled = {row.cell for row in obtained}
    return [
        cell
        for cell in cells
        if (task is None or cell.task == task) and not (open_only and cell.id in filled)
    ]


def print_listing(cells: Sequence[Cell], obtained: Sequence[Obtained]) -> None:
    """Prints a row per cell, the paper's and the stand-ins apart."""
    found = by_cell(obtained)
    titles = {"paper": "Cells of the paper", "stand-in": "Stand-ins, NOT the paper's data"}
    for kind, title in titles.items():
        of_kind = [cell for cell in cells if cell.kind == kind]
        if not of_kind:
            continue
        table = Table(title=f"{title} ({len(of_kind)})", title_justify="left")
        for column in ("Cell", "What", "Expected", "Obtained", "State"):
            # 'fold': a narrow terminal breaks cells and cuts nothing off.
            table.add_column(column, overflow="fold")
        for cell in of_kind:
            rows = found.get(cell.id, ())
            values = (f"{row.point}: " * bool(row.point) + value_text(row) for row in rows)
            expected = cell.expected.text if cell.expected else ""
            facts = (cell.id, cell.what, expected, "\n".join(values), state(cell, rows))
            table.add_row(*map(Text, facts))
        Console().print(table)


def describe(cell: Cell, obtained: Sequence[Obtained]) -> str:
    """What `remedis reproduce --cell` prints: a line per fact."""
    rows = [row for row in obtained if row.cell == cell.id]
    title, mark = FIGURES[cell.figure]
    facts = [
        ("cell", cell.id),
        ("kind", _KINDS[cell.kind]),
        ("figure", f"{title}{f' ({mark})' if mark else ''}"),
        ("what", cell.what),
        ("task", cell.task),
        ("arm", cell.arm),
        ("network", cell.model),
        ("config", cell.config.replace("{data}", "DATA").replace("{out}", "OUT")),
        ("nearest pair", f"{cell.stand_in} (has readers here)" if cell.stand_in else ""),
        *(("needs", f"DATA/{name}") for name in cell.needs),
        *(
            ("data", f"{s.name}: {s.access}; {s.how}{f' ({s.mark})' if s.mark else ''}")
            for s in cell.sources
        ),
        *(("follows from", name) for name in cell.computed_from),
        *(("command", shlex.join(words)) for words in filled_in(cell, "DATA", "OUT")),
        ("expected", f"{cell.expected.text}; {cell.expected.source}" if cell.expected else "none"),
        *(
            ("obtained", f"{row.point + ': ' if row.point else ''}{value_text(row)} {row.unit}, "
             f"{row.date}, {row.log}")
            for row in rows
        ),
        ("state", state(cell, rows)),
        ("note", cell.note),
    ]  # fmt: skip
    lines, last = [], ""
    for name, text in facts:
        if text:
            lines.append(f"{'' if name == last else name:13}{text}")
            last = name
    return "\n".join(lines)
