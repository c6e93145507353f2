"""Confidence intervals: the percentile bootstrap over patients, and over patients and seeds.

Images of one patient are alike, so the patient is what is drawn with replacement, all its images
together (cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application,
1997, chapter 3). Intervals are the percentiles of the resamples' values (Efron 1979).

Which patients resample r draws depends on the seed and on the number of patients alone. Two models
on the same patients therefore see the same resamples, and their difference is a paired one.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from remedis_jax.data.messages import first_few
from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import NotDefined, left_out, value_of
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampled import resampler

RESAMPLES = 1000  # ours; the least that percentiles at 2.5 % and 97.5 % should rest on
CONFIDENCE = 0.95
# With fewer resamples that have a value, the percentiles would describe a rare selection: ours.
LEAST_DEFINED_SHARE = 0.5
_PATIENTS, _SEEDS = 0, 1  # separate random streams
_CELLS = 500_000  # weights held at a time (4 MB); results do not depend on it


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


@dataclasses.dataclass(frozen=True, eq=False)
class RunResamples:
    """One metric of K runs (one per seed) on the same resamples of the same patients.

    Attributes:
        values: float64 [K], on the data as they are.
        draws: float64 [K, R], per resample of the patients; NaN where not defined.
        picks: int64 [R, K], which runs a resample draws.
        reference: The first run, to know the images by.
        left_out: As in `Interval`.
    """

    values: np.ndarray
    draws: np.ndarray
    picks: np.ndarray
    reference: Predictions
    left_out: tuple[str, ...]

    def means(self) -> np.ndarray:
        """float64 [R]: the mean over the picked runs; NaN if one of them has no value."""
        return self.draws[self.picks.T, np.arange(len(self.picks))].mean(axis=0)


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
    return {
        metric: interval_of(resample_runs([predictions], metric, resamples, seed), confidence)
        for metric in metrics
    }


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
) -> Interval | NotDefined:
    """Interval of metric(a) - metric(b), both on the same resamples of the patients.

    Arguments as `bootstrap`; raises UserError unless both have the same images, patients and
    labels (in any order).
    """
    return paired_seed_difference([a], [b], metric, resamples, seed, confidence)


def paired_seed_difference(
    runs_a: Sequence[Predictions],
    runs_b: Sequence[Predictions],
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval | NotDefined:
    """Interval of mean(a) - mean(b) over runs, paired by patient and by position in the lists.

    Runs at the same position have the same seed, so the same subset of labels, and are drawn
    together. Raises UserError as `paired_difference`, and if the lists differ in length.
    """
    return difference_of(
        resample_runs(runs_a, metric, resamples, seed),
        resample_runs(runs_b, metric, resamples, seed),
        confidence,
    )


def resample_runs(
    runs: Sequence[Predictions], metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> RunResamples | NotDefined:
    """Evaluates `metric` of every run on every resample; for means and differences made of it.

    Raises:
        UserError: No run, or runs that are not on the same images.
    """
    if not runs:
        raise UserError(f"there is no run to take {metric!r} of.", "Give one run or more.")
    if resamples < 1:
        raise UserError(f"resamples is {resamples}.", "Draw one resample or more.")
    for run in runs[1:]:
        require_same_images(runs[0], run)
    values = [value_of(run, metric) for run in runs]
    for value in values:
        if isinstance(value, NotDefined):
            return value
    patients = len(np.unique(runs[0].groups))
    if patients < 2:
        return NotDefined(
            f"one patient only, so there is no interval; the value is {np.mean(values):.3f}"
        )
    functions = [resampler(run, metric) for run in runs]
    rows = max(1, _CELLS // len(runs[0].images))
    draws = np.concatenate(
        [
            np.stack([values_of(counts) for values_of in functions])
            for counts in patient_counts(patients, resamples, seed, rows)
        ],
        axis=1,
    )
    picks = np.random.default_rng([seed, _SEEDS]).integers(len(runs), size=(resamples, len(runs)))
    return RunResamples(np.array(values), draws, picks, runs[0], left_out(runs[0], metric))


def interval_of(
    runs: RunResamples | NotDefined, confidence: float = CONFIDENCE
) -> Interval | NotDefined:
    """The interval of the mean over runs."""
    if isinstance(runs, NotDefined):
        return runs
    return _percentiles(float(runs.values.mean()), runs.means(), confidence, runs.left_out)


def difference_of(
    a: RunResamples | NotDefined, b: RunResamples | NotDefined, confidence: float = CONFIDENCE
) -> Interval | NotDefined:
    """The interval of mean(a) - mean(b); both must come from the same seed and resamples.

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
    return _percentiles(value, a.means() - b.means(), confidence, a.left_out)


def patient_counts(patients: int, resamples: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    """How often each patient is drawn.

    Yields:
        float64 [<= rows, patients]; rows sum to `patients`. All of them together are `resamples`
        rows that do not depend on `rows`.
    """
    stream = np.random.default_rng([seed, _PATIENTS])
    for start in range(0, resamples, rows):
        yield np.stack(
            [
                np.bincount(stream.integers(patients, size=patients), minlength=patients)
                for _ in range(min(rows, resamples - start))
            ]
        ).astype(np.float64)


def require_same_images(a: Predictions, b: Predictions) -> None:
    """Raises UserError unless `a` and `b` have the same images, patients, classes and labels."""
    only = np.setxor1d(a.images, b.images)
    if only.size:
        raise UserError(
            f"the predictions are not on the same images: {only.size:,} are in one of them only "
            f"({first_few(sorted(only))}).",
            "Compare models on one test set.",
        )
    order_a, order_b = np.argsort(a.images), np.argsort(b.images)
    if a.classes != b.classes or a.kind != b.kind or a.positive_index != b.positive_index:
        raise UserError(
            f"the predictions do not have the same classes: {a.kind} {a.classes} and "
            f"{b.kind} {b.classes}.",
            "Give both the same classes in the same order.",
        )
    if a.horizon != b.horizon:
        raise UserError(
            f"the predictions have the horizons {a.horizon:g} and {b.horizon:g}.",
            "Predict both for one horizon.",
        )
    for what, of_a, of_b in (
        ("patients", a.groups[order_a], b.groups[order_b]),
        ("labels", a.y[order_a], b.y[order_b]),
    ):
        if not np.array_equal(of_a, of_b, equal_nan=what == "labels"):
            raise UserError(
                f"the predictions have the same images and not the same {what}.",
                "Make both from one manifest.",
            )


def _percentiles(
    value: float, draws: np.ndarray, confidence: float, left_out: tuple[str, ...]
) -> Interval | NotDefined:
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
