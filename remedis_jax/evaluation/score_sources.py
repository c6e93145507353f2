"""Where the labels and the scores of a table of another tool stand."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Source:
    """The column that a score is read from; `complement` where it is 1 minus the column."""

    column: str
    complement: bool = False

    def __str__(self) -> str:
        return f"1 - {self.column}" if self.complement else self.column


@dataclasses.dataclass(frozen=True)
class Found:
    """Where labels and scores stand.

    Attributes:
        label: The column of the class; None of findings.
        findings: Finding -> its label column; empty of classes.
        scores: Class or finding -> where its score is.
    """

    label: str | None
    findings: Mapping[str, str]
    scores: Mapping[str, Source]
