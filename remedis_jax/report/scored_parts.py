"""Predictions files scored as a whole and by site and split, by image and by patient."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import MEAN as MEAN_SCORE
from remedis_jax.evaluation.aggregate import aggregate as by_patient
from remedis_jax.evaluation.aggregate import disagreeing
from remedis_jax.evaluation.binary_problems import binary_problems
from remedis_jax.evaluation.bootstrap import Interval, bootstrap, paired_difference
from remedis_jax.evaluation.metrics import NotDefined, metrics_of, parts
from remedis_jax.evaluation.operating_point import YOUDEN, choose_operating_point
from remedis_jax.evaluation.predictions import Predictions, unlabelled

EVERYTHING = "all"


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Images of one file, site and split, scored by image or by patient.

    Attributes:
        file: Name of the file.
        site: Name of the site, or 'all'.
        split: Name of the split, or 'all'.
        level: 'image' or 'patient'.
        n_images: Images that are scored.
        predictions: One row per image or per patient.
        intervals: Metric, or `<metric>/<class>`, -> interval.
        aggregate: How patients' scores are made of their images': 'mean', 'max', 'noisy-or'; ""
            by image.
    """

    file: str
    site: str
    split: str
    level: str
    n_images: int
    predictions: Predictions
    intervals: Mapping[str, Interval | NotDefined]
    aggregate: str = ""

    @property
    def by(self) -> str:
        """'image', or 'patient (mean)'."""
        return f"{self.level} ({self.aggregate})" if self.aggregate else self.level

    @property
    def patients(self) -> int:
        return len(np.unique(self.predictions.groups))

    @property
    def horizon(self) -> float | None:
        """Of survival, when the risk is judged."""
        return self.predictions.horizon

    @property
    def whole(self) -> bool:
        """Whether this is all of its file."""
        return self.site == self.split == EVERYTHING

    @property
    def where(self) -> str:
        """Which part of its file it is."""
        return EVERYTHING if self.whole else f"site {self.site}, split {self.split}"

    @property
    def name(self) -> str:
        """What its rows are called in the tables."""
        return f"{self.file}: {self.where}"


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """As much of the end of each path as tells the files apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError(
        f"{paths[0]} or another file is given twice.", "Give every predictions file once."
    )


def parts_of(
    name: str,
    table: pd.DataFrame,
    positive: str | None,
    resamples: int,
    seed: int,
    how: str | None = None,
    validation: Predictions | None = None,
    rule: str = YOUDEN,
) -> Iterable[tuple[list[Part], list[str]]]:
    """Scores a table as a whole and, where it has several, each site and split of it.

    Images are called positive at the threshold that `validation` chooses by the rule, patients at
    the one that its patients choose; at 0.5 where there is no validation.

    Yields:
        The part by image and, where patients have several images or `how` is named, by patient;
        and sentences on what is not scored.
    """
    without = unlabelled(table)
    if without.any():
        yield [], [f"{name}: {without.sum():,} of {len(table):,} images have no label and are not"
                   " scored"]  # fmt: skip
    predictions = Predictions.from_table(table, positive)
    thresholds = _thresholds(validation, rule, how)
    table = table[~without]
    masks = {(EVERYTHING, EVERYTHING): np.ones(len(table), bool)}
    pairs = table[["site", "split"]].drop_duplicates().sort_values(["site", "split"])
    if len(pairs) > 1:
        for site, split in pairs.itertuples(index=False):
            mask = (table["site"] == site) & (table["split"] == split)
            masks[site or "unknown", split or "unknown"] = mask.to_numpy()
    for (site, split), mask in masks.items():
        chosen = predictions.select(mask)
        levels, notes = {"image": chosen}, []
        patients = len(np.unique(chosen.groups))
        if how or patients < len(chosen.groups):
            levels["patient"] = by_patient(chosen, how or MEAN_SCORE)
            if mixed := len(disagreeing(chosen)):
                differ = "times or events" if chosen.kind == "survival" else "classes"
                where = "" if site == split == EVERYTHING else f", site {site}, split {split}"
                notes.append(
                    f"{name}{where}: {mixed:,} of {patients:,} patients have images of different"
                    f" {differ} (labels disagree) and are not scored by patient"
                )
        scored = []
        for level, at_level in levels.items():
            if level in thresholds:
                at_level = at_level.at(thresholds[level])
            metrics = metrics_of(at_level.kind, len(at_level.classes))
            names = [n for m in metrics for n in (m, *(f"{m}/{c}" for c in parts(at_level, m)))]
            intervals = bootstrap(at_level, names, resamples, seed)
            made_by = (how or MEAN_SCORE) if level == "patient" else ""
            count = int(mask.sum())
            scored.append(Part(name, site, split, level, count, at_level, intervals, made_by))
        yield scored, notes


def _thresholds(
    validation: Predictions | None, rule: str, how: str | None
) -> dict[str, tuple[float | NotDefined, ...]]:
    """Level -> thresholds, or the reason in place of each; empty without a validation."""
    if validation is None or validation.kind == "survival":
        return {}
    levels = {"image": validation, "patient": by_patient(validation, how or MEAN_SCORE)}
    found = {}
    for level, at_level in levels.items():
        point = choose_operating_point(at_level, rule)
        problems = len(binary_problems(at_level))
        found[level] = (
            (point,) * problems if isinstance(point, NotDefined) else point.thresholds
        )
    return found


def as_records(scored: Iterable[Part]) -> list[dict]:
    """The numbers for other programs; what is not defined is {"not_defined": reason}."""
    return [
        {
            "file": part.file,
            "site": part.site,
            "split": part.split,
            "level": part.level,
            **({"aggregate": part.aggregate} if part.aggregate else {}),
            "n_images": part.n_images,
            "n_patients": part.patients,
            **_operating_point(part),
            **({} if part.horizon is None else {"horizon": part.horizon}),
            "metrics": {
                name: {"not_defined": value.reason}
                if isinstance(value, NotDefined)
                else dataclasses.asdict(value)
                for name, value in part.intervals.items()
            },
        }
        for part in scored
    ]


def _operating_point(part: Part) -> dict:
    thresholds = part.predictions.thresholds
    if thresholds is None:
        return {}
    shown = [{"not_defined": t.reason} if isinstance(t, NotDefined) else t for t in thresholds]
    return {"thresholds": shown}


def compare(
    scored: Iterable[Part], first: str, second: str, resamples: int, seed: int
) -> dict[str, Mapping[str, Interval | NotDefined]] | str:
    """Level -> metric -> first file minus second; or why they cannot be compared."""
    scored = list(scored)
    whole = {(part.file, part.level): part.predictions for part in scored if part.whole}
    levels = [level for file, level in whole if file == first and (second, level) in whole]
    kind = scored[0].predictions.kind
    metrics = metrics_of(kind, len(scored[0].predictions.classes))
    try:
        return {
            level: {
                metric: paired_difference(
                    whole[first, level], whole[second, level], metric, resamples, seed
                )
                for metric in metrics
            }
            for level in levels
        }
    except UserError as error:
        return error.problem
