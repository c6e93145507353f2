"""Any statistic of several runs, on resamples of patients and runs together.

`evaluation.bootstrap` resamples the metrics that have a name; here are curves, and what is computed
on a part of the images. The protocol is the same: patients are drawn with replacement, the same for
all runs, and as many runs as there are.
"""

from collections.abc import Callable, Sequence

import numpy as np

from remedis_jax.evaluation.bootstrap import CONFIDENCE, LEAST_DEFINED_SHARE
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampling import CELLS, patient_counts, run_picks
from remedis_jax.evaluation.same_images import require_same_images

# Counts of the patients [R, G] -> values [R, ...], NaN where a resample has none.
Statistic = Callable[[np.ndarray], np.ndarray]


def aligned(runs: Sequence[Predictions]) -> list[Predictions]:
    """Runs on the same images, with these in the order of the first run.

    Raises:
        UserError: They are not on the same images.
    """
    first = runs[0]
    place = np.argsort(np.argsort(first.images))
    rows = []
    for run in runs:
        require_same_images(first, run)
        rows.append(run.select(np.argsort(run.images)[place]))
    return rows


def draw_means(
    statistics: Sequence[Statistic], patients: int, images: int, resamples: int, seed: int
) -> np.ndarray:
    """The mean of a statistic over the runs that each resample draws.

    Args:
        statistics: One per run, all of the same patients.
        patients: G, how many patients the runs have.
        images: How many images they have; bounds the memory.
        resamples: R.
        seed: The same seed draws the same patients and runs.

    Returns:
        float64 [R, ...]; NaN where a drawn run has no value.
    """
    runs = len(statistics)
    picks = run_picks(runs, resamples, seed)
    means, start = [], 0
    for counts in patient_counts(patients, resamples, seed, max(1, CELLS // max(images, 1))):
        values = np.stack([statistic(counts) for statistic in statistics])
        drawn = picks[start : start + len(counts)]
        means.append(values[drawn.T, np.arange(len(counts))].mean(axis=0))
        start += len(counts)
    return np.concatenate(means)


def percentile_band(
    draws: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of draws [R, T], by column; NaN where most resamples have no value."""
    missing = np.isnan(draws)
    enough = (~missing).mean(axis=0) >= LEAST_DEFINED_SHARE
    low, high = np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    tail = (1 - confidence) / 2
    if enough.any():
        low[enough], high[enough] = np.nanquantile(draws[:, enough], [tail, 1 - tail], axis=0)
    return low, high
