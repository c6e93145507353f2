"""Do 95% intervals hold the truth in 95% of simulated test sets?

Command:   python -m experiments.simulations.coverage --out runs/simulations/coverage
           (--data-sets 500 is the default)
Hardware:  two CPU cores.
Time:      see docs/statistics.md.
Expected:  intervals that resample patients hold the true AUROC in 92% to 98% of 500 test sets, and
           those that resample images in far fewer; see docs/statistics.md.

`experiments.simulations.clustered` draws the test sets. The intervals are those of
`remedis_jax.evaluation.bootstrap`; "images" means that every image is taken for a patient of its
own. Every test set has a key (seed, number, design), so the numbers do not depend on how many
processes share the work.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from experiments.simulations.clustered import DESIGNS
from experiments.simulations.coverage_figure import coverage_figure
from remedis_jax.cli.console import Announcer, count_progress, disk_errors
from remedis_jax.cli.main import run_and_exit
from remedis_jax.errors import UserError
from remedis_jax.evaluation.bootstrap import (
    CONFIDENCE,
    Interval,
    RunResamples,
    difference_of,
    interval_of,
    resample_arms,
)
from remedis_jax.evaluation.not_defined import NotDefined

RESAMPLES = 1000  # as in the reports
REQUIRED = (0.92, 0.98)  # of the intervals of one model's AUROC that resample patients; ours
PATIENTS, IMAGES, BOTH = "patients", "images", "patients and seeds"


def intervals_of_data_set(
    design: str, number: int, resamples: int = RESAMPLES, seed: int = 0
) -> list[dict]:
    """Draws one test set and estimates its intervals.

    Returns:
        One row per method: design, method, number, value, low, high, p_value (of differences),
        covers.

    Raises:
        UserError: The test set has no interval: all its patients are of one class.
    """
    of = DESIGNS[design]
    key = [seed, number, *design.encode()]
    arms = of.draw(np.random.default_rng(key))
    found = {BOTH if of.runs > 1 else PATIENTS: _resampled(arms, resamples, number)}
    if of.runs > 1:
        found[PATIENTS] = [_fixed_seeds(arm) for arm in found[BOTH]]
    if of.by_image:
        by_image = [[dataclasses.replace(r, groups=r.images) for r in runs] for runs in arms]
        found[IMAGES] = _resampled(by_image, resamples, number)
    rows = []
    for method, of_arms in found.items():
        interval = interval_of(*of_arms) if len(of_arms) == 1 else difference_of(*of_arms)
        if isinstance(interval, NotDefined):
            raise UserError(
                f"Test set {number} of {design!r} has no interval ({interval.reason}).",
                "Use a design with more patients.",
            )
        rows.append(_row(design, method, number, interval))
    return rows


def simulate(
    data_sets: int, resamples: int = RESAMPLES, seed: int = 0, workers: int = 1, progress=None
) -> pd.DataFrame:
    """All rows of `intervals_of_data_set`, by design and number."""
    jobs = [(design, number, resamples, seed) for design in DESIGNS for number in range(data_sets)]
    rows = []
    for done, of_job in enumerate(_in_processes(jobs, workers), 1):
        rows += of_job
        if progress:
            progress(done, len(jobs))
    return pd.DataFrame(rows)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Coverage by design and method.

    Args:
        rows: From `simulate`.

    Returns:
        Columns design, method, truth, data_sets, coverage with its 95% interval (Wilson) as low and
        high, bias (mean value minus truth), width (mean), and rejected (share with p < 0.05; NaN
        where there is no difference).
    """
    found = []
    for (design, method), of in rows.groupby(["design", "method"], sort=False):
        interval = binomtest(int(of["covers"].sum()), len(of)).proportion_ci(method="wilson")
        truth = DESIGNS[design].truth
        p = of["p_value"].dropna()
        found.append(
            {
                "design": design, "method": method, "truth": truth, "data_sets": len(of),
                "coverage": of["covers"].mean(), "low": interval.low, "high": interval.high,
                "bias": of["value"].mean() - truth, "width": (of["high"] - of["low"]).mean(),
                "rejected": (p < 1 - CONFIDENCE).mean() if len(p) else np.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def verdict(summary: pd.DataFrame) -> tuple[str, bool]:
    """The result in a line, and whether it is as it has to be."""
    coverage = summary[summary["design"] == "auroc"].set_index("method")["coverage"]
    patients = DESIGNS["auroc"].patients
    met = REQUIRED[0] <= coverage[PATIENTS] <= REQUIRED[1]
    low, high = (f"{share:.0%}" for share in REQUIRED)
    return (
        f"nominal {CONFIDENCE:.0%} intervals of the AUROC of {patients} patients hold the truth in "
        f"{coverage[PATIENTS]:.1%} of the test sets where patients are resampled, in "
        f"{coverage[IMAGES]:.1%} where images are; {low} to {high} required of the former: "
        + ("met" if met else "missed")
    ), met


def _resampled(arms: Sequence, resamples: int, seed: int) -> list[RunResamples]:
    return [of["auroc"] for of in resample_arms(arms, ["auroc"], resamples, seed)]


def _fixed_seeds(runs: RunResamples) -> RunResamples:
    """The same resamples of the patients, with every run in each of them once."""
    picks = np.broadcast_to(np.arange(len(runs.values)), runs.picks.shape)
    return dataclasses.replace(runs, picks=picks)


def _row(design: str, method: str, number: int, interval: Interval) -> dict:
    return {
        "design": design, "method": method, "number": number, "value": interval.value,
        "low": interval.low, "high": interval.high,
        "p_value": getattr(interval, "p_value", np.nan),
        "covers": interval.low <= DESIGNS[design].truth <= interval.high,
    }  # fmt: skip


def _in_processes(jobs: Sequence[tuple], workers: int) -> Iterator[list[dict]]:
    if workers == 1:
        for job in jobs:
            yield intervals_of_data_set(*job)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _one_thread) as pool:
        yield from pool.map(intervals_of_data_set, *zip(*jobs, strict=True), chunksize=10)


def _one_thread() -> None:
    """Processes that each use all cores for a product of small matrices wait for each other."""
    threadpool_limits(1)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/simulations/coverage"),
    data_sets: Annotated[int, typer.Option(help="Test sets of each design.", min=1)] = 500,
    resamples: Annotated[int, typer.Option(help="Of each test set.", min=1)] = RESAMPLES,
    seed: Annotated[int, typer.Option(help="Other test sets.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.", min=0)] = 0,
) -> None:
    """Simulate test sets and count how often the intervals hold the truth."""
    workers = workers or len(os.sched_getaffinity(0))
    announce, start = Announcer(), time.monotonic()
    announce(f"{data_sets:,} test sets of each of {len(DESIGNS)} designs, {resamples:,} resamples "
             f"of each, {workers} processes")  # fmt: skip
    rows = simulate(data_sets, resamples, seed, workers, count_progress("test sets"))
    summary = summarise(rows)
    with disk_errors():
        out.mkdir(parents=True, exist_ok=True)
        rows.to_csv(out / "intervals.csv", index=False)
        summary.to_csv(out / "coverage.csv", index=False)
        record = {
            "data_sets": data_sets, "resamples": resamples, "seed": seed,
            "designs": {name: dataclasses.asdict(design) for name, design in DESIGNS.items()},
            "coverage": json.loads(summary.to_json(orient="records", double_precision=15)),
            "seconds": round(time.monotonic() - start, 1),
        }  # fmt: skip
        (out / "coverage.json").write_text(json.dumps(record, indent=1) + "\n")
        coverage_figure(out / "coverage.png", summary, rows[rows["design"] == "auroc"])
    print(f"{'':34}{'resampled':20}{'coverage':>9}  {'95% interval':16}{'width':>7}  p < 0.05")
    for row in summary.itertuples():
        rejected = "" if np.isnan(row.rejected) else f"{row.rejected:8.1%}"
        print(f"{DESIGNS[row.design].title:34}{row.method:20}{row.coverage:9.1%}  "
              f"{row.low:.1%} to {row.high:.1%}  {row.width:7.3f}  {rejected}")  # fmt: skip
    line, met = verdict(summary)
    announce(f"written: {out}/coverage.png, .json, .csv, intervals.csv")
    announce(line)
    if not met:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_and_exit(lambda: typer.run(main))
