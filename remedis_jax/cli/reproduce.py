"""`remedis reproduce`: the paper's figures and tables as cells, what came out, and running one."""

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    list_: Annotated[
        bool, typer.Option("--list", help="Every cell: expected, obtained, or why it is open.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(help="List the cells of one task only: t1 to t6, phantom.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="List only cells without an obtained value.")
    ] = False,
    cell: Annotated[
        str | None, typer.Option(help="One cell: what it needs, its commands, what came out.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the cell's commands.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --run: folder of what comes out.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --run: folder of the files that the cell needs.")
    ] = None,
    render: Annotated[
        bool, typer.Option("--render", help="Write docs/reproductions.md and the README's table.")
    ] = False,
) -> None:
    """List the paper's figures and tables as cells, describe or run one, render the table.

    No value that was obtained on other data fills a cell of the paper: those are stand-ins.
    """
    from remedis_jax.cli.console import Announcer, disk_errors
    from remedis_jax.errors import UserError

    if list_ + (cell is not None) + render != 1:
        raise UserError("It is not said what to do.", "Use one of --list, --cell ID, --render.")
    if (task is not None or open_) and not list_:
        raise UserError("--task and --open choose cells of a list.", "Add --list.")
    if run != (out is not None) or (data is not None and not run) or (run and cell is None):
        raise UserError(
            "--run, --out and --data belong together.",
            "Write --cell ID --run --out DIR --data FOLDER.",
        )
    from experiments.reproduced.cell import find_cell
    from experiments.reproduced.describing import describe, listed, print_listing
    from experiments.reproduced.obtained import FILE, read_obtained
    from experiments.reproduced.pages import render as write_pages
    from experiments.reproduced.running import run_cell
    from experiments.reproductions import CELLS

    obtained = read_obtained(cells={known.id for known in CELLS})
    if list_:
        print_listing(listed(CELLS, obtained, task=task, open_only=open_), obtained)
        print("remedis reproduce --cell ID says what one needs, and its commands.")
    elif render:
        with disk_errors():
            for path in write_pages(FILE.parents[1], CELLS, obtained):
                print(f"written: {path}")
    else:
        chosen = find_cell(CELLS, cell)
        if run:
            with disk_errors():
                run_cell(chosen, out, data, Announcer())
            print(f"{chosen.id}: in {out}. Write its log, then its row of {FILE.name}.")
        else:
            print(describe(chosen, obtained))
