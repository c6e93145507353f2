"""The cells of an experiment, as they stand in `cells.jsonl`.

One cell is one fine-tuned model on one test set: an arm (with or without self-supervision), a seed,
a stage and, for the new hospital, the share of its labels.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from remedis_jax.errors import UserError

Stage = Literal["id", "ood_zero_shot", "ood_finetuned"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model on one test set.

    Attributes:
        arm: Name of the training recipe.
        seed: Seed of the run and of its label subset.
        fraction: Share of the new hospital's labels it was fine-tuned on, in (0, 1]; 0 for the
            stages that use none of them.
        stage: 'id' (test set of the first hospital), 'ood_zero_shot' (the same weights on the new
            hospital), 'ood_finetuned' (after training on `fraction` of its labels).
        predictions: Predictions table of the test set.
        n_patients: Labelled patients it was trained on: of the first hospital for 'id', of the new
            one otherwise.
        n_images: Their images.
        validation: Predictions of the same weights on the rows that choose its threshold and its
            temperature; None if there are none.
    """

    arm: str
    seed: int
    fraction: float
    stage: Stage
    predictions: Path
    n_patients: int
    n_images: int
    validation: Path | None = None


def read_cells(path: str | os.PathLike) -> list[Cell]:
    """Reads `cells.jsonl`: per line a JSON object with the fields of `Cell`.

    `predictions` is relative to the file's folder and must stay inside it. `fraction` may be null
    for the stages that use none of the new hospital's labels. Other keys are ignored.

    Raises:
        UserError: A line that is no such object, a cell twice, a predictions file that is missing
            or outside the folder; the message names the line.
    """
    path = Path(path)
    root = path.parent.resolve()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Give an experiment's folder.") from (
            error
        )
    cells: dict[tuple, Cell] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        cell = _to_cell(line, where, root)
        key = (cell.arm, cell.seed, cell.fraction, cell.stage)
        if key in cells:
            raise UserError(
                f"{where}: the cell arm={cell.arm!r}, seed={cell.seed}, fraction={cell.fraction:g}"
                f", stage={cell.stage!r} stands in the file twice.",
                "Keep one line per cell.",
            )
        cells[key] = cell
    if not cells:
        raise UserError(f"{path} holds no cells.", "Run the experiment first.")
    return list(cells.values())


def _to_cell(line: str, where: str, root: Path) -> Cell:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON ({error}).", "Remove the line.") from error
    if not isinstance(record, Mapping):
        raise UserError(f"{where} is not a JSON object.", "Remove the line.")
    try:
        cell = Cell(
            arm=str(record["arm"]),
            seed=int(record["seed"]),
            fraction=float(record["fraction"] or 0.0),
            stage=record["stage"],
            predictions=Path(record["predictions"]),
            n_patients=int(record["n_patients"]),
            n_images=int(record["n_images"]),
        )
    except KeyError as error:
        raise UserError(
            f"{where} has no key {error}.", "A cell has " + ", ".join(_FIELDS) + "."
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}.", "Write the cell again.") from error
    if cell.stage not in STAGES:
        raise UserError(
            f"{where}: stage {cell.stage!r} is unknown.", f"Choose one of {', '.join(STAGES)}."
        )
    if cell.stage != "ood_finetuned":
        cell = dataclasses.replace(cell, fraction=0.0)
    elif not 0 < cell.fraction <= 1:
        raise UserError(
            f"{where}: fraction is {cell.fraction:g}.",
            "After fine-tuning it is above 0 and at most 1.",
        )
    chosen_on = record.get("validation")
    return dataclasses.replace(
        cell,
        predictions=_inside(record["predictions"], where, root),
        validation=None if chosen_on is None else _inside(chosen_on, where, root),
    )


def _inside(name: str, where: str, root: Path) -> Path:
    """A predictions file of the experiment's folder."""
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise UserError(
            f"{where}: {name!r} is outside the experiment's folder.",
            "Keep predictions inside it, with a relative path.",
        )
    if not path.is_file():
        raise UserError(f"{where}: {name!r} does not exist.", "Run this cell again.")
    return path


_FIELDS = tuple(field.name for field in dataclasses.fields(Cell) if field.name != "validation")
