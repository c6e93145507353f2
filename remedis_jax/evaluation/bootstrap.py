"""Confidence intervals: the percentile bootstrap over patients, and over patients and seeds.

Images of one patient are alike, so the patient is what is drawn with replacement, all its images
together (cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application,
1997, chapter 3). Intervals are the percentiles of the resamples' values (Efron 1979).

Which patients resample r draws depends on the seed and on the number of patients alone. Two models
on the same patients therefore see the same resamples, and their difference is a paired one.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampling import (
    RESAMPLES,
    RunResamples,
    resample_arms,
    resample_runs,
)
from remedis_jax.evaluation.same_images import require_same_images

CONFIDENCE = 0.95
# With fewer resamples that have a value, the percentiles would describe a rare selection: ours.
LEAST_DEFINED_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and its percentile interval.

    Attributes:
        value: On the data as they are (for several runs: the mean of the runs).
        low: Lower end.
        high: Upper end.
        resamples: How many were drawn.
        undefined_resamples: How many of them had no value and so no part in the interval.
        left_out: Parts of a macro average that are not defined on the data and not in it.
    """

    value: float
    low: float
    high: float
    resamples: int
    undefined_resamples: int
    left_out: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A paired difference, its interval and its p-value.

    Attributes:
        p_value: Two-sided, of the difference being zero, from the same resamples as the interval:
            2 min((1 + n_low) / (1 + R), (1 + n_high) / (1 + R)) and at most 1, where n_low of the
            R resamples that have a value are at or below zero and n_high at or above it. It is 1
            for identical predictions and never 0 (at least 2 / (1 + R)); below 0.05 only where the
            95% interval is on one side of zero, the ones that are added making it the more cautious
            of the two by up to 2 / (1 + R).

    References:
        Liu and Singh 1997 (J. Am. Stat. Assoc. 92:266) for the p-value that a bootstrap
        distribution gives; Davison and Hinkley 1997, chapter 4, for the ones that are added.
    """

    p_value: float


@dataclasses.dataclass(frozen=True)
class Spread:
    """The two sources of uncertainty, each by itself, as standard deviations.

    Attributes:
        sampling_sd: Of the mean over the runs, from drawing patients with the runs as they are.
        seed_sd: Between the values of the runs on the patients as they are (n - 1); `NotDefined`
            for a single run.
    """

    sampling_sd: float | NotDefined
    seed_sd: float | NotDefined


def bootstrap(
    predictions: Predictions,
    metrics: Iterable[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval | NotDefined]:
    """Intervals of several metrics of one run, by patient.

    Args:
        predictions: The run; for intervals of patient-level metrics pass them aggregated.
        metrics: Names as in `metrics.score`, parts ('auroc/<class>') included.
        resamples: At least 1.
        seed: The same seed gives the same interval.
        confidence: In (0, 1).

    Returns:
        Metric -> interval; `NotDefined` where the metric has no value, there is one patient only,
        or most resamples have no value.
    """
    (of_metric,) = resample_arms([[predictions]], metrics, resamples, seed)
    return {metric: interval_of(runs, confidence) for metric, runs in of_metric.items()}


def seed_bootstrap(
    runs: Sequence[Predictions],
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval | NotDefined:
    """Interval of the mean of a metric over runs that differ by their seed.

    Every resample draws patients, the same for all runs, and as many runs as there are, both with
    replacement; so the interval holds the sampling of patients and the spread of training. With K
    runs the latter is too small by the factor (K-1)/K, and 0 for K = 1.

    Arguments as `bootstrap`; raises UserError if the runs are not on the same images.
    """
    return interval_of(resample_runs(runs, metric, resamples, seed), confidence)


def paired_difference(
    a: Predictions,
    b: Predictions,
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference | NotDefined:
    """metric(a) - metric(b), its interval and p-value, on the same resamples of the patients.

    Arguments as `bootstrap`; raises UserError unless both have the same images, patients and
    labels (in any order). Each has its own thresholds.
    """
    return paired_seed_difference([a], [b], metric, resamples, seed, confidence)


def paired_seed_difference(
    runs_a: Sequence[Predictions],
    runs_b: Sequence[Predictions],
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference | NotDefined:
    """mean(a) - mean(b) over runs, paired by patient and by position in the lists.

    Runs at the same position have the same seed, so the same subset of labels, and are drawn
    together. Raises UserError as `paired_difference`, and if the lists differ in length.
    """
    return difference_of(
        resample_runs(runs_a, metric, resamples, seed),
        resample_runs(runs_b, metric, resamples, seed),
        confidence,
    )


def interval_of(
    runs: RunResamples | NotDefined, confidence: float = CONFIDENCE
) -> Interval | NotDefined:
    """The interval of the mean over runs."""
    if isinstance(runs, NotDefined):
        return runs
    return percentile_interval(float(runs.values.mean()), runs.means(), confidence, runs.left_out)


def difference_of(
    a: RunResamples | NotDefined, b: RunResamples | NotDefined, confidence: float = CONFIDENCE
) -> Difference | NotDefined:
    """mean(a) - mean(b), its interval and p-value; both from the same seed and resamples.

    Raises:
        UserError: The images, patients or labels differ, or the numbers of runs or resamples do.
    """
    for runs in (a, b):
        if isinstance(runs, NotDefined):
            return runs
    require_same_images(a.reference, b.reference)
    if a.draws.shape != b.draws.shape:
        raise UserError(
            f"{len(a.values)} runs cannot be paired with {len(b.values)} (resamples: "
            f"{a.draws.shape[1]:,} and {b.draws.shape[1]:,}).",
            "Compare the seeds that both have.",
        )
    value = float(a.values.mean() - b.values.mean())
    draws = a.means() - b.means()
    interval = percentile_interval(value, draws, confidence, a.left_out)
    if isinstance(interval, NotDefined):
        return interval
    fields = {f.name: getattr(interval, f.name) for f in dataclasses.fields(interval)}
    return Difference(**fields, p_value=_p_value(draws[~np.isnan(draws)]))


def spread_of(runs: RunResamples | NotDefined) -> Spread | NotDefined:
    """Sampling of patients and spread of training, each by itself."""
    if isinstance(runs, NotDefined):
        return runs
    means = runs.draws.mean(axis=0)
    defined = means[~np.isnan(means)]
    sampling: float | NotDefined = NotDefined(
        f"only {len(defined):,} of {len(means):,} resamples have a value"
    )
    if len(defined) >= max(2, LEAST_DEFINED_SHARE * len(means)):
        sampling = float(defined.std(ddof=1))
    several = len(runs.values) > 1
    seeds = float(runs.values.std(ddof=1)) if several else NotDefined("one run only")
    return Spread(sampling, seeds)


def _p_value(draws: np.ndarray) -> float:
    low, high = (1 + np.sum(draws <= 0)), (1 + np.sum(draws >= 0))
    return min(1.0, float(2 * min(low, high) / (1 + len(draws))))


def percentile_interval(
    value: float,
    draws: np.ndarray,
    confidence: float = CONFIDENCE,
    left_out: tuple[str, ...] = (),
) -> Interval | NotDefined:
    """The interval of a value from its resamples, float64 [R], NaN where one has no value."""
    defined = draws[~np.isnan(draws)]
    if len(defined) < LEAST_DEFINED_SHARE * len(draws):
        return NotDefined(
            f"only {len(defined):,} of {len(draws):,} resamples have a value, so there is no "
            f"interval; the value is {value:.3f}"
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(
        value, float(low), float(high), len(draws), len(draws) - len(defined), left_out
    )
