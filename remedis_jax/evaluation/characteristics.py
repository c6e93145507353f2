"""A column of characteristics becomes groups: classes as they are, numbers in bands."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

UNKNOWN = "unknown"
AGE_BANDS = (40, 60, 80)  # <40, 40-59, 60-79, >=80 years; ours
# A code with so few values (skin type 1 to 6, BI-RADS) is a class and no quantity; ours.
MOST_CODES = 8
MOST_GROUPS = 20  # more make no table that is read; ours
_MISSING = {"", "nan", "none", "na", "n/a", "null", UNKNOWN}
_AGE = {"age", "age_years", "patient_age", "age_approx", "patientage"}


def banded(column: pd.Series) -> pd.Series:
    """The group of each image, as ordered categories.

    Args:
        column: Cells of a table, text or numbers, indexed by image; its name says whether it is an
            age. Blank cells, and 'NaN', 'None', 'NA', 'null' and 'unknown' in any spelling, are
            unknown.

    Returns:
        Text categories with the same index. Ages are cut at 40, 60 and 80 years, other numbers of
        more than `MOST_CODES` different values at their quartiles, and everything else is as it
        is; what is unknown is the last group.
    """
    cells = column.map(lambda cell: "" if _is_missing(cell) else str(cell).strip())
    known = cells[cells != ""]
    numbers = _as_numbers(known)
    is_age = str(column.name).strip().lower() in _AGE
    if numbers is not None and is_age:
        named, order = _ages(numbers)
    elif numbers is not None and numbers.nunique() > MOST_CODES:
        named, order = _quartiles(numbers)
    else:
        named, order = known, _sorted(set(known))
    text = pd.Series(UNKNOWN, index=column.index, dtype=object)
    text[cells != ""] = named.to_numpy(object)
    categories = [*order, *([UNKNOWN] if (cells == "").any() else [])]
    return pd.Series(pd.Categorical(text, categories, ordered=True), column.index, name=column.name)


def of_patients(groups: pd.Series, patients: pd.Series) -> pd.Series:
    """The group of each patient: that of all his images, or 'several' where these differ.

    Args:
        groups: As from `banded`, indexed by image.
        patients: The patient of each image, with the same index.

    Returns:
        Indexed by patient.
    """
    several = "several"
    first = groups.astype(str).groupby(patients.to_numpy()).agg(
        lambda cells: cells.iloc[0] if cells.nunique() == 1 else several
    )
    order = [*groups.cat.categories, *([several] if (first == several).any() else [])]
    return pd.Series(pd.Categorical(first, order, ordered=True), first.index, name=groups.name)


def _is_missing(cell: object) -> bool:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or cell is pd.NA:
        return True
    return str(cell).strip().lower() in _MISSING


def _as_numbers(cells: pd.Series) -> pd.Series | None:
    """All cells as finite numbers, or None."""
    try:
        numbers = cells.astype(np.float64)
    except ValueError:
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() else None


def _ages(numbers: pd.Series) -> tuple[pd.Series, list[str]]:
    first, last = AGE_BANDS[0], AGE_BANDS[-1]
    inner = [f"{low}-{high - 1}" for low, high in zip(AGE_BANDS[:-1], AGE_BANDS[1:], strict=True)]
    names = [f"under {first}", *inner, f"{last} and over"]
    return _cut(numbers, AGE_BANDS, names)


def _quartiles(numbers: pd.Series) -> tuple[pd.Series, list[str]]:
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    edges = edges[edges > numbers.min()]
    shown = [f"{edge:.4g}" for edge in edges]
    inner = [f"{low} to under {high}" for low, high in zip(shown[:-1], shown[1:], strict=True)]
    if not len(edges):
        return _cut(numbers, (), [f"{numbers.iloc[0]:.4g} and over"])
    return _cut(numbers, edges, [f"under {shown[0]}", *inner, f"{shown[-1]} and over"])


def _cut(
    numbers: pd.Series, edges: Iterable[float], names: list[str]
) -> tuple[pd.Series, list[str]]:
    place = np.searchsorted(np.asarray(list(edges), np.float64), numbers, side="right")
    found = pd.Series(np.array(names, object)[place], numbers.index)
    return found, [name for name in names if (found == name).any()]


def _sorted(names: Iterable[str]) -> list[str]:
    """Numbers by their value, then text by the alphabet."""

    def key(name: str) -> tuple[int, float, str]:
        try:
            return 0, float(name), name
        except ValueError:
            return 1, 0.0, name

    return sorted(names, key=key)
