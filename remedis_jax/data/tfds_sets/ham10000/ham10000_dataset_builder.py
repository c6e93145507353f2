"""HAM10000 as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import by_name, find_files, match_files, only_file
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import by_key, read_table

DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_TABLES = ("HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab")
_TEXT = ("lesion_id", "dx_type", "age", "sex", "localization", "dataset")


class Builder(StandInBuilder):
    """Dermoscopic photographs of pigmented lesions, several of some lesions."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    From https://doi.org/10.7910/DVN/DBW86T (Harvard Dataverse, no registration) download
    HAM10000_metadata, HAM10000_images_part_1.zip and HAM10000_images_part_2.zip, and unpack each
    archive into a folder of its own name:

      manual_dir/HAM10000_metadata              or HAM10000_metadata.csv, or .tab
      manual_dir/HAM10000_images_part_1/ISIC_0024306.jpg ...
      manual_dir/HAM10000_images_part_2/ISIC_0029306.jpg ...

    Copies of the table elsewhere may lack its column 'dataset', which says where a photograph was
    taken. It is needed.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), dtype=np.uint8),
                    "image_id": tfds.features.Text(),
                    "dx": tfds.features.ClassLabel(names=DIAGNOSES),
                    **{name: tfds.features.Text() for name in _TEXT},
                }
            ),
            supervised_keys=("image", "dx"),
            homepage="https://doi.org/10.7910/DVN/DBW86T",
            license="CC BY-NC-SA 4.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        table = only_file(folder, _TABLES)
        rows = by_key(read_table(table, ("image_id", "dx", *_TEXT)), "image_id")
        files = {}
        for part in ("HAM10000_images_part_1", "HAM10000_images_part_2"):
            found = find_files(folder / part, (".jpg",))
            files.update({f"{part}/{path}": full for path, full in found.items()})
        images = match_files(
            {f"{name}.jpg": row for name, row in rows.items()}, by_name(files), folder
        )
        records = []
        for name, row in rows.items():
            features = {
                "image": images[f"{name}.jpg"],
                "image_id": name,
                "dx": row.choose_name("dx", DIAGNOSES),
                **{column: row[column] for column in _TEXT},
            }
            records.append((name, features))
        return {"train": records}
