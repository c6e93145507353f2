"""Images become batches. The files of this room, by what they are for:

* what is there: `manifest`, `tables` (a table of paths), `open_manifest` (every other kind:
  folders, Parquet, TFDS, slides, features, caches; a file each), `stores` (where images lie),
  `tfds_sets/` (builders of public data sets), `phantom/` (generated hospitals)
* how an image is read: `reading` (the rules that are open), `decode`, `picture`, `jpeg`, `deep`,
  `dicom`, `dicom_levels`, `dicom_pixels`, `depth`, `resample`
* what it means: `label_spec`, `labels`, `binary_labels`, `survival_labels`, `readers`,
  `label_policy`, `label_counts`
* which images are one example: `cases`; and which stand in the batch of a step: `orders`
* who trains and who judges: `splits`, `drawn_split`, `iterative_split`, `split_files`, `duplicates`
* what is wrong: `inspection` (every image once), `fingerprints`, `examination`, `findings`,
  `census`, `image_pairs`
* what must not be shared: `seen`, `seen_stages`, `leaks`, `leak_parts`, `checking` (before a stage)
* how it gets to the step: `dataset` (from a config), `sources`, `cache`, `cache_store`,
  `array_record`, `pipeline`, `processors`

`remedis_jax.data.pipeline` (`TrainStream`, `eval_batches`) is imported by its own name: it needs
grain, which takes a second to import and brings jax along, and whoever only checks a manifest or
draws a split should not wait for it.
"""

from remedis_jax.data.array_record import ArrayRecordSource, write_array_record
from remedis_jax.data.decode import decode_image, decode_pixels
from remedis_jax.data.inspection import ImageFacts, check_images, inspect_images
from remedis_jax.data.label_counts import treatment_counts
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.labels import LabelSpec, encode_labels, infer_label_spec
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.reading import Reading
from remedis_jax.data.sources import (
    ImageSource,
    InMemorySource,
    ManifestSource,
    SubsetSource,
    load_in_memory,
)
from remedis_jax.data.splits import (
    assert_disjoint_groups,
    group_strata,
    nested_subsets,
    split_by_group,
    split_counts,
)

__all__ = [
    "ArrayRecordSource",
    "Columns",
    "ImageFacts",
    "ImageSource",
    "InMemorySource",
    "LabelPolicy",
    "LabelSpec",
    "Manifest",
    "ManifestSource",
    "Reading",
    "SubsetSource",
    "assert_disjoint_groups",
    "check_images",
    "decode_image",
    "decode_pixels",
    "encode_labels",
    "group_strata",
    "infer_label_spec",
    "inspect_images",
    "load_in_memory",
    "nested_subsets",
    "read_manifest",
    "split_by_group",
    "split_counts",
    "treatment_counts",
    "write_array_record",
]
