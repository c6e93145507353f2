"""NIH ChestX-ray14 as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.messages import first_few
from remedis_jax.data.tfds_sets.files import by_name, find_files, match_files, only_file
from remedis_jax.data.tfds_sets.stand_in_builder import TWO_STATES, Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import Row, by_key, read_table
from remedis_jax.errors import UserError

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis",
    "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
NO_FINDING = "No Finding"
_TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
# Feature by column; the releases call the last one by two names.
_TEXT = {"follow_up": "Follow-up #", "age": "Patient Age", "view_position": "View Position"}
_SEX = ("Patient Gender", "Patient Sex")


class Builder(StandInBuilder):
    """Frontal chest radiographs with fourteen findings mined from the reports."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    From https://nihcc.app.box.com/v/ChestXray-NIHCC download Data_Entry_2017_v2020.csv (or the
    older Data_Entry_2017.csv), train_val_list.txt, test_list.txt and the twelve archives
    images_001.tar.gz ... images_012.tar.gz of the folder 'images'. Unpack each archive into a
    folder of its own name:

      manual_dir/Data_Entry_2017_v2020.csv
      manual_dir/train_val_list.txt
      manual_dir/test_list.txt
      manual_dir/images_001/images/00000001_000.png ...
      manual_dir/images_012/images/...

    All archives unpacked into one manual_dir/images/ are read as well.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        states = {feature_of(name): _two_states() for name in (*FINDINGS, NO_FINDING)}
        text = ("image_id", "patient_id", "sex", *_TEXT)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    # A few of the files have four channels of the same grey.
                    "image": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8),
                    **states,
                    **{name: tfds.features.Text() for name in text},
                }
            ),
            homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
            license="Free to use with reference to the NIH Clinical Center and the paper",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        table = only_file(folder, _TABLES)
        columns = ("Image Index", "Finding Labels", "Patient ID", *_TEXT.values())
        rows = by_key(read_table(table, columns), "Image Index")
        split_of = _read_lists(folder, rows)
        images = match_files(rows, by_name(find_files(folder, (".png",))), folder)
        splits: dict[str, list[Record]] = {split: [] for split in _LISTS}
        for name, row in rows.items():
            features = {
                "image": images[name],
                "image_id": name,
                "patient_id": _patient(row),
                "sex": _sex(row),
                **{feature: row[column] for feature, column in _TEXT.items()},
                **_states(row),
            }
            splits[split_of[name]].append((name, features))
        return splits


def feature_of(finding: str) -> str:
    """The feature of a finding, such as 'pleural_thickening'."""
    return finding.lower().replace(" ", "_")


def _two_states() -> tfds.features.ClassLabel:
    return tfds.features.ClassLabel(names=TWO_STATES)


def _states(row: Row) -> dict[str, str]:
    found = [name.strip() for name in row["Finding Labels"].split("|")]
    unknown = [name for name in found if name not in (*FINDINGS, NO_FINDING)]
    if unknown:
        raise row.wrong(f"{unknown[0]!r} in 'Finding Labels' is no finding of this data set.")
    if len(set(found)) < len(found) or (NO_FINDING in found and len(found) > 1):
        raise row.wrong(f"'Finding Labels' contradicts or repeats itself: {'|'.join(found)}.")
    return {feature_of(f): TWO_STATES[f in found] for f in (*FINDINGS, NO_FINDING)}


def _patient(row: Row) -> str:
    """The patient with leading zeros, as in the name of the file; the table lacks them."""
    patient = row["Image Index"].partition("_")[0]
    if not (patient.isdigit() and row["Patient ID"].isdigit()) or (
        int(patient) != int(row["Patient ID"])
    ):
        raise row.wrong(f"'Patient ID' is not that of the image {row['Image Index']}.")
    return patient


def _sex(row: Row) -> str:
    for column in _SEX:
        if column in row:
            return row[column]
    raise row.wrong(f"there is no column {' or '.join(map(repr, _SEX))}.")


def _read_lists(folder: epath.Path, rows: dict[str, Row]) -> dict[str, str]:
    """The split of each image."""
    split_of: dict[str, str] = {}
    for split, name in _LISTS.items():
        path = folder / name
        if not path.exists():
            raise UserError(f"{path}: there is no such file.", "Download it from the same place.")
        for number, line in enumerate(path.read_text().split("\n"), start=1):
            image = line.strip()
            if not image:
                continue
            if image not in rows or image in split_of:
                problem = "is already in a list" if image in split_of else "is not in the table"
                raise UserError(
                    f"{path}: line {number}: {image} {problem}.", "Download the lists again."
                )
            split_of[image] = split
    missing = [f"row {row.number} ({name})" for name, row in rows.items() if name not in split_of]
    if missing:
        raise UserError(
            f"{folder}: {len(missing):,} image(s) of the table are in neither list:"
            f" {first_few(missing)}.",
            "Download the lists again.",
        )
    return split_of
