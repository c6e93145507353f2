"""What a task is: what is predicted from which images, how it is scored, and on which public data.

One file per task; `remedis_jax.tasks.specification` lists them. What is known of the paper's own
settings (Azizi et al. 2023, REMEDIS) is `known_of_paper`, each sentence with its mark; all else is
ours and says so (`ours`). The column names are those that this project's manifests use.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from remedis_jax.data.tfds_sets.stand_ins import Part, stand_ins

Kind = Literal["softmax", "sigmoid", "cox", "discrete_time"]
Modality = Literal["dermatology", "fundus", "chest_xray", "histology", "mammography", "none"]
MODALITIES: tuple[Modality, ...] = (
    "dermatology", "fundus", "chest_xray", "histology", "mammography",
)  # fmt: skip

# How far a statement about the paper can be trusted: read in a primary source, only remembered; or
# looked for and not found.
VERIFIED = "verified"
FROM_MEMORY = "from memory"
NOT_KNOWN = "not known"
MARKS = (VERIFIED, FROM_MEMORY, NOT_KNOWN)


@dataclasses.dataclass(frozen=True)
class PublicSet:
    """Data that anybody can have in place of the paper's.

    Attributes:
        name: Of the data set, and the part of it.
        access: How one comes by it.
        licence: Under which terms.
        reader: How a config names it, e.g. 'tfds:idrid:train'; '' where this project has no reader
            and the user writes a manifest.
        rows: Values of columns that select its rows; empty for all.
        settings: Config fields (below `data`) that name its columns.
        note: What a label of it means and what to look out for.
    """

    name: str
    access: str
    licence: str = ""
    reader: str = ""
    rows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""


def public_sets(task: str, part: Part) -> tuple[PublicSet, ...]:
    """The stand-ins of one part of a task that this project, or TFDS, has a builder for.

    Args:
        task: 't1' to 't6'.
        part: 'in_distribution', 'out_of_distribution' or 'unlabelled'.
    """
    return tuple(
        PublicSet(
            name=f"{found.name}, {found.split}",
            access=found.data_set.access,
            licence=found.data_set.licence,
            reader=found.reference,
            rows=found.rows,
            settings=_settings(found),
            note=" ".join(filter(None, (found.rule, found.note))),
        )
        for found in stand_ins(task.upper(), part)
    )


def _settings(found: Any) -> dict[str, Any]:
    columns = dict(found.labels)
    if {"days", "event"} <= columns.keys():
        # As survival labels stand in a config: time, event.
        columns = {"days": columns["days"], "event": columns["event"]}
    settings: dict[str, Any] = {"labels": tuple(columns.values())} if columns else {}
    for name in ("image", "group", "group_pattern", "site"):
        value = getattr(found, name)
        if value and not (name == "image" and value == "image"):
            settings[name] = value
    return settings


@dataclasses.dataclass(frozen=True)
class Task:
    """One clinical question.

    Attributes:
        title: In two or three words.
        question: In words.
        modality: Kind of image; "none" for the phantom.
        kind: The objective: "softmax" (one class an example), "sigmoid" (several findings),
            "discrete_time" or "cox" (time until an event, censored).
        labels: Label column(s); (time, event) of the survival kinds.
        group: Column of the unit that is never split.
        channels: 3 for colour, 1 for grey images.
        recipe: Augmentation of contrastive pre-training.
        pretrain_size: Side of a view in pixels in pre-training.
        finetune_size: Side in fine-tuning.
        metric: What the paper's curves show, and what validation selects by.
        metrics: All that the task is scored by, `metric` first.
        other_kinds: Objectives that may be used instead of `kind`.
        classes: In their order, the positive one last; () for the sorted values of the training
            rows.
        readers: Columns of readers who each name a class; their votes are the label.
        label_policy: Fields `uncertain`, `blank`, ... of a config's `data` section.
        case: Column of the case, whose images together are one example; "" where every image is
            one.
        case_images: How many of them an example has at most in training; 0 where every image is an
            example.
        view: Column of the view of an image, for cases with a place for each view.
        views: Its values in the order of their places.
        pooling: How the images of a case become one: "mean", "max", "attention", "concat".
        levels: (column, how) by which predictions are put together and scored, the first as the
            model makes them.
        horizon: When survival is judged, in the unit of the time column; 0 for other kinds.
        intervals: Ends of the intervals of "discrete_time", same unit.
        pretrain_options: Options of the contrastive recipe that the modality needs.
        finetune_options: Options of the fine-tuning recipe "finetune".
        fit: How the host makes images square, see `data.resample.Resampling`.
        unlabelled_pool: Public data for pre-training.
        in_distribution: Public data that stand in for the first hospital.
        out_of_distribution: For the new one.
        known_of_paper: (sentence, one of `MARKS`).
        ours: What was decided here, and why.
    """

    title: str
    question: str
    modality: Modality
    kind: Kind
    labels: tuple[str, ...]
    group: str
    channels: int
    recipe: str
    pretrain_size: int
    finetune_size: int
    metric: str
    metrics: tuple[str, ...]
    other_kinds: tuple[Kind, ...] = ()
    classes: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    label_policy: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    case: str = ""
    case_images: int = 0
    view: str = ""
    views: tuple[str, ...] = ()
    pooling: str = "mean"
    levels: tuple[tuple[str, str], ...] = (("image", "mean"),)
    horizon: float = 0.0
    intervals: tuple[float, ...] = ()
    pretrain_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    finetune_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fit: str = "squash"
    unlabelled_pool: tuple[PublicSet, ...] = ()
    in_distribution: tuple[PublicSet, ...] = ()
    out_of_distribution: tuple[PublicSet, ...] = ()
    known_of_paper: tuple[tuple[str, str], ...] = ()
    ours: tuple[str, ...] = ()

    @property
    def images_per_example(self) -> int:
        """How many images one example of training has at most."""
        return self.case_images or 1
