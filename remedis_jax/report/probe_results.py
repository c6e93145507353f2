"""The probes of a folder, evaluated: intervals over patients and seeds, and paired differences."""

import dataclasses
import json
import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import Difference, Interval, difference_of, interval_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions, read_predictions
from remedis_jax.evaluation.probe_protocol import Fit
from remedis_jax.evaluation.resampling import RESAMPLES, resample_arms

RECORD, FITS = "probe.json", "probes.jsonl"


@dataclasses.dataclass(frozen=True, eq=False)
class ProbePoint:
    """The encoders on one test set after one kind of training.

    Attributes:
        test: Name of the test set.
        probe: 'linear' or 'knn'.
        trained_on: 'full', 'shots' or 'share'.
        amount: Shots, or the share.
        n_patients, n_images: What was trained on, the median over the seeds.
        intervals: Encoder -> interval of the mean over the seeds.
        differences: (encoder, encoder) -> the first minus the second.
    """

    test: str
    probe: str
    trained_on: str
    amount: float
    n_patients: int
    n_images: int
    intervals: Mapping[str, Interval | NotDefined]
    differences: Mapping[tuple[str, str], Difference | NotDefined]


def read_probes(folder: str | os.PathLike) -> tuple[dict[str, Any], list[Fit]]:
    """Reads `probe.json` and `probes.jsonl`.

    Raises:
        UserError: One is missing or no such file.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        lines = (folder / FITS).read_text(encoding="utf-8").splitlines()
        return record, [Fit(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder} does not hold the probes of `remedis probe` ({error}).",
            "Give the folder that it wrote.",
        ) from error


def evaluate_probes(
    folder: Path,
    record: Mapping[str, Any],
    fits: list[Fit],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ProbePoint]:
    """Evaluates every test set, probe and kind of training, in the order of the fits."""
    grouped: dict[tuple, dict[str, list[Fit]]] = {}
    for fit in fits:
        key = (fit.test, fit.probe, fit.trained_on, fit.amount)
        grouped.setdefault(key, {}).setdefault(fit.encoder, []).append(fit)
    points = []
    for (test, probe, trained_on, amount), by_encoder in grouped.items():
        arms = [[_read(folder, fit, record["level"]) for fit in of] for of in by_encoder.values()]
        drawn = resample_arms(arms, [record["metric"]], resamples, seed)
        found = {
            name: of[record["metric"]] for name, of in zip(by_encoder, drawn, strict=True)
        }
        trained = pd.DataFrame([fit for of in by_encoder.values() for fit in of])
        points.append(
            ProbePoint(
                test, probe, trained_on, amount,
                int(trained["n_patients"].median()), int(trained["n_images"].median()),
                {name: interval_of(runs) for name, runs in found.items()},
                {(a, b): difference_of(found[a], found[b]) for a, b in combinations(found, 2)},
            )
        )  # fmt: skip
    return points


def _read(folder: Path, fit: Fit, level: str) -> Predictions:
    predictions = Predictions.from_table(read_predictions(folder / fit.predictions))
    return aggregate(predictions) if level == "group" else predictions
