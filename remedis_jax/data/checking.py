"""What is looked at before a stage begins: every image, and who is on both sides of a test.

Every image of the stage is decoded once. Its rows must share no group, no file and no picture with
those that judge it: the other splits of its manifest, its validation rows, the manifests of
`data.held_out`; and neither must anything that its initial weights have seen.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from remedis_jax.data.dataset import (
    labelled_once,
    labels_of,
    manifest_of,
    open_rows,
    reading_of,
    training_rows,
    without,
)
from remedis_jax.data.inspection import ImageFacts, inspect_images, unusable
from remedis_jax.data.label_counts import treatment_counts, write_counts
from remedis_jax.data.label_policy import LabelPolicy
from remedis_jax.data.leaks import LeakFindings, write_guard
from remedis_jax.data.manifest import Columns, Manifest
from remedis_jax.data.open_manifest import open_manifest
from remedis_jax.data.seen import Seen, after, compare, compare_facts, remember
from remedis_jax.data.seen_stages import SeenStage, read_stage, write_stage
from remedis_jax.data.splits import assert_disjoint_groups
from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]
BAD_IMAGES = "bad_images.csv"
SEEN = "seen.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class StageCheck:
    """What the data of a stage were found to be.

    Attributes:
        bad: Images that cannot be used and are left out.
        stage: Hashes of what the stage is going to see.
        findings: What was compared, and what training and test data share; nothing unless leakage
            is allowed.
        labels: What the labels are and how they are treated, see `label_counts.treatment_counts`;
            None where none are read.
        redact: Whether ids and names stay out of what is written.
    """

    bad: tuple[ImageFacts, ...]
    stage: SeenStage
    findings: LeakFindings
    labels: dict[str, Any] | None = None
    redact: bool = False

    @property
    def skip(self) -> frozenset[str]:
        """Names of the images that are left out."""
        return frozenset(found.image for found in self.bad)

    def write(self, workdir: Path) -> None:
        """Puts it into the folder of the run, where `skipped` and `seen_by_stage` find it."""
        write_bad_images(workdir, self.bad)
        write_stage(workdir / SEEN, self.stage)
        write_guard(workdir, self.findings, redact=self.redact)
        if self.labels is not None:
            write_counts(workdir, self.labels)


def check_stage(
    data: ConfigDict,
    kind: str | None,
    *,
    stage: str,
    parent: Seen | None = None,
    progress: Progress | None = None,
) -> StageCheck:
    """Decodes every image of a stage once and looks for test data among what it sees.

    Args:
        data: The config's `data` section.
        kind: "softmax" or "sigmoid"; None for unlabelled training.
        stage: Its name, for the lineage.
        parent: What the initial weights have seen, see `seen.after`; None for random weights.
        progress: Called with (done, total).

    Raises:
        UserError: Images that cannot be used, or test data among what is seen.
    """
    if not data.allow_leakage:
        refuse_split_groups(data)
    rows, spec = training_rows(data, kind)
    if spec is not None:
        # Before hours of decoding: cells that are no labels, and cases that do not work out.
        labels_of(data, rows, spec)
        if data.validation:
            validation = open_rows(data, data.validation.to_dict())
            labels_of(data, validation, spec, require_all_classes=False)
    reading = reading_of(data, rows)
    facts = inspect_images(rows, reading, progress=progress)
    bad = unusable(rows, facts, data.on_bad_image, data.max_bad)
    kept = without(rows, {found.image for found in bad})
    groups, labels = groups_of(kept), None
    if spec is not None:
        labels = treatment_counts(labelled_once(data, kept), spec, LabelPolicy.of(data))
    findings = LeakFindings()
    for name, judges, namespace in _judges(data, rows):
        judging = inspect_images(judges, reading, progress=progress)
        if name == _VALIDATION:
            bad += unusable(judges, judging, data.on_bad_image, data.max_bad)
        findings += compare_facts(
            facts, groups, judging, groups_of(judges), name=name, most=data.near_duplicates,
            namespace=data.namespace, other_namespace=namespace,
        )  # fmt: skip
        if parent is not None:
            findings += compare(
                parent, judging, groups_of(judges), namespace=namespace, name=name,
                most=data.near_duplicates,
            )  # fmt: skip
    if not data.allow_leakage:
        findings.raise_if_any(redact=data.redact)
    seen = SeenStage.forgotten(stage, kind is not None)
    if data.remember:
        seen = remember(
            stage, kind is not None, facts, groups,
            salt=rows.sha256, namespace=data.namespace, leakage=findings.summary(),
        )  # fmt: skip
    return StageCheck(tuple(bad), seen, findings, labels, data.redact)


def check_rows(
    rows: Manifest,
    data: ConfigDict,
    what: str,
    *,
    progress: Progress | None = None,
) -> list[ImageFacts]:
    """Refuses rows that hold images which cannot be used, or held-out ones.

    Args:
        rows: The rows.
        data: Of a config that reads them, with `held_out`.
        what: What they are called in messages.
        progress: Called with (done, total).

    Raises:
        UserError: There are such images.
    """
    reading = reading_of(data, rows)
    facts = inspect_images(rows, reading, progress=progress)
    unusable(rows, facts, "error", 0.0)
    for name, judges, namespace in _held_out(data):
        found = compare_facts(
            facts, groups_of(rows), inspect_images(judges, reading), groups_of(judges),
            name=name, training=what, most=data.near_duplicates,
            namespace=data.namespace, other_namespace=namespace,
        )  # fmt: skip
        if not data.allow_leakage:
            found.raise_if_any(redact=data.redact)
    return facts


def groups_of(rows: Manifest) -> list[str] | None:
    """The groups of rows; None where no column names them."""
    return None if rows.columns.group is None else list(rows.groups)


def refuse_split_groups(data: ConfigDict) -> None:
    """Refuses a manifest in which a group stands in two splits, whatever is done with it.

    Raises:
        UserError: One does.
    """
    if data.group and data.split:
        by_split = manifest_of(data).table.groupby(data.split, sort=True)[data.group]
        assert_disjoint_groups(
            {str(name): list(groups) for name, groups in by_split}, redact=data.redact
        )


_VALIDATION = "the validation rows"


def _judges(data: ConfigDict, rows: Manifest) -> Iterator[tuple[str, Manifest, str]]:
    """What judges a training on `rows`: what it is called, its rows, the namespace of its ids."""
    trained = set(rows.images)
    if data.validation:
        validation = open_rows(data, data.validation.to_dict())
        both = [image for image in validation.images if image in trained]
        if both:
            raise UserError(
                f"{rows.path}: {len(both):,} row(s) are trained on and validate, such as"
                f" {both[0]}.",
                "Choose other values in data.train and data.validation.",
            )
        yield _VALIDATION, validation, data.namespace
    if data.split:
        manifest = manifest_of(data)
        used = set(rows.column(data.split))
        for name in sorted(set(manifest.column(data.split)) - used):
            if data.validation.to_dict() == {data.split: name}:
                continue
            yield f"split {name!r}", manifest.where(**{data.split: name}), data.namespace
    yield from _held_out(data)


def _held_out(data: ConfigDict) -> Iterator[tuple[str, Manifest, str]]:
    for entry in data.held_out:
        columns = Columns(image=entry.get("image", "image"), group=entry.get("group"))
        held_out = open_manifest(
            str(entry["manifest"]), columns, allow_outside=entry.get("allow_outside", False)
        )
        if entry.get("where"):
            held_out = held_out.where(**entry["where"])
        yield str(held_out.path), held_out, entry.get("namespace", data.namespace)


def write_bad_images(folder: Path, bad: Iterable[ImageFacts]) -> None:
    """Lists images that were left out: row, name and reason. An empty list stands for none."""
    rows = [{"row": f.row, "image": f.image, "problem": f.problem} for f in bad]
    table = pd.DataFrame(rows, columns=["row", "image", "problem"])
    table.to_csv(folder / BAD_IMAGES, index=False)


def skipped(workdir: Path) -> frozenset[str]:
    """Names of the images that a run leaves out.

    Raises:
        UserError: The run's list cannot be read.
    """
    path = workdir / BAD_IMAGES
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return frozenset(table["image"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} does not list the images that the run leaves out ({error}).",
            "Restore it, or begin the run anew in another folder.",
        ) from error


def seen_by_stage(
    workdir: Path,
    stage: str,
    supervised: bool,
    parent: Seen | None,
    parent_stage: str | None,
) -> Seen:
    """What weights have seen after a run: all that its initial ones had, and its own data.

    Args:
        workdir: The run's folder.
        stage: Its name.
        supervised: Whether it reads labels.
        parent: What the initial weights have seen; None where they do not say.
        parent_stage: What they come from; None for random weights.

    Raises:
        UserError: What the folder says cannot be read.
    """
    own = SeenStage.forgotten(stage, supervised)
    if (workdir / SEEN).is_file():
        own = read_stage(workdir / SEEN)
    return after(parent, parent_stage).then(own)

