"""Images become batches: manifest, labels, splits, leak guard, decoding, sources, pipeline.

`remedis_jax.data.pipeline` (`TrainStream`, `eval_batches`) is imported by its own name: it needs
grain, which takes a second to import and brings jax along, and whoever only checks a manifest or
draws a split should not wait for it.
"""

from remedis_jax.data.array_record import ArrayRecordSource, write_array_record
from remedis_jax.data.decode import ImageFacts, check_images, decode_image, inspect_images
from remedis_jax.data.labels import LabelSpec, count_labels, encode_labels, infer_label_spec
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.sources import (
    ImageSource,
    InMemorySource,
    ManifestSource,
    SubsetSource,
    load_in_memory,
)
from remedis_jax.data.splits import (
    assert_disjoint_groups,
    assert_disjoint_images,
    find_duplicates,
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
    "LabelSpec",
    "Manifest",
    "ManifestSource",
    "SubsetSource",
    "assert_disjoint_groups",
    "assert_disjoint_images",
    "check_images",
    "count_labels",
    "decode_image",
    "encode_labels",
    "find_duplicates",
    "group_strata",
    "infer_label_spec",
    "inspect_images",
    "load_in_memory",
    "nested_subsets",
    "read_manifest",
    "split_by_group",
    "split_counts",
    "write_array_record",
]
