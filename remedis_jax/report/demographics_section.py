"""The section with "Table 1": patients, images, labels and characteristics of every part."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.report.demographics import (
    Characteristic,
    Classes,
    Quantity,
    characteristic_of,
    has_patients,
    shortened,
    standardised_difference,
)
from remedis_jax.report.document import Section
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.report.wording import DASH

HEADING = "Patients and images"
STEM = "demographics"
# What every table of rows has besides labels and characteristics.
KEYS = ("part", "image", "group", "site", "split")
COUNTED, DIFFERENCE, MISSING = "Characteristic", "Difference", "missing"
NOT_SHOWN = "not shown"
_INDENT = "· "
# Class or statistic, None for what is missing -> part -> cell.
_Lines = dict[str | None, dict[str, str]]
READING = """\
Numbers are n (% of those with a known value), or mean (standard deviation) and {spread}. A
characteristic is counted by patient where every patient has one value of it, else by image, as
said in its row; numbers of many different values are summarised, others are classes. Without a row
"missing" no value is missing."""
COMPARED = """\
The difference is the standardised one between {first} and {second} (Austin 2009; of more than two
classes Yang and Dalton 2012): means or shares apart, in standard deviations. It does not grow with
the number of patients; above 0.1 is often taken for a difference that matters."""
MASKED = """\
Counts from 1 to {last} are shown as <{least}, together with a second one where the first could be
worked out from the rest, and without shares where these would tell. Smallest and largest values are
left out."""


def demographics_section(
    rows: pd.DataFrame,
    characteristics: Sequence[str] = (),
    *,
    compare: tuple[str, str] | None = None,
    least_cell: int = 0,
) -> Section:
    """Describes the patients of every part, for readers to judge whom the result is about.

    Args:
        rows: One row per image, text: part, image, group (the patient; the image's own name where
            no column names patients), site, split, then labels and characteristics.
        characteristics: Which of the columns are characteristics; the others are labels.
        compare: Two parts that are compared, usually the tests in distribution and of the new
            site; None, or a part that is not there, for no comparison.
        least_cell: Smallest count that is shown, for reports that leave the hospital; 0, the
            default, shows all.

    Returns:
        The section with its numbers as CSV; nothing is in the CSV that the page does not show.

    Raises:
        UserError: `rows` lacks a column.
    """
    for name in (*KEYS[:3], *characteristics):
        if name not in rows:
            raise UserError(
                f"the rows have no column {name!r}.{did_you_mean(name, list(rows))}",
                f"The columns are {first_few([str(c) for c in rows])}.",
            )
    parts = list(dict.fromkeys(rows["part"]))
    if compare is not None and not set(compare) <= set(parts):
        compare = None
    labels = [c for c in rows.columns if c not in KEYS and c not in characteristics]
    sheet = _Sheet(parts, compare, least_cell)
    sheet.add_sizes(rows)
    for name in labels:
        sheet.add(characteristic_of(rows, name, by="image"))
        by_patient = characteristic_of(rows, name)
        if by_patient.by == "patient" and len(rows) > sheet.total_patients:
            sheet.add(by_patient)
    for name in characteristics:
        sheet.add(characteristic_of(rows, name))
    paragraphs = [sheet.markdown(), READING.format(spread=sheet.spread)]
    if not has_patients(rows):
        paragraphs.append("No column names the patients, so everything is by image.")
    if compare is not None:
        first, second = map(plain, compare)
        paragraphs.append(COMPARED.format(first=first, second=second))
    if least_cell > 1:
        paragraphs.append(MASKED.format(last=least_cell - 1, least=least_cell))
    return Section(HEADING, "\n\n".join(paragraphs), {STEM: sheet.numbers()})


class _Sheet:
    """Rows of the table as text, and of the CSV as numbers, side by side."""

    def __init__(self, parts: list[str], compare: tuple[str, str] | None, least: int) -> None:
        self.parts, self.compare, self.least = parts, compare, least
        self.total_patients = 0
        self._lines: list[dict[str, str]] = []
        self._numbers: list[dict[str, Any]] = []

    @property
    def spread(self) -> str:
        """What is shown of a quantity beside its mean; a smallest age may be one known person."""
        return "quartiles" if self.least else "range"

    def add_sizes(self, rows: pd.DataFrame) -> None:
        """Patients, images, and images per patient."""
        named, by_part = has_patients(rows), rows.groupby("part", sort=False)
        patients = {part: table["group"].nunique() for part, table in by_part}
        self.total_patients = sum(patients.values())
        if named:
            self._line("Patients", {p: self._count("patients", p, n) for p, n in patients.items()})
        sizes = by_part.size()
        self._line("Images", {p: self._count("images", p, int(sizes[p])) for p in self.parts})
        if not named:
            return
        cells = {}
        for part, table in by_part:
            per = table.groupby("group").size()
            mean, most = float(per.mean()), int(per.max())
            self._number(part, "images per patient", "patient", "mean", mean)
            cells[part] = f"{mean:.2f}"
            if not self.least:
                self._number(part, "images per patient", "patient", "most", most)
                cells[part] += f", most {most:,}"
        self._line("Images per patient, mean", cells)

    def add(self, found: Characteristic) -> None:
        """A characteristic: its name and difference, then a line per class or statistic."""
        found = shortened(found)
        first = next(iter(found.of_parts.values()))
        add = self._quantity if isinstance(first, Quantity) else self._classes
        lines, masked = add(found)
        self._line(f"{found.name}, by {found.by}", {}, self._difference(found, masked))
        none_missing = not any(n.missing for n in found.of_parts.values())
        for name, cells in lines.items():
            if name is not None or not none_missing:
                self._line(f"{_INDENT}{MISSING if name is None else name}", cells)

    def markdown(self) -> str:
        """The table for the page; the lines that name a characteristic stand out."""
        columns = [COUNTED, *self.parts, *([DIFFERENCE] if self.compare else [])]
        table = pd.DataFrame(self._lines, columns=columns, dtype=str).fillna("")
        head, rule, *lines = markdown_table(table).splitlines()
        for index, name in enumerate(table[COUNTED]):
            if not name.startswith(_INDENT):
                cell = plain(name)
                lines[index] = lines[index].replace(f"| {cell} |", f"| **{cell}** |", 1)
        return "\n".join([head, rule, *lines])

    def numbers(self) -> pd.DataFrame:
        """Long, for the CSV."""
        columns = ["part", "characteristic", "by", "class", "statistic", "value", "note"]
        return pd.DataFrame(self._numbers, columns=columns)

    def _quantity(self, found: Characteristic) -> tuple[_Lines, set[str]]:
        lines: _Lines = {"mean (SD)": {}, self.spread: {}, None: {}}
        masked = set()
        for part, n in found.of_parts.items():
            key = (part, found.name, found.by)
            total = n.known + n.missing
            lines[None][part] = self._share(key, MISSING, n.missing, total)
            if n.known and n.known < self.least:
                masked.add(part)
                for line in ("mean (SD)", self.spread):
                    lines[line][part] = f"{NOT_SHOWN} (fewer than {self.least})"
                self._number(*key, "mean", None, note=NOT_SHOWN)
                continue
            low, high = (n.lower, n.upper) if self.least else (n.low, n.high)
            names = ("lower quartile", "upper quartile") if self.least else ("smallest", "largest")
            for name, value in zip(("mean", "SD", *names), (n.mean, n.sd, low, high), strict=True):
                if value is not None:
                    self._number(*key, name, value)
            sd = "no SD of one value" if n.sd is None else f"{n.sd:.1f}"
            lines["mean (SD)"][part] = f"{n.mean:.1f} ({sd})" if n.known else "none known"
            lines[self.spread][part] = f"{low:.4g}{DASH}{high:.4g}" if n.known else "none known"
        return lines, masked

    def _classes(self, found: Characteristic) -> tuple[_Lines, set[str]]:
        names = next(iter(found.of_parts.values())).counts
        lines: _Lines = {name: {} for name in (*names, None)}
        masked = set()
        for part, n in found.of_parts.items():
            key = (part, found.name, found.by)
            hidden = self._hidden(n)
            if hidden:
                masked.add(part)
            for name, count in n.counts.items():
                # A share would tell how many are known, and by that a count that is masked.
                lines[name][part] = self._share(
                    key, "n", count, 0 if hidden else n.known, name=name, hidden=name in hidden
                )
            lines[None][part] = self._share(
                key, MISSING, n.missing, n.known + n.missing, hidden=None in hidden
            )
        return lines, masked

    def _hidden(self, n: Classes) -> set[str | None]:
        """Cells that are masked: the small ones, and one more where only one is."""
        if not self.least:
            return set()
        cells = {**n.counts, None: n.missing}
        hidden = {name for name, count in cells.items() if 0 < count < self.least}
        others = {name: count for name, count in cells.items() if count and name not in hidden}
        if len(hidden) == 1 and others:
            hidden.add(min(others, key=others.get))
        return hidden

    def _share(
        self, key: tuple[str, str, str], statistic: str, count: int, total: int,
        *, name: str = "", hidden: bool = False,
    ) -> str:  # fmt: skip
        small = 0 < count < self.least
        if small or hidden:
            note = f"<{self.least}" if small else NOT_SHOWN
            self._number(*key, statistic, None, name=name, note=note)
            return note
        self._number(*key, statistic, count, name=name)
        if not total:
            return f"{count:,}"
        if statistic == "n":
            self._number(*key, "%", 100 * count / total, name=name)
        return f"{count:,} ({100 * count / total:.1f}%)"

    def _count(self, what: str, part: str, count: int) -> str:
        return self._share((part, what, what.rstrip("s")), "n", count, 0)

    def _difference(self, found: Characteristic, masked: set[str]) -> str:
        if self.compare is None:
            return ""
        key = (" / ".join(self.compare), found.name, found.by, "standardised difference")
        if masked & set(self.compare):
            self._number(*key, None, note=NOT_SHOWN)
            return NOT_SHOWN
        value = standardised_difference(*(found.of_parts[part] for part in self.compare))
        if isinstance(value, NotDefined):
            self._number(*key, None, note=str(value))
            return str(value)
        self._number(*key, value)
        return f"{value:.2f}"

    def _line(self, name: str, cells: Mapping[str, str], difference: str = "") -> None:
        self._lines.append({COUNTED: name, **cells, DIFFERENCE: difference})

    def _number(
        self, part: str, characteristic: str, by: str, statistic: str, value: float | None,
        *, name: str = "", note: str = "",
    ) -> None:  # fmt: skip
        self._numbers.append(
            {"part": part, "characteristic": characteristic, "by": by, "class": name,
             "statistic": statistic, "value": value, "note": note}
        )  # fmt: skip
