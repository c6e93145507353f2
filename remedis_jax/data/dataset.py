"""From a config's `data` section to the rows, pixels and labels of one run."""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.cache_store import CacheStore
from remedis_jax.data.cases import Cases, cases_of, require_one_label
from remedis_jax.data.depth import deepest
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.labels import LabelSpec, encode_labels, infer_label_spec, strata_of
from remedis_jax.data.manifest import Columns, Manifest
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.reading import Reading, read_window
from remedis_jax.data.sources import ImageSource, ManifestSource, bytes_of, load_in_memory
from remedis_jax.data.splits import nested_subsets
from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """N images with what belongs to them.

    Attributes:
        manifest: Their N rows.
        source: Their pixels.
        labels: int32 [N] (softmax), float32 [N, K] (sigmoid, soft labels), or None.
        spec: What the labels mean, or None.
        decodes: Whether pixels are decoded at each use rather than held in memory.
        cases: Which images are one example together; None where each is one by itself.
        embedded: Whether `source` holds features in place of pixels, [N, 1, 1, F].
    """

    manifest: Manifest
    source: ImageSource
    labels: np.ndarray | None = None
    spec: LabelSpec | None = None
    decodes: bool = False
    cases: Cases | None = None
    embedded: bool = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def examples(self) -> int:
        """Number of cases, or of images where each is an example by itself."""
        return len(self) if self.cases is None else len(self.cases)

    @property
    def example_labels(self) -> np.ndarray | None:
        """Labels [examples, ...]; those of a case stand with each of its images."""
        if self.cases is None or self.labels is None:
            return self.labels
        return self.labels[self.cases.first_image]

    @property
    def example_groups(self) -> np.ndarray:
        """Group of each example, text; where no column names groups, each is its own."""
        if self.cases is None:
            return self.manifest.groups
        if self.manifest.columns.group is None:
            return self.cases.names
        return self.manifest.groups[self.cases.first_image]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes if self.spec else ()

    @property
    def patients(self) -> int:
        """Number of groups; of images where no group column is named."""
        return len(set(self.manifest.groups))

    def names(self, indices: np.ndarray) -> list[str]:
        """Image paths, as in the manifest, of positions in this data set; none for -1."""
        images = self.manifest.images
        return [images[int(index)] for index in np.ravel(indices) if index >= 0]


def columns_of(data: ConfigDict) -> Columns:
    """The column roles of a config."""
    return Columns(
        image=data.image,
        group=data.group or None,
        labels=tuple(data.readers or data.labels),
        site=data.site or None,
        split=data.split or None,
    )


def manifest_of(data: ConfigDict) -> Manifest:
    """All rows of the config's manifest.

    Raises:
        UserError: No manifest is named, or it cannot be used.
    """
    if not data.manifest:
        raise UserError("The config names no manifest.", "Set data.manifest=PATH/TO/manifest.csv.")
    manifest = open_manifest(
        data.manifest,
        columns_of(data),
        allow_outside=data.allow_outside,
        tiles=data.tiles.to_dict() or None,
    )
    return manifest.with_group_pattern(data.group_pattern) if data.group_pattern else manifest


# Bits by manifest; what a part of its rows is read with is what all of them are.
_bits: dict[tuple[str, str], int] = {}


def _bits_of_all(data: ConfigDict, rows: Manifest) -> int:
    key = (str(rows.path), rows.sha256)
    if key not in _bits:
        _bits[key] = deepest(manifest_of(data))
    return _bits[key]


def reading_of(data: ConfigDict, rows: Manifest) -> Reading:
    """How a config's images are read; `bits` 0 becomes what the deepest of the manifest has.

    Args:
        data: The config's `data` section.
        rows: Its rows, or a part of them.

    Raises:
        UserError: A setting is not possible, or the head of an image cannot be read.
    """
    return Reading(
        channels=data.channels,
        to_grey=data.to_grey,
        bits=data.bits or _bits_of_all(data, rows),
        window=read_window(data.window),
        frames=data.frames,
        reduced=data.reduced,
    )


