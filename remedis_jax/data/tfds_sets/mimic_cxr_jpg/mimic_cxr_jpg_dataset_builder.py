"""MIMIC-CXR-JPG as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import find_files, match_files, only_file
from remedis_jax.data.tfds_sets.stand_in_builder import FOUR_STATES, Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import (
    Row,
    by_key,
    read_table,
    refuse_duplicates,
    refuse_unmatched,
)
from remedis_jax.errors import UserError

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other",
    "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
_STATES = {
    "1.0": "positive", "1": "positive", "0.0": "negative", "0": "negative",
    "-1.0": "uncertain", "-1": "uncertain", "": "unmentioned",
}  # fmt: skip
_SPLITS = {"train": "train", "validate": "validation", "test": "test"}
_IDS = ("dicom_id", "subject_id", "study_id")


class Builder(StandInBuilder):
    """Chest radiographs with what the CheXpert labeller found in the reports."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Access is credentialed: complete the training that
    https://physionet.org/content/mimic-cxr-jpg/2.1.0/ asks for, sign its data use agreement, then
    download all of its files with your account:

      manual_dir/mimic-cxr-2.0.0-chexpert.csv.gz
      manual_dir/mimic-cxr-2.0.0-metadata.csv.gz
      manual_dir/mimic-cxr-2.0.0-split.csv.gz
      manual_dir/files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg ...

    The tables may be unpacked (.csv).
    """

    def _info(self) -> tfds.core.DatasetInfo:
        states = {feature_of(name): _four_states() for name in FINDINGS}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8),
                    **states,
                    "labelled": tfds.features.ClassLabel(
                        names=("no", "yes"), doc="whether the study is in the table of labels"
                    ),
                    **{name: tfds.features.Text() for name in (*_IDS, "view_position")},
                }
            ),
            homepage="https://physionet.org/content/mimic-cxr-jpg/",
            license="PhysioNet Credentialed Health Data License 1.5.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        metadata = by_key(_read(folder, "metadata", (*_IDS, "ViewPosition")), "dicom_id")
        split_rows = by_key(_read(folder, "split", (*_IDS, "split")), "dicom_id")
        refuse_unmatched(metadata, split_rows, next(iter(split_rows.values())).path)
        refuse_unmatched(split_rows, metadata, next(iter(metadata.values())).path)
        labels = _read_labels(folder, metadata)
        images = match_files(
            {_path(row): row for row in metadata.values()},
            find_files(folder / "files", (".jpg",)),
            folder / "files",
        )
        splits: dict[str, list[Record]] = {split: [] for split in _SPLITS.values()}
        for name, row in metadata.items():
            other = split_rows[name]
            if any(row[column] != other[column] for column in _IDS):
                raise other.wrong(f"{name} is of another study than in {row.path.name}.")
            states = labels.get((row["subject_id"], row["study_id"]))
            features = {
                "image": images[_path(row)],
                "labelled": "no" if states is None else "yes",
                "view_position": row["ViewPosition"],
                **{column: row[column] for column in _IDS},
                **(states or {feature_of(finding): "unmentioned" for finding in FINDINGS}),
            }
            splits[other.choose("split", _SPLITS)].append((name, features))
        return splits


def feature_of(finding: str) -> str:
    """The feature of a finding, such as 'pleural_effusion'."""
    return finding.lower().replace(" ", "_")


def _four_states() -> tfds.features.ClassLabel:
    return tfds.features.ClassLabel(names=FOUR_STATES)


def _read(folder: epath.Path, table: str, columns: tuple[str, ...]) -> list[Row]:
    name = f"mimic-cxr-2.0.0-{table}.csv"
    return read_table(only_file(folder, (f"{name}.gz", name)), columns)


def _path(row: Row) -> str:
    """Where an image is, relative to 'files'."""
    subject, study = row["subject_id"], row["study_id"]
    return f"p{subject[:2]}/p{subject}/s{study}/{row['dicom_id']}.jpg"


def _read_labels(
    folder: epath.Path, metadata: dict[str, Row]
) -> dict[tuple[str, str], dict[str, str]]:
    """The state of each finding, by subject and study."""
    rows = _read(folder, "chexpert", ("subject_id", "study_id", *FINDINGS))
    refuse_duplicates(rows, "subject_id", "study_id")
    studies = {(row["subject_id"], row["study_id"]) for row in metadata.values()}
    labels = {}
    for row in rows:
        study = row["subject_id"], row["study_id"]
        if study not in studies:
            raise UserError(
                f"{row.path}: row {row.number}: study {study[1]} has no image in the metadata.",
                "All tables have to be of the same release.",
            )
        labels[study] = {feature_of(f): row.choose(f, _STATES) for f in FINDINGS}
    return labels
