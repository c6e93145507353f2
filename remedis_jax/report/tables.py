"""Tables as data frames of text, and how they are written to Markdown and to the terminal."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from remedis_jax.evaluation.bootstrap import Interval
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.report.wording import difference_text, interval_text, percent

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def results_table(
    rows: Iterable[tuple[str, str, Mapping[str, Interval | NotDefined], object]],
    labels: Mapping[str, str],
    difference_label: str,
) -> pd.DataFrame:
    """One row per setting: the arms' values with intervals, and their paired difference.

    Args:
        rows: (setting, what it was trained on, arm -> interval, difference or None).
        labels: Arm -> column name, in the order of the columns.
        difference_label: Name of the last column.

    Returns:
        Text. A setting in which an arm was not measured has an empty cell.
    """
    records = []
    for setting, trained_on, intervals, difference in rows:
        record = {"Test set": setting, "Labels of the new site": trained_on}
        record |= {label: interval_text(intervals.get(arm)) for arm, label in labels.items()}
        records.append(record | {difference_label: difference_text(difference)})
    return pd.DataFrame(records, dtype=str)


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Patients and images of every part of the data, in the order given."""
    return pd.DataFrame(
        [
            {"Part": part, "Patients": f"{n['patients']:,}", "Images": f"{n['images']:,}"}
            for part, n in counts.items()
        ],
        dtype=str,
    )


def caveats(intervals: Mapping[str, Interval | NotDefined | None]) -> list[str]:
    """What a table cannot show in its cells: undefined resamples, parts left out of an average.

    Args:
        intervals: Name of the cell -> what stands in it.

    Returns:
        One sentence each, equal ones once.
    """
    sentences = []
    for name, interval in intervals.items():
        if not isinstance(interval, Interval):
            continue
        if interval.left_out:
            sentences.append(
                f"{name}: the average leaves out {', '.join(interval.left_out)}, which the test "
                "set has with one label value only."
            )
        if interval.undefined_resamples:
            share = percent(interval.undefined_resamples / interval.resamples)
            sentences.append(
                f"{name}: {share} of the resamples had no value (one class only) and take no part "
                "in the interval."
            )
    return list(dict.fromkeys(sentences))


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


def print_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Prints tables to the terminal, each under its title."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for title, frame in tables.items():
        table = Table(title=Text(title), title_justify="left")
        for index, column in enumerate(frame.columns):
            table.add_column(Text(str(column)), justify="left" if index == 0 else "right")
        for row in frame.itertuples(index=False):
            table.add_row(*(Text(str(cell)) for cell in row))
        console.print(table)
