"""Messidor-2 with its adjudicated grades as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.messages import first_few
from remedis_jax.data.tfds_sets.files import find_files, match_files
from remedis_jax.data.tfds_sets.stand_in_builder import UNGRADED, Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import Row, read_table
from remedis_jax.errors import UserError

RETINOPATHY = ("0", "1", "2", "3", "4", UNGRADED)
EDEMA = ("0", "1", UNGRADED)
GRADABLE = ("0", "1")
_GRADES = "messidor_data.csv"
_PAIRS = "messidor-2.csv"
_SUFFIXES = (".png", ".jpg", ".tif")


class Builder(StandInBuilder):
    """Fundus photographs of both eyes, graded for retinopathy and referable macular edema."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    Ask for the images at https://www.adcis.net/en/third-party/messidor2/; they come with the list
    of which two show one patient's eyes ({_PAIRS}). With a Kaggle account, download the grades
    ({_GRADES}) from https://www.kaggle.com/datasets/google-brain/messidor2-dr-grades:

      manual_dir/{_GRADES}
      manual_dir/{_PAIRS}
      manual_dir/IMAGES/20051020_43808_0100_PP.png ...
      manual_dir/IMAGES/IM000012.JPG ...
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
                    "image_id": tfds.features.Text(),
                    "examination": tfds.features.Text(doc="both eyes of a patient have the same"),
                    "adjudicated_dr_grade": tfds.features.ClassLabel(names=RETINOPATHY),
                    "adjudicated_dme": tfds.features.ClassLabel(names=EDEMA),
                    "adjudicated_gradable": tfds.features.ClassLabel(names=GRADABLE),
                }
            ),
            homepage="https://www.adcis.net/en/third-party/messidor2/",
            license="Images: terms of ADCIS, research; grades: CC0 1.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        columns = (
            "image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable",
        )  # fmt: skip
        rows = _by_stem(read_table(folder / _GRADES, columns))
        place = folder / "IMAGES"
        files: dict[str, str] = {}
        for path, full in find_files(place, _SUFFIXES).items():
            if _stem(path) in files:
                raise UserError(
                    f"{full}: {files[_stem(path)]} has the same name.", "Keep one of them."
                )
            files[_stem(path)] = full
        images = match_files(rows, files, place)
        examinations = _read_pairs(folder / _PAIRS)
        records = []
        for name, row in rows.items():
            if name not in examinations:
                raise row.wrong(f"{row['image_id']} is in no pair of {_PAIRS}.")
            features = {
                "image": images[name],
                "image_id": row["image_id"],
                "examination": examinations[name],
                "adjudicated_dr_grade": row.choose("adjudicated_dr_grade", _or_blank(RETINOPATHY)),
                "adjudicated_dme": row.choose("adjudicated_dme", _or_blank(EDEMA)),
                "adjudicated_gradable": row.choose_name("adjudicated_gradable", GRADABLE),
            }
            records.append((name, features))
        return {"train": records}


def _stem(name: str) -> str:
    """A name without folder and suffix, in lower case: the lists differ in the latter two."""
    return name.rpartition("/")[2].rpartition(".")[0].lower()


def _or_blank(grades: tuple[str, ...]) -> dict[str, str]:
    return {**{grade: grade for grade in grades if grade != UNGRADED}, "": UNGRADED}


def _by_stem(rows: list[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        other = found.setdefault(_stem(row["image_id"]), row)
        if other is not row:
            raise row.wrong(f"{row['image_id']} is in row {other.number} already.")
    return found


def _read_pairs(path: epath.Path) -> dict[str, str]:
    """The examination of each image: the name of the first image of its pair."""
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file.",
            "It comes with the images of ADCIS; without it the two eyes of a patient would be"
            " taken for two patients.",
        )
    examinations: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        names = [cell.strip().strip('"') for cell in line.split(";") if cell.strip()]
        # The header, where there is one, names no image files.
        if not names or (number == 1 and not names[0].lower().endswith(_SUFFIXES)):
            continue
        again = [name for name in names if _stem(name) in examinations]
        if again or len(set(map(_stem, names))) != len(names):
            raise UserError(
                f"{path}: line {number}: {first_few(again or names)} is in another pair already.",
                "Download the list again.",
            )
        examinations.update({_stem(name): _stem(names[0]) for name in names})
    return examinations
