"""The training part of ISIC 2019 as a TFDS data set."""

import re

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import by_name, find_files, match_files
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import Row, by_key, read_table, refuse_unmatched

DIAGNOSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
SOURCES = ("HAM10000", "BCN20000", "MSK", "unknown")
_TEXT = ("lesion_id", "age_approx", "anatom_site_general", "sex")
_PREFIXES = {"HAM": "HAM10000", "BCN": "BCN20000", "MSK": "MSK"}
# The images of HAM10000 are exactly those with these numbers.
_HAM10000 = range(24306, 34321)
_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
_METADATA = "ISIC_2019_Training_Metadata.csv"
_IMAGES = "ISIC_2019_Training_Input"


class Builder(StandInBuilder):
    """Dermoscopic photographs of three collections, with the lesion they show."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    From https://challenge.isic-archive.com/data/#2019 download the training data:
    {_IMAGES}.zip, {_TRUTH} and {_METADATA}. Unpack the archive:

      manual_dir/{_TRUTH}
      manual_dir/{_METADATA}
      manual_dir/{_IMAGES}/ISIC_0000000.jpg ...
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
                    "image_id": tfds.features.Text(),
                    "group": tfds.features.Text(
                        doc="lesion_id; where that is blank, the image, which then stands alone"
                    ),
                    "diagnosis": tfds.features.ClassLabel(names=DIAGNOSES),
                    "source": tfds.features.ClassLabel(names=SOURCES),
                    **{name: tfds.features.Text() for name in _TEXT},
                }
            ),
            supervised_keys=("image", "diagnosis"),
            homepage="https://challenge.isic-archive.com/data/#2019",
            license="CC BY-NC 4.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        truth = by_key(read_table(folder / _TRUTH, ("image", *DIAGNOSES)), "image")
        metadata = by_key(read_table(folder / _METADATA, ("image", *_TEXT)), "image")
        refuse_unmatched(truth, metadata, folder / _METADATA)
        refuse_unmatched(metadata, truth, folder / _TRUTH)
        images = match_files(
            {f"{name}.jpg": row for name, row in truth.items()},
            by_name(find_files(folder / _IMAGES, (".jpg",))),
            folder / _IMAGES,
        )
        records = []
        for name, row in truth.items():
            about = metadata[name]
            features = {
                "image": images[f"{name}.jpg"],
                "image_id": name,
                "group": about["lesion_id"] or name,
                "diagnosis": _diagnosis(row),
                "source": source_of(about),
                **{column: about[column] for column in _TEXT},
            }
            records.append((name, features))
        return {"train": records}


def source_of(row: Row) -> str:
    """Which collection a photograph is of: by its lesion, else by the number of the image.

    The challenge names three collections, so that an image without a lesion, from before the
    numbers of HAM10000, can be of MSK only; this is inferred, as is all that goes by the number.

    Raises:
        UserError: The lesion is of none of the three.
    """
    if row["lesion_id"]:
        prefix = re.match(r"[A-Za-z]*", row["lesion_id"])[0]
        if prefix not in _PREFIXES:
            raise row.wrong(
                f"lesion_id {row['lesion_id']!r} starts with none of {', '.join(_PREFIXES)}."
            )
        return _PREFIXES[prefix]
    number = re.match(r"ISIC_(\d+)", row["image"])
    if number is None:
        raise row.wrong(f"image {row['image']!r} is not named ISIC_ and a number.")
    if int(number[1]) in _HAM10000:
        return "HAM10000"
    return "MSK" if int(number[1]) < _HAM10000.start else "unknown"


def _diagnosis(row: Row) -> str:
    states = {"0": False, "0.0": False, "1": True, "1.0": True}
    true = [name for name in DIAGNOSES if row.choose(name, states)]
    if len(true) != 1:
        raise row.wrong(f"{len(true)} diagnoses are 1 ({', '.join(true)}), not one.")
    return true[0]
