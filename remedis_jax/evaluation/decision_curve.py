"""Decision curves: what acting on a prediction is worth, by how much harm is taken for a benefit.

Vickers and Elkin (2006), "Decision curve analysis: a novel method for evaluating prediction
models". Who is treated if the probability is at least t holds that missing an event is as bad as
treating (1 - t) / t others for nothing. The net benefit is then, per image,
TP / n - FP / n * t / (1 - t); that of treating all is the same with everybody called positive, and
that of treating none is 0.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.binary_problems import BinaryProblem, binary_problems
from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.drawn_runs import aligned, draw_means, percentile_band
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.ranks import divide

THRESHOLDS = np.arange(1, 100) / 100  # 1% to 99%; at 100% no harm would count


def net_benefit(y: np.ndarray, p: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Net benefit of treating where p is at least the threshold.

    Args:
        y: [M], 0 or 1; M at least 1.
        p: float64 [M] in [0, 1].
        thresholds: float64 [T], ascending, in (0, 1).

    Returns:
        float64 [T].
    """
    sums = _called(np.zeros(len(y), np.int64), y, p, thresholds, 1)[0]
    return (sums[0] - sums[1] * _odds(thresholds)) / len(y)


def treat_all(y: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Net benefit of treating everybody, float64 [T]; arguments as `net_benefit`."""
    return y.mean() - (1 - y.mean()) * _odds(thresholds)


def decision_curves(
    runs: Sequence[Predictions],
    thresholds: np.ndarray = THRESHOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Net benefit of every class or finding by itself, as the mean over runs.

    Args:
        runs: One per seed, on the same images, of classes or findings.
        thresholds: float64 [T], ascending, in (0, 1).
        resamples: Of patients and runs.
        seed: Of the resamples.

    Returns:
        Per class and threshold: class ('' of two classes), threshold, net_benefit, low and high
        (95% percentiles; NaN with one patient only), treat_all, images, events. Classes without a
        known label are left out.
    """
    runs = aligned(runs)
    patients = np.unique(runs[0].groups)
    frames = []
    for problems in zip(*(binary_problems(run) for run in runs), strict=True):
        first = problems[0]
        if not len(first.y):
            continue
        own = [_by_patient(p, runs[0].groups, patients, thresholds) for p in problems]
        low = high = np.full(len(thresholds), np.nan)
        if len(patients) > 1:
            statistics = [lambda counts, s=s: _of_counts(counts, *s) for s in own]
            drawn = draw_means(statistics, len(patients), len(runs[0].images), resamples, seed)
            low, high = percentile_band(drawn)
        benefit = np.mean([net_benefit(p.y, p.score, thresholds) for p in problems], axis=0)
        frames.append(
            pd.DataFrame(
                {
                    "class": first.name or "",
                    "threshold": thresholds,
                    "net_benefit": benefit,
                    "low": low,
                    "high": high,
                    "treat_all": treat_all(first.y, thresholds),
                    "images": len(first.y),
                    "events": int(first.y.sum()),
                }
            )
        )
    columns = ["class", "threshold", "net_benefit", "low", "high", "treat_all", "images", "events"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _odds(thresholds: np.ndarray) -> np.ndarray:
    return thresholds / (1 - thresholds)


def _called(
    index: np.ndarray, y: np.ndarray, p: np.ndarray, thresholds: np.ndarray, groups: int
) -> np.ndarray:
    """True and false positives of each group at each threshold, float64 [G, 2, T]."""
    reached = np.searchsorted(thresholds, p, side="right")  # thresholds up to p, p included
    width = len(thresholds) + 1
    place = (index * 2 + (y == 0)) * width + reached
    counts = np.bincount(place, minlength=groups * 2 * width).reshape(groups, 2, width)
    return counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:].astype(np.float64)


def _by_patient(
    problem: BinaryProblem, groups: np.ndarray, patients: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Net benefit summed over the images of each patient, [G, T], and how many they are, [G]."""
    index = np.searchsorted(patients, groups[problem.rows])
    sums = _called(index, problem.y, problem.score, thresholds, len(patients))
    benefit = sums[:, 0] - sums[:, 1] * _odds(thresholds)
    return benefit, np.bincount(index, minlength=len(patients)).astype(np.float64)


def _of_counts(counts: np.ndarray, benefit: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    total = counts @ sizes
    return np.stack([divide(column, total) for column in (counts @ benefit).T], axis=1)
