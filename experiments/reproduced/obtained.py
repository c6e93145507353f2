"""The values that were obtained: `experiments/reproductions.csv`, one a row.

A row is written by whoever ran the cell and wrote its log; nothing fills it in by itself. Columns:
cell, point (which of a cell's several values, e.g. "fine-tuned on 10%"), value, low and high (the
95% interval, or empty), unit ("AUROC", "difference of AUROC", "share of labels"...), date
(YYYY-MM-DD), log (file#heading where the command and the circumstances stand).
"""

import csv
import dataclasses
import datetime
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from remedis_jax.errors import UserError

FILE = Path(__file__).resolve().parents[1] / "reproductions.csv"
COLUMNS = ("cell", "point", "value", "low", "high", "unit", "date", "log")
# What a share of labels can be instead of a number.
WORDS = ("never reached", "already at zero labels")


@dataclasses.dataclass(frozen=True)
class Obtained:
    """One value with its interval.

    Attributes:
        cell: Id of the cell.
        point: Which of the cell's values; "" if it has one.
        value: A number, or one of `WORDS`.
        low: Lower end of the 95% interval, or None where there is no interval.
        high: Upper end.
        unit: Of all three.
        date: When it was run.
        log: Path of a file of the repository, "#" and the anchor of the heading.
    """

    cell: str
    point: str
    value: float | str
    low: float | str | None
    high: float | str | None
    unit: str
    date: datetime.date
    log: str


def read_obtained(path: Path = FILE, cells: Collection[str] | None = None) -> list[Obtained]:
    """All rows of the file.

    Args:
        path: CSV with `COLUMNS`.
        cells: The ids that there are; None checks none.

    Raises:
        UserError: A row is not what it should be, by its number.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(
                f"{path.name} has the columns {', '.join(reader.fieldnames or ['none'])}.",
                f"They are {', '.join(COLUMNS)}, in this order.",
            )
        rows = [_row(record, f"{path.name}, row {n}", cells) for n, record in enumerate(reader, 2)]
    _refuse_repeated(rows, path.name)
    return rows


def add_obtained(new: Iterable[Obtained], path: Path = FILE) -> None:
    """Adds values to the file; those of the same cell and point take the place of the old ones.

    Args:
        new: What was obtained.
        path: The file, which is written anew as a whole or not at all.

    Raises:
        UserError: The file, or a new value, is not what it should be.
    """
    rows = {(row.cell, row.point): row for row in read_obtained(path)}
    rows |= {(row.cell, row.point): row for row in new}
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows.values():
            record = {name: "" if value is None else value for name, value in vars(row).items()}
            writer.writerow(record)
    try:
        read_obtained(temporary)
    except UserError:
        temporary.unlink()
        raise
    os.replace(temporary, path)


def _row(record: dict[str, str], where: str, cells: Collection[str] | None) -> Obtained:
    if None in record or None in record.values():
        raise UserError(f"{where} has another number of cells than the header.")
    if cells is not None and record["cell"] not in cells:
        raise UserError(
            f"{where}: there is no cell {record['cell']!r}.",
            "remedis reproduce --list names all of them.",
        )
    for name in ("value", "unit", "log"):
        if not record[name]:
            raise UserError(f"{where} has no {name}.", "Without one there is nothing to check.")
    if bool(record["low"]) != bool(record["high"]):
        raise UserError(f"{where} has one end of an interval.", "Give low and high, or neither.")
    value, low, high = (_number(record[name], where) for name in ("value", "low", "high"))
    numbers = [x for x in (low, value, high) if isinstance(x, float)]
    if numbers != sorted(numbers):
        raise UserError(f"{where}: the value {record['value']} lies outside its interval.")
    try:
        date = datetime.date.fromisoformat(record["date"])
    except ValueError as error:
        raise UserError(f"{where}: the date {record['date']!r} is none.",
                        "Write YYYY-MM-DD.") from error  # fmt: skip
    return Obtained(
        record["cell"], record["point"], value, low, high, record["unit"], date, record["log"]
    )


def _number(text: str, where: str) -> float | str | None:
    if text == "" or text in WORDS:
        return text or None
    try:
        number = float(text)
    except ValueError as error:
        raise UserError(
            f"{where}: {text!r} is no number.", f"Write one, or {' or '.join(WORDS)}."
        ) from error
    # NaN is unequal to itself, and an infinity is no result either.
    if number - number != 0:
        raise UserError(f"{where}: {text!r} is no result.", "Leave the row out.")
    return number


def _refuse_repeated(rows: list[Obtained], name: str) -> None:
    seen = set()
    for number, row in enumerate(rows, 2):
        if (row.cell, row.point) in seen:
            raise UserError(
                f"{name}, row {number}: {row.cell} has {row.point or 'its value'!r} already.",
                "Keep the newer one; the log tells of both.",
            )
        seen.add((row.cell, row.point))
