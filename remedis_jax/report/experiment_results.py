"""An experiment, evaluated: points, paired differences, labels saved, and what is judged closer."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.data.leaks import GUARD_NAME, Guard
from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import RESAMPLES, Difference
from remedis_jax.evaluation.curves import Point, evaluate_cells
from remedis_jax.evaluation.experiment_cells import Cell, read_cells
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.label_saving import LabelSaving, label_saving
from remedis_jax.evaluation.metrics import NotDefined
from remedis_jax.evaluation.non_inferiority import paired
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.report.experiment_record import read_experiment, read_rows
from remedis_jax.report.leak_section import guards_of
from remedis_jax.report.wording import percent

Setting = tuple[str, float]  # (stage, fraction)


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """An experiment, evaluated.

    Attributes:
        folder: The experiment's.
        record: What `experiment.json` says.
        rows: What `rows.csv` says.
        cells: What `cells.jsonl` says.
        points: (arm, stage, fraction) -> point.
        settings: (stage, fraction) in the order of the table.
        differences: (arm, setting) -> arm minus baseline, where both were measured.
        baseline: The baseline arm with the largest share of labels; None if it never was tuned.
        savings: Arm -> labels it saves against `baseline`; empty where there is none.
        guards: The leak guard of every cell's predictions; None where there is none.
        stage_guards: Those of the experiment itself and of the stages that made its encoders.
    """

    folder: Path
    record: Mapping[str, Any]
    rows: pd.DataFrame
    cells: tuple[Cell, ...]
    points: Mapping[tuple[str, str, float], Point]
    settings: tuple[Setting, ...]
    differences: Mapping[tuple[str, Setting], Difference | NotDefined]
    baseline: Point | None
    savings: Mapping[str, LabelSaving]
    guards: tuple[Guard | None, ...] = ()
    stage_guards: tuple[Guard, ...] = ()
    # Predictions that were read before: every part of the page asks for some of them.
    known: dict[Path, Predictions] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def labels(self) -> dict[str, str]:
        """Arm -> label."""
        return {arm: entry["label"] for arm, entry in self.record["arms"].items()}

    @property
    def others(self) -> tuple[str, ...]:
        """The arms that are compared with the baseline, the self-supervised ones first."""
        rest = [arm for arm in self.record["arms"] if arm not in self.record["ssl_arms"]]
        arms = dict.fromkeys((*self.record["ssl_arms"], *rest))
        return tuple(arm for arm in arms if arm != self.record["baseline_arm"])

    @property
    def horizon(self) -> float | None:
        """Of survival, when the risk is judged."""
        runs = (point.runs for point in self.points.values())
        return next((r.reference.horizon for r in runs if not isinstance(r, NotDefined)), None)

    def setting_name(self, setting: Setting) -> str:
        """'hospital_b, zero-shot'."""
        stage, fraction = setting
        return {
            "id": f"{self.record['id_site']}, in distribution",
            "ood_zero_shot": f"{self.record['ood_site']}, zero-shot",
            "ood_finetuned": f"{self.record['ood_site']}, with {percent(fraction)} of its labels",
        }[stage]

    def judged(self, settings: Iterable[Setting]) -> list[JudgedSet]:
        """Test predictions of every arm in some settings, with what chose for them."""
        sets = []
        for setting in settings:
            for arm, label in self.labels.items():
                cells = [
                    cell for cell in self.cells
                    if cell.arm == arm and (cell.stage, cell.fraction) == setting
                ]  # fmt: skip
                if not cells:
                    continue
                cells.sort(key=lambda cell: cell.seed)
                chosen_on = [cell.validation for cell in cells]
                site = self.record["id_site" if setting[0] == "id" else "ood_site"]
                rows = self.rows[self.rows["part"] == f"{site} test"].set_index("image")
                images = self.record["images"]
                sets.append(
                    JudgedSet(
                        arm=label,
                        name=self.setting_name(setting),
                        runs=tuple(self._read(cell.predictions) for cell in cells),
                        validation=tuple(self._read(path) for path in chosen_on)
                        if all(chosen_on)
                        else (),
                        rows=rows[[c for c in self.record["characteristics"] if c in rows]],
                        folder=Path(images) if images and Path(images).is_dir() else None,
                    )
                )
        return sets

    def _read(self, path: Path) -> Predictions:
        if path not in self.known:
            self.known[path] = Predictions.from_table(read_predictions(path))
        return self.known[path]


def evaluate_experiment(
    experiment_dir: str | os.PathLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Results:
    """Evaluates every cell, the paired differences, and the labels that every arm saves.

    Args:
        experiment_dir: Holds `experiment.json` and `cells.jsonl`, and mostly `rows.csv`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: As `read_experiment` and `read_cells`; a cell of an arm that does not exist.
    """
    folder = Path(experiment_dir)
    record = read_experiment(folder)
    cells = read_cells(folder / "cells.jsonl")
    for cell in cells:
        if cell.arm not in record["arms"]:
            raise UserError(
                f"a cell is of arm {cell.arm!r}, which experiment.json does not have."
                + did_you_mean(cell.arm, record["arms"]),
                "Write the experiment again.",
            )
    metric = record["metric"]
    evaluated = evaluate_cells(
        cells, metric, level=record["level"], resamples=resamples, seed=seed
    )
    points = {(p.arm, p.stage, p.fraction): p for p in evaluated}
    order = {"id": 0, "ood_zero_shot": 1, "ood_finetuned": 2}
    settings = sorted({key[1:] for key in points}, key=lambda s: (order[s[0]], s[1]))
    baseline = record["baseline_arm"]
    tuned = [p for p in evaluated if p.arm == baseline and p.stage == "ood_finetuned"]
    full = tuned[-1] if tuned else None
    savings = {}
    for arm in record["arms"]:
        curve = [p for p in evaluated if p.arm == arm and p.stage != "id"]
        if full and curve and arm != baseline:
            savings[arm] = label_saving(
                curve, full, metric, margin=record["margin"],
                minutes_per_label=record["minutes_per_label"], unit=record["label_unit"],
            )  # fmt: skip
    return Results(
        folder=folder,
        record=record,
        rows=read_rows(folder),
        cells=tuple(cells),
        points=points,
        settings=tuple(settings),
        differences={
            (arm, setting): paired(points[arm, *setting], points[baseline, *setting])
            for arm in record["arms"]
            for setting in settings
            if arm != baseline and (arm, *setting) in points and (baseline, *setting) in points
        },
        baseline=full,
        savings=savings,
        guards=tuple(guards_of([cell.predictions for cell in cells]).values()),
        stage_guards=stage_guards(folder),
    )


def stage_guards(folder: Path) -> tuple[Guard, ...]:
    """The leak guards of an experiment and of the stages that made its encoders."""
    places = [folder / GUARD_NAME, *sorted((folder / "stages").glob(f"*/{GUARD_NAME}"))]
    return tuple(guard for guard in guards_of(places).values() if guard is not None)
