"""Which images or cases are explained: some of a table, spread over it, or the worst errors."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from remedis_jax.data.cases import Cases
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.failures import failures
from remedis_jax.evaluation.prediction_schema import FINDING
from remedis_jax.evaluation.predictions import Predictions

HIGHEST = -1  # the class with the highest score, whichever that is
# ours: more maps of one case nobody looks through, and slides have thousands of tiles.
MOST_IMAGES = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """An image, or a case of several, whose score is explained.

    Attributes:
        name: Of the image, or of the case.
        images: int64 [V], positions of its images in the rows.
        places: int64 [V], where they stand for the classifier: 0, 1, ... or their views.
        target: Class to explain, or `HIGHEST`.
        label: What it is known to be, as text; "" if nothing is known.
    """

    name: str
    images: np.ndarray
    places: np.ndarray
    target: int = HIGHEST
    label: str = ""


def class_index(classes: Sequence[str], label: str | None) -> int:
    """The position of a class; `HIGHEST` for None.

    Raises:
        UserError: The classifier has no such class.
    """
    if label is None:
        return HIGHEST
    if label not in classes:
        raise UserError(
            f"The classifier has no class {label!r}.{did_you_mean(label, classes)}",
            f"Its classes are {first_few(list(classes))}.",
        )
    return list(classes).index(label)


def every_example(
    rows: Manifest, cases: Cases | None, target: int, label_columns: Sequence[str]
) -> list[Example]:
    """The examples of a table, in its order; cases in that of their names.

    Args:
        rows: One image a row.
        cases: None where every image is an example by itself.
        target: See `Example`.
        label_columns: Columns that say what the images are; () if none do.

    Raises:
        UserError: A case has two images of one view, or too many images to be looked at.
    """
    labels = _label_texts(rows.table, label_columns)
    if cases is None:
        first = np.zeros(1, np.int64)
        return [
            Example(name, np.array([i]), first, target, labels[i])
            for i, name in enumerate(rows.images)
        ]
    found = []
    for number, name in enumerate(cases.names.tolist()):
        images = cases.members(number)
        places = np.arange(len(images)) if cases.views is None else cases.views[images]
        if len(images) > MOST_IMAGES:
            raise UserError(
                f"{rows.path}: the case {name} has {len(images):,} images; {MOST_IMAGES} are "
                "explained at most.",
                "Leave such cases out with --where.",
            )
        if len(set(places.tolist())) < len(places):
            raise UserError(
                f"{rows.path}: the case {name} has two images of one view, of which the "
                "classifier reads the mean.",
                "Leave one of them out.",
            )
        found.append(Example(name, images, places, target, labels[int(images[0])]))
    return found


def spread(examples: Sequence[Example], limit: int) -> list[Example]:
    """So many of the examples at even distances: neighbours are often of one patient."""
    count = min(limit, len(examples))
    return [examples[k * len(examples) // count] for k in range(count)]


def most_confident_errors(
    examples: Sequence[Example],
    predictions: Predictions,
    classes: Sequence[str],
    target: int,
    limit: int,
    name: str,
) -> list[Example]:
    """The examples that the predictions are surest and wrong about, the surest first.

    Explained is the class that was called, of findings (and of two classes) the one that was wrong,
    unless a class is asked for; then errors that have nothing to do with it are left out.

    Args:
        examples: To choose from, by name.
        predictions: Of the same weights.
        classes: Of the classifier.
        target: See `Example`.
        limit: How many.
        name: Of the predictions, for messages.

    Raises:
        UserError: The predictions are of survival or of other classes, or no example is an error.
    """
    if predictions.kind == "survival":
        raise UserError(
            f"{name}: risks of survival are not right or wrong.", "Leave --errors out."
        )
    other = [label for label in predictions.classes if label not in classes]
    if other:
        raise UserError(
            f"{name} has a class {other[0]!r}, which the classifier has not.",
            "Give predictions of these weights.",
        )
    table = failures([predictions])
    if target != HIGHEST:
        wanted = classes[target]
        table = table[(table["class"] == wanted) | (table["label"] == wanted)]
    by_name = {example.name: example for example in examples}
    chosen = []
    for row in table[table["image"].isin(list(by_name))].head(limit).itertuples(index=False):
        example = by_name[row.image]
        index = list(classes).index(row[2]) if target == HIGHEST else target
        chosen.append(dataclasses.replace(example, target=index, label=row.label))
    if not chosen:
        among = "" if target == HIGHEST else f" about {classes[target]}"
        raise UserError(
            f"{name}: none of its {len(table):,} errors{among} is among the "
            f"{len(examples):,} given.",
            "Give the images that were predicted, or leave --errors out.",
        )
    return chosen


def label_columns_of(table: pd.DataFrame, card: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that say what the images are: those of the training, or of predictions."""
    trained = (card.get("columns") or {}).get("labels") or ()
    if trained and set(trained) <= set(table.columns):
        return tuple(trained)
    if "label" in table.columns:
        return ("label",)
    return tuple(name for name in table.columns if name.startswith(FINDING))


def _label_texts(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    if len(columns) == 1 and not columns[0].startswith(FINDING):
        return [str(cell).strip() for cell in table[columns[0]]]
    names = [name.removeprefix(FINDING) for name in columns]
    cells = table[list(columns)].astype(str).to_numpy()
    return [
        ", ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True) if cell.strip())
        for row in cells
    ]
