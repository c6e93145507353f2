"""Data efficiency: what a metric is at each share of the new hospital's labels, with intervals.

A point is one arm, stage and share of labels over its seeds; it is made of the cells of an
experiment, see `experiment_cells`.
"""

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from remedis_jax.errors import UserError
from remedis_jax.evaluation.aggregate import aggregate
from remedis_jax.evaluation.bootstrap import (
    CONFIDENCE,
    LEAST_DEFINED_SHARE,
    RESAMPLES,
    Interval,
    RunResamples,
    interval_of,
    resample_runs,
)
from remedis_jax.evaluation.experiment_cells import STAGES, Cell, Stage
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, Level, NotDefined
from remedis_jax.evaluation.predictions import Predictions, read_predictions

Scale = Literal["linear", "log"]


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """The seeds of one (arm, stage, fraction), evaluated.

    Attributes:
        arm, stage, fraction: What the cells share.
        seeds: Ascending.
        n_patients: As in `Cell`, the median over the seeds.
        n_images: As in `Cell`, the median over the seeds.
        runs: The metric of each seed on every resample, or why there is none.
        interval: Mean over the seeds and its interval.
    """

    arm: str
    stage: Stage
    fraction: float
    seeds: tuple[int, ...]
    n_patients: int
    n_images: int
    runs: RunResamples | NotDefined
    interval: Interval | NotDefined


class NoCrossing(enum.StrEnum):
    """Why no share of the labels can be named at which an arm matches the baseline."""

    ALREADY_AT_ZERO = "already at zero labels"
    NEVER_REACHED = "never reached"


@dataclasses.dataclass(frozen=True)
class LabelsToMatch:
    """Share of labels that matches the baseline, with a percentile interval over resamples.

    Attributes:
        value: In (0, 1], or a `NoCrossing`.
        low: Lower end, of the same kind; 'already at zero labels' is below every share.
        high: Upper end; 'never reached' is above every share.
    """

    value: float | NoCrossing
    low: float | NoCrossing
    high: float | NoCrossing


def evaluate_cells(
    cells: Iterable[Cell],
    metric: str,
    level: Level = "image",
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Point]:
    """Evaluates every (arm, stage, fraction), its seeds together.

    All test sets are evaluated with one bootstrap seed, so any two points on the same patients
    have paired resamples.

    Args:
        cells: Each (arm, seed, stage, fraction) once.
        metric: As in `metrics.score`.
        level: 'image', or 'group' for the mean of the probabilities over each patient's images.
        resamples: As in `bootstrap`.
        seed: As in `bootstrap`.
        confidence: As in `bootstrap`.

    Returns:
        Points by arm as first seen, then stage as in `STAGES`, then fraction.
    """
    together: dict[tuple[str, Stage, float], list[Cell]] = {}
    for cell in cells:
        together.setdefault((cell.arm, cell.stage, cell.fraction), []).append(cell)
    arms = list(dict.fromkeys(arm for arm, _, _ in together))
    points = []
    for key in sorted(together, key=lambda k: (arms.index(k[0]), STAGES.index(k[1]), k[2])):
        same = sorted(together[key], key=lambda cell: cell.seed)
        try:
            tables = [Predictions.from_table(read_predictions(cell.predictions)) for cell in same]
            if level == "group":
                tables = [aggregate(table, strict=True) for table in tables]
            runs = resample_runs(tables, metric, resamples, seed)
        except UserError as error:
            arm, stage, fraction = key
            raise UserError(
                f"arm {arm!r}, {stage}, fraction {fraction:g}: {error.problem}", error.remedy
            ) from error
        points.append(
            Point(
                *key,
                seeds=tuple(cell.seed for cell in same),
                n_patients=int(np.median([cell.n_patients for cell in same])),
                n_images=int(np.median([cell.n_images for cell in same])),
                runs=runs,
                interval=interval_of(runs, confidence),
            )
        )
    return points


