"""APTOS 2019 as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import find_files, match_files
from remedis_jax.data.tfds_sets.stand_in_builder import UNGRADED, Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import by_key, read_table

GRADES = ("0", "1", "2", "3", "4")


class Builder(StandInBuilder):
    """Fundus photographs with the grade of diabetic retinopathy; one part has no grades."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    With a Kaggle account, accept the rules of the competition and download its data from
    https://www.kaggle.com/competitions/aptos2019-blindness-detection/data:

      manual_dir/train.csv
      manual_dir/test.csv
      manual_dir/train_images/000c1434d8d7.png ...
      manual_dir/test_images/0005cfc8afb6.png ...
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
                    "id_code": tfds.features.Text(),
                    "diagnosis": tfds.features.ClassLabel(names=(*GRADES, UNGRADED)),
                }
            ),
            supervised_keys=("image", "diagnosis"),
            homepage="https://www.kaggle.com/competitions/aptos2019-blindness-detection",
            license="Rules of the Kaggle competition; research use",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        splits = {}
        for split, columns in (("train", ("id_code", "diagnosis")), ("test", ("id_code",))):
            rows = by_key(read_table(folder / f"{split}.csv", columns), "id_code")
            place = folder / f"{split}_images"
            images = match_files(
                {f"{name}.png": row for name, row in rows.items()},
                find_files(place, (".png",)),
                place,
            )
            splits[split] = [
                (
                    name,
                    {
                        "image": images[f"{name}.png"],
                        "id_code": name,
                        "diagnosis": (
                            row.choose_name("diagnosis", GRADES) if split == "train" else UNGRADED
                        ),
                    },
                )
                for name, row in rows.items()
            ]
        return splits
