"""From a config's `data` section to the rows, pixels and labels of one run."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.decode import check_images
from remedis_jax.data.labels import LabelSpec, encode_labels, infer_label_spec
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.sources import ImageSource, ManifestSource, load_in_memory
from remedis_jax.data.splits import (
    assert_disjoint_groups,
    assert_disjoint_images,
    nested_subsets,
)
from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """N images with what belongs to them.

    Attributes:
        manifest: Their N rows.
        source: Their pixels.
        labels: int32 [N] (softmax), float32 [N, K] (sigmoid), or None.
        spec: What the labels mean, or None.
        decodes: Whether pixels are decoded at each use rather than held in memory.
    """

    manifest: Manifest
    source: ImageSource
    labels: np.ndarray | None = None
    spec: LabelSpec | None = None
    decodes: bool = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.spec.classes if self.spec else ()

    @property
    def patients(self) -> int:
        """Number of groups; of images where no group column is named."""
        return len(set(self.manifest.groups))

    def names(self, indices: np.ndarray) -> list[str]:
        """Image paths, as in the manifest, of positions in this data set."""
        images = self.manifest.images
        return [images[int(index)] for index in indices]


def case_names(data: ConfigDict, manifest: Manifest) -> list[str]:
    """The case of every row: the column `data.case`, or that of the group.

    Raises:
        UserError: Neither is named, or a cell is empty.
    """
    column = data.case or data.group
    if not column:
        raise UserError(
            "Pairs of images of one case need to know the cases.",
            "Set data.case (or data.group) to the column that names them.",
        )
    cases = [str(case) for case in manifest.column(column)]
    empty = [
        str(row) for row, case in zip(manifest.rows, cases, strict=True) if not case.strip()
    ]
    manifest.refuse(empty, f"column {column!r} is empty in", "Name the case of every image.")
    return cases


def columns_of(data: ConfigDict) -> Columns:
    """The column roles of a config."""
    return Columns(
        image=data.image,
        group=data.group or None,
        labels=tuple(data.labels),
        site=data.site or None,
        split=data.split or None,
    )


def open_manifest(data: ConfigDict) -> Manifest:
    """All rows of the config's manifest.

    Raises:
        UserError: No manifest is named, or it cannot be used.
    """
    if not data.manifest:
        raise UserError("The config names no manifest.", "Set data.manifest=PATH/TO/manifest.csv.")
    return read_manifest(
        data.manifest, columns_of(data), allow_outside=data.allow_outside
    )


def training_rows(data: ConfigDict, kind: str | None) -> tuple[Manifest, LabelSpec | None]:
    """The rows of `data.train`, or the config's fraction of their patients.

    Groups that stand in two splits are refused here, whatever is trained.

    Args:
        data: The config's `data` section.
        kind: "softmax" or "sigmoid"; None for unlabelled training.

    Raises:
        UserError: The manifest, the columns, the labels or the fraction do not work out.
    """
    manifest = open_manifest(data)
    if data.group and data.split:
        by_split = manifest.table.groupby(data.split, sort=True)[data.group]
        assert_disjoint_groups({str(name): list(groups) for name, groups in by_split})
    rows = manifest.where(**data.train.to_dict()) if data.train else manifest
    if kind is None:
        return rows, None
    spec = infer_label_spec(manifest, kind=kind, classes=tuple(data.classes) or None)
    if data.fraction < 1:
        labels = encode_labels(rows, spec)
        strata = labels if labels.ndim == 1 else labels[:, 0]
        subset = nested_subsets(
            rows.groups, [str(s) for s in strata], [data.fraction], data.fraction_seed
        )
        rows = rows.select(subset[data.fraction])
    return rows, spec


def open_training(data: ConfigDict, kind: str | None) -> Dataset:
    """The training rows with pixels and labels; see `training_rows`."""
    rows, spec = training_rows(data, kind)
    return _with_pixels(data, rows, spec)


def open_evaluation(
    data: ConfigDict, spec: LabelSpec | None, where: Mapping[str, Any] | None = None
) -> Dataset:
    """Rows to predict on; classes that have no row among them are allowed.

    Args:
        data: The config's `data` section.
        spec: What the model predicts; None to leave labels unread.
        where: column=value filters; None for all rows.
    """
    return _with_pixels(data, open_rows(data, where), spec, require_all_classes=False)


def open_rows(data: ConfigDict, where: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest's rows that meet column=value filters; all of them for None."""
    manifest = open_manifest(data)
    return manifest.where(**where) if where else manifest


