"""Tables of predictions of other tools, brought into the form of `evaluation.predictions`.

Which column was taken for what stands in `table.attrs["columns"]`; `mapping_sentence` says it in
words. Nothing is guessed: what could be read in two ways is refused with the candidates.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.column_roles import (
    GROUP,
    IMAGE,
    LABEL,
    SITE,
    SPLIT,
    find_column,
    find_image_and_group,
    require_column,
)
from remedis_jax.evaluation.foreign_scores import ONE_SCORE, find_scores
from remedis_jax.evaluation.prediction_schema import (
    BASE_COLUMNS,
    FINDING,
    FIRST_LINE,
    RISK,
    SCORE,
    SURVIVAL,
)
from remedis_jax.evaluation.score_sources import Source

COLUMNS = "columns"  # the key of table.attrs
ROLES = (ONE_SCORE, SCORE, FINDING, *SURVIVAL)  # beside those of `column_roles`


def is_own(table: pd.DataFrame) -> bool:
    """Whether the columns are those that this package writes, or were meant to be."""
    columns = list(table.columns)
    scored = any(name.startswith(SCORE) for name in columns) or RISK in columns
    return scored and all(name in columns for name in BASE_COLUMNS)


def adopted(table: pd.DataFrame, where: str, given: Mapping[str, str]) -> pd.DataFrame:
    """A table of another tool with the columns of ours.

    Args:
        table: Text, N rows.
        where: The file, for messages.
        given: Role -> column, as the user says, see `column_roles.parse_columns`; as group
            'image' says that every image is its own patient.

    Returns:
        Image, group, site, split and labels as text and scores as float64, then the columns that
        play no part and whose names are not of ours. `attrs["columns"]` maps each of the former
        that was read to the column it was read from.

    Raises:
        UserError: A column is missing or not clear, a score is no number, NaN, or not in [0, 1].
    """
    if is_own(table) and not set(given) - {GROUP}:
        return _own_with_group(table, where, given[GROUP])
    for name in table.columns:
        table[name] = table[name].str.strip()
    image, group = find_image_and_group(table, where, given)
    taken = [image, group]
    site = find_column(table, SITE, where, given, taken)
    split = find_column(table, SPLIT, where, given, [*taken, site])
    taken += [site, split]
    read = {IMAGE: image, GROUP: group, SITE: site, SPLIT: split}
    result = {role: table[name] if name else "" for role, name in read.items()}
    if RISK in table.columns and all(given.get(name, name) in table for name in SURVIVAL):
        read |= {name: given.get(name, name) for name in SURVIVAL}
        result |= {name: table[read[name]] for name in SURVIVAL}
    else:
        texts = _plain_numbers(table)
        found = find_scores(texts, where, given, [name for name in taken if name])
        if found.label is not None:
            read[LABEL] = found.label
            result[LABEL] = texts[found.label]
        for name, column in found.findings.items():
            read[FINDING + name] = column
            result[FINDING + name] = texts[column].replace({"True": "1", "False": "0", "nan": ""})
        for name, source in found.scores.items():
            read[SCORE + name] = str(source)
            result[SCORE + name] = _probabilities(table, source, where)
    used = set(read.values())
    rest = [c for c in table if c not in used and c not in result]
    rest = [c for c in rest if not c.startswith((SCORE, FINDING)) and c not in (LABEL, RISK)]
    mapping = {role: name for role, name in read.items() if name and role in result}
    adopted = pd.DataFrame(result | {name: table[name] for name in rest}, index=table.index)
    adopted.attrs[COLUMNS] = mapping
    return adopted


def mapping_sentence(table: pd.DataFrame) -> str:
    """'image is read from filename, p_1 from y_prob'; '' for a table of our own columns."""
    pairs = [f"{role} from {name}" for role, name in table.attrs.get(COLUMNS, {}).items()]
    return f"Read {', '.join(pairs)}." if pairs else ""


def to_float(cells: pd.Series, where: str) -> np.ndarray:
    """Cells as float64, NaN for blank ones; raises UserError with the line of one that is none."""
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell) if cell.strip() else np.nan
        except ValueError as error:
            raise UserError(
                f"{where}, line {row + FIRST_LINE}: {cells.name!r} is {cell!r}, not a number.",
                "Write scores as decimal numbers with a point.",
            ) from error
    return values


def _own_with_group(table: pd.DataFrame, where: str, group: str) -> pd.DataFrame:
    require_column(table, group, where)
    table = table.assign(**{GROUP: table[group]})
    table.attrs[COLUMNS] = {GROUP: group}
    return table


def _plain_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """'1.0' becomes '1' in columns of nothing but whole numbers and blanks, as labels are."""
    texts = table.copy()
    for name in table.columns:
        cells = table[name]
        if cells.str.fullmatch(r"-?\d+\.0*|-?\d+|").all():
            texts[name] = cells.str.replace(r"\.0*$", "", regex=True)
    return texts


def _probabilities(table: pd.DataFrame, source: Source, where: str) -> np.ndarray:
    """Scores of one class; refused by the name that the column has in the file."""
    values = to_float(table[source.column], where)
    for wrong, what, remedy in (
        (
            np.isnan(values),
            "blank or NaN",
            "Predict these images again; a model that returns NaN has diverged.",
        ),
        (
            (values < 0) | (values > 1),
            None,
            "Scores must be probabilities between 0 and 1, not logits.",
        ),
    ):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            more = f" ({int(wrong.sum()):,} such rows)" if wrong.sum() > 1 else ""
            raise UserError(
                f"{where}, line {first + FIRST_LINE}: {source.column!r} is"
                f" {what or f'{values[first]:g}'}{more}.",
                remedy,
            )
    return 1 - values if source.complement else values
