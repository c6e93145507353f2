"""Who is in each part of the data: counts, means and shares, and how far two parts are apart.

The computation behind "Table 1"; `report.demographics_section` puts it into words.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.characteristics import MOST_GROUPS, UNKNOWN, banded
from remedis_jax.evaluation.not_defined import NotDefined


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number of each patient or image in one part.

    Attributes:
        mean, sd: Of the known ones; None where there are too few (the SD needs two).
        low, high: Smallest and largest; None where none is known.
        lower, upper: Quartiles; likewise.
        known, missing: How many have a value and how many have none.
    """

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    lower: float | None
    upper: float | None
    known: int
    missing: int


@dataclasses.dataclass(frozen=True)
class Classes:
    """How many patients or images of one part are of each class.

    Attributes:
        counts: Class -> how many, in the order of the classes, 0 where there is none.
        missing: How many have no class.
    """

    counts: Mapping[str, int]
    missing: int

    @property
    def known(self) -> int:
        """How many have a class."""
        return sum(self.counts.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Characteristic:
    """One column over all parts.

    Attributes:
        name: Of the column.
        by: "patient" where every patient has one value, else "image".
        of_parts: Part -> what is in it.
    """

    name: str
    by: str
    of_parts: Mapping[str, Quantity | Classes]


def characteristic_of(rows: pd.DataFrame, name: str, *, by: str | None = None) -> Characteristic:
    """Counts one column in every part.

    Args:
        rows: Columns part, image, group and `name`; parts in the order of the report.
        name: The column. What cells are missing, and what is a quantity (an age, or numbers of
            many different values) and what a class, is as in the tables of subgroups.
        by: "patient" or "image"; if None by patient where all known values of every patient are
            equal.

    Returns:
        The characteristic.
    """
    column = rows[name].astype(str).str.strip()
    groups = banded(column)
    known = (groups != UNKNOWN).to_numpy()
    # Bands have names of their own; a class keeps the one in its cells.
    is_quantity = known.any() and set(groups[known].astype(str)) - set(column[known]) != set()
    classes = [c for c in groups.cat.categories if c != UNKNOWN]
    table = pd.DataFrame(
        {"part": rows["part"].to_numpy(), "group": rows["group"].to_numpy()}
        | {"value": column.where(known, None).to_numpy()}
    )
    if by is None:
        values = table.dropna().groupby(["part", "group"])["value"].nunique()
        by = "patient" if has_patients(rows) and (values <= 1).all() else "image"
    if by == "patient":
        # `first` takes the first known value.
        table = table.groupby(["part", "group"], sort=False, as_index=False)["value"].first()
    of_parts = {}
    for part in rows["part"].unique():
        values = table.loc[table["part"] == part, "value"]
        of_parts[part] = _quantity(values) if is_quantity else _classes(values, classes)
    return Characteristic(name, by, of_parts)


def has_patients(rows: pd.DataFrame) -> bool:
    """Whether a column names the patients: without one, every image is its own group."""
    return not (rows["group"].astype(str) == rows["image"].astype(str)).all()


def standardised_difference(
    a: Quantity | Classes, b: Quantity | Classes
) -> float | NotDefined:
    """How far two parts are apart in a characteristic, in standard deviations; sizes play no part.

    For quantities |mean_a - mean_b| / sqrt((sd_a^2 + sd_b^2) / 2) (Austin 2009, Stat Med
    28:3083-3107, eq. 1). For classes the Mahalanobis distance of the shares (Yang and Dalton 2012,
    SAS Global Forum 335-2012), which for two classes is Austin's |p_a - p_b| over the root of the
    mean of the variances p(1 - p). Missing values are left out of both.

    Args:
        a: In one part.
        b: The same characteristic in the other.

    Returns:
        0 or more, or why there is none.
    """
    if not a.known or not b.known:
        return NotDefined("no known value in one of the parts")
    if isinstance(a, Quantity):
        if a.sd is None or b.sd is None:
            return NotDefined("fewer than two known values in one of the parts")
        spread = math.sqrt((a.sd**2 + b.sd**2) / 2)
        if spread == 0:
            same = a.mean == b.mean
            return 0.0 if same else NotDefined("no spread in either part")
        return abs(a.mean - b.mean) / spread
    names = [c for c in a.counts if a.counts[c] or b.counts[c]]
    # The last class follows from the others.
    first, second = (
        np.array([part.counts[c] for c in names[:-1]], np.float64) / part.known for part in (a, b)
    )
    covariance = sum(np.diag(p) - np.outer(p, p) for p in (first, second)) / 2
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(first):
        same = np.array_equal(first, second)
        return 0.0 if same else NotDefined("too few classes are in both parts")
    difference = first - second
    return math.sqrt(float(difference @ np.linalg.solve(covariance, difference)))


def _quantity(values: pd.Series) -> Quantity:
    known = values.dropna().astype(np.float64).to_numpy()
    missing = len(values) - len(known)
    if not len(known):
        return Quantity(None, None, None, None, None, None, 0, missing)
    lower, upper = np.quantile(known, [0.25, 0.75])
    return Quantity(
        mean=float(known.mean()),
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
        low=float(known.min()),
        high=float(known.max()),
        lower=float(lower),
        upper=float(upper),
        known=len(known),
        missing=missing,
    )


def _classes(values: pd.Series, classes: Sequence[str]) -> Classes:
    counts = values.value_counts()
    return Classes({c: int(counts.get(c, 0)) for c in classes}, int(values.isna().sum()))


def shortened(found: Characteristic, most: int = MOST_GROUPS) -> Characteristic:
    """The same with the rarer classes taken together, where there are more than `most`."""
    first = next(iter(found.of_parts.values()))
    if isinstance(first, Quantity) or len(first.counts) <= most:
        return found
    total = {c: sum(part.counts[c] for part in found.of_parts.values()) for c in first.counts}
    largest = sorted(total, key=total.get, reverse=True)[: most - 1]
    kept = [c for c in first.counts if c in set(largest)]
    other = f"{len(first.counts) - len(kept):,} other classes"
    return dataclasses.replace(
        found,
        of_parts={
            part: Classes(
                {c: n.counts[c] for c in kept}
                | {other: n.known - sum(n.counts[c] for c in kept)},
                n.missing,
            )
            for part, n in found.of_parts.items()
        },
    )
