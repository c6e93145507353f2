"""The features of a TFDS data set as columns of text.

* Nested features are joined by '_': a/b is the column a_b.
* A class is its name. In the data sets that stand in for the tasks of REMEDIS, positive is 1,
  negative 0, uncertain -1 and what is not known an empty cell, as CheXpert's own table has it, so
  that the label policy applies (`remedis_jax.data.tfds_sets.stand_ins.CELLS`).
* Text is text; a number is written as numpy writes it, and nan is an empty cell.
* A sequence of classes of a stated length is as many columns, label_00, label_01 ...; those of
  CheXpert are called by its findings. Another sequence of single values is a JSON list.
* Images are named, not held. Sequences of several features, arrays of two axes and more, video and
  audio are no columns.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from remedis_jax.data.tfds_sets.stand_ins import CELLS, DATA_SETS
from remedis_jax.errors import UserError

# What the builder of TFDS 4.9.10 calls 'label', in the order of CheXpert's own table.
_CHEXPERT = (
    "no_finding", "enlarged_cardiomediastinum", "cardiomegaly", "lung_opacity", "lung_lesion",
    "edema", "consolidation", "pneumonia", "atelectasis", "pneumothorax", "pleural_effusion",
    "pleural_other", "fracture", "support_devices",
)  # fmt: skip
_SEQUENCES: Mapping[tuple[str, str], tuple[str, ...]] = {("chexpert", "label"): _CHEXPERT}
# Where a feature lies in an example: the keys from the outside in.
Path = tuple[str, ...]


class FeatureColumns:
    """Which columns a data set has, and their cells for each of its examples.

    Args:
        name: Of the data set.
        features: Of its builder, a FeaturesDict.

    Attributes:
        names: The columns.
        images: Where each image feature lies, by its name.

    Raises:
        UserError: Two features come to the same column.
    """

    def __init__(self, name: str, features: Any):
        self._data_set = name
        self._cells_of_class = CELLS if name in DATA_SETS else {}
        self.names: list[str] = []
        self.images: dict[str, Path] = {}
        self._readers: list[tuple[Path, Callable[[Any], list[str]]]] = []
        self._walk(features, ())
        names = [*self.names, *self.images]
        twice = sorted({column for column in names if names.count(column) > 1})
        if twice:
            raise UserError(
                f"tfds:{name}: two features come to one column, {twice[0]!r}.",
                "Write the data as a manifest.",
            )

    @property
    def paths(self) -> list[Path]:
        """Where every feature that is read lies, images included."""
        return [*(path for path, _ in self._readers), *self.images.values()]

    def cells(self, example: Mapping[str, Any]) -> list[str]:
        """Text of each column, of one decoded example.

        Raises:
            UserError: A sequence is not of the length that it should have.
        """
        return [cell for path, reader in self._readers for cell in reader(at(example, path))]

    def _walk(self, features: Any, path: Path) -> None:
        import tensorflow_datasets as tfds

        # Sorted, since TFDS gives the features back in no order of its own.
        for key in sorted(features):
            feature, place = features[key], (*path, key)
            name = "_".join(place)
            if isinstance(feature, tfds.features.FeaturesDict):
                self._walk(feature, place)
            elif isinstance(feature, tfds.features.Image):
                self.images[name] = place
            elif isinstance(feature, tfds.features.ClassLabel):
                self._add(place, [name], self._single(feature))
            elif isinstance(feature, tfds.features.Sequence):
                self._add_sequence(place, name, feature)
            elif type(feature) is tfds.features.Audio:
                continue
            elif isinstance(feature, tfds.features.Tensor) and len(feature.shape) == 0:
                self._add(place, [name], self._scalar(feature))
            elif isinstance(feature, tfds.features.Tensor) and len(feature.shape) == 1:
                self._add(place, [name], lambda value: [_list(map(_plain, value))])

    def _add_sequence(self, place: Path, name: str, feature: Any) -> None:
        import tensorflow_datasets as tfds

        inner = feature.feature
        if isinstance(inner, tfds.features.ClassLabel):
            columns = _SEQUENCES.get((self._data_set, name))
            length = len(columns) if columns else feature.get_serialized_info().shape[0]
            if length is None:
                self._add(
                    place, [name], lambda values: [_list(self._class(inner, v) for v in values)]
                )
                return
            columns = columns or [f"{name}_{i:02d}" for i in range(length)]
            self._add(place, list(columns), self._several(name, inner, length))
        elif isinstance(inner, tfds.features.Tensor) and len(inner.shape) == 0:
            self._add(place, [name], lambda values: [_list(map(_plain, values))])

    def _add(self, place: Path, columns: list[str], reader: Callable[[Any], list[str]]) -> None:
        self.names += columns
        self._readers.append((place, reader))

    def _scalar(self, feature: Any) -> Callable[[Any], list[str]]:
        kind = np.dtype(feature.np_dtype)
        if kind.kind not in "fiub":
            return lambda value: [_text(value)]
        # TFDS gives Python's numbers, whose text has more digits than the feature has.
        return lambda value: [_text(kind.type(value))]

    def _single(self, feature: Any) -> Callable[[Any], list[str]]:
        return lambda value: [self._class(feature, value)]

    def _several(self, name: str, feature: Any, length: int) -> Callable[[Any], list[str]]:
        def reader(values: Any) -> list[str]:
            if len(values) != length:
                raise UserError(
                    f"tfds:{self._data_set}: a {name!r} has {len(values)} values, not {length}.",
                    "Prepare the data set again.",
                )
            return [self._class(feature, value) for value in values]

        return reader

    def _class(self, feature: Any, value: Any) -> str:
        # TFDS writes an unknown class as -1.
        name = "" if value == -1 else feature.int2str(int(value))
        return self._cells_of_class.get(name, name)


def at(example: Any, path: Path) -> Any:
    """What lies at a place of a nested mapping."""
    for key in path:
        example = example[key]
    return example


def nested(values: Mapping[Path, Any]) -> dict[str, Any]:
    """A nested mapping with each value at its place."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        inner = found
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        # Cells are compared and written as UTF-8; what is not becomes visible in them.
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float | np.floating) and np.isnan(value):
        return ""
    return str(value)


def _plain(value: Any) -> Any:
    """A value of a list as JSON has it."""
    return value.item() if isinstance(value, np.generic) else _text(value)


def _list(values: Any) -> str:
    return json.dumps(list(values))
