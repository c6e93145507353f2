"""Reliability: of the images that were given a probability of p, does a share of p have the event?

Predictions are put into bins of equal width, those of the ECE; each shows the mean of what was
predicted beside the share of what was seen (DeGroot and Fienberg 1983, "The Comparison and
Evaluation of Forecasters"). Of two classes the probability is that of the positive one; of more,
that of the most probable class and whether it is right (Guo et al. 2017, section 2); of findings,
those of all findings together.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.drawn_runs import aligned, draw_means, percentile_band
from remedis_jax.evaluation.point_values import BINS, bin_of, confidences
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.ranks import divide


@dataclasses.dataclass(frozen=True, eq=False)
class Forecasts:
    """What was said to happen, and whether it did.

    Attributes:
        p: float64 [M] in [0, 1].
        y: int64 [M], 0 or 1.
        groups: str [M], patients.
    """

    p: np.ndarray
    y: np.ndarray
    groups: np.ndarray


def forecasts_of(predictions: Predictions) -> Forecasts:
    """The probabilities whose reliability is judged; see the module's docstring.

    Args:
        predictions: N images of classes or findings.
    """
    groups = predictions.groups
    if predictions.kind == "sigmoid":
        known = ~np.isnan(predictions.y)
        repeated = np.broadcast_to(groups[:, None], known.shape)[known]
        return Forecasts(predictions.p[known], predictions.y[known].astype(np.int64), repeated)
    if not len(predictions.y):
        return Forecasts(np.zeros(0), np.zeros(0, np.int64), groups)
    p, outcome = confidences(predictions)
    return Forecasts(p, outcome.astype(np.int64), groups)


def reliability_curve(
    runs: Sequence[Predictions],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Predicted and observed shares by bin, over all runs together.

    Args:
        runs: One per seed, on the same images; every image counts once per run.
        resamples: Of patients and runs.
        seed: Of the resamples.

    Returns:
        One row per bin that is not empty: from, to, labels (how many, as a mean over the runs),
        predicted, observed, low and high (95% percentiles of the observed share; NaN with one
        patient only, or where most resamples leave the bin empty).
    """
    runs = aligned(runs)
    patients = np.unique(runs[0].groups)
    sums = []
    for run in runs:
        of = forecasts_of(run)
        place = np.searchsorted(patients, of.groups) * BINS + bin_of(of.p)
        sums.append(
            np.stack(
                [
                    np.bincount(place, weights, minlength=len(patients) * BINS)
                    for weights in (np.ones(len(of.p)), of.y, of.p)
                ],
                axis=1,
            ).reshape(len(patients), BINS, 3)
        )
    labels, events, predicted = np.mean([s.sum(axis=0) for s in sums], axis=0).T
    low = high = np.full(BINS, np.nan)
    if len(patients) > 1:
        statistics = [lambda counts, s=s: np.tensordot(counts, s[:, :, :2], 1) for s in sums]
        drawn = draw_means(statistics, len(patients), len(runs[0].images), resamples, seed)
        share = divide(drawn[..., 1].ravel(), drawn[..., 0].ravel()).reshape(-1, BINS)
        low, high = percentile_band(share)
    edges = np.arange(BINS + 1) / BINS
    curve = pd.DataFrame(
        {
            "from": edges[:-1],
            "to": edges[1:],
            "labels": labels,
            "predicted": divide(predicted, labels),
            "observed": divide(events, labels),
            "low": low,
            "high": high,
        }
    )
    return curve[curve["labels"] > 0].reset_index(drop=True)
