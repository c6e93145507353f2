"""The training part of the RSNA screening mammography data as a TFDS data set."""

import io

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from remedis_jax.data.decode import decode_pixels
from remedis_jax.data.reading import Reading
from remedis_jax.data.tfds_sets.files import find_files, match_files, read_file
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import by_key, read_table

CANCER = ("0", "1")
_TEXT = (
    "site_id", "patient_id", "image_id", "laterality", "view", "age", "biopsy", "invasive",
    "BIRADS", "implant", "density", "machine_id", "difficult_negative_case",
)  # fmt: skip
# As the rest of this project reads DICOM by default, with all the depth there is.
_READING = Reading(channels=1, bits=16)


class Builder(StandInBuilder):
    """Screening mammograms of two sites, usually four views of a patient.

    TFDS has no feature for DICOM, so that each file becomes a PNG of 16 bits, by the rules of
    `remedis_jax.data.decode`.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    With a Kaggle account, accept the rules of the competition and download its data (314 GB) from
    https://www.kaggle.com/competitions/rsna-breast-cancer-detection/data:

      manual_dir/train.csv
      manual_dir/train_images/10006/462822612.dcm ...

    Building needs pip install 'remedis_jax[dicom]'. test.csv has a few rows and no labels; it is
    not read.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
                    ),
                    "cancer": tfds.features.ClassLabel(names=CANCER),
                    "breast": tfds.features.Text(doc="patient and side: what 'cancer' is about"),
                    **{name.lower(): tfds.features.Text() for name in _TEXT},
                }
            ),
            supervised_keys=("image", "cancer"),
            homepage="https://www.kaggle.com/competitions/rsna-breast-cancer-detection",
            license="Non-commercial use only; no attempt at identifying anybody",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        rows = by_key(read_table(folder / "train.csv", (*_TEXT, "cancer")), "image_id")
        place = folder / "train_images"
        paths = {f"{row['patient_id']}/{name}.dcm": row for name, row in rows.items()}
        images = match_files(paths, find_files(place, (".dcm",)), place)
        records = []
        for path, row in paths.items():
            side = row.choose_name("laterality", "LR")
            features = {
                "image": images[path],
                "cancer": row.choose_name("cancer", CANCER),
                "breast": f"{row['patient_id']}_{side}",
                **{column.lower(): row[column] for column in _TEXT},
            }
            records.append((row["image_id"], features))
        return {"train": records}

    @staticmethod
    def example(record: Record) -> Record:
        key, features = record
        path = features["image"]
        pixels = decode_pixels(read_file(path), _READING, name=path)
        encoded = io.BytesIO()
        Image.fromarray(pixels[:, :, 0]).save(encoded, format="PNG")
        return key, {**features, "image": encoded.getvalue()}