def label_fraction_curve(
    cells: Iterable[Cell],
    metric: str,
    level: Level = "image",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The curve of each arm on the new hospital; zero-shot is fraction 0.

    Arguments as `evaluate_cells`.

    Returns:
        Columns arm, fraction, n_patients, n_images, seeds (how many), mean, low, high, and reason,
        which is '' where the numbers are defined and says why where they are blank.
    """
    return curve_of(evaluate_cells(cells, metric, level, resamples, seed))


def curve_of(points: Iterable[Point]) -> pd.DataFrame:
    """As `label_fraction_curve`, from points that are already evaluated."""
    rows = []
    for point in points:
        if point.stage == "id":
            continue
        known = isinstance(point.interval, Interval)
        rows.append(
            {
                "arm": point.arm,
                "fraction": point.fraction,
                "n_patients": point.n_patients,
                "n_images": point.n_images,
                "seeds": len(point.seeds),
                "mean": point.interval.value if known else math.nan,
                "low": point.interval.low if known else math.nan,
                "high": point.interval.high if known else math.nan,
                "reason": "" if known else point.interval.reason,
            }
        )
    columns = ["arm", "fraction", "n_patients", "n_images", "seeds", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def labels_to_match(
    curve: pd.DataFrame, baseline: float, *, scale: Scale = "log", lower_is_better: bool = False
) -> float | NoCrossing:
    """Smallest share of labels at which an arm's mean curve reaches the baseline with all labels.

    Args:
        curve: One arm of a `label_fraction_curve`; points without a mean are passed over.
        baseline: Value to reach.
        scale: Interpolation between two measured fractions: linear in log(fraction), as the
            figure's axis, or in the fraction. From zero to the first fraction it is always linear
            in the fraction. Default: ours.
        lower_is_better: True for losses.

    Returns:
        A share in (0, 1]; ALREADY_AT_ZERO where the curve starts at zero labels and is there;
        NEVER_REACHED where no measured fraction is. A curve that starts above zero labels and is
        there returns its first fraction, which is then an upper bound.

    Raises:
        ValueError: The curve is of several arms.
    """
    if curve["arm"].nunique() > 1:
        raise ValueError(f"one arm at a time, not {sorted(set(curve['arm']))}")
    curve = curve.dropna(subset="mean").sort_values("fraction")
    sign = -1.0 if lower_is_better else 1.0
    return _crossing(
        curve["fraction"].to_numpy(), sign * curve["mean"].to_numpy(), sign * baseline, scale
    )


def _crossing(x: np.ndarray, y: np.ndarray, target: float, scale: Scale) -> float | NoCrossing:
    """First x at which y, higher is better, reaches the target; x ascending."""
    reached = np.flatnonzero(y >= target)
    if not reached.size:
        return NoCrossing.NEVER_REACHED
    i = int(reached[0])
    if i == 0:
        return NoCrossing.ALREADY_AT_ZERO if x[0] == 0 else float(x[0])
    share = (target - y[i - 1]) / (y[i] - y[i - 1])
    if scale == "linear" or x[i - 1] == 0:
        return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return float(x[i - 1] * (x[i] / x[i - 1]) ** share)


def labels_to_match_interval(
    points: Sequence[Point],
    baseline: Point,
    metric: str,
    *,
    scale: Scale = "log",
    confidence: float = CONFIDENCE,
) -> LabelsToMatch | NotDefined:
    """`labels_to_match` with its uncertainty: the crossing is found anew in every resample.

    A resample draws patients and seeds for the arm and for the baseline together.

    Args:
        points: The arm on the new hospital, ascending in fraction.
        baseline: The baseline arm with all labels, with the same seeds.
        metric: Tells which direction is better.
    """
    for point in (*points, baseline):
        if isinstance(point.interval, NotDefined):
            return point.interval
    sign = -1.0 if metric.partition("/")[0] in LOWER_IS_BETTER else 1.0
    x = np.array([point.fraction for point in points])
    means = sign * np.array([point.interval.value for point in points])
    curves = sign * np.stack([point.runs.means() for point in points], axis=1)
    levels = sign * baseline.runs.means()
    defined = ~np.isnan(curves).any(axis=1) & ~np.isnan(levels)
    if defined.mean() < LEAST_DEFINED_SHARE:
        return NotDefined(f"only {defined.sum():,} of {len(defined):,} resamples have a value")
    drawn = sorted(
        (
            _crossing(x, curve, level, scale)
            for curve, level in zip(curves[defined], levels[defined], strict=True)
        ),
        key=_position,
    )
    # Order statistics, not interpolated percentiles: there is nothing between a share and 'never'.
    tail = (1 - confidence) / 2
    last = len(drawn) - 1
    return LabelsToMatch(
        value=_crossing(x, means, sign * baseline.interval.value, scale),
        low=drawn[math.floor(tail * last)],
        high=drawn[math.ceil((1 - tail) * last)],
    )


def _position(share: float | NoCrossing) -> float:
    ends = {NoCrossing.ALREADY_AT_ZERO: -1.0, NoCrossing.NEVER_REACHED: 2.0}
    return ends[share] if isinstance(share, NoCrossing) else share
