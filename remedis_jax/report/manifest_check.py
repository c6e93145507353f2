"""From what the user names to the report of its check."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from remedis_jax.data.examination import Examination, Problem, examine
from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
from remedis_jax.data.inspection import inspect_images
from remedis_jax.data.label_policy import LabelPolicy, parse_policy
from remedis_jax.data.labels import encode_labels, infer_label_spec
from remedis_jax.data.manifest import Columns, Manifest, read_manifest
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.parquet_images import holds_images
from remedis_jax.data.reading import Reading, read_window
from remedis_jax.report.data_check import claim_folder, write_data_check

Progress = Callable[[int, int], None]


def check_data(
    manifest: str | Path,
    out: str | Path | None = None,
    *,
    image: str = "image",
    group: str = "",
    group_pattern: str = "",
    label: str = "",
    site: str = "",
    split: str = "",
    where: Mapping[str, Any] | None = None,
    against: Sequence[str | Path] = (),
    label_policy: str | None = None,
    near: int | None = None,
    channels: int = 3,
    to_grey: bool = False,
    frames: str = "error",
    window: str = "file",
    redact: bool = False,
    threads: int | None = None,
    allow_outside: bool = False,
    progress: Progress | None = None,
    show: bool = False,
) -> tuple[Path, Examination]:
    """Decodes every image of a manifest and reports what is wrong with them.

    Args:
        manifest: CSV or Parquet, a folder of images, tfds:NAME:SPLIT, or a cache.
        out: Folder of the report; `check-NAME` in the current one if None.
        image: Column names, as for the others up to `split`; `label` may name several by commas.
        group: See `image`.
        group_pattern: See `data.manifest.Manifest.with_group_pattern`.
        label: See `image`.
        site: See `image`.
        split: See `image`.
        where: Only rows with these values.
        against: Other manifests that must share no patient and no image with this one. Their
            patients are compared where they have the column `group`.
        label_policy: See `data.label_policy.parse_policy`.
        near: Bits in which the fingerprints of copies differ at most; None for the default.
        channels: See `data.reading.Reading`, as for `to_grey`, `frames` and `window`.
        to_grey: See `channels`.
        frames: See `channels`.
        window: See `channels`; (centre, width) as 'CENTRE,WIDTH'.
        redact: Show hashes of ids, and rows instead of names.
        threads: Images decoded at a time.
        allow_outside: Accept images outside the manifest's folder.
        progress: Called with (done, total).
        show: Also print the tables of the report.

    Returns:
        (the HTML page, what was found).

    Raises:
        UserError: The manifest itself cannot be used, or a setting is not possible.
        RunFailed: The report cannot be written.
    """
    columns = Columns(
        image, group or None, tuple(filter(None, label.split(","))), site or None, split or None
    )
    policy = LabelPolicy.of(
        {"uncertain": "error", "blank": "error", "soft_value": 0.5, "label_policy": {}}
        | (parse_policy(label_policy) if label_policy else {})
    )
    reading = Reading(channels, to_grey, window=read_window(window), frames=frames)
    most = NEAR_DUPLICATE_BITS if near is None else near
    rows = _open(manifest, columns, allow_outside)
    rows = rows.with_group_pattern(group_pattern) if group_pattern else rows
    rows = rows.where(**where) if where else rows
    others = [_open_other(other, columns, allow_outside) for other in against]
    folder = Path(out) if out else Path(f"check-{rows.path.stem}")
    claim_folder(folder)

    def check_labels(rows: Manifest) -> None:
        encode_labels(rows, infer_label_spec(rows), policy, require_all_classes=False)

    def inspected(rows: Manifest):
        return inspect_images(rows, reading, threads=threads, progress=progress)

    found = examine(
        rows,
        inspected(rows),
        most=most,
        redact=redact,
        check_labels=check_labels,
        against=[(other, inspected(other)) for other in others],
    )
    unnamed = tuple(
        Problem(
            "warning",
            f"{other.path} has no column {group!r}: patients were not compared with its own.",
            "Name the patients of both in a column of the same name.",
        )
        for other in others
        if group and other.columns.group is None
    )
    errors, rest = found.of("error"), found.of("warning") + found.of("note")
    found = dataclasses.replace(found, problems=(*errors, *unnamed, *rest))
    return write_data_check(folder, found, reading, show=show), found


def _open(reference: str | Path, columns: Columns, allow_outside: bool) -> Manifest:
    """As `open_manifest`, but that an image which is missing is found out later, with the rest."""
    path = Path(reference)
    kind = path.suffix.lower() if path.is_file() and path.stat().st_size else ""
    if kind == ".csv" or (kind == ".parquet" and not holds_images(path, columns.image)):
        return read_manifest(path, columns, allow_outside=allow_outside, check_files=False)
    return open_manifest(str(reference), columns, allow_outside=allow_outside)


def _open_other(reference: str | Path, columns: Columns, allow_outside: bool) -> Manifest:
    """Another manifest; its group is known where it has such a column."""
    other = _open(reference, Columns(columns.image), allow_outside)
    if columns.group not in other.table.columns:
        return other
    other = dataclasses.replace(other, columns=Columns(columns.image, columns.group))
    _ = other.groups  # Refuses empty cells before anything is decoded.
    return other
