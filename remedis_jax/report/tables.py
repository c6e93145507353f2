"""Tables as data frames of text, and how they are written to Markdown and to the terminal."""

import re
from collections.abc import Mapping

import pandas as pd

from remedis_jax.data.messages import first_few
from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.report.wording import percent

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Patients and images of every part of the data, in the order given."""
    return pd.DataFrame(
        [
            {"Part": part, "Patients": f"{n['patients']:,}", "Images": f"{n['images']:,}"}
            for part, n in counts.items()
        ],
        dtype=str,
    )


def caveats(
    intervals: Mapping[str, Interval | NotDefined | None], lacking: str = "one class only"
) -> list[str]:
    """What a table cannot show in its cells: undefined resamples, parts left out of an average.

    Args:
        intervals: Name of the cell -> what stands in it.
        lacking: Why a resample has no value.

    Returns:
        One sentence per remark, with the cells that it is about.
    """
    remarks: dict[str, list[str]] = {}
    for name, interval in intervals.items():
        if not isinstance(interval, Interval):
            continue
        if interval.left_out:
            remark = f"The average leaves out {', '.join(interval.left_out)} (one label value only)"
            remarks.setdefault(remark, []).append(name)
        if interval.undefined_resamples:
            share = percent(interval.undefined_resamples / interval.resamples, 2)
            remark = f"{share} of the resamples had no value ({lacking}) and do not count"
            remarks.setdefault(remark, []).append(name)
    return [f"{remark}: {first_few(names, '; ')}." for remark, names in remarks.items()]


def plain(text: object) -> str:
    """Text that Markdown and HTML show as it is: no markup, links or images come of it."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def fenced(text: str, language: str = "") -> str:
    """A code block, whatever back-ticks the text holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def markdown_table(table: pd.DataFrame) -> str:
    """A GitHub-flavoured table: the first column to the left, the others to the right."""
    lines = [
        [plain(column) for column in table.columns],
        [":--", *["--:"] * (table.shape[1] - 1)],
        *([plain(cell) for cell in row] for row in table.itertuples(index=False)),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def print_banner(text: str) -> None:
    """Prints what must not be missed, in red; nothing for ""."""
    from rich.console import Console
    from rich.text import Text

    if text:
        Console().print(Text(text, style="bold red"))


def print_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Prints tables to the terminal, each under its title."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for title, frame in tables.items():
        table = Table(title=Text(title), title_justify="left")
        for index, column in enumerate(frame.columns):
            # 'fold': a narrow terminal breaks cells and cuts nothing off.
            side = "left" if index == 0 else "right"
            table.add_column(Text(str(column)), justify=side, overflow="fold")
        for row in frame.itertuples(index=False):
            table.add_row(*(Text(str(cell)) for cell in row))
        console.print(table)
