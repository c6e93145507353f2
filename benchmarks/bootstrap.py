"""The paired bootstrap of patients, beside scipy.stats.bootstrap on the same work.

    python -m benchmarks.bootstrap                 about two minutes
    python -m benchmarks.bootstrap --small         seconds, without a verdict

The work: 10,000 patients with an image each, two models, 2,000 resamples; of five metrics (AUROC,
AUPRC, balanced accuracy, Brier score, log loss) the intervals of both models and of their paired
difference. Ours is `evaluation.bootstrap`: patients are drawn once and shared by everything.
scipy's is `scipy.stats.bootstrap` with a statistic of an array of patient indices, which takes the
rows that were drawn and computes the ten values with scikit-learn and numpy and their differences,
all of one call: 15 numbers, percentile method. It makes fewer resamples (`--peer-resamples`), and
its time is scaled, resample for resample; what it does but once is not in proportion, and is small.
Rounds of the two alternate, and ratios are taken round by round. What each takes of the processors
is given as well: on a machine with other work it is the steadier number. That the two agree is
checked on the values of the data, to 1e-9, and on their standard errors.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from remedis_jax.evaluation.bootstrap import difference_of, interval_of, resample_arms
from remedis_jax.evaluation.predictions import Predictions

METRICS = ("auroc", "auprc", "balanced_accuracy", "brier", "log_loss")
TARGET = 60.0  # seconds, on two cores


def generated(patients: int) -> tuple[Predictions, Predictions]:
    """Two models on the same patients, a quarter of them sick; six decimals, as files have them."""
    generator = np.random.default_rng(0)
    y = (generator.random(patients) < 0.25).astype(np.int64)
    names = np.array([f"p{i:06d}" for i in range(patients)])
    severity = generator.standard_normal(patients)
    models = []
    for separation in (1.4, 1.2):
        logit = separation * y + severity + 0.7 * generator.standard_normal(patients) - 1
        p = np.round(1 / (1 + np.exp(-logit)), 6)
        both = np.stack([1 - p, p], axis=1)
        models.append(Predictions("softmax", ("healthy", "sick"), y, both, names, names))
    return models[0], models[1]


def ours(a: Predictions, b: Predictions, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The 15 values and their bootstrap standard errors."""
    of_a, of_b = resample_arms([[a], [b]], METRICS, resamples)
    values, errors = [], []
    for metric in METRICS:
        first, second = of_a[metric], of_b[metric]
        found = interval_of(first), interval_of(second), difference_of(first, second)
        values += [interval.value for interval in found]
        draws = first.means(), second.means(), first.means() - second.means()
        errors += [of.std(ddof=1) for of in draws]
    return np.array(values), np.array(errors)


def of_scipy(a: Predictions, b: Predictions, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of `scipy.stats.bootstrap`."""
    y, scores = a.y, (a.p[:, 1], b.p[:, 1])

    def statistic(drawn: np.ndarray) -> np.ndarray:
        truth = y[drawn]
        of_models = np.array([five(truth, score[drawn]) for score in scores])
        return np.stack([*of_models, of_models[0] - of_models[1]], axis=1).ravel()

    everybody = np.arange(len(y))
    found = stats.bootstrap(
        (everybody,), statistic, n_resamples=resamples, vectorized=False, method="percentile",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return statistic(everybody), found.standard_error


def five(y: np.ndarray, p: np.ndarray) -> tuple[float, ...]:
    right = np.where(y == 1, p, 1 - p)
    return (
        roc_auc_score(y, p),
        average_precision_score(y, p),
        recall_score(y, p > 0.5, average="macro"),
        np.mean((p - y) ** 2),
        -np.mean(np.log(np.clip(right, np.finfo(float).eps, None))),
    )


def timed(function, *arguments):
    start, used = time.perf_counter(), time.process_time()
    found = function(*arguments)
    return (time.perf_counter() - start, time.process_time() - used), found


def spread(values) -> str:
    return f"{np.median(values):,.1f} ({np.min(values):,.1f} to {np.max(values):,.1f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--peer-resamples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="seconds, and no verdict")
    parser.add_argument("--json", type=Path, help="also write one JSON line")
    options = parser.parse_args()
    if options.small:
        options.patients, options.resamples, options.rounds = 300, 200, 2
        options.peer_resamples = 50
    peer_resamples = min(options.peer_resamples, options.resamples)
    scale = options.resamples / peer_resamples
    a, b = generated(options.patients)
    print(
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, numpy {np.__version__}: "
        f"{options.patients:,} patients, {options.resamples:,} resamples, two models, "
        f"{len(METRICS)} metrics, {options.rounds} rounds; scipy makes {peer_resamples:,} "
        f"resamples, times {scale:g}",
        flush=True,
    )
    seconds, theirs, used = [], [], []
    for number in range(options.rounds):
        (taken, busy), (values, errors) = timed(ours, a, b, options.resamples)
        (peer, peer_busy), (peer_values, peer_errors) = timed(of_scipy, a, b, peer_resamples)
        np.testing.assert_allclose(values, peer_values, rtol=0, atol=1e-9)
        # The standard error of a standard deviation of R normal draws is 1 / sqrt(2 R) of it.
        assert np.abs(peer_errors / errors - 1).max() < 6 / np.sqrt(2 * peer_resamples)
        seconds.append(taken)
        theirs.append(peer * scale)
        used.append((busy, peer_busy * scale))
        print(
            f"  round {number + 1}: ours {taken:7.2f} s ({busy:.1f} of processor), "
            f"scipy {theirs[-1]:7.1f} s ({used[-1][1]:.1f}), scipy/ours {theirs[-1] / taken:,.1f}",
            flush=True,
        )
    ratio = np.array(theirs) / np.array(seconds)
    print(f"ours {spread(seconds)} s, scipy {spread(theirs)} s, scipy/ours {spread(ratio)}")
    busy, peer_busy = zip(*used, strict=True)
    print(
        f"of the processors: ours {spread(busy)} s, scipy {spread(peer_busy)} s, scipy/ours "
        f"{spread(np.array(peer_busy) / busy)}"
    )
    if options.json:
        row = {
            "patients": options.patients, "resamples": options.resamples, "seconds": seconds,
            "scipy_seconds": theirs, "processor_seconds": busy,
            "scipy_processor_seconds": peer_busy, "scipy_over_ours": ratio.tolist(),
        }  # fmt: skip
        options.json.write_text(json.dumps(row) + "\n")
    if options.small:
        return 0
    met = np.median(seconds) < TARGET
    print(f"target under {TARGET:g} s: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
