"""What a model predicts: the kind of label, its classes, and the columns that hold it."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from remedis_jax.data.survival_labels import RISK
from remedis_jax.errors import UserError

Kind = Literal["softmax", "sigmoid", "survival"]


@dataclasses.dataclass(frozen=True)
class LabelSpec:
    """What a model predicts.

    Attributes:
        kind: 'softmax' (exactly one class), 'sigmoid' (each class by itself) or 'survival' (how
            soon an event comes).
        classes: Their names, in the order of the model's outputs; of survival ('risk',).
        columns: The label columns. softmax: one with the class, or one per reader, or one per
            class with its share; sigmoid: one per class; survival: the time and the event.
        readers: Whether the columns are readers who name a class each.
    """

    kind: Kind
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    readers: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(
                f"label kind {self.kind!r} is unknown.",
                f"Choose one of {', '.join(map(repr, get_args(Kind)))}.",
            )
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"the classes {self.classes} are not distinct.", "Name each one once.")
        if self.readers and self.kind != "softmax":
            raise UserError(
                f"the readers {self.columns} name one class each, which is not {self.kind!r}.",
                "Choose 'softmax', or leave the readers out.",
            )
        if self.kind == "survival":
            self._require_survival()
            return
        if self.kind == "softmax" and len(self.classes) < 2:
            raise UserError(
                f"column {self.columns[0]!r} holds one class only: {self.classes}.",
                "A classifier needs two classes or more.",
            )
        per_class = self.kind == "sigmoid" or (len(self.columns) > 1 and not self.readers)
        if per_class and len(self.columns) != len(self.classes):
            raise UserError(
                f"{self.kind} has {len(self.columns)} columns for {len(self.classes)} classes.",
                "Name one column per class, or for 'softmax' one column of class names.",
            )

    @classmethod
    def of(
        cls,
        kind: Kind,
        classes: Sequence[str],
        labels: Sequence[str],
        readers: Sequence[str] = (),
    ) -> "LabelSpec":
        """What the keys `labels` and `readers` of a config mean for a classifier of `classes`."""
        return cls(kind, tuple(classes), tuple(readers or labels), bool(readers))

    def _require_survival(self) -> None:
        if len(self.columns) != 2 or len(set(self.columns)) != 2:
            raise UserError(
                f"survival has the label column(s) {self.columns}.",
                "Name two: the column of the time, then that of the event.",
            )
        if self.classes != (RISK,):
            raise UserError(
                f"survival has no classes, and {self.classes} are named.", "Name none."
            )

    @property
    def is_soft(self) -> bool:
        """Whether an image has a share of every class rather than one of them."""
        return self.kind == "softmax" and (self.readers or len(self.columns) > 1)
