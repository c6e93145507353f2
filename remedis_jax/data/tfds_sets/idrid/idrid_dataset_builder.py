"""The disease-grading part of IDRiD as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import find_files, match_files
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import by_key, read_table

RETINOPATHY = ("0", "1", "2", "3", "4")
EDEMA = ("0", "1", "2")
_PART = "B. Disease Grading"
_IMAGES = "1. Original Images"
_TABLES = "2. Groundtruths"
_SPLITS = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}


class Builder(StandInBuilder):
    """Fundus photographs of one camera with grades of retinopathy and of macular edema."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    With a free account, download 'B. Disease Grading.zip' from
    https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid and
    unpack it:

      manual_dir/{_PART}/{_TABLES}/a. IDRiD_Disease Grading_Training Labels.csv
      manual_dir/{_PART}/{_TABLES}/b. IDRiD_Disease Grading_Testing Labels.csv
      manual_dir/{_PART}/{_IMAGES}/a. Training Set/IDRiD_001.jpg ...
      manual_dir/{_PART}/{_IMAGES}/b. Testing Set/IDRiD_001.jpg ...
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
                    "image_id": tfds.features.Text(
                        doc="split and name: the names start anew in each split"
                    ),
                    "retinopathy_grade": tfds.features.ClassLabel(names=RETINOPATHY),
                    "risk_of_macular_edema": tfds.features.ClassLabel(names=EDEMA),
                }
            ),
            homepage="https://idrid.grand-challenge.org/",
            license="CC BY 4.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        part = folder if (folder / _TABLES).exists() else folder / _PART
        columns = ("Image name", "Retinopathy grade", "Risk of macular edema")
        splits = {}
        for split, (place, table) in _SPLITS.items():
            rows = by_key(read_table(part / _TABLES / table, columns), "Image name")
            where = part / _IMAGES / place
            images = match_files(
                {f"{name}.jpg": row for name, row in rows.items()},
                find_files(where, (".jpg",)),
                where,
            )
            splits[split] = [
                (
                    name,
                    {
                        "image": images[f"{name}.jpg"],
                        "image_id": f"{split}/{name}",
                        "retinopathy_grade": row.choose_name("Retinopathy grade", RETINOPATHY),
                        "risk_of_macular_edema": row.choose_name("Risk of macular edema", EDEMA),
                    },
                )
                for name, row in rows.items()
            ]
        return splits
