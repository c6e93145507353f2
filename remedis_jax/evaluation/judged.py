"""What is judged together: the seeds of one arm on one test set, and what chose for them."""

import dataclasses
from pathlib import Path

import pandas as pd

from remedis_jax.evaluation.bootstrap import require_same_images
from remedis_jax.evaluation.predictions import Predictions


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedSet:
    """One arm on one test set.

    Attributes:
        arm: Label of the arm, or name of the file.
        name: Of the test set, e.g. 'hospital_b, zero-shot'.
        runs: Test predictions, one per seed, on the same images; at least one.
        validation: Predictions of the same models on the rows that choose thresholds and
            temperatures, one per run; () if there are none.
        rows: Characteristics of the images, indexed by the image's name, text; may lack columns,
            and images.
        folder: What the images' names are relative to; None where the images are not at hand.
    """

    arm: str
    name: str
    runs: tuple[Predictions, ...]
    validation: tuple[Predictions, ...] = ()
    rows: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("a judged set needs a run")
        if self.validation and len(self.validation) != len(self.runs):
            raise ValueError(f"{len(self.validation)} validations of {len(self.runs)} runs")
        for run in self.runs[1:]:
            require_same_images(self.runs[0], run)
