"""CAMELYON17-WILDS as a TFDS data set."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import find_files, match_files
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import Row, read_table, refuse_duplicates

# As released, and as patch_camelyon of TFDS has them.
TUMOR = ("0", "1")
_TEXT = ("patient", "node", "x_coord", "y_coord", "slide", "center")
# The official splits: two hospitals, counted from 0, are held out, whatever the table says.
_HELD_OUT = {"1": "val", "2": "test"}
_WITHIN = {"0": "train", "1": "id_val"}


class Builder(StandInBuilder):
    """Patches of lymph-node slides from five hospitals."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Download version 1.0 (10 GB, no registration), for instance by the package of its makers, which
    https://wilds.stanford.edu/get_started/ describes:

      pip install wilds
      python -c "import wilds; wilds.get_dataset('camelyon17', download=True, root_dir='.')"

    manual_dir is the folder camelyon17_v1.0 that this makes:

      manual_dir/metadata.csv
      manual_dir/patches/patient_004_node_4/patch_patient_004_node_4_x_3328_y_21792.png ...
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    # The files have a fourth channel, transparency, of which there is none.
                    "image": tfds.features.Image(shape=(96, 96, 3), dtype=np.uint8),
                    "tumor": tfds.features.ClassLabel(names=TUMOR),
                    **{name: tfds.features.Text() for name in _TEXT},
                }
            ),
            supervised_keys=("image", "tumor"),
            homepage="https://wilds.stanford.edu/datasets/#camelyon17",
            license="CC0 1.0",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        rows = read_table(folder / "metadata.csv", (*_TEXT, "tumor", "split"), index=True)
        refuse_duplicates(rows, "patient", "node", "x_coord", "y_coord")
        images = match_files(
            {_path(row): row for row in rows},
            find_files(folder / "patches", (".png",)),
            folder / "patches",
        )
        splits: dict[str, list[Record]] = {
            split: [] for split in (*_WITHIN.values(), *_HELD_OUT.values())
        }
        for row in rows:
            path = _path(row)
            features = {
                "image": images[path],
                "tumor": row.choose_name("tumor", TUMOR),
                **{column: row[column] for column in _TEXT},
            }
            row.choose_name("center", "01234")
            within = row.choose("split", _WITHIN)
            splits[_HELD_OUT.get(row["center"], within)].append((path, features))
        return splits


def _path(row: Row) -> str:
    """Where a patch is, relative to 'patches'."""
    node = f"patient_{row['patient']}_node_{row['node']}"
    return f"{node}/patch_{node}_x_{row['x_coord']}_y_{row['y_coord']}.png"
