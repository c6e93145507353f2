"""Predictions files with what belongs to them: validation, thresholds, characteristics, images."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.data.manifest import Columns, read_manifest
from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.foreign_columns import mapping_sentence
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.operating_point import YOUDEN, parse_rule
from remedis_jax.evaluation.prediction_schema import BASE_COLUMNS, FINDING, SCORE, SURVIVAL
from remedis_jax.evaluation.predictions import Predictions, read_predictions, unlabelled
from remedis_jax.evaluation.same_images import require_same_images

# ours: percentile intervals of fewer patients are known to be too narrow.
FEW_PATIENTS = 30
MOST_PARTS = 4  # sites and splits whose calibration is shown side by side; ours


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionFile:
    """One file and what was given with it.

    Attributes:
        name: As much of its path as tells it from the others.
        path: The file.
        table: As from `read_predictions`.
        predictions: The images that have a label.
        validation: Of the same model, on rows that choose thresholds and temperature; None if none.
        rows: Characteristics by image.
        folder: What the images' names are relative to; None if unknown.
    """

    name: str
    path: Path
    table: pd.DataFrame
    predictions: Predictions
    validation: Predictions | None
    rows: pd.DataFrame
    folder: Path | None


def read_files(
    paths: Sequence[Path],
    names: Sequence[str],
    *,
    positive: str | None = None,
    group: str | None = None,
    validation: Sequence[Path] = (),
    manifest: Path | None = None,
    operating_point: str = YOUDEN,
    images: Path | None = None,
) -> tuple[list[PredictionFile], list[str]]:
    """Reads everything that the report is made of.

    Args:
        paths: Predictions files.
        names: Of them.
        positive: Positive class where there are two.
        group: Column of the patient.
        validation: None, one for all files, or one per file.
        manifest: Of the images, for characteristics and thumbnails.
        operating_point: Rule by which the validation chooses thresholds.
        images: Folder that the images' names are relative to; the manifest's if None.

    Returns:
        The files, and sentences on what was found in them.

    Raises:
        UserError: A file cannot be read; validation does not fit in number, kind or classes, or
            shares images or patients with the file it is for; a rule without a validation.
    """
    parse_rule(operating_point)
    if len(validation) not in (0, 1, len(paths)):
        raise UserError(
            f"there are {len(validation)} validation files and {len(paths)} predictions files.",
            "Give one for all of them, or one for each in the same order.",
        )
    if operating_point != YOUDEN and not validation:
        raise UserError(
            f"there is no validation to choose the operating point {operating_point!r} on.",
            "Give the predictions of validation data with --validation.",
        )
    chosen = list(validation) * len(paths) if len(validation) == 1 else list(validation)
    known, folder = (None, None) if manifest is None else _manifest_rows(manifest)
    folder = images or folder
    read: dict[Path, Predictions] = {}
    files, notes = [], []
    for index, (name, path) in enumerate(zip(names, paths, strict=True)):
        table = read_predictions(path, group)
        if sentence := mapping_sentence(table):
            notes.append(f"{name}: {sentence}")
        predictions = Predictions.from_table(table, positive)
        of = chosen[index] if chosen else None
        if of is not None:
            if of not in read:
                read[of] = Predictions.from_table(read_predictions(of, group), positive)
            _require_fitting(name, predictions, of, read[of])
        rows, remark = _rows(table, known)
        notes += [f"{name}: {remark}"] if remark else []
        patients = len(np.unique(predictions.groups))
        if 1 < patients < FEW_PATIENTS:
            notes.append(
                f"{name}: {patients} patients are few, and percentile intervals of fewer than"
                f" {FEW_PATIENTS} are too narrow"
            )
        files.append(
            PredictionFile(
                name, path, table, predictions, read.get(of) if of else None, rows, folder
            )
        )
    return files, notes


def judged_sets(files: Sequence[PredictionFile]) -> tuple[list[JudgedSet], list[JudgedSet]]:
    """The files as sets, and their parts by site and split for the calibration.

    Files on the same images are arms of one test set; others are test sets. A file of two to
    `MOST_PARTS` sites and splits has these in place of the whole.
    """
    same = len(files) > 1 and _on_the_same_images(files)
    sets, parts = [], []
    for file in files:
        arm, name = (file.name, "") if same or len(files) == 1 else ("", file.name)
        validation = () if file.validation is None else (file.validation,)
        whole = JudgedSet(arm, name, (file.predictions,), validation, file.rows, file.folder)
        sets.append(whole)
        labelled = file.table[~unlabelled(file.table)]
        pairs = labelled[["site", "split"]].drop_duplicates().sort_values(["site", "split"])
        if not 2 <= len(pairs) <= MOST_PARTS:
            parts.append(whole)
            continue
        for site, split in pairs.itertuples(index=False):
            mask = ((labelled["site"] == site) & (labelled["split"] == split)).to_numpy()
            part = f"site {site or 'unknown'}, split {split or 'unknown'}"
            run = file.predictions.select(mask)
            parts.append(dataclasses.replace(whole, arm=file.name, name=part, runs=(run,)))
    return sets, parts


def of_one_kind(files: Sequence[PredictionFile]) -> list[PredictionFile]:
    """The files that have the kind and the classes of the first."""
    first = files[0].predictions
    return [
        file for file in files
        if (file.predictions.kind, file.predictions.classes) == (first.kind, first.classes)
    ]  # fmt: skip


def _manifest_rows(path: Path) -> tuple[pd.DataFrame, Path]:
    manifest = read_manifest(path, Columns(), check_files=False)
    rows = manifest.table.set_index(manifest.columns.image)
    return rows, manifest.path.parent


def _rows(table: pd.DataFrame, known: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """Characteristics of the file's images, and a remark on those that the manifest lacks."""
    own = [
        column for column in table.columns
        if column in ("site", "split")
        or (column not in (*BASE_COLUMNS, *SURVIVAL, "label")
            and not column.startswith((SCORE, FINDING)))
    ]  # fmt: skip
    rows = table.set_index("image")[own]
    if known is None:
        return rows, ""
    absent = ~rows.index.isin(known.index)
    # The file says itself where an image is from; of all else the manifest knows more.
    joined = known.drop(columns=["site", "split"], errors="ignore").reindex(rows.index)
    joined = joined.join(rows.drop(columns=joined.columns, errors="ignore"))
    if not absent.any():
        return joined, ""
    return joined, (
        f"{absent.sum():,} of {len(rows):,} images are not in the manifest, and their"
        " characteristics are unknown"
    )


def _require_fitting(
    name: str, predictions: Predictions, path: Path, validation: Predictions
) -> None:
    if (validation.kind, validation.classes) != (predictions.kind, predictions.classes):
        raise UserError(
            f"{path} has {validation.kind} {validation.classes}, and {name} {predictions.kind}"
            f" {predictions.classes}.",
            "Give the validation predictions of the same model.",
        )
    for what, of in (("images", "images"), ("patients", "groups")):
        both = np.intersect1d(getattr(predictions, of), getattr(validation, of))
        if both.size:
            raise UserError(
                f"{path} and {name} share {both.size:,} {what} ({first_few(list(both))}).",
                "What chooses a threshold or a temperature must not be judged by it: give"
                " validation predictions of other patients.",
            )


def _on_the_same_images(files: Sequence[PredictionFile]) -> bool:
    try:
        for file in files[1:]:
            require_same_images(files[0].predictions, file.predictions)
    except UserError:
        return False  # The comparison's section says why.
    return True