def training_rows(
    data: ConfigDict, kind: str | None, skip: Collection[str] = ()
) -> tuple[Manifest, LabelSpec | None]:
    """The rows of `data.train`, or the config's fraction of their patients.

    Args:
        data: The config's `data` section.
        kind: "softmax" or "sigmoid"; None for unlabelled training.
        skip: Names of images that cannot be used and are to be left out.

    Raises:
        UserError: The manifest, the columns, the labels or the fraction do not work out.
    """
    manifest = manifest_of(data)
    rows = manifest.where(**data.train.to_dict()) if data.train else manifest
    if kind is None:
        return without(rows, skip), None
    spec = spec_of(data, manifest, kind)
    if data.fraction < 1:
        strata = strata_of(encoded(data, rows, spec), spec)
        subset = nested_subsets(rows.groups, strata, [data.fraction], data.fraction_seed)
        rows = rows.select(subset[data.fraction])
    # Last, so that an image which cannot be used does not draw other patients.
    return without(rows, skip), spec


def without(manifest: Manifest, skip: Collection[str]) -> Manifest:
    """The rows whose image is not in `skip`."""
    if not skip:
        return manifest
    keep = [i for i, image in enumerate(manifest.images) if image not in skip]
    return manifest.select(np.array(keep, np.int64))


def open_training(data: ConfigDict, kind: str | None, skip: Collection[str] = ()) -> Dataset:
    """The training rows with pixels and labels; see `training_rows`."""
    rows, spec = training_rows(data, kind, skip)
    return _with_pixels(data, rows, spec)


def open_evaluation(
    data: ConfigDict,
    spec: LabelSpec | None,
    where: Mapping[str, Any] | None = None,
    skip: Collection[str] = (),
) -> Dataset:
    """Rows to predict on; classes that have no row among them are allowed.

    Args:
        data: The config's `data` section.
        spec: What the model predicts; None to leave labels unread.
        where: column=value filters; None for all rows.
        skip: Names of images that cannot be used and are to be left out.
    """
    rows = without(open_rows(data, where), skip)
    return _with_pixels(data, rows, spec, require_all_classes=False)


def open_rows(data: ConfigDict, where: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest's rows that meet column=value filters; all of them for None."""
    manifest = manifest_of(data)
    return manifest.where(**where) if where else manifest


def spec_of(data: ConfigDict, manifest: Manifest, kind: str | None) -> LabelSpec:
    """What a config's labels mean; see `data.labels.infer_label_spec`."""
    return infer_label_spec(
        manifest,
        kind=kind,
        classes=tuple(data.classes) or None,
        readers=tuple(data.readers),
    )


def encoded(
    data: ConfigDict, rows: Manifest, spec: LabelSpec, *, require_all_classes: bool = True
) -> np.ndarray:
    """The labels of rows by the policy of a config; see `data.labels.encode_labels`."""
    policy = LabelPolicy.of(data)
    return encode_labels(rows, spec, policy, require_all_classes=require_all_classes)


def labels_of(
    data: ConfigDict, rows: Manifest, spec: LabelSpec, *, require_all_classes: bool = True
) -> tuple[np.ndarray, Cases | None]:
    """Labels of rows, and the cases that they belong to where examples are cases.

    Raises:
        UserError: A cell is no label, or a case does not work out.
    """
    labels = encoded(data, rows, spec, require_all_classes=require_all_classes)
    cases = cases_of(data, rows)
    if cases is not None:
        require_one_label(labels, cases, rows)
    return labels, cases


def labelled_once(data: ConfigDict, rows: Manifest) -> Manifest:
    """The rows whose labels are counted: one of each case, or all where images are examples."""
    cases = cases_of(data, rows)
    return rows if cases is None else rows.select(cases.first_image)


def _with_pixels(
    data: ConfigDict, rows: Manifest, spec: LabelSpec | None, *, require_all_classes: bool = True
) -> Dataset:
    labels, cases = None, None
    if spec is not None:
        labels, cases = labels_of(data, rows, spec, require_all_classes=require_all_classes)
    reading = reading_of(data, rows)
    if isinstance(rows.store, CacheStore):
        rows.store.require(data.size, reading, data.fit)
    source: ImageSource = ManifestSource(
        rows, data.size, reading, data.fit, threads=data.threads or None
    )
    if bytes_of(source) > data.in_memory_mib * 2**20:
        return Dataset(rows, source, labels, spec, decodes=True, cases=cases)
    return Dataset(rows, _held_in_memory(rows, source), labels, spec, cases=cases)


# Pixels by manifest and digest: the runs of a label-fraction study share their images.
_pixels: dict[tuple[str, str], ImageSource] = {}


def _held_in_memory(rows: Manifest, source: ManifestSource) -> ImageSource:
    key = (str(rows.path), source.digest)
    if key not in _pixels:
        _pixels[key] = load_in_memory(source, max_bytes=2**62)
    return _pixels[key]


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.", "Restore it.") from error