def _with_pixels(
    data: ConfigDict, rows: Manifest, spec: LabelSpec | None, *, require_all_classes: bool = True
) -> Dataset:
    labels = None
    if spec is not None:
        labels = encode_labels(rows, spec, require_all_classes=require_all_classes)
    source: ImageSource = ManifestSource(
        rows, data.size, data.channels, data.fit, to_grey=data.to_grey
    )
    needed = len(source) * int(np.prod(source.image_shape))
    if needed > data.in_memory_mib * 2**20:
        return Dataset(rows, source, labels, spec, decodes=True)
    return Dataset(rows, _held_in_memory(rows, source), labels, spec)


# Pixels by manifest and digest: the runs of a label-fraction study share their images.
_pixels: dict[tuple[str, str], ImageSource] = {}


def _held_in_memory(rows: Manifest, source: ManifestSource) -> ImageSource:
    key = (str(rows.path), source.digest)
    if key not in _pixels:
        _pixels[key] = load_in_memory(source, max_bytes=2**62)
    return _pixels[key]


def verify(data: ConfigDict, kind: str | None, progress: Progress | None = None) -> None:
    """Decodes every training image once and looks for the held-out ones among them.

    Held out are the other splits of the same manifest and the manifests in `data.held_out`
    (mappings with `manifest`, and optionally `image`, `group`, `where`, `allow_outside`). A shared
    group or a file with the same bytes is an error.

    Args:
        data: The config's `data` section.
        kind: As for `training_rows`.
        progress: Called with (done, total).

    Raises:
        UserError: Images that cannot be read, or training data among the held-out data.
    """
    train, _ = training_rows(data, kind)
    digests = check_images(
        train, channels=data.channels, to_grey=data.to_grey, progress=progress
    )
    if data.split:
        manifest = open_manifest(data)
        used = set(train.column(data.split))
        for name in sorted(set(manifest.column(data.split)) - used):
            other = file_digests(manifest.where(**{data.split: name}))
            assert_disjoint_images({"training": digests, f"split {name!r}": other})
    refuse_held_out(train, digests, data, "training")


def verify_monitor(data: ConfigDict, held_out: Sequence[Mapping], where: Mapping) -> None:
    """Looks for held-out images among the labelled ones that a monitor reads.

    Args:
        data: A `data` section for the labelled manifest.
        held_out: Of the run, see `verify`.
        where: column=value filters of the labelled rows.

    Raises:
        UserError: There are some.
    """
    with data.unlocked():
        data.held_out = tuple(held_out)
    manifest = open_manifest(data)
    rows = manifest.where(**where) if where else manifest
    refuse_held_out(rows, file_digests(rows), data, "the monitor's labels")


def refuse_held_out(
    rows: Manifest, digests: Mapping[str, str], data: ConfigDict, what: str
) -> None:
    """Raises UserError where a group or an image of `data.held_out` is among the rows."""
    for entry in data.held_out:
        columns = Columns(image=entry.get("image", "image"), group=entry.get("group"))
        held_out = read_manifest(
            Path(entry["manifest"]), columns, allow_outside=entry.get("allow_outside", False)
        )
        if entry.get("where"):
            held_out = held_out.where(**entry["where"])
        name = str(held_out.path)
        if columns.group and data.group:
            assert_disjoint_groups({what: list(rows.groups), name: list(held_out.groups)})
        assert_disjoint_images({what: digests, name: file_digests(held_out)})


def file_digests(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of every image file, by its name in the manifest. Pixels are not looked at."""
    pairs = zip(manifest.images, manifest.image_paths, strict=True)
    return {image: file_sha256(path) for image, path in pairs}


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
