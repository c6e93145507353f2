"""The resamples of patients, and what the metrics of runs are on each of them.

Which patients resample r draws depends on the seed and on the number of patients alone.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import NotDefined, left_out, value_of
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampled import resampler
from remedis_jax.evaluation.same_images import require_same_images

RESAMPLES = 1000  # ours; the least that percentiles at 2.5 % and 97.5 % should rest on
_PATIENTS, _SEEDS = 0, 1  # separate random streams
CELLS = 500_000  # weights held at a time (4 MB); results do not depend on it


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


def resample_runs(
    runs: Sequence[Predictions], metric: str, resamples: int = RESAMPLES, seed: int = 0
) -> RunResamples | NotDefined:
    """Evaluates `metric` of every run on every resample; for means and differences made of it.

    Raises:
        UserError: No run, or runs that are not on the same images.
    """
    (of_metric,) = resample_arms([runs], [metric], resamples, seed)
    return of_metric[metric]


def resample_arms(
    arms: Sequence[Sequence[Predictions]],
    metrics: Iterable[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, RunResamples | NotDefined]]:
    """Evaluates several metrics of several arms on the same resamples, which are drawn once.

    The values are those of `resample_runs` of each arm and metric, which draws the same patients
    anew each time.

    Args:
        arms: One or more; each the runs of one arm, one or more, all on the same images.
        metrics: Names as in `metrics.score`.
        resamples: At least 1.
        seed: As in `bootstrap`.

    Returns:
        Of each arm: metric -> its resamples, for `interval_of`, `difference_of` and `spread_of`;
        or why there are none.

    Raises:
        UserError: No run, or runs that are not on the same images.
    """
    metrics = list(metrics)
    if resamples < 1:
        raise UserError(f"resamples is {resamples}.", "Draw one resample or more.")
    for runs in arms:
        if not runs:
            raise UserError(f"there is no run to take {metrics[0]!r} of.", "Give one run or more.")
    # Sums then have one order, and models that agree differ by exactly zero however their rows lie.
    arms = [[run.select(np.argsort(run.images)) for run in runs] for runs in arms]
    first = arms[0][0]
    for run in [run for runs in arms for run in runs][1:]:
        require_same_images(first, run)
    found = [{metric: _values(runs, metric) for metric in metrics} for runs in arms]
    wanted = [
        (arm, metric) for arm in range(len(arms)) for metric in metrics
        if not isinstance(found[arm][metric], NotDefined)
    ]  # fmt: skip
    functions = {
        (arm, metric): [resampler(run, metric) for run in arms[arm]] for arm, metric in wanted
    }
    patients = len(np.unique(first.groups))
    draws = {
        key: np.empty((len(of_runs), resamples)) for key, of_runs in functions.items()
    }
    rows, start = max(1, CELLS // max(1, len(first.images))), 0
    for counts in patient_counts(patients, resamples, seed, rows) if wanted else ():
        for key, of_runs in functions.items():
            for run, values_of in enumerate(of_runs):
                draws[key][run, start : start + len(counts)] = values_of(counts)
        start += len(counts)
    for arm, metric in wanted:
        runs = arms[arm]
        picks = run_picks(len(runs), resamples, seed)
        found[arm][metric] = RunResamples(
            found[arm][metric], draws[arm, metric], picks, runs[0], left_out(runs[0], metric)
        )
    return found


def run_picks(runs: int, resamples: int, seed: int) -> np.ndarray:
    """Which runs each resample draws, int64 [R, K] in [0, K), with replacement."""
    return np.random.default_rng([seed, _SEEDS]).integers(runs, size=(resamples, runs))


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


def _values(runs: Sequence[Predictions], metric: str) -> np.ndarray | NotDefined:
    """float64 [K], on the data as they are, if there are resamples to be made."""
    values = [value_of(run, metric) for run in runs]
    for value in values:
        if isinstance(value, NotDefined):
            return value
    if len(np.unique(runs[0].groups)) < 2:
        return NotDefined(
            f"one patient only, so there is no interval; the value is {np.mean(values):.3f}"
        )
    return np.array(values)
